with sensor_paths as (

    select * from {{ ref('int_sensor_paths_exploded') }}

)

select
    -- keys
    sensor_paths.deveui,

    -- attributes
    {{ joined_in_order(
        'sensor_paths.setting', 'sensor_paths.path_role desc, sensor_paths.slot', ':'
    ) }} as name_prefix

from sensor_paths
-- The prefix of the user comes first, then the global names.
where
    sensor_paths.path_role in ('prefix', 'global_name')
    and sensor_paths.setting <> ''
group by sensor_paths.deveui
