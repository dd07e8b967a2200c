with readings as (

    select * from {{ ref('int_readings_of_meters') }}

)

select
    -- keys
    readings.meter_id,
    readings.measure_name,
    readings.month_date,

    -- measures
    max_by(readings.index_kwh, readings.measured_at) as index_kwh,

    -- dates
    max(readings.measured_at) as measured_at

from readings
group by all
