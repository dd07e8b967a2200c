with years as (

    select * from {{ ref('int_consumptions_by_building_year') }}

),

states as (

    select * from {{ ref('int_years_judged') }}

),

changes as (

    select * from {{ ref('int_changes_by_building_year') }}

),

powers as (

    select * from {{ ref('int_powers_by_building_year') }}

),

detection as (

    select * from {{ ref('int_detection_by_building') }}

)

select
    -- keys
    building_id,
    year,
    energy,
    states.commune_code,

    -- attributes
    states.building_name,
    states.building_use,
    states.year_state,
    years.is_apportioned,
    years.is_conversion_verified,
    years.is_factor_verified,

    -- measures, rounded here, once, to what they mean
    states.floor_area_m2,
    years.month_count,
    years.complete_month_count,
    round(years.consumption_kwh, 1) as consumption_kwh,
    round(years.consumption_kwh_pci, 1) as consumption_kwh_pci,
    round(years.produced_kwh, 1) as produced_kwh,
    round(years.completeness_share, 4) as completeness_share,
    round(states.yearly_kwh_pci_per_m2, 1) as yearly_kwh_pci_per_m2,
    round(years.corrected_kwh, 1) as corrected_kwh,
    changes.compared_month_count,
    round(changes.change_share, 4) as change_share,
    changes.corrected_month_count,
    round(changes.corrected_change_share, 4) as corrected_change_share,
    changes.year_before_month_count,
    round(changes.year_before_change_share, 4) as year_before_change_share,
    changes.year_before_corrected_month_count,
    round(changes.year_before_corrected_change_share, 4)
        as year_before_corrected_change_share,
    round(years.emissions_kgco2e, 1) as emissions_kgco2e,
    round(years.billed_cost_excluding_tax_eur, 2) as billed_cost_excluding_tax_eur,
    round(years.billed_cost_eur, 2) as billed_cost_eur,
    round(years.cost_completeness_share, 4) as cost_completeness_share,
    round(states.yearly_cost_eur_per_m2, 2) as yearly_cost_eur_per_m2,
    powers.subscribed_power_kva,
    powers.highest_power_kva,
    round(powers.highest_power_share, 3) as highest_power_share,
    powers.overrun_month_count,
    detection.smallest_detectable_excess_kwh

from years
inner join states using (building_id, year, energy)
inner join changes using (building_id, year, energy)
left join powers using (building_id, year, energy)
left join detection using (building_id, energy)
