with loads as (

    select * from {{ ref('int_loads_by_building_day') }}

),

degree_days as (

    select * from {{ ref('int_days_with_degree_days') }}

),

activities as (

    select
        loads.building_id,
        loads.day_date,
        loads.month_date,
        -- What use adds to the night: a constant leak cancels out, a
        -- drifting meter does not.
        loads.core_load_kw - loads.night_load_kw as activity_kw,
        loads.day_load_kw
    from loads
    where loads.core_load_kw is not null and loads.night_load_kw is not null

),

weather as (

    select
        degree_days.day_date,
        round(sum(degree_days.professional_degree_days) over four_weeks, 6)
            as professional_degree_days,
        count(*) over four_weeks as day_count
    from degree_days
    window four_weeks as (
        order by degree_days.day_date
        range between interval '27' day preceding and current row
    )

)

select
    -- keys
    activities.building_id,
    activities.day_date,

    -- measures
    round(avg(activities.activity_kw) over four_weeks, 6) as activity_kw,
    round(avg(activities.day_load_kw) over four_weeks, 6) as day_load_kw,
    count(*) over four_weeks as day_count,
    weather.professional_degree_days,

    -- dates
    activities.month_date

from activities
left join weather on activities.day_date = weather.day_date and weather.day_count = 28
window four_weeks as (
    partition by activities.building_id
    order by activities.day_date
    range between interval '27' day preceding and current row
)
