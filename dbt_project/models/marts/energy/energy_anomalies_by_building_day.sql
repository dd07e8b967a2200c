with anomalies as (

    select * from {{ ref('int_anomalies_united') }}

)

select
    -- keys
    building_id,
    energy,
    day_date,
    anomaly_kind,
    month_date,

    -- attributes
    consumption_source,
    value_unit,
    reference_window,

    -- measures
    round(cast(observed_value as double), 3) as observed_value,
    round(cast(expected_value as double), 3) as expected_value,
    round(observed_value / nullif(expected_value, 0), 3) as observed_ratio,
    round(threshold_value / nullif(expected_value, 0), 3) as threshold_ratio,
    round(cast(excess_kwh as double), 1) as excess_kwh

from anomalies
