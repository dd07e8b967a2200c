with bill_days as (

    select * from {{ ref('int_bills_by_day') }}

),

shares as (

    select * from {{ ref('int_bills_shared_by_day') }}

),

expected as (

    select * from {{ ref('int_supplies_expected_by_day') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

contract_days as (

    select
        bill_days.building_id,
        bill_days.energy,
        bill_days.month_date,
        bill_days.contract_id,
        day_date,
        -- Of a bill and its credit note both are to be known, or neither counts.
        count(bill_days.billed_eur) = count(*) as is_known,
        -- Two bills of the same days cost what they say, and one may be too many.
        is_known and not bool_or(bill_days.is_billed_twice) as is_complete,
        sum(bill_days.billed_excluding_tax_eur * shares.day_share) as untaxed_eur,
        sum(bill_days.billed_eur * shares.day_share) as cost_eur
    from bill_days
    inner join shares using (bill_id, day_date)
    group by all

),

-- A day on which no contract is declared counts as that of one.
expected_months as (

    select
        expected.building_id,
        expected.energy,
        expected.month_date,
        sum(expected.supply_count - 1) as extra_day_count
    from expected
    where
        expected.consumption_source = 'bill'
        and expected.month_date in (select bill_days.month_date from bill_days)
    group by all

)

select
    -- keys
    contract_days.building_id,
    contract_days.energy,
    contract_days.month_date,

    -- measures
    round(sum(contract_days.untaxed_eur) filter (where contract_days.is_known), 6)
        as billed_cost_excluding_tax_eur,
    round(sum(contract_days.cost_eur) filter (where contract_days.is_known), 6)
        as billed_cost_eur,
    round(least(1, count(*) filter (where contract_days.is_complete) / nullif(max(
        calendar_days.month_day_count + coalesce(expected_months.extra_day_count, 0)
    ), 0)), 6) as cost_completeness_share

from contract_days
left join expected_months using (building_id, energy, month_date)
inner join calendar_days on contract_days.month_date = calendar_days.day_date
group by
    contract_days.building_id, contract_days.energy, contract_days.month_date
