with meters as (

    select * from {{ ref('int_meters_expected_by_day') }}

),

contracts as (

    select * from {{ ref('int_contracts_expected_by_day') }}

)

select
    -- keys
    meters.building_id,
    meters.energy,
    'meter' as consumption_source,
    meters.day_date,

    -- measures
    count(*) as supply_count,
    -- At any hour of the day one meter is expected at least.
    greatest(sum(meters.expected_hours), max(meters.day_hours)) as expected_hours,
    max(meters.day_hours) as day_hours,

    -- dates
    meters.month_date

from meters
group by all

union all

select
    -- keys
    contracts.building_id,
    contracts.energy,
    'bill' as consumption_source,
    contracts.day_date,

    -- measures
    count(*) as supply_count,
    sum(contracts.day_hours) as expected_hours,
    max(contracts.day_hours) as day_hours,

    -- dates
    contracts.month_date

from contracts
group by all
