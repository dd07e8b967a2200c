with loads as (

    select * from {{ ref('int_activity_loads_averaged') }}

),

weather_factors as (

    select * from {{ ref('int_weather_factors_by_building_day') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

compared as (

    select
        loads.building_id,
        loads.day_date,
        loads.month_date,
        loads.activity_kw as observed_kw,
        -- Colder weather excuses a rise; warmer weather accuses nobody.
        year_before.activity_kw
        * greatest(1, coalesce(weather_factors.weather_factor, 1)) as expected_kw,
        thresholds.drift_ratio as threshold_ratio
    from loads
    inner join loads as year_before
        on
            loads.building_id = year_before.building_id
            -- 52 weeks, so that the same days of the week face each other.
            and loads.day_date = year_before.day_date + 364
    left join weather_factors
        on
            loads.building_id = weather_factors.building_id
            and loads.day_date = weather_factors.day_date
    cross join thresholds
    where
        loads.day_count >= thresholds.drift_day_count
        and year_before.day_count >= thresholds.drift_day_count
        -- Where use adds little to the night, the ratio of two small numbers
        -- says nothing.
        and year_before.activity_kw
        >= thresholds.drift_activity_share * year_before.day_load_kw

)

select
    -- keys
    compared.building_id,
    compared.day_date,

    -- attributes
    compared.observed_kw
    >= compared.threshold_ratio * compared.expected_kw as is_anomaly,

    -- measures
    compared.observed_kw,
    compared.expected_kw,
    compared.threshold_ratio,

    -- dates
    compared.month_date

from compared
