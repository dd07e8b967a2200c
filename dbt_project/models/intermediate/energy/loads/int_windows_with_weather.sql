with windows as (

    select * from {{ ref('int_calendar_windows') }}

),

hourly as (

    select * from {{ ref('stg_meteo_stations__hourly') }}

),

holidays as (

    select * from {{ ref('holidays') }}
    where valid_to is null

),

temperatures as (

    select
        windows.day_date,
        windows.window_code,
        windows.month_date,
        cast(date_trunc('week', windows.day_date) as date) as monday_date,
        round(avg(hourly.temperature_c), 6) as temperature_c
    from windows
    inner join hourly
        on
            windows.month_date = hourly.month_date
            and windows.starts_at <= hourly.observed_at
            and windows.ends_at > hourly.observed_at
    where
        hourly.station_id = {{ reference_station() }}
        and hourly.temperature_c is not null
    group by windows.day_date, windows.window_code, windows.month_date

),

days as (

    select
        temperatures.*,
        coalesce(bool_or(holidays.day_kind = 'bank_holiday'), false) as is_bank_holiday,
        coalesce(bool_or(holidays.day_kind = 'school_holiday'), false)
            as is_school_holiday
    from temperatures
    left join holidays
        on
            temperatures.day_date >= holidays.from_date
            and temperatures.day_date < holidays.to_date
    group by all

)

select
    -- keys
    days.day_date,
    days.window_code,

    -- attributes
    case
        -- Nobody is there at night, whatever the day.
        when days.window_code = 'night' then 'night'
        when days.is_bank_holiday or days.day_date = days.monday_date + 6 then 'sunday'
        when days.day_date = days.monday_date + 5 then 'saturday'
        when days.is_school_holiday then 'school_holiday'
        else 'weekday'
    end as day_kind,

    -- measures
    days.temperature_c,

    -- dates
    days.month_date

from days
