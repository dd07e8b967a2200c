with consumptions as (

    select * from {{ ref('int_consumptions_united') }}

),

degree_days as (

    select * from {{ ref('int_months_with_degree_days') }}

),

signatures as (

    select * from {{ ref('int_energy_signatures_fitted') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

)

select
    -- keys
    consumptions.building_id,
    consumptions.energy,
    consumptions.month_date,

    -- attributes
    consumptions.consumption_source,
    consumptions.apportionment_method,
    consumptions.is_apportioned,
    case
        when consumptions.consumption_kwh is null then 'no_consumption'
        when consumptions.completeness_share < thresholds.complete_month_share
            then 'incomplete_month'
        when signatures.building_id is null then 'no_reference_month'
        when signatures.refusal_reason is not null then signatures.refusal_reason
        when
            degree_days.month_date is null
            or degree_days.day_count < degree_days.expected_day_count
            then 'incomplete_weather'
    end as correction_refusal_reason,

    -- measures
    consumptions.consumption_kwh,
    consumptions.produced_kwh,
    consumptions.apportioned_kwh,
    consumptions.completeness_share,
    consumptions.reset_count,
    consumptions.implausible_count,
    degree_days.meteo_degree_days,
    degree_days.professional_degree_days,
    degree_days.reference_degree_days,
    signatures.slope_kwh_per_degree_day,
    signatures.intercept_kwh,
    signatures.r2,
    coalesce(signatures.month_count, 0) as month_count

from consumptions
left join degree_days on consumptions.month_date = degree_days.month_date
left join signatures
    on
        consumptions.building_id = signatures.building_id
        and consumptions.energy = signatures.energy
cross join thresholds
