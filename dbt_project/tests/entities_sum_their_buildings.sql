-- A building counts in one entity: entities of a year take no more, all together, than its buildings do.
with entities as (

    select
        year,
        sum(consumption_kwh_pci) as consumption_kwh_pci
    from {{ ref('tertiary_obligation_by_entity_year') }}
    group by year

),

buildings as (

    select
        year,
        sum(consumption_kwh_pci) as consumption_kwh_pci
    from {{ ref('energy_by_building_year') }}
    group by year

)

select entities.year
from entities
left join buildings on entities.year = buildings.year
where
    entities.consumption_kwh_pci > coalesce(buildings.consumption_kwh_pci, 0) + 1
