with buildings as (

    select * from {{ ref('int_tertiary_buildings_by_year') }}

),

sites as (

    select * from {{ ref('int_tertiary_sites_by_year') }}

),

consumptions as (

    select * from {{ ref('int_consumptions_by_building_year') }}

),

states as (

    select * from {{ ref('int_years_judged') }}

),

-- All energies of a building, in kWh PCI; whole when each is, that which heats it too:
-- an energy without any row is one of which nothing is known.
building_years as (

    select
        building_id,
        year,
        sum(consumptions.consumption_kwh_pci) as consumption_kwh_pci,
        buildings.heating_energy is null
        or bool_or(consumptions.energy = buildings.heating_energy) as is_heating_known,
        sum(consumptions.completeness_share)
        / (count(*) + case when is_heating_known then 0 else 1 end)
            as completeness_share,
        bool_and(
            states.year_state = 'whole' and consumptions.consumption_kwh_pci is not null
        ) as is_whole
    from consumptions
    inner join states using (building_id, year, energy)
    inner join buildings using (building_id, year)
    group by building_id, year, buildings.heating_energy

)

select
    -- keys
    buildings.efa_id,
    buildings.year,
    min(buildings.site_id) as site_id,

    -- attributes
    bool_and(buildings.is_entity_declared) as is_entity_declared,
    bool_and(
        coalesce(building_years.is_whole and building_years.is_heating_known, false)
    ) as is_whole,
    bool_and(coalesce(building_years.is_heating_known, true)) as is_heating_known,
    bool_or(buildings.is_mixed_use) as is_mixed_use,
    bool_and(sites.is_area_known) as is_site_area_known,

    -- measures
    count(*) as building_count,
    count(building_years.is_heating_known) as known_building_count,
    case
        when count(buildings.tertiary_area_m2) = count(*)
            then round(sum(buildings.tertiary_area_m2), 6)
    end as tertiary_area_m2,
    max(sites.site_tertiary_area_m2) as site_tertiary_area_m2,
    min(sites.subject_from_year) as subject_from_year,
    round(sum(building_years.consumption_kwh_pci), 6) as consumption_kwh_pci,
    round(avg(coalesce(building_years.completeness_share, 0)), 6)
        as completeness_share

from buildings
inner join sites using (site_id, year)
left join building_years using (building_id, year)
group by buildings.efa_id, buildings.year
