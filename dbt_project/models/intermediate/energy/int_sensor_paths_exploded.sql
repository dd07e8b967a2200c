with parameters as (

    select * from {{ ref('stg_lora_batiments__parameters') }}

),

settings as (

    select
        parameters.deveui,
        concat(
            '{"global_value":', coalesce(parameters.global_value_paths, '[]'),
            ',"global_name":', coalesce(parameters.global_key_names, '[]'),
            ',"measure_name":', coalesce(parameters.unique_key_names, '[]'),
            ',"measure_name_path":', coalesce(parameters.unique_value_paths, '[]'),
            ',"measure_value":', coalesce(parameters.data_value_paths, '[]'),
            ',"prefix":', coalesce(parameters.user_prefix, '[]'), '}'
        ) as setting
    from parameters

),

leaves as (

    {{ json_leaves('settings', ['deveui'], 'setting') }}

)

select
    -- keys
    leaves.deveui,
    leaves.leaf_path as path_role,
    coalesce(leaves.first_position, 0) as slot,

    -- attributes
    leaves.leaf_text as setting
from leaves
