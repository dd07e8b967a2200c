with events as (
    select * from {{ ref('int_anomalies_by_event') }}
),

-- Of each building, energy and month, the factor in force.
months as (
    select * from {{ ref('int_consumptions_with_emissions') }}
),

energies as (
    select * from {{ ref('energies') }}
    where valid_to is null
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
    coalesce(months.is_factor_verified, false) as is_factor_verified,

    -- measures
    events.anomaly_day_count,
    events.excess_day_count,
    events.observed_value,
    events.expected_value,
    events.excess_kwh,
    events.counted_excess_kwh / nullif(energies.pcs_per_pci, 0) as excess_kwh_pci,
    -- Factors are per kWh PCI, bills of gas in kWh PCS.
    excess_kwh_pci * months.kgco2e_per_kwh as excess_emissions_kgco2e,
    months.kgco2e_per_kwh / nullif(energies.pcs_per_pci, 0) as kgco2e_per_billed_kwh,
    events.excess_cost_eur,
    events.mean_price_eur_per_kwh,

    -- dates
    events.end_date,
    events.open_until_date

from events
left join energies on events.energy = energies.energy
left join months
    on
        events.building_id = months.building_id
        and events.energy = months.energy
        and cast(date_trunc('month', events.start_date) as date) = months.month_date
