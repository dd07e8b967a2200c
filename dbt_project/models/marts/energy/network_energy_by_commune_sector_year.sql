with deliveries as (

    select * from {{ ref('int_network_deliveries_compared') }}

),

totals as (

    select * from {{ ref('int_network_totals_by_commune') }}

),

energies as (

    select * from {{ ref('energies') }}
    where valid_to is null

),

communes as (

    select * from {{ ref('int_communes_by_code') }}
    where source_commune_code = commune_code

)

select
    -- keys
    deliveries.commune_code,
    deliveries.sector_code,
    deliveries.energy,
    coalesce(deliveries.method_version, 'unknown') as method_version,
    deliveries.year,

    -- attributes
    communes.commune_name,
    deliveries.delivery_status,
    deliveries.is_suppressed,
    deliveries.is_series_break,
    deliveries.change_refusal_reason,
    -- The method, or the conversion of gas, is a fact not read at its source yet.
    not coalesce(deliveries.is_method_verified, false)
    or (energies.pcs_per_pci != 1 and energies.verified_on is null) as is_unverified,

    -- measures
    deliveries.delivery_point_count,
    round(deliveries.delivered_kwh, 0) as delivered_kwh,
    round(
        deliveries.delivered_kwh / nullif(energies.pcs_per_pci, 0), 0
    ) as delivered_kwh_pci,
    round(deliveries.shown_kwh, 0) as shown_kwh,
    round(
        deliveries.delivered_kwh
        / nullif(cast(deliveries.delivery_point_count as double), 0),
        0
    ) as delivered_kwh_per_point,
    round(deliveries.delivered_change_share, 4) as delivered_change_share,
    round(totals.commune_delivered_kwh, 0) as commune_delivered_kwh,
    round(deliveries.content_kgco2e_per_kwh, 4) as content_kgco2e_per_kwh,
    round(deliveries.renewable_share, 4) as renewable_heat_share,
    round(deliveries.known_part_share, 4) as delivered_completeness_share

from deliveries
inner join communes on deliveries.commune_code = communes.commune_code
left join energies on deliveries.energy = energies.energy
left join totals
    on
        deliveries.commune_code = totals.commune_code
        and deliveries.energy = totals.energy
        and deliveries.year = totals.year
