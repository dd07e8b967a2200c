with changes as (

    select * from {{ ref('int_consumptions_with_change') }}

),

costs as (

    select * from {{ ref('int_costs_by_building_month') }}

),

sums as (

    select * from {{ ref('int_consumptions_over_12_months') }}

)

select
    -- keys
    changes.building_id,
    changes.energy,
    changes.month_date,

    -- measures
    changes.expected_kwh,
    changes.avoided_kwh,
    changes.compared_day_count,
    changes.change_share,
    changes.corrected_change_share,
    sums.consumption_kwh_pci_12_months,
    costs.billed_cost_excluding_tax_eur,
    costs.billed_cost_eur,
    -- What is not billed has no cost that is known.
    coalesce(costs.cost_completeness_share, 0) as cost_completeness_share

from changes
left join costs
    on
        changes.building_id = costs.building_id
        and changes.energy = costs.energy
        and changes.month_date = costs.month_date
left join sums
    on
        changes.building_id = sums.building_id
        and changes.energy = sums.energy
        and changes.month_date = sums.month_date
