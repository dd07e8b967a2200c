with loads as (

    select * from {{ ref('int_loads_by_building_day') }}

),

colder as (

    select
        loads.*,
        candidates.threshold_c,
        greatest(0, candidates.threshold_c - loads.temperature_c) as degrees
    from loads
    -- Outside temperatures below which a building may begin to heat.
    cross join range(8, 21) as candidates (threshold_c)

)

select
    -- keys
    colder.building_id,
    colder.window_code,
    colder.day_kind,
    colder.threshold_c,
    concat_ws(
        ' ',
        colder.building_id,
        colder.window_code,
        colder.day_kind,
        cast(colder.threshold_c as string)
    ) as series_code,

    -- measures
    cast(
        12 * extract(year from colder.month_date)
        + extract(month from colder.month_date) as bigint
    ) as month_number,
    count(*) as day_count,
    min(colder.temperature_c) as temperature_min_c,
    max(colder.temperature_c) as temperature_max_c,
    -- Sums of decimals, which are the same in whatever order rows come.
    cast(sum(cast(colder.degrees as decimal(24, 6))) as double) as degrees,
    cast(sum(cast(colder.load_kw as decimal(24, 6))) as double) as load_kw,
    cast(sum(cast(colder.degrees * colder.degrees as decimal(24, 6))) as double)
        as degrees_squared,
    cast(sum(cast(colder.degrees * colder.load_kw as decimal(24, 6))) as double)
        as degrees_by_load,
    cast(sum(cast(colder.load_kw * colder.load_kw as decimal(24, 6))) as double)
        as load_squared,

    -- dates
    colder.month_date

from colder
group by all
