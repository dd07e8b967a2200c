with buildings as (

    select * from {{ ref('stg_patrimoine_bati__buildings') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

facts as (

    select * from {{ ref('tertiary_facts') }}

),

years as (

    select
        cast(extract(year from calendar_days.day_date) as bigint) as year_number,
        calendar_days.day_date as first_date,
        calendar_days.day_date + interval '1' year as next_date
    from calendar_days
    inner join facts
        on
            facts.fact_code = 'site_area'
            and extract(year from calendar_days.day_date)
            >= extract(year from facts.valid_from)
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

    -- measures
    buildings.tertiary_area_m2,
    buildings.subject_from_year

from buildings
-- What was of the stock on a day of the year at least.
inner join years
    on
        coalesce(buildings.valid_from_date, date '2010-01-01') < years.next_date
        and coalesce(buildings.valid_to_date, date '9999-12-31') > years.first_date
where buildings.efa_id is not null or buildings.tertiary_area_m2 > 0
