with daily as (

    select
        *,
        cast(date_trunc('month', aaaammjj) as date) as month_date
    from {{ source('meteo_stations', 'daily') }}

)

select
    -- keys
    daily.num_poste as station_id,

    -- attributes
    daily.nom_usuel as station_name,

    -- measures
    daily.lat as latitude,
    daily.lon as longitude,
    daily.alti as altitude_m,
    daily.rr as rain_mm,
    daily.tn as temperature_min_c,
    daily.tx as temperature_max_c,

    -- dates
    daily.aaaammjj as observation_date,
    daily.month_date

from daily
-- A key stands in one month: naming it here lets the engine read only the months it
-- needs.
qualify row_number() over (
    partition by daily.month_date, daily.num_poste, daily.aaaammjj
    order by daily._read_at desc, daily._load_id desc, daily._file desc, daily._row desc
) = 1
