with intervals as (

    select * from {{ ref('int_intervals_judged') }}

),

standstills as (

    select * from {{ ref('int_indexes_frozen') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

pieces as (

    select
        intervals.*,
        if(intervals.quality = 'unknown_register', null, standstills.since_at)
            as frozen_since_at,
        if(frozen_since_at is null, intervals.quality, 'frozen_index') as worth,
        calendar_days.month_date,
        greatest(intervals.from_at, calendar_days.month_starts_at) as piece_from_at,
        least(intervals.to_at, calendar_days.month_ends_at) as piece_to_at,
        {{ hours_between('piece_from_at', 'piece_to_at') }} as piece_hours,
        intervals.interval_hours <= {{ threshold('covered_interval_hours') }} as is_day
    from intervals
    inner join calendar_days
        on
            calendar_days.day_date = calendar_days.month_date
            and intervals.from_at < calendar_days.month_ends_at
            and intervals.to_at > calendar_days.month_starts_at
    -- The rise that ends a standstill is of all of it: no one can tell its days.
    left join standstills
        on
            intervals.meter_id = standstills.meter_id
            and intervals.from_at <= standstills.until_at
            and intervals.to_at > standstills.since_at
    qualify row_number() over (
        partition by intervals.meter_id, intervals.measure_name, piece_from_at
        order by standstills.since_at
    ) = 1

)

select
    -- keys
    meter_id,
    measure_name,
    building_id,

    -- attributes
    energy,
    flow,
    worth as quality,
    worth = 'measured'
    and (not is_day or piece_hours < interval_hours) as is_apportioned,
    worth = 'measured' and is_day as is_covering,
    worth = 'frozen_index' as is_frozen,

    -- measures
    interval_hours,
    piece_hours,
    if(worth = 'measured', difference_kwh, null)
    * coalesce(piece_hours / nullif(interval_hours, 0), 1) as consumption_kwh,
    if(piece_to_at = to_at, outlier_count, 0) as outlier_count,

    -- dates
    frozen_since_at,
    piece_from_at as from_at,
    piece_to_at as to_at,
    month_date

from pieces
where piece_from_at = from_at or piece_to_at = to_at or difference_kwh is not null
order by meter_id, measure_name, to_at
