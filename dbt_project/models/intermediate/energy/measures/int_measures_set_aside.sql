with measures as (

    select * from {{ ref('int_measures_with_meter') }}

),

frames as (

    select * from {{ ref('stg_lora_batiments__frames') }}

),

sensor_paths as (

    select * from {{ ref('int_sensor_paths_exploded') }}

)

select
    -- keys
    measures.deveui,
    measures.meter_id,
    measures.measure_name,
    measures.set_aside_reason,

    -- attributes
    bool_or(measures.is_register_unknown) as is_register_unknown,

    -- measures
    count(*) as measure_count,

    -- dates
    min(measures.measured_at) as from_at,
    max(measures.measured_at) as to_at,
    measures.month_date

from measures
where measures.set_aside_reason is not null
group by all

union all

select
    -- keys
    frames.deveui,
    cast(null as string) as meter_id,
    '(frame)' as measure_name,
    'paths_not_declared' as set_aside_reason,

    -- attributes
    false as is_register_unknown,

    -- measures
    count(*) as measure_count,

    -- dates
    min(frames.received_at) as from_at,
    max(frames.received_at) as to_at,
    frames.month_date

from frames
where frames.deveui not in (select sensor_paths.deveui from sensor_paths)
group by all
