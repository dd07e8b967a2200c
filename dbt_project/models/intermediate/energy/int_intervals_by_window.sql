with intervals as (

    select * from {{ ref('int_intervals_by_day') }}

),

load_windows as (

    select * from {{ ref('load_windows') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

windows as (

    select
        calendar_days.day_date,
        load_windows.window_code,
        {{ instant_of(
            "calendar_days.day_date + load_windows.from_hour * interval '1' hour"
        ) }}
            as starts_at,
        {{ instant_of(
            "calendar_days.day_date + load_windows.to_hour * interval '1' hour"
        ) }}
            as ends_at
    from calendar_days
    cross join load_windows

)

select
    -- keys
    intervals.meter_id,
    intervals.measure_name,
    intervals.building_id,
    intervals.day_date,
    windows.window_code,

    -- measures
    intervals.piece_hours,
    intervals.consumption_kwh,

    -- dates
    greatest(intervals.from_at, windows.starts_at) as from_at,
    least(intervals.to_at, windows.ends_at) as to_at,
    windows.starts_at as window_from_at,
    windows.ends_at as window_to_at,
    intervals.month_date

from intervals
inner join windows
    on
        intervals.day_date = windows.day_date
        and intervals.from_at < windows.ends_at
        and intervals.to_at > windows.starts_at
