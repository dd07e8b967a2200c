with night_loads as (

    select * from {{ ref('int_night_loads_compared') }}

),

activity_loads as (

    select * from {{ ref('int_activity_loads_compared') }}

),

missing_meters as (

    select * from {{ ref('int_meters_missing_by_day') }}

)

select
    building_id,
    day_date,
    month_date,
    'night_base_load' as anomaly_kind,
    night_load_kw as observed_value,
    expected_kw as expected_value,
    'kW' as value_unit,
    threshold_ratio,
    reference_window
from night_loads
where is_anomaly

union all

select
    building_id,
    day_date,
    month_date,
    'drift' as anomaly_kind,
    observed_kw as observed_value,
    expected_kw as expected_value,
    'kW' as value_unit,
    threshold_ratio,
    'same_4_weeks_one_year_before' as reference_window
from activity_loads
where is_anomaly

union all

select
    building_id,
    day_date,
    month_date,
    'missing_meter' as anomaly_kind,
    reporting_meter_count as observed_value,
    expected_meter_count as expected_value,
    'meter' as value_unit,
    1.0 as threshold_ratio,
    'same_day' as reference_window
from missing_meters
