with loads as (

    select * from {{ ref('int_loads_compared') }}

),

meters as (

    select * from {{ ref('int_meters_expected_by_day') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

nights as (

    select
        loads.building_id,
        loads.day_date,
        loads.month_date,
        'night_base_load' as anomaly_kind,
        'kW' as value_unit,
        loads.load_kw as observed_value,
        loads.expected_kw as expected_value,
        loads.threshold_kw / nullif(loads.expected_kw, 0) as threshold_ratio
    from loads
    cross join thresholds
    where
        loads.window_code = 'night'
        and loads.load_kw >= loads.threshold_kw
        and loads.above_day_count >= thresholds.night_persistence_count

),

drifts as (

    select
        loads.building_id,
        loads.day_date,
        loads.month_date,
        'drift' as anomaly_kind,
        'kW' as value_unit,
        loads.four_week_load_kw as observed_value,
        loads.four_week_expected_kw as expected_value,
        greatest(
            thresholds.drift_ratio,
            1 + thresholds.load_noise_ratio * sqrt(loads.four_week_noise_squared / loads.day_count)
            / nullif(loads.four_week_expected_kw, 0)
        ) as threshold_ratio
    from loads
    cross join thresholds
    where
        loads.window_code = 'core'
        and loads.day_count >= thresholds.drift_day_count
        and sqrt(loads.four_week_noise_squared) <= 0.2 * loads.four_week_expected_kw

)
select * from nights union all select * from drifts where observed_value >= threshold_ratio * expected_value
union all select building_id, day_date, month_date, 'missing_meter', 'meter', count(*), 0, 1 from meters where is_missing group by all
union all select building_id, day_date, month_date, 'frozen_index', 'day', max(still_day_count), 0, 1 from meters where is_frozen group by all
