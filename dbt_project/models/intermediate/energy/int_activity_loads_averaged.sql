with loads as (

    select * from {{ ref('int_loads_by_building_day') }}

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

)

select
    -- keys
    activities.building_id,
    activities.day_date,

    -- measures
    round(avg(activities.activity_kw) over four_weeks, 6) as activity_kw,
    round(avg(activities.day_load_kw) over four_weeks, 6) as day_load_kw,
    count(*) over four_weeks as day_count,

    -- dates
    activities.month_date

from activities
window four_weeks as (
    partition by activities.building_id
    order by activities.day_date
    range between interval '27' day preceding and current row
)
