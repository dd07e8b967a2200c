with energy_thresholds as (

    select * from {{ ref('energy_thresholds') }}

)

select
    -- measures
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'covered_interval_hours'
    ) as covered_interval_hours,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'power_tolerance_ratio'
    ) as power_tolerance_ratio,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'frozen_day_count'
    ) as frozen_day_count,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'frozen_unit_count'
    ) as frozen_unit_count,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'frozen_degree_days'
    ) as frozen_degree_days,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'complete_month_share'
    ) as complete_month_share,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'known_day_share'
    ) as known_day_share,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'signature_day_count'
    ) as signature_day_count,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'signature_period_count'
    ) as signature_period_count,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'signature_r2'
    ) as signature_r2,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'load_interval_hours'
    ) as load_interval_hours,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'load_window_share'
    ) as load_window_share,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'night_load_ratio'
    ) as night_load_ratio,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'night_load_excess_kw'
    ) as night_load_excess_kw,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'night_persistence_count'
    ) as night_persistence_count,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'night_reference_week_count'
    ) as night_reference_week_count,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'drift_ratio'
    ) as drift_ratio,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'drift_day_count'
    ) as drift_day_count,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'drift_persistence_count'
    ) as drift_persistence_count,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'drift_activity_share'
    ) as drift_activity_share,
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = 'reporting_share'
    ) as reporting_share

from energy_thresholds
where energy_thresholds.valid_to is null
