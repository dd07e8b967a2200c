with loads as (

    select * from {{ ref('int_loads_by_building_day') }}

),

weather as (

    select * from {{ ref('int_degree_days_over_four_weeks') }}

),

activities as (

    select
        loads.building_id,
        loads.day_date,
        -- What use adds to the night: a leak cancels out, a drifting meter does not.
        loads.core_load_kw - loads.night_load_kw as activity_kw,
        loads.day_load_kw
    from loads
    where loads.core_load_kw is not null and loads.night_load_kw is not null

),

-- Each day that has a load, and the day one year before that it is compared with.
days as (

    select
        building_id,
        day_date
    from activities
    union distinct
    select
        building_id,
        day_date - 364 as day_date
    from activities

)

select
    -- keys
    days.building_id,
    days.day_date,

    -- attributes
    activities.day_date is not null as has_load,

    -- measures
    round(avg(activities.activity_kw) over four_weeks, 6) as activity_kw,
    round(avg(activities.day_load_kw) over four_weeks, 6) as day_load_kw,
    count(activities.day_date) over four_weeks as day_count,
    weather.professional_degree_days,

    -- dates
    cast(date_trunc('month', days.day_date) as date) as month_date

from days
left join activities
    on
        days.building_id = activities.building_id
        and days.day_date = activities.day_date
left join weather on days.day_date = weather.day_date
window four_weeks as (
    partition by days.building_id
    order by days.day_date
    range between interval '27' day preceding and current row
)
