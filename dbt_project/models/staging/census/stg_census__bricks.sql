with bricks as (

    select * from {{ source('census', 'bricks') }}

)

select
    -- keys
    bricks.name as brick_name,

    -- attributes
    bricks.title_fr,
    bricks.title_en,
    bricks.kind,
    bricks.is_tool,
    bricks.producer,
    bricks.protocols,
    bricks.access_mode,
    bricks.access_class,
    bricks.licence,
    bricks.status,
    bricks.cadence,
    bricks.use_cases,
    bricks.has_personal,

    -- measures
    bricks.table_count,
    bricks.promised_days,

    -- dates
    bricks.status_date,
    bricks.last_read_at

from bricks
-- The latest photo is the whole census: what it lacks is censused no more.
qualify
    rank() over (order by bricks._read_at desc, bricks._load_id desc) = 1
    and row_number() over (
        partition by bricks.name
        order by
            bricks._read_at desc,
            bricks._load_id desc,
            bricks._file desc,
            bricks._row desc
    ) = 1
