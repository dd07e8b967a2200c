with loads as (

    select * from {{ ref('int_loads_by_building_day') }}

)

select
    -- keys
    loads.building_id,
    cast(date_trunc('week', loads.day_date) as date) as week_date,

    -- measures
    median(loads.night_load_kw) as night_load_kw,
    count(loads.night_load_kw) as night_count

from loads
where loads.night_load_kw is not null
group by all
