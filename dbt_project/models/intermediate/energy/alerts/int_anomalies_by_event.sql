with anomalies as (
    select * from {{ ref('int_anomalies_counted') }}
),

thresholds as (
    select * from {{ ref('int_energy_thresholds_pivoted') }}
),

dated as (

    select
        anomalies.*,
        cast(thresholds.event_gap_day_count as int) as gap_days,
        lag(anomalies.day_date) over (
            partition by anomalies.building_id, anomalies.energy, anomalies.anomaly_kind
            order by anomalies.day_date
        ) as previous_date
    from anomalies
    cross join thresholds

),

numbered as (

    select
        dated.*,
        -- A few days without alarm, or without load, do not end an event.
        sum(if(dated.previous_date + dated.gap_days >= dated.day_date, 0, 1)) over (
            partition by dated.building_id, dated.energy, dated.anomaly_kind
            order by dated.day_date
            rows between unbounded preceding and current row
        ) as event_number
    from dated

)

select
    -- keys
    numbered.building_id,
    numbered.energy,
    numbered.anomaly_kind,
    numbered.event_number,

    -- attributes
    max(numbered.consumption_source) as consumption_source,
    max(numbered.value_unit) as value_unit,

    -- measures
    count(*) as anomaly_day_count,
    round(avg(numbered.observed_value), 6) as observed_value,
    round(avg(numbered.expected_value), 6) as expected_value,
    round(sum(numbered.excess_kwh), 6) as excess_kwh,
    count(numbered.excess_kwh) as excess_day_count,
    round(sum(numbered.counted_excess_kwh), 6) as counted_excess_kwh,
    -- Each day at the price of its year: of one without price no cost is told.
    case
        when
            count(numbered.counted_excess_kwh)
            = count(numbered.counted_excess_kwh * numbered.mean_price_eur_per_kwh)
            then round(sum(
                numbered.counted_excess_kwh * numbered.mean_price_eur_per_kwh
            ), 6)
    end as excess_cost_eur,
    round(if(
        count(*) = count(numbered.mean_price_eur_per_kwh),
        avg(numbered.mean_price_eur_per_kwh), null
    ), 6) as mean_price_eur_per_kwh,

    -- dates
    min(numbered.day_date) as start_date,
    max(numbered.day_date) as end_date,
    -- Until this day another alarm would be of the same event.
    max(numbered.day_date) + max(numbered.gap_days) as open_until_date

from numbered
group by
    numbered.building_id,
    numbered.energy,
    numbered.anomaly_kind,
    numbered.event_number
