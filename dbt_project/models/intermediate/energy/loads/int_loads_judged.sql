with loads as (

    select * from {{ ref('int_loads_compared') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

-- Weeks of the calendar: a day without load is in none.
counted as (

    select
        loads.*,
        count(case when loads.load_kw >= loads.threshold_kw then 1 end) over seven_days
            as above_count,
        count(*) over four_weeks as day_count,
        avg(loads.load_kw) over four_weeks as mean_kw,
        avg(loads.expected_kw) over four_weeks as mean_expected_kw,
        sqrt(avg(loads.noise_squared) over four_weeks) as noise_kw,
        max(
            if(loads.window_code = 'day', loads.load_kw - loads.expected_kw, null)
        ) over (partition by loads.building_id, loads.month_date, loads.day_date)
        * 24 as excess_kwh
    from loads
    window
        seven_days as (
            partition by loads.building_id, loads.window_code
            order by cast(loads.day_date as timestamp)
            range between interval '6' day preceding and current row
        ),
        four_weeks as (
            partition by loads.building_id, loads.window_code
            order by cast(loads.day_date as timestamp)
            range between interval '27' day preceding and current row
        )

)

select
    -- keys
    counted.building_id,
    counted.day_date,
    counted.window_code,

    -- measures
    counted.load_kw,
    counted.expected_kw,
    counted.threshold_kw,
    counted.above_count,
    counted.day_count,
    round(counted.mean_kw, 6) as mean_kw,
    round(counted.mean_expected_kw, 6) as mean_expected_kw,
    round(greatest(
        thresholds.drift_ratio * counted.mean_expected_kw,
        counted.mean_expected_kw
        + thresholds.load_noise_ratio * counted.noise_kw / sqrt(counted.day_count)
    ), 6) as drift_threshold_kw,
    round(counted.excess_kwh, 6) as excess_kwh,

    -- attributes
    counted.window_code = 'night'
    and counted.load_kw >= counted.threshold_kw
    and counted.above_count >= thresholds.night_persistence_count as is_high_at_night,
    counted.window_code = 'core'
    and counted.day_count >= thresholds.drift_day_count
    and counted.noise_kw <= thresholds.drift_noise_share * counted.mean_expected_kw
    and counted.mean_kw >= drift_threshold_kw as is_drifting,

    -- dates
    counted.month_date

from counted
cross join thresholds
