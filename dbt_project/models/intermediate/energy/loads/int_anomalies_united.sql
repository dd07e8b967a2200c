with loads as (

    select * from {{ ref('int_loads_judged') }}

),

meters as (

    select * from {{ ref('int_meters_judged_by_day') }}

),

kinds as (

    select
        building_id,
        day_date,
        if(is_high_at_night, 'night_base_load', 'drift') as anomaly_kind,
        'kW' as value_unit,
        'first_12_of_24_months_before' as reference_window,
        if(is_high_at_night, load_kw, mean_kw) as observed_value,
        if(is_high_at_night, expected_kw, mean_expected_kw) as expected_value,
        if(is_high_at_night, threshold_kw, drift_threshold_kw) as threshold_value,
        excess_kwh
    from loads
    where is_high_at_night or is_drifting

    union all

    select
        building_id,
        day_date,
        'missing_meter' as anomaly_kind,
        'meter' as value_unit,
        'same_day' as reference_window,
        count(case when not is_missing then 1 end) as observed_value,
        count(*) as expected_value,
        count(*) as threshold_value,
        null as excess_kwh
    from meters
    group by building_id, day_date
    having bool_or(is_missing)

    union all

    select
        building_id,
        day_date,
        'frozen_index' as anomaly_kind,
        'day' as value_unit,
        'days_before' as reference_window,
        max(still_day_count) as observed_value,
        1 as expected_value,
        max(still_alarm_day_count) as threshold_value,
        null as excess_kwh
    from meters
    where is_frozen
    group by building_id, day_date

)

select
    -- keys
    building_id,
    day_date,
    anomaly_kind,
    value_unit,
    reference_window,

    -- measures
    observed_value,
    expected_value,
    threshold_value,
    excess_kwh,

    -- dates
    cast(date_trunc('month', day_date) as date) as month_date

from kinds
