with bill_days as (

    select * from {{ ref('int_bills_by_day') }}

),

expected as (

    select * from {{ ref('int_supplies_expected_by_day') }}

),

billed as (

    select
        bill_days.building_id,
        bill_days.energy,
        bill_days.day_date,
        max(bill_days.from_date) as period_date,
        min(bill_days.bill_day_count) as period_day_count,
        sum(bill_days.billed_kwh / nullif(bill_days.bill_day_count, 0)) as kwh_per_day,
        avg(bill_days.bill_degree_days / nullif(bill_days.bill_day_count, 0))
            as degree_days_per_day,
        count(*) as contract_count
    from bill_days
    where extract(year from bill_days.day_date) = {{ reference_year() }}
    group by bill_days.building_id, bill_days.energy, bill_days.day_date
    -- Each is known, and its weather as well; one a contract.
    having
        count(bill_days.billed_kwh + bill_days.bill_degree_days) = count(*)
        and not bool_or(bill_days.is_overlapped)

)

select
    -- keys
    billed.building_id,
    billed.energy,
    billed.day_date,

    -- measures
    round(billed.kwh_per_day, 6) as kwh_per_day,
    round(billed.degree_days_per_day, 6) as degree_days_per_day,

    -- dates
    billed.period_date

from billed
-- A day that a contract lacks says nothing of the building.
inner join expected
    on
        billed.building_id = expected.building_id
        and billed.energy = expected.energy
        and billed.day_date = expected.day_date
        and billed.contract_count = expected.supply_count
        and expected.consumption_source = 'bill'
-- A bill most of which is in another year says little of this one.
qualify
    count(*) over (
        partition by billed.building_id, billed.energy, billed.period_date
    ) * 2 > billed.period_day_count
