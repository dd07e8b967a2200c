with consumptions as (

    select * from {{ ref('int_consumptions_with_signature') }}

),

reference_year as (

    select * from {{ ref('int_consumptions_of_reference_year') }}

)

select
    -- keys
    consumptions.building_id,
    consumptions.energy,
    consumptions.month_date,

    -- attributes
    consumptions.correction_refusal_reason,

    -- measures
    consumptions.meteo_degree_days,
    consumptions.professional_degree_days,
    consumptions.reference_degree_days,
    consumptions.slope_kwh_per_degree_day,
    consumptions.intercept_kwh,
    consumptions.r2,
    consumptions.month_count,
    case
        when consumptions.correction_refusal_reason is null
            then
                consumptions.consumption_kwh
                - consumptions.slope_kwh_per_degree_day
                * (
                    consumptions.professional_degree_days
                    - consumptions.reference_degree_days
                )
    end as corrected_kwh,
    reference_year.reference_year_kwh,
    -- An incomplete month is not compared with a complete one.
    case
        when coalesce(consumptions.correction_refusal_reason, '') <> 'incomplete_month'
            then
                consumptions.consumption_kwh
                / nullif(reference_year.reference_year_kwh, 0)
                - 1
    end as change_share

from consumptions
left join reference_year
    on
        consumptions.building_id = reference_year.building_id
        and consumptions.energy = reference_year.energy
        and extract(month from consumptions.month_date) = reference_year.month_number
