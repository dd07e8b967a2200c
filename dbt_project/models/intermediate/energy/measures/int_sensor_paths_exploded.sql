with parameters as (

    select * from {{ ref('stg_lora_batiments__parameters') }}

),

sensors as (

    select * from {{ ref('stg_lora_batiments__sensors') }}

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

),

prefixes as (

    select
        leaves.deveui,
        -- The prefix of the user comes first, then the global names.
        {{ joined_in_order(
            'leaves.leaf_text', 'leaves.leaf_path desc, leaves.first_position', ':'
        ) }} as name_prefix
    from leaves
    where leaves.leaf_path in ('prefix', 'global_name') and leaves.leaf_text <> ''
    group by leaves.deveui

)

select
    -- keys
    leaves.deveui,
    leaves.leaf_path as path_role,
    leaves.first_position as slot,

    -- attributes
    leaves.leaf_text as declared_path,
    prefixes.name_prefix,
    if(leaves.leaf_path = 'measure_value', literal_names.leaf_text, null)
        as literal_name,
    sensors.deveui is not null as is_sensor_declared

from leaves
left join sensors on leaves.deveui = sensors.deveui
left join prefixes on leaves.deveui = prefixes.deveui
-- A value and its name share a slot of the settings.
left join leaves as literal_names
    on
        leaves.deveui = literal_names.deveui
        and leaves.first_position = literal_names.first_position
        and literal_names.leaf_path = 'measure_name'
where leaves.leaf_path in ('global_value', 'measure_name_path', 'measure_value')
