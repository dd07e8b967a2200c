with bills as (

    select * from {{ ref('stg_patrimoine_bati__bills') }}

),

contracts as (

    select
        bills.building_id,
        bills.energy,
        extract(year from bills.month_date) as year_number,
        bills.contract_id,
        max_by(bills.subscribed_power_kva, bills.from_date) filter (
            where bills.subscribed_power_kva is not null
        ) as subscribed_power_kva,
        max(bills.highest_power_kva) as highest_power_kva
    from bills
    group by all
    having count(bills.subscribed_power_kva) + count(bills.highest_power_kva) > 0

),

overruns as (

    select
        bills.building_id,
        bills.energy,
        extract(year from bills.month_date) as year_number,
        -- Each bill against its own power, in the month of its first day.
        count(distinct bills.month_date) as overrun_month_count
    from bills
    where bills.highest_power_kva > bills.subscribed_power_kva
    group by all

)

select
    -- keys
    contracts.building_id,
    contracts.energy,
    cast(contracts.year_number as bigint) as year,

    -- measures
    sum(contracts.subscribed_power_kva) as subscribed_power_kva,
    sum(contracts.highest_power_kva) as highest_power_kva,
    -- Of the delivery point that is used nearest to its power.
    round(max(
        contracts.highest_power_kva / nullif(contracts.subscribed_power_kva, 0)
    ), 6) as highest_power_share,
    case
        when count(contracts.highest_power_kva) > 0
            then coalesce(max(overruns.overrun_month_count), 0)
    end as overrun_month_count

from contracts
left join overruns
    on
        contracts.building_id = overruns.building_id
        and contracts.energy = overruns.energy
        and contracts.year_number = overruns.year_number
group by contracts.building_id, contracts.energy, contracts.year_number
