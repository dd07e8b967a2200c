with loads as (

    select * from {{ ref('int_loads_by_building_day') }}

),

fits as (

    select * from {{ ref('int_loads_fitted') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

compared as (

    select
        loads.*,
        fits.noise_kw,
        thresholds.night_load_ratio,
        greatest(
            thresholds.night_load_excess_kw, thresholds.load_noise_ratio * fits.noise_kw
        ) as least_excess_kw,
        greatest(0, fits.base_kw + fits.slope_kw_per_c * greatest(
            0, fits.threshold_c - loads.temperature_c
        )) as expected_kw
    from loads
    inner join fits
        on
            loads.building_id = fits.building_id
            and loads.window_code = fits.window_code
            and loads.day_kind = fits.day_kind
            and loads.month_date = fits.month_date
    cross join thresholds
    -- A day colder, or warmer, than all of the reference is not judged by it.
    where
        loads.temperature_c
        between fits.temperature_min_c - thresholds.load_margin_c
        and fits.temperature_max_c + thresholds.load_margin_c

)

select
    -- keys
    building_id,
    day_date,
    window_code,

    -- measures
    load_kw,
    round(expected_kw, 6) as expected_kw,
    round(
        greatest(night_load_ratio * expected_kw, expected_kw + least_excess_kw), 6
    ) as threshold_kw,
    round(noise_kw * noise_kw, 6) as noise_squared,

    -- dates
    month_date

from compared
