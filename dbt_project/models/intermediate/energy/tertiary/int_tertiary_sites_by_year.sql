with buildings as (
    select * from {{ ref('int_tertiary_buildings_by_year') }}
),

facts as (
    select * from {{ ref('tertiary_facts') }}
    where valid_to is null
),

-- Areas grow at a beginning only: that of the year, or of a building within it.
days as (

    select distinct
        buildings.site_id,
        buildings.year,
        greatest(
            coalesce(buildings.valid_from_date, date '2010-01-01'),
            make_date(cast(buildings.year as int), 1, 1)
        ) as day_date
    from buildings

),

areas as (

    select
        days.site_id,
        days.year,
        days.day_date,
        round(sum(buildings.tertiary_area_m2), 6) as area_m2,
        count(buildings.tertiary_area_m2) = count(*) as is_known,
        min(buildings.subject_from_year) as declared_year
    from days
    inner join buildings using (site_id, year)
    where
        coalesce(buildings.valid_from_date, date '2010-01-01') <= days.day_date
        and coalesce(buildings.valid_to_date, date '9999-12-31') > days.day_date
    group by days.site_id, days.year, days.day_date

)

select
    -- keys
    areas.site_id,
    areas.year,

    -- attributes; of no use once it is subject, and of none before the decree
    bool_and(bool_and(
        areas.is_known or areas.year < extract(year from facts.valid_from)
    )) over upto as is_area_known,

    -- measures
    max(areas.area_m2) as site_tertiary_area_m2,
    -- The first year that reaches the threshold, or is declared: so it stays.
    least(
        min(min(
            case
                when
                    areas.area_m2 >= facts.fact_value
                    and areas.year >= extract(year from facts.valid_from)
                    then areas.year
            end
        )) over upto,
        min(min(
            case when areas.declared_year <= areas.year then areas.declared_year end
        )) over upto
    ) as subject_from_year

from areas
inner join facts on facts.fact_code = 'site_area'
group by areas.site_id, areas.year
window
    upto as (
        partition by areas.site_id
        order by areas.year
        rows between unbounded preceding and current row
    )
