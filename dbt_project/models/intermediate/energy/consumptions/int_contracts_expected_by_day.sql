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
        contracts.valid_to_date
    from contracts

    union all

    -- What is billed and not declared is expected from its first bill on.
    select
        bills.contract_id,
        bills.building_id,
        bills.energy,
        min(bills.from_date) as valid_from_date,
        null as valid_to_date
    from bills
    left join contracts on bills.contract_id = contracts.contract_id
    where contracts.contract_id is null
    group by bills.contract_id, bills.building_id, bills.energy

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
