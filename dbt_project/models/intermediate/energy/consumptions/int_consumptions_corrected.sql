with months as (

    select * from {{ ref('int_consumptions_judged') }}

),

weather as (

    select * from {{ ref('int_months_with_degree_days') }}

),

signatures as (

    select * from {{ ref('int_energy_signatures_fitted') }}

),

compared as (

    select * from {{ ref('int_consumptions_compared') }}

)

select
    -- keys
    building_id,
    energy,
    month_date,

    -- attributes
    coalesce(
        months.month_refusal_reason,
        if(signatures.building_id is null, 'no_reference_period', null),
        signatures.refusal_reason,
        if(weather.day_count = weather.expected_day_count, null, 'incomplete_weather')
    ) as correction_refusal_reason,

    -- measures
    weather.meteo_degree_days,
    weather.professional_degree_days,
    weather.reference_degree_days,
    signatures.slope_kwh_per_degree_day,
    signatures.slope_standard_error,
    signatures.base_kwh_per_day,
    signatures.r2,
    signatures.cvrmse,
    coalesce(signatures.day_count, 0) as signature_day_count,
    coalesce(signatures.period_count, 0) as signature_period_count,
    if(correction_refusal_reason is null, signatures.slope_kwh_per_degree_day, null)
        as slope,
    months.consumption_kwh - slope
    * (weather.professional_degree_days - weather.reference_degree_days)
        as corrected_kwh,
    signatures.base_kwh_per_day * compared.known_day_count
    + slope * compared.known_degree_days as expected_kwh,
    expected_kwh - compared.known_kwh as avoided_kwh,
    -- A part of a month is not compared.
    if(
        compared.compared_day_count >= months.least_day_count,
        compared.compared_day_count, null
    ) as comparable_day_count,
    if(
        comparable_day_count is null,
        null, round(compared.compared_kwh / nullif(compared.past_kwh, 0) - 1, 6)
    ) as change_share,
    -- On both sides as cold as the reference climate is in as many days.
    weather.reference_degree_days / extract(day from last_day(month_date))
    * comparable_day_count as same_degree_days,
    compared.compared_kwh
    - slope * (compared.compared_degree_days - same_degree_days) as now_kwh,
    compared.past_kwh
    - slope * (compared.past_degree_days - same_degree_days) as then_kwh,
    round(now_kwh / nullif(greatest(then_kwh, 0), 0) - 1, 6) as corrected_change_share

from months
left join weather using (month_date)
left join signatures using (building_id, energy)
left join compared using (building_id, energy, month_date)
