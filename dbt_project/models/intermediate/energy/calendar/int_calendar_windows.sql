with calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

load_windows as (

    select * from {{ ref('load_windows') }}
    where valid_to is null

),

windows as (

    select
        calendar_days.day_date,
        calendar_days.month_date,
        load_windows.window_code,
        {{ instant_of(
            "calendar_days.day_date + load_windows.from_hour * interval '1' hour"
        ) }} as starts_at,
        {{ instant_of(
            "calendar_days.day_date + load_windows.to_hour * interval '1' hour"
        ) }} as ends_at
    from calendar_days
    cross join load_windows

)

select
    -- keys
    windows.day_date,
    windows.window_code,

    -- measures
    {{ hours_between('windows.starts_at', 'windows.ends_at') }} as window_hours,

    -- dates
    windows.starts_at,
    windows.ends_at,
    windows.month_date

from windows
