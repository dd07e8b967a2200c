with consumptions as (

    select * from {{ ref('int_consumptions_united') }}

),

degree_days as (

    select * from {{ ref('int_months_with_degree_days') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

fits as (

    select
        consumptions.building_id,
        consumptions.energy,
        -- Through months of one weather no line can be drawn.
        case
            when
                max(degree_days.professional_degree_days)
                > min(degree_days.professional_degree_days)
                then round(regr_slope(
                    consumptions.consumption_kwh, degree_days.professional_degree_days
                ), 6)
        end as slope_kwh_per_degree_day,
        round(regr_intercept(
            consumptions.consumption_kwh, degree_days.professional_degree_days
        ), 6)
            as intercept_kwh,
        round(regr_r2(
            consumptions.consumption_kwh, degree_days.professional_degree_days
        ), 6) as r2,
        count(*) as month_count
    from consumptions
    inner join degree_days on consumptions.month_date = degree_days.month_date
    cross join thresholds
    where
        extract(year from consumptions.month_date) = {{ reference_year() }}
        and consumptions.consumption_kwh is not null
        and consumptions.completeness_share >= thresholds.complete_month_share
        and degree_days.day_count = degree_days.expected_day_count
    group by consumptions.building_id, consumptions.energy

)

select
    -- keys
    fits.building_id,
    fits.energy,

    -- attributes
    case
        when fits.month_count < thresholds.signature_month_count then 'too_few_months'
        when fits.slope_kwh_per_degree_day is null then 'same_weather_every_month'
        when fits.slope_kwh_per_degree_day < 0 then 'negative_slope'
        when fits.r2 < thresholds.signature_r2 then 'weak_fit'
    end as refusal_reason,

    -- measures
    fits.slope_kwh_per_degree_day,
    fits.intercept_kwh,
    fits.r2,
    fits.month_count

from fits
cross join thresholds
