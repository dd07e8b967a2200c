with consumptions as (

    select * from {{ ref('int_consumptions_with_correction') }}

),

emissions as (

    select * from {{ ref('int_consumptions_with_emissions') }}

),

buildings as (

    select * from {{ ref('stg_patrimoine_bati__buildings') }}

)

select
    -- keys
    consumptions.building_id,
    consumptions.month_date,
    consumptions.energy,
    buildings.commune_code,

    -- attributes
    buildings.building_name,
    buildings.building_use,
    consumptions.consumption_source,
    consumptions.apportionment_method,
    consumptions.is_apportioned,
    consumptions.correction_refusal_reason,
    emissions.factor_source,
    emissions.factor_vintage,
    emissions.factor_basis,
    coalesce(emissions.is_factor_verified, false) as is_factor_verified,

    -- measures
    buildings.floor_area_m2,
    buildings.longitude,
    buildings.latitude,
    consumptions.consumption_kwh,
    emissions.consumption_kwh_pci,
    consumptions.produced_kwh,
    consumptions.apportioned_kwh,
    consumptions.completeness_share,
    consumptions.reset_count,
    consumptions.implausible_count,
    consumptions.consumption_kwh
    / nullif(buildings.floor_area_m2, 0) as consumption_kwh_per_m2,
    consumptions.meteo_degree_days,
    consumptions.professional_degree_days,
    consumptions.reference_degree_days,
    consumptions.slope_kwh_per_degree_day as signature_slope_kwh_per_degree_day,
    consumptions.intercept_kwh as signature_intercept_kwh,
    consumptions.r2 as signature_r2,
    consumptions.month_count as signature_month_count,
    consumptions.corrected_kwh,
    consumptions.reference_year_kwh,
    consumptions.change_share,
    emissions.kgco2e_per_kwh as factor_kgco2e_per_kwh,
    emissions.emissions_kgco2e

from consumptions
left join emissions
    on
        consumptions.building_id = emissions.building_id
        and consumptions.energy = emissions.energy
        and consumptions.month_date = emissions.month_date
left join buildings on consumptions.building_id = buildings.building_id
