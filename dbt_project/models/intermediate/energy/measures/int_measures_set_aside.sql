with measures as (

    select * from {{ ref('int_measures_judged') }}

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
    measures.measure_name,
    measures.set_aside_reason,
    measures.month_date,

    -- measures
    count(*) as measure_count
from measures
where measures.set_aside_reason is not null
group by all

union all

select
    -- keys
    frames.deveui,
    '(frame)' as measure_name,
    'paths_not_declared' as set_aside_reason,
    frames.month_date,

    -- measures
    count(*) as measure_count
from frames
where frames.deveui not in (select sensor_paths.deveui from sensor_paths)
group by all
