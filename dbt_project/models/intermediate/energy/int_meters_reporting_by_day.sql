with readings as (

    select * from {{ ref('int_readings_of_meters') }}

)

select
    -- keys
    readings.meter_id,
    {{ local_date('readings.measured_at') }} as day_date,
    readings.month_date,

    -- measures
    count(distinct readings.measured_at) as reading_count

from readings
where not readings.is_declared
group by all
