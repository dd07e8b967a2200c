with meters as (

    select * from {{ source('patrimoine_bati', 'meters') }}

)

select
    -- keys
    meters.meter_id,
    meters.building_id,
    nullif(trim(meters.deveui), '') as deveui,

    -- attributes
    trim(meters.energy) as energy,

    -- measures
    meters.subscribed_power_kva,

    -- dates
    meters.valid_from as valid_from_at,
    meters.valid_to as valid_to_at

from meters
-- The latest photo is the whole referential: what it lacks has ended.
qualify
    rank() over (order by meters._read_at desc, meters._load_id desc) = 1
    and row_number() over (
        partition by meters.meter_id
        order by
            meters._read_at desc,
            meters._load_id desc,
            meters._file desc,
            meters._row desc
    ) = 1
