with expected_meters as (

    select * from {{ ref('int_meters_expected_by_month') }}

),

meter_months as (

    select * from {{ ref('int_consumptions_by_meter_month') }}

)

select
    -- keys
    expected_meters.building_id,
    expected_meters.energy,
    expected_meters.month_date,

    -- attributes
    coalesce(bool_or(meter_months.is_apportioned), false) as is_apportioned,

    -- measures
    round(sum(meter_months.consumption_kwh), 6) as consumption_kwh,
    round(sum(meter_months.produced_kwh), 6) as produced_kwh,
    round(coalesce(sum(meter_months.apportioned_kwh), 0), 6) as apportioned_kwh,
    round(
        least(
            1,
            coalesce(sum(meter_months.covered_hours), 0)
            / nullif(sum(expected_meters.expected_hours), 0)
        ), 6
    ) as completeness_share,
    count(*) as meter_count,
    cast(coalesce(sum(meter_months.reset_count), 0) as bigint) as reset_count,
    cast(coalesce(sum(meter_months.implausible_count), 0) as bigint)
        as implausible_count

from expected_meters
left join meter_months
    on
        expected_meters.meter_id = meter_months.meter_id
        and expected_meters.month_date = meter_months.month_date
group by all
