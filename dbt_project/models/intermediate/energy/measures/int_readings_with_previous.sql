with readings as (

    select * from {{ ref('int_readings_of_meters') }}

),

opening_readings as (

    select * from {{ ref('int_readings_opening_months') }}

)

select
    -- keys
    readings.meter_id,
    readings.measure_name,

    -- attributes
    readings.flow,

    -- measures
    coalesce(
        lag(readings.index_kwh) over register_month, opening_readings.index_kwh
    ) as from_index_kwh,
    readings.index_kwh as to_index_kwh,

    -- dates
    coalesce(
        lag(readings.measured_at) over register_month, opening_readings.measured_at
    ) as from_at,
    readings.measured_at as to_at,
    readings.month_date

from readings
-- The first reading of a month follows the last one of an earlier month, however far.
left join opening_readings
    on
        readings.meter_id = opening_readings.meter_id
        and readings.measure_name = opening_readings.measure_name
        and readings.month_date = opening_readings.month_date
window register_month as (
    partition by readings.month_date, readings.meter_id, readings.measure_name
    order by readings.measured_at
)
