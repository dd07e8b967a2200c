with months as (

    select * from {{ ref('int_consumptions_judged') }}

),

costs as (

    select * from {{ ref('int_costs_by_building_month') }}

),

sums as (

    select * from {{ ref('int_consumptions_over_12_months') }}

)

select
    -- keys
    months.building_id,
    months.energy,
    months.month_date,

    -- attributes
    months.consumption_source,
    months.apportionment_method,
    months.is_apportioned,
    months.is_conversion_verified,

    -- measures
    months.consumption_kwh,
    months.produced_kwh,
    months.apportioned_kwh,
    months.completeness_share,
    months.reset_count,
    months.outlier_count,
    months.implausible_count,
    months.reference_year_kwh,
    sums.consumption_kwh_pci_12_months,
    costs.billed_cost_excluding_tax_eur,
    costs.billed_cost_eur,
    -- What is not billed has no cost that is known.
    coalesce(costs.cost_completeness_share, 0) as cost_completeness_share

from months
left join costs
    on
        months.building_id = costs.building_id
        and months.energy = costs.energy
        and months.month_date = costs.month_date
left join sums
    on
        months.building_id = sums.building_id
        and months.energy = sums.energy
        and months.month_date = sums.month_date
