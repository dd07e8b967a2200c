with readings as (

    select * from {{ ref('int_readings_by_meter_day') }}

),

closing_readings as (

    select
        readings.meter_id,
        readings.measure_name,
        readings.month_date,
        max_by(readings.index_kwh, readings.measured_at) as index_kwh,
        max(readings.measured_at) as measured_at
    from readings
    group by readings.meter_id, readings.measure_name, readings.month_date

)

select
    -- keys
    closing_readings.meter_id,
    closing_readings.measure_name,
    closing_readings.month_date,

    -- measures
    lag(closing_readings.index_kwh) over register as index_kwh,

    -- dates
    lag(closing_readings.measured_at) over register as measured_at

from closing_readings
window register as (
    partition by closing_readings.meter_id, closing_readings.measure_name
    order by closing_readings.month_date
)
