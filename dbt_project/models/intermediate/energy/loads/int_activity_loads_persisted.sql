with loads as (

    select * from {{ ref('int_activity_loads_compared') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

counted as (

    select
        loads.*,
        sum(case when loads.is_above then 1 else 0 end) over (
            partition by loads.building_id
            order by loads.day_date
            range between interval '27' day preceding and current row
        ) as above_day_count
    from loads

)

select
    -- keys
    counted.building_id,
    counted.day_date,

    -- attributes
    -- Holidays that move from one year to the next fill four weeks and go.
    counted.is_above
    and counted.above_day_count >= thresholds.drift_persistence_count as is_anomaly,

    -- measures
    counted.observed_kw,
    counted.expected_kw,
    counted.above_day_count,
    counted.threshold_ratio,

    -- dates
    counted.month_date

from counted
cross join thresholds
