with intervals as (

    select * from {{ ref('int_intervals_by_window') }}

),

measured as (

    select
        *,
        {{ hours_between('intervals.from_at', 'intervals.to_at') }} as hours,
        {{ hours_between('intervals.window_from_at', 'intervals.window_to_at') }}
            as window_hours,
        -- Registers take turns with the tariff period: an hour counts once
        -- whatever their number.
        max(intervals.to_at) over (
            partition by
                intervals.month_date,
                intervals.meter_id,
                intervals.day_date,
                intervals.window_code
            order by intervals.from_at, intervals.to_at, intervals.measure_name
            rows between unbounded preceding and 1 preceding
        ) as covered_until_at
    from intervals

)

select
    -- keys
    measured.meter_id,
    measured.building_id,
    measured.day_date,
    measured.window_code,

    -- measures
    round(
        sum(measured.consumption_kwh * measured.hours / measured.piece_hours), 6
    ) as consumption_kwh,
    sum(
        greatest(
            0,
            {{ hours_between(
                'greatest(measured.from_at, measured.covered_until_at)', 'measured.to_at'
            ) }}
        )
    ) as covered_hours,
    max(measured.window_hours) as window_hours,

    -- dates
    measured.month_date

from measured
group by all
