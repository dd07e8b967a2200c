with differences as (

    select * from {{ ref('int_readings_with_difference') }}

),

intervals_across_months as (

    select * from {{ ref('int_intervals_across_months') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

pieces as (

    select
        differences.meter_id,
        differences.measure_name,
        differences.building_id,
        differences.energy,
        differences.flow,
        differences.quality,
        differences.interval_hours,
        differences.interval_hours as piece_hours,
        differences.consumption_kwh,
        differences.from_at,
        differences.to_at,
        differences.month_date
    from differences
    where {{ local_month('differences.from_at') }} = differences.month_date

    union all

    select * from intervals_across_months

)

select
    -- keys
    pieces.meter_id,
    pieces.measure_name,
    pieces.building_id,

    -- attributes
    pieces.energy,
    pieces.flow,
    pieces.quality,
    pieces.interval_hours > thresholds.covered_interval_hours
    or pieces.piece_hours < pieces.interval_hours as is_apportioned,
    pieces.interval_hours <= thresholds.covered_interval_hours
    and pieces.consumption_kwh is not null as is_covering,

    -- measures
    pieces.interval_hours,
    pieces.piece_hours,
    pieces.consumption_kwh,

    -- dates
    pieces.from_at,
    pieces.to_at,
    pieces.month_date

from pieces
cross join thresholds
