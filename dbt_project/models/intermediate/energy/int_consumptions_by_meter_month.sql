with intervals as (

    select * from {{ ref('int_intervals_with_coverage') }}

)

select
    -- keys
    intervals.meter_id,
    intervals.building_id,
    intervals.energy,
    intervals.month_date,

    -- attributes
    coalesce(bool_or(intervals.is_apportioned), false) as is_apportioned,

    -- measures
    -- Sums are rounded, so that a rebuild gives the same rows whatever the order.
    round(
        sum(intervals.consumption_kwh) filter (where intervals.flow = 'consumed'), 6
    ) as consumption_kwh,
    round(
        sum(intervals.consumption_kwh) filter (where intervals.flow = 'produced'), 6
    ) as produced_kwh,
    round(
        coalesce(
            sum(intervals.consumption_kwh) filter (
                where intervals.flow = 'consumed' and intervals.is_apportioned
            ), 0
        ), 6
    ) as apportioned_kwh,
    round(
        coalesce(
            sum(intervals.covered_hours) filter (where intervals.flow = 'consumed'),
            sum(intervals.covered_hours),
            0
        ), 6
    ) as covered_hours,
    count(*) filter (where intervals.quality = 'reset') as reset_count,
    count(*) filter (where intervals.quality = 'implausible') as implausible_count

from intervals
group by all
