with frames as (

    select * from {{ ref('stg_lora_batiments__frames') }}

),

sensor_paths as (

    select * from {{ ref('int_sensor_paths_exploded') }}

),

leaves as (

    {{ json_leaves(
        'frames', ['deveui', 'received_at', 'read_at', 'month_date'], 'data_json'
    ) }}

),

declared as (

    select
        leaves.*,
        sensor_paths.path_role,
        sensor_paths.slot,
        sensor_paths.name_prefix,
        sensor_paths.literal_name,
        sensor_paths.is_sensor_declared,
        if(path_role = 'measure_name_path', leaves.leaf_text, null) as given_name,
        if(path_role = 'global_value', leaves.leaf_text, null) as global_value
    from leaves
    inner join sensor_paths
        on
            leaves.deveui = sensor_paths.deveui
            and leaves.leaf_path = sensor_paths.declared_path
    where lower(leaves.leaf_text) <> 'null'

),

-- Names and values share a slot and a place: an absent value shifts no name.
named as (

    select
        *,
        {{ joined_in_order('global_value', 'slot', ':') }} over (
            partition by month_date, deveui, received_at
        ) as global_values,
        max(given_name) over (
            partition by month_date, deveui, received_at, slot, first_position
        ) as name_at_place,
        max(if(first_position is null, given_name, null)) over (
            partition by month_date, deveui, received_at, slot
        ) as single_name
    from declared

)

select
    -- keys
    deveui,
    concat_ws(
        ':', name_prefix, global_values,
        coalesce(name_at_place, single_name, literal_name)
    ) as measure_name,
    -- Place in a history array, 0 being the newest value.
    coalesce(if(name_at_place is null, first_position, second_position), 0)
        as history_position,

    -- attributes
    leaf_text as value_text,
    is_sensor_declared,

    -- dates
    received_at,
    read_at,
    month_date

from named
where path_role = 'measure_value'
