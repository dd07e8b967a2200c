with loads as (

    select * from {{ ref('int_loads_by_building_day') }}

),

fits as (

    select * from {{ ref('int_loads_fitted') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

expected as (

    select
        loads.*,
        fits.noise_kw,
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

),

judged as (

    select
        expected.*,
        greatest(
            thresholds.night_load_ratio * expected.expected_kw,
            expected.expected_kw + thresholds.night_load_excess_kw,
            expected.expected_kw + thresholds.load_noise_ratio * expected.noise_kw
        ) as threshold_kw
    from expected
    cross join thresholds

)

select
    -- keys
    building_id,
    day_date,
    window_code,

    -- measures
    load_kw,
    round(expected_kw, 6) as expected_kw,
    round(threshold_kw, 6) as threshold_kw,
    count(case when load_kw >= threshold_kw then 1 end) over seven_days
        as above_day_count,
    count(*) over four_weeks as day_count,
    round(avg(load_kw) over four_weeks, 6) as four_week_load_kw,
    round(avg(expected_kw) over four_weeks, 6) as four_week_expected_kw,
    round(avg(noise_kw * noise_kw) over four_weeks, 6) as four_week_noise_squared,

    -- dates
    month_date

from judged
window
    seven_days as (
        partition by building_id, window_code
        order by cast(day_date as timestamp)
        range between interval '6' day preceding and current row
    ),
    four_weeks as (
        partition by building_id, window_code
        order by cast(day_date as timestamp)
        range between interval '27' day preceding and current row
    )
