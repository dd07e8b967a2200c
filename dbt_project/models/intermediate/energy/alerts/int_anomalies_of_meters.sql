with meters as (

    select * from {{ ref('int_meters_judged_by_day') }}

),

degree_days as (

    select * from {{ ref('int_days_with_degree_days') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

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
    meters.building_id,
    meters.energy,
    meters.day_date,
    'frozen_index' as anomaly_kind,

    -- attributes
    'day' as value_unit,
    'days_before' as reference_window,

    -- measures
    max(meters.still_day_count) as observed_value,
    1 as expected_value,
    max(meters.still_alarm_day_count) as threshold_value,

    -- dates
    meters.month_date

from meters
cross join thresholds
left join degree_days on meters.day_date = degree_days.day_date
-- Heat may truly rest: of what is no electricity, only a cold day tells.
where
    meters.is_still
    and (
        meters.energy = 'electricity'
        or degree_days.professional_degree_days >= thresholds.frozen_degree_days
    )
group by meters.building_id, meters.energy, meters.day_date, meters.month_date
