with night_loads as (

    select * from {{ ref('int_night_loads_compared') }}

),

activity_loads as (

    select * from {{ ref('int_activity_loads_persisted') }}

),

missing_meters as (

    select * from {{ ref('int_meters_missing_by_day') }}

),

anomalies as (

    select
        building_id,
        day_date,
        month_date,
        'night_base_load' as anomaly_kind,
        night_load_kw as observed_value,
        expected_kw as expected_value,
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
        1 as threshold_ratio,
        'same_day' as reference_window
    from missing_meters

)

select
    -- keys
    building_id,
    day_date,
    anomaly_kind,
    month_date,

    -- attributes
    case when anomaly_kind = 'missing_meter' then 'meter' else 'kW' end as value_unit,
    reference_window,

    -- measures
    cast(observed_value as double) as observed_value,
    cast(expected_value as double) as expected_value,
    cast(observed_value / nullif(expected_value, 0) as double) as observed_ratio,
    cast(threshold_ratio as double) as threshold_ratio

from anomalies
