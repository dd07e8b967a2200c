with meters as (

    select * from {{ ref('int_meters_expected_by_day') }}

),

contracts as (

    select * from {{ ref('stg_patrimoine_bati__contracts') }}

),

bills as (

    select * from {{ ref('stg_patrimoine_bati__bills') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

known as (

    -- What is billed and not declared is expected from its first bill on.
    select
        coalesce(contracts.building_id, bills.building_id) as building_id,
        coalesce(contracts.energy, bills.energy) as energy,
        coalesce(
            max(contracts.valid_from_date), min(bills.from_date), date '2010-01-01'
        ) as from_date,
        coalesce(max(contracts.valid_to_date), date '9999-12-31') as to_date
    from contracts
    full outer join bills on contracts.contract_id = bills.contract_id
    group by contracts.contract_id, bills.contract_id, 1, 2

),

supplies as (

    select
        meters.building_id,
        meters.energy,
        'meter' as consumption_source,
        meters.day_date,
        meters.month_date,
        meters.expected_hours,
        meters.day_hours
    from meters

    union all

    select
        known.building_id,
        known.energy,
        'bill' as consumption_source,
        calendar_days.day_date,
        calendar_days.month_date,
        calendar_days.day_hours as expected_hours,
        calendar_days.day_hours
    from known
    inner join calendar_days
        on
            known.from_date <= calendar_days.day_date
            and known.to_date > calendar_days.day_date

)

select
    -- keys
    building_id,
    energy,
    consumption_source,
    day_date,

    -- measures
    count(*) as supply_count,
    -- At any hour of the day one is expected at least.
    greatest(sum(expected_hours), max(day_hours)) as expected_hours,
    max(day_hours) as day_hours,

    -- dates
    month_date

from supplies
group by all
