with buildings as (

    select * from {{ ref('stg_patrimoine_bati__buildings') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

facts as (

    select * from {{ ref('tertiary_facts') }}
    where valid_to is null

),

years as (

    select
        cast(extract(year from calendar_days.day_date) as bigint) as year_number,
        calendar_days.day_date as first_date,
        calendar_days.day_date + interval '1' year as next_date
    from calendar_days
    inner join facts
        on
            facts.fact_code = 'first_reference_year'
            and extract(year from calendar_days.day_date) >= facts.fact_value
    where
        extract(month from calendar_days.day_date) = 1
        and extract(day from calendar_days.day_date) = 1

)

select
    -- keys
    buildings.building_id,
    years.year_number as year,
    -- A building of which no entity is declared is its own.
    coalesce(buildings.efa_id, buildings.building_id) as efa_id,
    coalesce(buildings.site_id, buildings.efa_id, buildings.building_id) as site_id,

    -- attributes
    buildings.efa_id is not null as is_entity_declared,
    nullif(buildings.heating_energy, '') as heating_energy,
    -- Its consumption is of more than its tertiary area, to the percent.
    coalesce(
        round(buildings.tertiary_area_m2 / nullif(buildings.floor_area_m2, 0), 2)
        < facts.fact_value,
        false
    ) as is_mixed_use,

    -- measures
    buildings.tertiary_area_m2,
    buildings.subject_from_year,

    -- dates
    buildings.valid_from_date,
    buildings.valid_to_date

from buildings
-- What was of the stock on a day of the year at least.
inner join years
    on
        coalesce(buildings.valid_from_date, date '2010-01-01') < years.next_date
        and coalesce(buildings.valid_to_date, date '9999-12-31') > years.first_date
inner join facts
    on facts.fact_code = 'single_use_area_share'
-- A building of a site whose tertiary area nobody tells may be the one that counts.
where
    buildings.efa_id is not null
    or buildings.tertiary_area_m2 > 0
    or (buildings.site_id is not null and buildings.tertiary_area_m2 is null)
