with expected as (

    select * from {{ ref('int_supplies_expected_by_day') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

days as (

    select * from {{ ref('int_consumptions_metered_by_day') }}
    union all
    select * from {{ ref('int_consumptions_billed_by_day') }}

),

expected_months as (

    select
        expected.building_id,
        expected.energy,
        expected.consumption_source,
        expected.month_date,
        sum(expected.expected_hours - expected.day_hours) as extra_hours
    from expected
    where expected.month_date in (select days.month_date from days)
    group by all

)

select
    -- keys
    building_id,
    energy,
    calendar_days.month_date,

    -- attributes
    consumption_source,
    {{ one_or_mixed('days.apportionment_method') }} as apportionment_method,
    coalesce(bool_or(days.is_apportioned), false) as is_apportioned,
    coalesce(bool_and(days.is_conversion_verified), true) as is_conversion_verified,

    -- measures
    round(sum(days.consumption_kwh), 6) as consumption_kwh,
    max(round(sum(days.produced_kwh), 6)) over sources as produced_kwh,
    round(coalesce(sum(days.apportioned_kwh), 0), 6) as apportioned_kwh,
    round(least(1, coalesce(round(sum(days.covered_hours), 6), 0) / nullif(
        max(calendar_days.month_hours + coalesce(expected_months.extra_hours, 0)), 0
    )), 6) as completeness_share,
    max(cast(coalesce(sum(days.reset_count), 0) as bigint)) over sources
        as reset_count,
    max(cast(coalesce(sum(days.outlier_count), 0) as bigint)) over sources
        as outlier_count,
    max(cast(coalesce(sum(days.implausible_count), 0) as bigint)) over sources
        as implausible_count,

    -- dates
    min(days.day_date) filter (where days.is_known) as first_known_date,
    max(days.day_date) filter (where days.is_known) as last_known_date

from days
full outer join expected_months
    using (building_id, energy, consumption_source, month_date)
inner join calendar_days
    on calendar_days.day_date = coalesce(days.month_date, expected_months.month_date)
group by building_id, energy, consumption_source, calendar_days.month_date
window sources as (partition by calendar_days.month_date, building_id, energy)
-- What is metered all month is not counted again from its bills; else what tells more.
qualify row_number() over (
    partition by calendar_days.month_date, building_id, energy
    order by
        if(consumption_source = 'meter', completeness_share, 0)
        >= {{ threshold('complete_month_share') }} desc,
        completeness_share desc,
        consumption_source desc
) = 1
