with meter_months as (

    select * from {{ ref('int_consumptions_by_meter_month') }}

),

meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

expected_meters as (

    select distinct
        meter_months.building_id,
        meter_months.energy,
        meter_months.month_date,
        meters.meter_id,
        {{ hours_between(
            'greatest(meters.valid_from_at, calendar_days.month_starts_at)',
            'least(meters.valid_to_at, calendar_days.month_ends_at)'
        ) }} as expected_hours
    from meter_months
    inner join calendar_days on meter_months.month_date = calendar_days.day_date
    -- A silent meter counts as well: its hours are missing.
    inner join meters
        on
            meter_months.building_id = meters.building_id
            and meter_months.energy = meters.energy
            and calendar_days.month_ends_at > meters.valid_from_at
            and (
                calendar_days.month_starts_at < meters.valid_to_at
                or meters.valid_to_at is null
            )

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
