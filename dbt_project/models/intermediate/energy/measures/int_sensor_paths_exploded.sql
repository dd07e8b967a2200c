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

union all

select
    -- keys
    leaves.deveui,
    'name_prefix' as path_role,
    0 as slot,

    -- attributes
    {{ joined_in_order(
        'leaves.leaf_text', 'leaves.leaf_path desc, leaves.first_position', ':'
    ) }} as setting

from leaves
-- The prefix of the user comes first, then the global names.
where leaves.leaf_path in ('prefix', 'global_name') and leaves.leaf_text <> ''
group by leaves.deveui
