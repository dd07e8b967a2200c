with readings as (

    select * from {{ ref('int_readings_by_meter_day') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

registers as (

    select
        readings.*,
        readings.index_kwh <> lag(readings.index_kwh) over (
            partition by readings.meter_id, readings.measure_name
            order by readings.day_date
        ) as has_moved
    from readings
    where readings.is_reported

),

-- A device stands still when none of its registers moves.
days as (

    select
        registers.meter_id,
        registers.day_date,
        registers.month_date,
        coalesce(bool_or(registers.has_moved), false) as has_moved,
        row_number() over (
            partition by registers.meter_id order by registers.day_date
        ) as day_place
    from registers
    group by registers.meter_id, registers.day_date, registers.month_date

),

counted as (

    select
        days.*,
        count(case when days.has_moved then 1 end) over so_far as moved_day_count,
        coalesce(max(case when days.has_moved then days.day_place end) over so_far, 0)
            as moved_day_place
    from days
    window so_far as (
        partition by days.meter_id order by days.day_date
        rows between unbounded preceding and current row
    )

)

select
    -- keys
    counted.meter_id,
    counted.day_date,

    -- attributes
    -- It consumed before: it was heard long enough, and moved on most of those days.
    counted.day_place - counted.moved_day_place >= thresholds.still_alarm_day_count
    and counted.moved_day_place >= thresholds.still_known_day_count
    and counted.moved_day_count
    >= thresholds.still_moving_share * counted.moved_day_place as is_still,

    -- measures
    counted.day_place - counted.moved_day_place as still_day_count,
    thresholds.still_alarm_day_count,

    -- dates
    counted.month_date

from counted
cross join thresholds
