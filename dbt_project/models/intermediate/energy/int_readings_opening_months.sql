with readings as (

    select * from {{ ref('int_readings_closing_months') }}

)

select
    -- keys
    readings.meter_id,
    readings.measure_name,
    readings.month_date,

    -- measures
    lag(readings.index_kwh) over (
        partition by readings.meter_id, readings.measure_name
        order by readings.month_date
    ) as index_kwh,

    -- dates
    lag(readings.measured_at) over (
        partition by readings.meter_id, readings.measure_name
        order by readings.month_date
    ) as measured_at

from readings
