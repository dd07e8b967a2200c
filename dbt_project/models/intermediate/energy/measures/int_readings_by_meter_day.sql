with readings as (

    select * from {{ ref('int_readings_of_meters') }}

)

select
    -- keys
    readings.meter_id,
    readings.measure_name,
    {{ local_date('readings.measured_at') }} as day_date,

    -- attributes
    bool_or(not readings.is_declared) as is_reported,

    -- measures
    max_by(readings.index_kwh, readings.measured_at) as index_kwh,

    -- dates
    max(readings.measured_at) as measured_at,
    readings.month_date

from readings
group by all
