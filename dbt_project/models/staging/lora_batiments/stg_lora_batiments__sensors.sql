with sensors as (

    select * from {{ source('lora_batiments', 'sensors') }}

)

select
    -- keys
    trim(sensors.deveui) as deveui,

    -- dates
    sensors.enabledon as enabled_date,
    sensors.disabledon as disabled_date,
    sensors.updatedon as updated_date,
    sensors.reprisedon as replayed_date,
    sensors._read_at as read_at

from sensors
-- The latest photo is the whole referential: what it lacks has ended.
qualify
    rank() over (order by sensors._read_at desc, sensors._load_id desc) = 1
    and row_number() over (
        partition by sensors.deveui
        order by
            sensors._read_at desc,
            sensors._load_id desc,
            sensors._file desc,
            sensors._row desc
    ) = 1
