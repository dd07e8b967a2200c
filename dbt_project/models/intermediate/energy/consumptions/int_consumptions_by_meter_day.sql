with intervals as (

    select * from {{ ref('int_intervals_by_month') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

laps as (

    select
        intervals.*,
        calendar_days.day_date,
        greatest(intervals.from_at, calendar_days.day_starts_at) as lap_from_at,
        least(intervals.to_at, calendar_days.day_ends_at) as lap_to_at,
        intervals.from_at >= calendar_days.day_starts_at as is_first
    from intervals
    inner join calendar_days
        on
            intervals.month_date = calendar_days.month_date
            and intervals.from_at < calendar_days.day_ends_at
            and intervals.to_at > calendar_days.day_starts_at

),

shared as (

    select
        laps.*,
        laps.consumption_kwh * {{ hours_between('laps.lap_from_at', 'laps.lap_to_at') }}
        / nullif(laps.piece_hours, 0) as lap_kwh,
        case when laps.is_covering then greatest(0, {{ hours_between(
            'greatest(laps.lap_from_at, max(case when laps.is_covering then '
            ~ 'laps.lap_to_at end) over earlier)', 'laps.lap_to_at'
        ) }}) else 0 end as covered_hours
    from laps
    window earlier as (
        partition by laps.month_date, laps.day_date, laps.meter_id, laps.flow
        order by laps.lap_from_at, laps.lap_to_at, laps.measure_name
        rows between unbounded preceding and 1 preceding
    )

)

select
    -- keys
    meter_id,
    building_id,
    energy,
    day_date,

    -- attributes
    coalesce(bool_or(is_apportioned), false) as is_apportioned,

    -- measures
    sum(lap_kwh) filter (where flow = 'consumed') as consumption_kwh,
    sum(lap_kwh) filter (where flow = 'produced') as produced_kwh,
    sum(lap_kwh) filter (where flow = 'consumed' and is_apportioned) as apportioned_kwh,
    -- What a meter counts is not whole without a register.
    case
        when bool_or(quality = 'unknown_register') then 0
        else coalesce(
            sum(covered_hours) filter (where flow = 'consumed'), sum(covered_hours), 0
        )
    end as covered_hours,
    cast(sum(if(lap_to_at = to_at, outlier_count, 0)) as bigint) as outlier_count,
    -- Counted on the day on which it begins.
    count(*) filter (where is_first and quality = 'reset') as reset_count,
    count(*) filter (where is_first and quality = 'implausible') as implausible_count,

    -- dates
    month_date

from shared
group by all
