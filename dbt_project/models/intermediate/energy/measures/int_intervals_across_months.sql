with differences as (

    select * from {{ ref('int_readings_with_difference') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

pieces as (

    select
        differences.*,
        calendar_days.month_date as piece_month_date,
        greatest(differences.from_at, calendar_days.month_starts_at) as piece_from_at,
        least(differences.to_at, calendar_days.month_ends_at) as piece_to_at
    from differences
    inner join calendar_days
        on
            -- The first day stands for its month.
            calendar_days.day_date = calendar_days.month_date
            and {{ local_month('differences.from_at') }} <= calendar_days.month_date
            and differences.month_date >= calendar_days.month_date
            -- A reading at midnight on the first ends its interval in the month before.
            and differences.to_at > calendar_days.month_starts_at
    where {{ local_month('differences.from_at') }} < differences.month_date

),

measured as (

    select
        *,
        {{ hours_between('pieces.piece_from_at', 'pieces.piece_to_at') }} as piece_hours
    from pieces

)

select
    -- keys
    measured.meter_id,
    measured.measure_name,
    measured.building_id,

    -- attributes
    measured.energy,
    measured.flow,
    measured.quality,

    -- measures
    measured.interval_hours,
    measured.piece_hours,
    measured.consumption_kwh * measured.piece_hours / measured.interval_hours
        as consumption_kwh,

    -- dates
    measured.piece_from_at as from_at,
    measured.piece_to_at as to_at,
    measured.piece_month_date as month_date

from measured
