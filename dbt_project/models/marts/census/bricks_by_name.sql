with bricks as (

    select * from {{ ref('stg_census__bricks') }}

)

select
    -- keys
    bricks.brick_name,

    -- attributes
    bricks.title_fr,
    bricks.title_en,
    bricks.kind as brick_kind,
    bricks.is_tool,
    bricks.producer,
    bricks.protocols,
    bricks.access_mode,
    bricks.access_class as data_access_class,
    bricks.licence,
    bricks.status as brick_status,
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
