with leaves as (

    select * from {{ ref('int_frames_flattened') }}

),

sensor_paths as (

    select * from {{ ref('int_sensor_paths_exploded') }}

),

global_values as (

    select
        leaves.month_date,
        leaves.frame_id,
        {{ joined_in_order('leaves.leaf_text', 'leaves.slot', ':') }} as global_value
    from leaves
    where leaves.path_role = 'global_value'
    group by leaves.month_date, leaves.frame_id

)

select
    -- keys
    measures.frame_id,
    measures.deveui,
    concat_ws(
        ':', prefixes.setting, global_values.global_value,
        coalesce(name_leaves.leaf_text, single_names.leaf_text, literal_names.setting)
    ) as measure_name,
    -- Place in a history array, 0 being the newest value.
    case
        when name_leaves.frame_id is null then coalesce(measures.first_position, 0)
        else coalesce(measures.second_position, 0)
    end as history_position,

    -- attributes
    measures.leaf_text as value_text,

    -- dates
    measures.received_at,
    measures.read_at,
    measures.month_date

from leaves as measures
-- A name and its value share a slot of the settings and a place in the array, so
-- that an absent value shifts no name.
left join leaves as name_leaves
    on
        measures.month_date = name_leaves.month_date
        and measures.frame_id = name_leaves.frame_id
        and measures.slot = name_leaves.slot
        and measures.first_position = name_leaves.first_position
        and name_leaves.path_role = 'measure_name_path'
left join leaves as single_names
    on
        measures.month_date = single_names.month_date
        and measures.frame_id = single_names.frame_id
        and measures.slot = single_names.slot
        and single_names.path_role = 'measure_name_path'
        and single_names.first_position is null
left join sensor_paths as literal_names
    on
        measures.deveui = literal_names.deveui
        and measures.slot = literal_names.slot
        and literal_names.path_role = 'measure_name'
left join global_values
    on
        measures.month_date = global_values.month_date
        and measures.frame_id = global_values.frame_id
left join sensor_paths as prefixes
    on measures.deveui = prefixes.deveui and prefixes.path_role = 'name_prefix'
where measures.path_role = 'measure_value'
