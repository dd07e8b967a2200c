with intervals as (

    select * from {{ ref('int_intervals_by_month') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

short_intervals as (

    select
        intervals.*,
        {{ local_date('intervals.from_at') }} as from_date,
        {{ local_date('intervals.to_at') }} as to_date
    from intervals
    cross join thresholds
    where
        intervals.energy = 'electricity'
        and intervals.flow = 'consumed'
        and intervals.consumption_kwh is not null
        and intervals.piece_hours > 0
        -- A longer interval says nothing of the load of one hour.
        and intervals.interval_hours <= thresholds.load_interval_hours

)

select
    -- keys
    short_intervals.meter_id,
    short_intervals.measure_name,
    short_intervals.building_id,
    calendar_days.day_date,

    -- measures
    short_intervals.piece_hours,
    short_intervals.consumption_kwh,

    -- dates
    short_intervals.from_at,
    short_intervals.to_at,
    short_intervals.month_date

from short_intervals
-- An interval across midnight stands in both days; what follows clips it.
inner join calendar_days
    on
        short_intervals.from_date <= calendar_days.day_date
        and short_intervals.to_date >= calendar_days.day_date
        and short_intervals.month_date = calendar_days.month_date
