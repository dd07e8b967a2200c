with parameters as (

    select * from {{ source('lora_batiments', 'parameters') }}

)

select
    -- keys
    trim(parameters.deveui) as deveui,

    -- attributes
    cast(parameters.global_key_names as string) as global_key_names,
    cast(parameters.global_value_paths as string) as global_value_paths,
    cast(parameters.unique_key_names as string) as unique_key_names,
    cast(parameters.unique_value_paths as string) as unique_value_paths,
    cast(parameters.data_keys as string) as data_keys,
    cast(parameters.data_value_paths as string) as data_value_paths,
    cast(parameters.user_prefix as string) as user_prefix

from parameters
-- The latest photo is the whole referential: what it lacks has ended.
qualify
    rank() over (order by parameters._read_at desc, parameters._load_id desc) = 1
    and row_number() over (
        partition by parameters.deveui
        order by
            parameters._read_at desc,
            parameters._load_id desc,
            parameters._file desc,
            parameters._row desc
    ) = 1
