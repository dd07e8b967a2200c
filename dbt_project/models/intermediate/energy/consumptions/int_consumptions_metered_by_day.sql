with meter_days as (

    select * from {{ ref('int_consumptions_by_meter_day') }}

),

expected as (

    select * from {{ ref('int_supplies_expected_by_day') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

)

select
    -- keys
    meter_days.building_id,
    meter_days.energy,
    'meter' as consumption_source,
    meter_days.day_date,

    -- attributes
    'time' as apportionment_method,
    bool_or(meter_days.is_apportioned) as is_apportioned,
    true as is_conversion_verified,
    -- A silent meter counts as well: its hours are missing.
    count(meter_days.consumption_kwh) > 0
    and sum(meter_days.covered_hours)
    >= max(thresholds.known_day_share * coalesce(expected.expected_hours, 24))
        as is_known,

    -- measures
    round(sum(meter_days.consumption_kwh), 6) as consumption_kwh,
    round(sum(meter_days.produced_kwh), 6) as produced_kwh,
    round(sum(meter_days.apportioned_kwh), 6) as apportioned_kwh,
    round(sum(meter_days.covered_hours), 6) as covered_hours,
    cast(sum(meter_days.reset_count) as bigint) as reset_count,
    cast(sum(meter_days.outlier_count) as bigint) as outlier_count,
    cast(sum(meter_days.implausible_count) as bigint) as implausible_count,

    -- dates
    meter_days.month_date

from meter_days
cross join thresholds
left join expected
    on
        meter_days.building_id = expected.building_id
        and meter_days.energy = expected.energy
        and meter_days.day_date = expected.day_date
        and expected.consumption_source = 'meter'
group by
    meter_days.building_id,
    meter_days.energy,
    meter_days.day_date,
    meter_days.month_date
