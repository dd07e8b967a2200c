with bills as (

    select * from {{ ref('stg_patrimoine_bati__bills') }}

),

numbered as (

    select
        bills.building_id,
        bills.energy,
        bills.contract_id,
        extract(year from bills.month_date) as year_number,
        bills.subscribed_power_kva,
        bills.highest_power_kva,
        bills.from_date,
        bills.to_date,
        row_number() over (order by bills.from_date, bills.bill_id) as bill_number
    from bills
    where coalesce(bills.subscribed_power_kva, bills.highest_power_kva) is not null

),

contracts as (

    select
        numbered.building_id,
        numbered.energy,
        numbered.year_number,
        numbered.contract_id,
        max_by(numbered.subscribed_power_kva, numbered.bill_number) filter (
            where numbered.subscribed_power_kva is not null
        ) as subscribed_power_kva,
        max(numbered.highest_power_kva) as highest_power_kva,
        min(numbered.from_date) as first_date,
        max(numbered.to_date) as last_date,
        -- Another begins once it has ended: a change of supplier, not a second supply.
        max(min(numbered.from_date)) over supply > min(numbered.from_date)
        and max(min(numbered.from_date)) over supply >= max(numbered.to_date)
            as is_replaced
    from numbered
    group by
        numbered.building_id,
        numbered.energy,
        numbered.year_number,
        numbered.contract_id
    window supply as (
        partition by numbered.building_id, numbered.energy, numbered.year_number
    )

)

select
    -- keys
    held.contract_id,
    held.building_id,
    held.energy,
    cast(held.year_number as bigint) as year,

    -- attributes
    placed.contract_id as last_contract_id,

    -- measures
    held.subscribed_power_kva,
    held.highest_power_kva

from contracts as held
inner join contracts as placed
    using (building_id, energy, year_number)
where
    not placed.is_replaced
    and if(
        held.is_replaced,
        held.last_date <= placed.first_date,
        held.contract_id = placed.contract_id
    )
qualify row_number() over (
    partition by held.building_id, held.energy, held.year_number, held.contract_id
    order by placed.first_date, placed.contract_id
) = 1
