with loads as (

    select * from {{ ref('int_loads_judged') }}

),

periods as (

    select * from {{ ref('int_periods_compared') }}

),

meters as (

    select * from {{ ref('int_anomalies_of_meters') }}

)

select
    building_id,
    'electricity' as energy,
    day_date,
    if(is_high_at_night, 'night_base_load', 'drift') as anomaly_kind,
    'meter' as consumption_source,
    'kW' as value_unit,
    'first_12_of_24_months_before' as reference_window,
    if(is_high_at_night, load_kw, mean_kw) as observed_value,
    if(is_high_at_night, expected_kw, mean_expected_kw) as expected_value,
    if(is_high_at_night, threshold_kw, drift_threshold_kw) as threshold_value,
    excess_kwh,
    month_date
from loads
where is_high_at_night or is_drifting

union all

select
    building_id,
    energy,
    day_date,
    'heating_excess' as anomaly_kind,
    consumption_source,
    'kWh/day' as value_unit,
    'reference_year' as reference_window,
    kwh_per_day as observed_value,
    expected_kwh_per_day as expected_value,
    threshold_kwh_per_day as threshold_value,
    kwh_per_day - expected_kwh_per_day as excess_kwh,
    month_date
from periods
where kwh_per_day >= threshold_kwh_per_day

union all

select
    building_id,
    energy,
    day_date,
    anomaly_kind,
    'meter' as consumption_source,
    value_unit,
    reference_window,
    observed_value,
    expected_value,
    threshold_value,
    null as excess_kwh,
    month_date
from meters
