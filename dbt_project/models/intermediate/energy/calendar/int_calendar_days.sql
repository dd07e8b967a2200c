with days as (

    select make_date(2010, 1, 1) + cast(day_offsets.day_number as int) as day_date
    from range(0, 14975) as day_offsets (day_number)

),

months as (

    select
        days.day_date,
        cast(date_trunc('month', days.day_date) as date) as month_date,
        {{ instant_of('days.day_date') }} as day_starts_at,
        {{ instant_of('days.day_date + 1') }} as day_ends_at,
        {{ instant_of("date_trunc('month', days.day_date)") }} as month_starts_at,
        {{ instant_of("date_trunc('month', days.day_date) + interval '1' month") }}
            as month_ends_at
    from days

)

select
    -- keys
    months.day_date,

    -- measures
    {{ hours_between('months.day_starts_at', 'months.day_ends_at') }} as day_hours,
    {{ hours_between('months.month_starts_at', 'months.month_ends_at') }}
        as month_hours,
    count(*) over (partition by months.month_date) as month_day_count,

    -- dates
    months.month_date,
    months.day_starts_at,
    months.day_ends_at,
    months.month_starts_at,
    months.month_ends_at

from months
