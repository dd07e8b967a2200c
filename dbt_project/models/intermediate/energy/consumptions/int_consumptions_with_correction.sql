with consumptions as (

    select * from {{ ref('int_consumptions_with_signature') }}

),

comparable as (

    select
        consumptions.*,
        -- An incomplete month is not compared with a complete one.
        case
            when
                coalesce(consumptions.correction_refusal_reason, '')
                <> 'incomplete_month'
                then consumptions.consumption_kwh
        end as comparable_kwh
    from consumptions

),

compared as (

    select
        comparable.*,
        max(
            case
                when extract(year from comparable.month_date) = {{ reference_year() }}
                    then comparable.comparable_kwh
            end
        ) over (
            partition by
                comparable.building_id,
                comparable.energy,
                extract(month from comparable.month_date)
        ) as reference_year_kwh
    from comparable

)

select
    -- keys
    compared.building_id,
    compared.energy,
    compared.month_date,

    -- attributes
    compared.consumption_source,
    compared.apportionment_method,
    compared.is_apportioned,
    compared.correction_refusal_reason,

    -- measures
    compared.consumption_kwh,
    compared.produced_kwh,
    compared.apportioned_kwh,
    compared.completeness_share,
    compared.reset_count,
    compared.implausible_count,
    compared.meteo_degree_days,
    compared.professional_degree_days,
    compared.reference_degree_days,
    compared.slope_kwh_per_degree_day,
    compared.intercept_kwh,
    compared.r2,
    compared.month_count,
    case
        when compared.correction_refusal_reason is null
            then
                compared.consumption_kwh
                - compared.slope_kwh_per_degree_day
                * (compared.professional_degree_days - compared.reference_degree_days)
    end as corrected_kwh,
    compared.reference_year_kwh,
    compared.comparable_kwh / nullif(compared.reference_year_kwh, 0) - 1 as change_share

from compared
