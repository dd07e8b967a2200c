with daily as (

    select * from {{ ref('stg_meteo_stations__daily') }}

),

temperatures as (

    select
        daily.observation_date as day_date,
        daily.month_date,
        cast(18 as double) as threshold_c,
        daily.temperature_min_c,
        daily.temperature_max_c,
        (daily.temperature_min_c + daily.temperature_max_c) / 2 as temperature_mean_c
    from daily
    where
        daily.station_id = {{ reference_station() }}
        and daily.temperature_min_c is not null
        and daily.temperature_max_c is not null

)

select
    -- keys
    temperatures.day_date,

    -- measures
    temperatures.temperature_min_c,
    temperatures.temperature_max_c,
    greatest(
        0, temperatures.threshold_c - temperatures.temperature_mean_c
    ) as meteo_degree_days,
    case
        when temperatures.threshold_c > temperatures.temperature_max_c
            then temperatures.threshold_c - temperatures.temperature_mean_c
        when temperatures.threshold_c <= temperatures.temperature_min_c then 0
        else
            (temperatures.threshold_c - temperatures.temperature_min_c)
            * (
                0.08
                + 0.42
                * (temperatures.threshold_c - temperatures.temperature_min_c)
                / (temperatures.temperature_max_c - temperatures.temperature_min_c)
            )
    end as professional_degree_days,

    -- dates
    temperatures.month_date

from temperatures
