with metered as (

    select * from {{ ref('int_consumptions_by_building_month') }}

),

billed as (

    select * from {{ ref('int_bills_by_building_month') }}

)

select
    -- keys
    metered.building_id,
    metered.energy,
    metered.month_date,

    -- attributes
    'meter' as consumption_source,
    'time' as apportionment_method,
    metered.is_apportioned,

    -- measures
    metered.consumption_kwh,
    metered.produced_kwh,
    metered.apportioned_kwh,
    metered.completeness_share,
    metered.reset_count,
    metered.implausible_count

from metered

union all

select
    -- keys
    billed.building_id,
    billed.energy,
    billed.month_date,

    -- attributes
    'bill' as consumption_source,
    billed.apportionment_method,
    billed.is_apportioned,

    -- measures
    billed.consumption_kwh,
    null as produced_kwh,
    billed.apportioned_kwh,
    billed.completeness_share,
    0 as reset_count,
    0 as implausible_count

from billed
-- What is metered is not counted a second time from its bills.
left join metered
    on
        billed.building_id = metered.building_id
        and billed.energy = metered.energy
        and billed.month_date = metered.month_date
where metered.building_id is null
