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
    consumption_source,
    month_date,

    -- attributes
    case
        when count(distinct days.apportionment_method) > 1 then 'mixed'
        else min(days.apportionment_method)
    end as apportionment_method,
    coalesce(bool_or(days.is_apportioned), false) as is_apportioned,
    coalesce(bool_and(days.is_conversion_verified), true) as is_conversion_verified,

    -- measures
    round(sum(days.consumption_kwh), 6) as consumption_kwh,
    round(sum(days.produced_kwh), 6) as produced_kwh,
    round(coalesce(sum(days.apportioned_kwh), 0), 6) as apportioned_kwh,
    round(least(1, coalesce(round(sum(days.covered_hours), 6), 0) / nullif(
        max(calendar_days.month_hours + coalesce(expected_months.extra_hours, 0)), 0
    )), 6) as completeness_share,
    cast(coalesce(sum(days.reset_count), 0) as bigint) as reset_count,
    cast(coalesce(sum(days.outlier_count), 0) as bigint) as outlier_count,
    cast(coalesce(sum(days.implausible_count), 0) as bigint) as implausible_count,

    -- dates
    min(days.day_date) filter (where days.is_known) as first_known_date,
    max(days.day_date) filter (where days.is_known) as last_known_date

from days
full outer join expected_months
    using (building_id, energy, consumption_source, month_date) -- noqa: ST07
inner join calendar_days on month_date = calendar_days.day_date
group by building_id, energy, consumption_source, month_date
