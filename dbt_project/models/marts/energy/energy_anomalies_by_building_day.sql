with anomalies as (

    select * from {{ ref('int_anomalies_united') }}

)

select
    -- keys
    anomalies.building_id,
    anomalies.day_date,
    anomalies.anomaly_kind,

    -- attributes
    anomalies.value_unit,
    anomalies.reference_window,

    -- measures
    cast(anomalies.observed_value as double) as observed_value,
    cast(anomalies.expected_value as double) as expected_value,
    cast(anomalies.observed_value / nullif(anomalies.expected_value, 0) as double)
        as observed_ratio,
    cast(anomalies.threshold_ratio as double) as threshold_ratio,

    -- dates
    anomalies.month_date

from anomalies
