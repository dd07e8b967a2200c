with contracts as (

    select * from {{ ref('int_powers_by_contract_year') }}

),

bills as (

    select * from {{ ref('stg_patrimoine_bati__bills') }}

),

supplies as (

    select
        contracts.building_id,
        contracts.energy,
        contracts.year,
        contracts.last_contract_id,
        max(
            case
                when contracts.contract_id = contracts.last_contract_id
                    then contracts.subscribed_power_kva
            end
        ) as subscribed_power_kva,
        max(contracts.highest_power_kva) as highest_power_kva
    from contracts
    group by all

),

reached as (

    select
        bills.building_id,
        bills.energy,
        cast(extract(year from bills.month_date) as bigint) as year,
        -- Each bill against its own power, in the month of its first day.
        max(bills.highest_power_kva / nullif(bills.subscribed_power_kva, 0))
            as highest_power_share,
        count(distinct bills.month_date) filter (
            where bills.highest_power_kva > bills.subscribed_power_kva
        ) as overrun_month_count,
        count(*) filter (where bills.subscribed_power_kva is null) as untold_bill_count
    from bills
    where bills.highest_power_kva is not null
    group by all

)

select
    -- keys
    supplies.building_id,
    supplies.energy,
    supplies.year,

    -- measures
    sum(supplies.subscribed_power_kva) as subscribed_power_kva,
    sum(supplies.highest_power_kva) as highest_power_kva,
    round(max(reached.highest_power_share), 6) as highest_power_share,
    -- A bill that tells no subscribed power may hide an overrun.
    max(
        case when reached.untold_bill_count = 0 then reached.overrun_month_count end
    ) as overrun_month_count

from supplies
left join reached
    on
        supplies.building_id = reached.building_id
        and supplies.energy = reached.energy
        and supplies.year = reached.year
group by supplies.building_id, supplies.energy, supplies.year
