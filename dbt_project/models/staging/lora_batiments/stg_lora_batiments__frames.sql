with frames as (

    select
        *,
        {{ local_month('timestamp') }} as month_date
    from {{ source('lora_batiments', 'frames') }}

)

select
    -- keys
    frames.deveui,
    frames.sensor_id,

    -- attributes
    cast(frames.data as string) as data_json,

    -- dates
    frames.timestamp as received_at,
    frames._read_at as read_at,
    frames.month_date

from frames
-- A key stands in one month: naming it here lets the engine read only the months it
-- needs.
qualify row_number() over (
    partition by frames.month_date, frames.deveui, frames.timestamp
    order by
        frames._read_at desc,
        frames._load_id desc,
        frames._file desc,
        frames._row desc
) = 1
