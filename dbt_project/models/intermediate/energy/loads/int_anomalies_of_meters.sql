with meters as (

    select * from {{ ref('int_meters_judged_by_day') }}

)

select
    -- keys
    building_id,
    energy,
    day_date,
    'missing_meter' as anomaly_kind,

    -- attributes
    'meter' as value_unit,
    'same_day' as reference_window,

    -- measures
    count(case when not is_missing then 1 end) as observed_value,
    count(*) as expected_value,
    count(*) as threshold_value,

    -- dates
    month_date

from meters
group by building_id, energy, day_date, month_date
having bool_or(is_missing)

union all

select
    -- keys
    building_id,
    energy,
    day_date,
    'frozen_index' as anomaly_kind,

    -- attributes
    'day' as value_unit,
    'days_before' as reference_window,

    -- measures
    max(still_day_count) as observed_value,
    1 as expected_value,
    max(still_alarm_day_count) as threshold_value,

    -- dates
    month_date

from meters
where is_still
group by building_id, energy, day_date, month_date
