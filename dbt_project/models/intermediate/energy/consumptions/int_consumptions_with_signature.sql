with consumptions as (

    select * from {{ ref('int_consumptions_judged') }}

),

degree_days as (

    select * from {{ ref('int_months_with_degree_days') }}

),

signatures as (

    select * from {{ ref('int_energy_signatures_fitted') }}

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
    consumptions.is_conversion_verified,
    coalesce(
        consumptions.month_refusal_reason,
        case when signatures.building_id is null then 'no_reference_period' end,
        signatures.refusal_reason,
        case
            when degree_days.day_count = degree_days.expected_day_count then null
            else 'incomplete_weather'
        end
    ) as correction_refusal_reason,

    -- measures
    consumptions.consumption_kwh,
    consumptions.produced_kwh,
    consumptions.apportioned_kwh,
    consumptions.completeness_share,
    consumptions.reset_count,
    consumptions.outlier_count,
    consumptions.implausible_count,
    consumptions.reference_year_kwh,
    degree_days.meteo_degree_days,
    degree_days.professional_degree_days,
    degree_days.reference_degree_days,
    signatures.slope_kwh_per_degree_day,
    signatures.slope_standard_error,
    signatures.base_kwh_per_day,
    signatures.r2,
    signatures.cvrmse,
    coalesce(signatures.day_count, 0) as signature_day_count,
    coalesce(signatures.period_count, 0) as signature_period_count,
    case
        when correction_refusal_reason is null
            then
                consumptions.consumption_kwh
                - signatures.slope_kwh_per_degree_day * (
                    degree_days.professional_degree_days
                    - degree_days.reference_degree_days
                )
    end as corrected_kwh

from consumptions
left join degree_days on consumptions.month_date = degree_days.month_date
left join signatures
    on
        consumptions.building_id = signatures.building_id
        and consumptions.energy = signatures.energy
