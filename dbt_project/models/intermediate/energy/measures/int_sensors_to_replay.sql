with sensors as (

    select * from {{ ref('stg_lora_batiments__sensors') }}

)

select
    -- keys
    sensors.deveui,

    -- dates
    sensors.enabled_date as replayed_from_date,
    coalesce(sensors.disabled_date, {{ local_date('sensors.read_at') }})
        as replayed_to_date

from sensors
where
    sensors.updated_date >= sensors.replayed_date
    or (sensors.updated_date is not null and sensors.replayed_date is null)
