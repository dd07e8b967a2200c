with buildings as (

    select * from {{ ref('int_tertiary_buildings_by_year') }}

),

facts as (

    select * from {{ ref('tertiary_facts') }}

),

sites as (

    select
        buildings.site_id,
        buildings.year,
        round(sum(buildings.tertiary_area_m2), 6) as site_tertiary_area_m2,
        min(buildings.subject_from_year) as declared_year
    from buildings
    group by buildings.site_id, buildings.year

)

select
    -- keys
    sites.site_id,
    sites.year,

    -- measures
    sites.site_tertiary_area_m2,
    -- The first year that reaches the threshold, or what the steward declares: the site
    -- stays subject, even if its areas shrink or a building is sold.
    least(
        min(
            case
                when sites.site_tertiary_area_m2 >= facts.fact_value then sites.year
            end
        ) over upto,
        min(
            case when sites.declared_year <= sites.year then sites.declared_year end
        ) over upto
    ) as subject_from_year

from sites
inner join facts on facts.fact_code = 'site_area'
window
    upto as (
        partition by sites.site_id
        order by sites.year
        rows between unbounded preceding and current row
    )
