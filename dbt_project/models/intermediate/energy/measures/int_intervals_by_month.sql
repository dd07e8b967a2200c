with intervals as (

    select * from {{ ref('int_intervals_judged') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

pieces as (

    select
        intervals.*,
        calendar_days.month_date as piece_month_date,
        greatest(intervals.from_at, calendar_days.month_starts_at) as piece_from_at,
        least(intervals.to_at, calendar_days.month_ends_at) as piece_to_at,
        intervals.interval_hours <= thresholds.covered_interval_hours as is_short
    from intervals
    cross join thresholds
    inner join calendar_days
        on
            -- The first day stands for its month.
            calendar_days.day_date = calendar_days.month_date
            and intervals.from_at < calendar_days.month_ends_at
            and intervals.to_at > calendar_days.month_starts_at

),

measured as (

    select
        *,
        {{ hours_between('piece_from_at', 'piece_to_at') }} as piece_hours,
        if(quality = 'measured', difference_kwh, null) as interval_kwh
    from pieces
    -- A register that is not known says nothing of the months without a reading.
    where piece_from_at = from_at or piece_to_at = to_at or difference_kwh is not null

)

select
    -- keys
    meter_id,
    measure_name,
    building_id,

    -- attributes
    energy,
    flow,
    quality,
    interval_kwh is not null
    and (not is_short or piece_hours < interval_hours) as is_apportioned,
    is_short and interval_kwh is not null as is_covering,
    quality = 'frozen_index' as is_frozen,

    -- measures
    interval_hours,
    piece_hours,
    interval_kwh * coalesce(piece_hours / nullif(interval_hours, 0), 1)
        as consumption_kwh,
    if(piece_to_at = to_at, outlier_count, 0) as outlier_count,

    -- dates
    frozen_since_at,
    piece_from_at as from_at,
    piece_to_at as to_at,
    piece_month_date as month_date

from measured
order by meter_id, measure_name, to_at
