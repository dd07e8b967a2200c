with contracts as (

    select * from {{ ref('stg_patrimoine_bati__contracts') }}

),

bills as (

    select * from {{ ref('stg_patrimoine_bati__bills') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

known as (

    select
        contracts.contract_id,
        contracts.building_id,
        contracts.energy,
        contracts.valid_from_date,
        contracts.valid_to_date,
        true as is_declared
    from contracts

    union all

    -- What is billed and not declared is expected from its first bill on, until its
    -- last one where another that is not declared begins by then.
    select
        bills.contract_id,
        bills.building_id,
        bills.energy,
        min(bills.from_date) as valid_from_date,
        case
            when
                max(min(bills.from_date)) over supply > min(bills.from_date)
                and max(min(bills.from_date)) over supply >= max(bills.to_date)
                then max(bills.to_date)
        end as valid_to_date,
        false as is_declared
    from bills
    left join contracts on bills.contract_id = contracts.contract_id
    where contracts.contract_id is null
    group by bills.contract_id, bills.building_id, bills.energy
    window supply as (partition by bills.building_id, bills.energy)

)

select
    -- keys
    known.contract_id,
    known.building_id,
    known.energy,
    calendar_days.day_date,

    -- measures
    calendar_days.day_hours,

    -- dates
    calendar_days.month_date

from known
inner join calendar_days
    on
        coalesce(known.valid_from_date, date '2010-01-01') <= calendar_days.day_date
        and coalesce(known.valid_to_date, date '9999-12-31') > calendar_days.day_date
-- A bill that names no contract is of the one that is declared, where one is alone.
qualify
    known.contract_id <> concat(known.building_id, ':', known.energy)
    or count(case when known.is_declared then 1 end) over (
        partition by known.building_id, known.energy, calendar_days.day_date
    ) <> 1
