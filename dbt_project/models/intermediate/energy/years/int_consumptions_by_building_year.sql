with months as (

    select * from {{ ref('int_consumptions_judged') }}

),

emissions as (

    select * from {{ ref('int_consumptions_with_emissions') }}

),

corrections as (

    select * from {{ ref('int_consumptions_corrected') }}

),

costs as (

    select * from {{ ref('int_consumptions_with_cost') }}

)

select
    -- keys
    building_id,
    energy,
    cast(extract(year from months.month_date) as bigint) as year,

    -- attributes
    bool_or(months.is_apportioned) as is_apportioned,
    bool_and(months.is_conversion_verified) as is_conversion_verified,
    bool_and(emissions.is_factor_verified) as is_factor_verified,

    -- measures
    count(*) as month_count,
    -- An edge of the data takes nothing from a month that is complete all the same.
    count(*) filter (
        where coalesce(months.month_refusal_reason, 'open_month') = 'open_month'
    ) as complete_month_count,
    round(sum(months.consumption_kwh), 6) as consumption_kwh,
    round(sum(emissions.consumption_kwh_pci), 6) as consumption_kwh_pci,
    round(sum(months.produced_kwh), 6) as produced_kwh,
    -- Each month by its days.
    sum(extract(day from last_day(months.month_date))) as day_count,
    round(sum(
        months.completeness_share * extract(day from last_day(months.month_date))
    ) / nullif(day_count, 0), 6) as completeness_share,
    -- Of all twelve months, or of none.
    case
        when count(corrections.corrected_kwh) = 12
            then round(sum(corrections.corrected_kwh), 6)
    end as corrected_kwh,
    case
        when count(emissions.emissions_kgco2e) = count(months.consumption_kwh)
            then round(sum(emissions.emissions_kgco2e), 6)
    end as emissions_kgco2e,
    round(sum(costs.billed_cost_excluding_tax_eur), 6) as billed_cost_excluding_tax_eur,
    round(sum(costs.billed_cost_eur), 6) as billed_cost_eur,
    round(sum(
        costs.cost_completeness_share * extract(day from last_day(months.month_date))
    ) / nullif(day_count, 0), 6) as cost_completeness_share,

    -- dates
    min(months.month_date) as first_month_date,
    max(months.month_date) as last_month_date

from months
inner join emissions using (building_id, energy, month_date)
inner join corrections using (building_id, energy, month_date)
inner join costs using (building_id, energy, month_date)
group by building_id, energy, extract(year from months.month_date)
