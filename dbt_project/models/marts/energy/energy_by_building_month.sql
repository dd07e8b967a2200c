with consumptions as (
    select * from {{ ref('int_consumptions_with_cost') }}
),

changes as (
    select * from {{ ref('int_consumptions_corrected') }}
),

emissions as (
    select * from {{ ref('int_consumptions_with_emissions') }}
)

select
    -- keys
    building_id,
    month_date,
    energy,
    emissions.commune_code,

    -- attributes
    emissions.building_name,
    emissions.building_use,
    emissions.operator,
    emissions.is_publishable,
    consumptions.consumption_source,
    consumptions.apportionment_method,
    consumptions.is_apportioned,
    consumptions.is_conversion_verified,
    changes.correction_refusal_reason,
    emissions.is_energy_known,
    emissions.factor_source,
    emissions.factor_vintage,
    emissions.factor_basis,
    emissions.is_factor_verified,
    emissions.emissions_refusal_reason,

    -- measures, rounded here, once, to what they mean
    emissions.floor_area_m2,
    emissions.longitude,
    emissions.latitude,
    round(consumptions.consumption_kwh, 1) as consumption_kwh,
    round(emissions.consumption_kwh_pci, 1) as consumption_kwh_pci,
    round(consumptions.consumption_kwh_pci_12_months, 1)
        as consumption_kwh_pci_12_months,
    round(consumptions.produced_kwh, 1) as produced_kwh,
    round(consumptions.apportioned_kwh, 1) as apportioned_kwh,
    round(consumptions.completeness_share, 4) as completeness_share,
    consumptions.reset_count,
    consumptions.outlier_count,
    consumptions.implausible_count,
    round(emissions.consumption_kwh_pci / nullif(emissions.floor_area_m2, 0), 2)
        as consumption_kwh_pci_per_m2,
    round(changes.meteo_degree_days, 1) as meteo_degree_days,
    round(changes.professional_degree_days, 1) as professional_degree_days,
    changes.reference_degree_days,
    round(changes.slope_kwh_per_degree_day, 3)
        as signature_slope_kwh_per_degree_day,
    round(changes.slope_standard_error, 3) as signature_slope_standard_error,
    round(changes.base_kwh_per_day, 2) as signature_base_kwh_per_day,
    round(changes.r2, 4) as signature_r2,
    round(changes.cvrmse, 4) as signature_cvrmse,
    changes.signature_day_count,
    changes.signature_period_count,
    round(changes.corrected_kwh, 1) as corrected_kwh,
    round(changes.expected_kwh, 1) as expected_kwh,
    round(changes.avoided_kwh, 1) as avoided_kwh,
    round(consumptions.reference_year_kwh, 1) as reference_year_kwh,
    changes.comparable_day_count as compared_day_count,
    round(changes.change_share, 4) as change_share,
    round(changes.corrected_change_share, 4) as corrected_change_share,
    emissions.kgco2e_per_kwh as factor_kgco2e_per_kwh,
    round(emissions.emissions_kgco2e, 1) as emissions_kgco2e,
    round(consumptions.billed_cost_excluding_tax_eur, 2)
        as billed_cost_excluding_tax_eur,
    round(consumptions.billed_cost_eur, 2) as billed_cost_eur,
    round(consumptions.cost_completeness_share, 4) as cost_completeness_share

from consumptions
inner join changes using (building_id, month_date, energy)
inner join emissions using (building_id, month_date, energy)
