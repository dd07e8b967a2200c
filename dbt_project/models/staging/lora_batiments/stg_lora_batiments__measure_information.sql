with measure_information as (

    select * from {{ source('lora_batiments', 'measure_information') }}

)

select
    -- keys
    measure_information.channel as channel_id,
    trim(measure_information.deveui) as deveui,
    trim(measure_information.dataparameter) as measure_name,
    measure_information.measurenatureid as measure_nature_id,
    measure_information.unitid as unit_id,

    -- measures
    measure_information.step as step_s,

    -- dates
    measure_information.enabledon as enabled_date,
    measure_information.disabledon as disabled_date

from measure_information
-- The latest photo is the whole referential: what it lacks has ended.
qualify
    rank()
        over (
            order by
                measure_information._read_at desc,
                measure_information._load_id desc
        )
    = 1
    and row_number() over (
        partition by measure_information.channel
        order by
            measure_information._read_at desc,
            measure_information._load_id desc,
            measure_information._file desc,
            measure_information._row desc
    ) = 1
