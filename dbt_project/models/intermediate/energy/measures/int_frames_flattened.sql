with frames as (

    select * from {{ ref('stg_lora_batiments__frames') }}

),

sensor_paths as (

    select * from {{ ref('int_sensor_paths_exploded') }}

),

leaves as (

    {{ json_leaves(
        'frames',
        ['frame_id', 'deveui', 'received_at', 'read_at', 'month_date'],
        'data_json'
    ) }}

)

select
    -- keys
    leaves.frame_id,
    leaves.deveui,
    sensor_paths.path_role,
    sensor_paths.slot,
    leaves.first_position,
    leaves.second_position,

    -- attributes
    leaves.leaf_path,
    leaves.leaf_text,

    -- dates
    leaves.received_at,
    leaves.read_at,
    leaves.month_date

from leaves
-- Only the paths that a steward declared hold names and values.
inner join sensor_paths
    on
        leaves.deveui = sensor_paths.deveui
        and leaves.leaf_path = sensor_paths.setting
        and sensor_paths.path_role in (
            'global_value', 'measure_name_path', 'measure_value'
        )
where lower(leaves.leaf_text) <> 'null'
