with measures as (

    select * from {{ ref('int_measures_judged') }}

),

meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

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
    meters.meter_id,
    measures.measure_name,
    measures.set_aside_reason,
    meters.building_id,

    -- attributes
    bool_or(measures.is_register_unknown) as is_register_unknown,

    -- measures
    count(*) as measure_count,

    -- dates
    min(measures.measured_at) as first_measured_at,
    max(measures.measured_at) as last_measured_at,
    {{ local_month('measures.measured_at') }} as month_date

from measures
left join meters on {{ is_read_by('meters', 'measures') }}
where measures.set_aside_reason is not null
group by all

union all

select
    -- keys
    frames.deveui,
    cast(null as string) as meter_id,
    '(frame)' as measure_name,
    'paths_not_declared' as set_aside_reason,
    cast(null as string) as building_id,

    -- attributes
    false as is_register_unknown,

    -- measures
    count(*) as measure_count,

    -- dates
    min(frames.received_at) as first_measured_at,
    max(frames.received_at) as last_measured_at,
    frames.month_date

from frames
where frames.deveui not in (select sensor_paths.deveui from sensor_paths)
group by all
