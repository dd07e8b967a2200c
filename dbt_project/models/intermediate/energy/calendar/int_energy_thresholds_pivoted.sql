{% set codes = [
    'covered_interval_hours',
    'power_tolerance_ratio',
    'frozen_day_count',
    'frozen_unit_count',
    'frozen_degree_days',
    'complete_month_share',
    'known_day_share',
    'signature_day_count',
    'signature_period_count',
    'signature_r2',
    'load_interval_hours',
    'load_window_share',
    'night_load_ratio',
    'night_load_excess_kw',
    'night_persistence_count',
    'load_noise_ratio',
    'load_reference_day_count',
    'load_slope_r2',
    'load_margin_c',
    'drift_ratio',
    'drift_day_count',
    'drift_noise_share',
    'event_gap_day_count',
    'reporting_share',
    'edge_day_count',
    'still_alarm_day_count',
    'still_known_day_count',
    'still_moving_share',
    'heating_noise_ratio',
    'heating_excess_ratio',
    'saving_day_count',
    'saving_known_day_count',
] %}
with energy_thresholds as (

    select * from {{ ref('energy_thresholds') }}
    where valid_to is null

)

select
-- measures
{% for code in codes %}
    max(energy_thresholds.threshold_value) filter (
        where energy_thresholds.threshold_code = '{{ code }}'
    ) as {{ code }}{{ ',' if not loop.last }}
{% endfor %}
from energy_thresholds
