with hourly as (

    select
        *,
        {{ local_month('aaaammjjhh') }} as month_date
    from {{ source('meteo_stations', 'hourly') }}

)

select
    -- keys
    hourly.num_poste as station_id,

    -- attributes
    hourly.nom_usuel as station_name,

    -- measures
    hourly.lat as latitude,
    hourly.lon as longitude,
    hourly.alti as altitude_m,
    hourly.rr1 as rain_mm,
    hourly.t as temperature_c,
    hourly.u as humidity_percent,

    -- dates
    hourly.aaaammjjhh as observed_at,
    hourly.month_date

from hourly
-- A key stands in one month: naming it here lets the engine read only the months it
-- needs.
qualify row_number() over (
    partition by hourly.month_date, hourly.num_poste, hourly.aaaammjjhh
    order by
        hourly._read_at desc,
        hourly._load_id desc,
        hourly._file desc,
        hourly._row desc
) = 1
