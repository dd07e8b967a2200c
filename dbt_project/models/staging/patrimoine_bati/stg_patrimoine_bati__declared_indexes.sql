with declared_indexes as (

    select * from {{ source('patrimoine_bati', 'declared_indexes') }}

)

select
    -- keys
    declared_indexes.meter_id,
    trim(declared_indexes.measure_name) as measure_name,

    -- measures
    declared_indexes.index_kwh,

    -- dates
    declared_indexes.read_on as measured_at

from declared_indexes
-- The latest photo is the whole referential: what it lacks has ended.
qualify
    rank()
        over (
            order by
                declared_indexes._read_at desc,
                declared_indexes._load_id desc
        )
    = 1
    and row_number() over (
        partition by
            declared_indexes.meter_id,
            declared_indexes.measure_name,
            declared_indexes.read_on
        order by
            declared_indexes._read_at desc,
            declared_indexes._load_id desc,
            declared_indexes._file desc,
            declared_indexes._row desc
    ) = 1
