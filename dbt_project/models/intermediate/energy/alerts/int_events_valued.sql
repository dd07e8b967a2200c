with events as (
    select * from {{ ref('int_anomalies_by_event') }}
),

buildings as (
    select * from {{ ref('stg_patrimoine_bati__buildings') }}
),

energies as (
    select * from {{ ref('energies') }}
),

emission_factors as (
    select * from {{ ref('emission_factors') }}
)

select
    -- keys
    events.building_id,
    events.energy,
    events.anomaly_kind,
    events.start_date,

    -- attributes
    events.consumption_source,
    events.value_unit,
    emission_factors.verified_on is not null as is_factor_verified,

    -- measures
    events.anomaly_day_count,
    events.excess_day_count,
    events.observed_value,
    events.expected_value,
    events.excess_kwh,
    events.counted_excess_kwh / nullif(energies.pcs_per_pci, 0) as excess_kwh_pci,
    -- Factors are per kWh PCI, bills of gas in kWh PCS.
    excess_kwh_pci * emission_factors.kgco2e_per_kwh as excess_emissions_kgco2e,
    emission_factors.kgco2e_per_kwh / nullif(energies.pcs_per_pci, 0)
        as kgco2e_per_billed_kwh,
    events.excess_cost_eur,
    events.mean_price_eur_per_kwh,

    -- dates
    events.end_date,
    events.open_until_date

from events
left join buildings on events.building_id = buildings.building_id
left join energies on events.energy = energies.energy
left join emission_factors
    on
        events.energy = emission_factors.energy
        and events.start_date >= emission_factors.valid_from
        and coalesce(events.start_date < emission_factors.valid_to, true)
        and coalesce(emission_factors.heat_network, buildings.heat_network)
        is not distinct from buildings.heat_network
-- The network's own factor wins over the mean, the newest over the older.
qualify row_number() over (
    partition by
        events.building_id, events.energy, events.anomaly_kind, events.start_date
    order by
        emission_factors.heat_network asc nulls last,
        emission_factors.valid_from desc,
        emission_factors.vintage desc
) = 1
