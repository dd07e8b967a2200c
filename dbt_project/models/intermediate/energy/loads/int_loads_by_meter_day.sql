with intervals as (

    select * from {{ ref('int_intervals_by_month') }}

),

windows as (

    select * from {{ ref('int_calendar_windows') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

clipped as (

    select
        intervals.*,
        windows.day_date,
        windows.window_code,
        windows.window_hours,
        greatest(intervals.from_at, windows.starts_at) as window_from_at,
        least(intervals.to_at, windows.ends_at) as window_to_at
    from intervals
    cross join thresholds
    inner join windows
        on
            intervals.month_date = windows.month_date
            and intervals.from_at < windows.ends_at
            and intervals.to_at > windows.starts_at
    where
        intervals.energy = 'electricity'
        and intervals.flow = 'consumed'
        and intervals.consumption_kwh is not null
        and intervals.piece_hours > 0
        -- A longer interval says nothing of the load of one hour.
        and intervals.interval_hours <= thresholds.load_interval_hours

),

measured as (

    select
        *,
        {{ hours_between('window_from_at', 'window_to_at') }} as hours,
        -- Registers take turns with the tariff period: an hour counts once for all.
        max(window_to_at) over (
            partition by month_date, meter_id, day_date, window_code
            order by window_from_at, window_to_at, measure_name
            rows between unbounded preceding and 1 preceding
        ) as covered_until_at
    from clipped

)

select
    -- keys
    measured.meter_id,
    measured.building_id,
    measured.day_date,
    measured.window_code,

    -- measures
    round(sum(measured.consumption_kwh * measured.hours / measured.piece_hours), 6)
        as consumption_kwh,
    sum(greatest(0, {{ hours_between(
        'greatest(measured.window_from_at, measured.covered_until_at)',
        'measured.window_to_at'
    ) }})) as covered_hours,
    max(measured.window_hours) as window_hours,

    -- dates
    measured.month_date

from measured
group by all
