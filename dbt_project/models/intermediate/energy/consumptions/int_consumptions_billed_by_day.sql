with bill_days as (

    select * from {{ ref('int_bills_shared_by_day') }}

),

expected as (

    select * from {{ ref('int_supplies_expected_by_day') }}

),

billed as (

    select
        bill_days.building_id,
        bill_days.energy,
        bill_days.day_date,
        bill_days.month_date,
        bill_days.day_hours,
        {{ one_or_mixed('bill_days.apportionment_method') }} as apportionment_method,
        bool_or(bill_days.is_apportioned) as is_apportioned,
        bool_and(bill_days.is_conversion_verified) as is_conversion_verified,
        -- What is billed twice is kept as it is, and is not known.
        count(distinct bill_days.contract_id) filter (
            where bill_days.consumption_kwh is not null
            and not bill_days.is_billed_twice
        ) as contract_count,
        round(sum(bill_days.consumption_kwh), 6) as consumption_kwh,
        round(sum(bill_days.consumption_kwh) filter (
            where bill_days.is_apportioned
        ), 6) as apportioned_kwh
    from bill_days
    group by all

)

select
    -- keys
    billed.building_id,
    billed.energy,
    'bill' as consumption_source,
    billed.day_date,

    -- attributes
    billed.apportionment_method,
    billed.is_apportioned,
    billed.is_conversion_verified,
    -- A contract that is not billed makes the day incomplete.
    billed.contract_count >= coalesce(expected.supply_count, 1) as is_known,

    -- measures
    billed.consumption_kwh,
    cast(null as double) as produced_kwh,
    billed.apportioned_kwh,
    billed.contract_count * billed.day_hours as covered_hours,
    cast(0 as bigint) as reset_count,
    cast(0 as bigint) as outlier_count,
    cast(0 as bigint) as implausible_count,

    -- dates
    billed.month_date

from billed
left join expected
    on
        billed.building_id = expected.building_id
        and billed.energy = expected.energy
        and billed.day_date = expected.day_date
        and expected.consumption_source = 'bill'
