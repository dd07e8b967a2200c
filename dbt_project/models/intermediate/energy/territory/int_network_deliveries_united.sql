with consumptions as (

    select * from {{ ref('stg_conso_electricite_gaz__consumptions') }}

),

heat_deliveries as (

    select * from {{ ref('int_heat_deliveries_by_sector') }}

),

energies as (

    select * from {{ ref('network_energies') }}
    where valid_to is null

),

sectors as (

    select * from {{ ref('territory_sectors') }}
    where producer = 'conso_electricite_gaz' and valid_to is null

),

communes as (

    select * from {{ ref('int_communes_by_code') }}

),

deliveries as (

    select
        consumptions.commune_code as source_commune_code,
        energies.energy,
        -- A sector that no seed knows is a part of the total all the same.
        coalesce(sectors.sector_code, 'unknown') as sector_code,
        consumptions.year,
        -- With a figure beside hidden cells, the figure is what is left.
        consumptions.consumption_mwh is null
        or coalesce(consumptions.hidden_cell_count, 0) > 0 as is_hidden,
        false as is_shared,
        1000 * consumptions.consumption_mwh as shown_kwh,
        consumptions.delivery_point_count,
        cast(null as double) as content_kgco2e_per_kwh,
        cast(null as double) as renewable_share
    from consumptions
    inner join energies on consumptions.energy_source_code = energies.energy_source_code
    left join sectors on consumptions.sector_source_code = sectors.sector_source_code
    union all
    select
        heat_deliveries.source_commune_code,
        heat_deliveries.energy,
        heat_deliveries.sector_code,
        heat_deliveries.year,
        heat_deliveries.is_hidden,
        heat_deliveries.is_shared,
        heat_deliveries.shown_kwh,
        cast(null as bigint) as delivery_point_count,
        heat_deliveries.content_kgco2e_per_kwh,
        heat_deliveries.renewable_share
    from heat_deliveries

)

select
    communes.commune_code,
    deliveries.energy,
    deliveries.sector_code,
    deliveries.year,
    deliveries.is_hidden,
    deliveries.is_shared,
    deliveries.shown_kwh,
    deliveries.delivery_point_count,
    deliveries.content_kgco2e_per_kwh,
    deliveries.renewable_share
from deliveries
inner join communes on deliveries.source_commune_code = communes.source_commune_code
