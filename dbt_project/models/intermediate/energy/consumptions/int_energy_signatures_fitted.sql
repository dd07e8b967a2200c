with signature_days as (

    select * from {{ ref('int_signature_days') }}

),

buildings as (

    select * from {{ ref('stg_patrimoine_bati__buildings') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

fits as (

    select
        building_id,
        energy,
        consumption_source,
        count(*) as day_count,
        count(distinct period_date) as period_count,
        avg(kwh_per_day) as mean_kwh,
        -- Through periods of one weather no line can be drawn.
        regr_sxx(kwh_per_day, degree_days_per_day) as total_sxx,
        case when total_sxx > 0.000001 then total_sxx end as sxx,
        nullif(round(regr_syy(kwh_per_day, degree_days_per_day), 6), 0) as syy,
        regr_sxy(kwh_per_day, degree_days_per_day) / nullif(sxx, 0) as slope,
        mean_kwh - slope * avg(degree_days_per_day) as base,
        coalesce(slope * slope * sxx / syy, 0 * slope + 1) as r2,
        abs(coalesce(syy, 0) - slope * slope * sxx)
        / nullif(greatest(period_count - 2, 0), 0) as variance
    from signature_days
    group by building_id, energy, consumption_source

)

select
    -- keys
    fits.building_id,
    fits.energy,

    -- attributes
    case
        when fits.day_count < thresholds.signature_day_count then 'too_few_days'
        when fits.period_count < thresholds.signature_period_count
            then 'too_few_periods'
        when fits.slope is null then 'same_weather_every_period'
        when coalesce(buildings.heating_energy, '') <> fits.energy
            then 'not_heating_energy'
        when fits.slope < 0 then 'negative_slope'
        when fits.r2 < thresholds.signature_r2 then 'weak_fit'
    end as refusal_reason,

    -- measures
    round(fits.slope, 6) as slope_kwh_per_degree_day,
    round(fits.base, 6) as base_kwh_per_day,
    round(fits.r2, 6) as r2,
    round(sqrt(fits.variance / nullif(fits.sxx, 0)), 6) as slope_standard_error,
    round(
        sqrt(fits.variance * fits.period_count / fits.day_count)
        / nullif(fits.mean_kwh, 0), 6
    ) as cvrmse,
    round((fits.mean_kwh - fits.base) / nullif(fits.slope, 0), 6) as mean_degree_days,
    fits.day_count,
    fits.period_count

from fits
cross join thresholds
left join buildings on fits.building_id = buildings.building_id
qualify row_number() over (
    partition by fits.building_id, fits.energy
    order by
        least(fits.day_count, thresholds.signature_day_count) desc,
        fits.consumption_source desc
) = 1
