with consumptions as (
    select * from {{ ref('int_consumptions_by_building_month') }}
),

buildings as (
    select * from {{ ref('stg_patrimoine_bati__buildings') }}
),

energies as (
    select * from {{ ref('energies') }}
    where valid_to is null
),

emission_factors as (
    select * from {{ ref('emission_factors') }}
)

select
    -- keys
    consumptions.building_id,
    consumptions.energy,
    consumptions.month_date,

    buildings.commune_code,

    -- attributes
    buildings.building_name,
    buildings.building_use,
    buildings.operator,
    coalesce(buildings.is_publishable, false) as is_publishable,
    energies.energy is not null as is_energy_known,
    emission_factors.basis as factor_basis,
    emission_factors.source as factor_source,
    cast(emission_factors.vintage as string) as factor_vintage,
    emission_factors.verified_on is not null as is_factor_verified,
    case
        when energies.energy is null then 'unknown_energy'
        when emission_factors.kgco2e_per_kwh is null then 'no_factor'
        when consumptions.consumption_kwh is null then 'no_consumption'
    end as emissions_refusal_reason,

    -- measures
    buildings.floor_area_m2,
    buildings.longitude,
    buildings.latitude,
    consumptions.consumption_kwh / nullif(energies.pcs_per_pci, 0)
        as consumption_kwh_pci,
    emission_factors.kgco2e_per_kwh,
    -- Factors are per kWh PCI, bills of gas in kWh PCS.
    consumption_kwh_pci * emission_factors.kgco2e_per_kwh as emissions_kgco2e

from consumptions
-- An energy that no seed names keeps its row, without kWh PCI nor emissions.
left join energies on consumptions.energy = energies.energy
left join buildings on consumptions.building_id = buildings.building_id
left join emission_factors
    on
        consumptions.energy = emission_factors.energy
        and consumptions.month_date >= emission_factors.valid_from
        and (
            consumptions.month_date < emission_factors.valid_to
            or emission_factors.valid_to is null
        )
        and coalesce(emission_factors.heat_network, buildings.heat_network)
        is not distinct from buildings.heat_network
-- The network's own factor wins over the mean, the newest over the older.
qualify row_number() over (
    partition by consumptions.month_date, consumptions.building_id, consumptions.energy
    order by
        emission_factors.heat_network asc nulls last,
        emission_factors.valid_from desc,
        emission_factors.vintage desc
) = 1
