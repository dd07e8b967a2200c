with deliveries as (

    select * from {{ ref('int_network_deliveries_united') }}

),

sectors as (

    select * from {{ ref('territory_sectors') }}
    where producer = 'conso_electricite_gaz' and is_expected and valid_to is null

),

communes as (

    select distinct commune_code from {{ ref('int_communes_by_code') }}

),

calendar_years as (

    select distinct cast(extract(year from day_date) as bigint) as year
    from {{ ref('int_calendar_days') }}

),

spans as (

    select
        energy,
        min(year) as first_year,
        max(year) as last_year
    from deliveries
    group by energy

),

-- Gas is expected where its network goes, electricity everywhere.
served as (

    select distinct
        commune_code,
        energy
    from deliveries
    where energy = 'gas'
    union all
    select
        commune_code,
        'electricity' as energy
    from communes

)

select
    served.commune_code,
    served.energy,
    sectors.sector_code,
    calendar_years.year
from served
inner join spans on served.energy = spans.energy
inner join calendar_years
    on calendar_years.year between spans.first_year and spans.last_year
cross join sectors
