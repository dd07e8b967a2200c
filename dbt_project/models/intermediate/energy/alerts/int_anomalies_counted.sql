with anomalies as (

    select * from {{ ref('int_anomalies_united') }}

),

prices as (

    select * from {{ ref('int_prices_by_building_year') }}

)

select
    -- keys
    anomalies.building_id,
    anomalies.energy,
    anomalies.day_date,
    anomalies.anomaly_kind,

    -- attributes
    anomalies.consumption_source,
    anomalies.value_unit,

    -- measures
    anomalies.observed_value,
    anomalies.expected_value,
    anomalies.excess_kwh,
    -- Alarms of several kinds tell one excess of a day: one of them alone counts it.
    case
        when
            row_number() over (
                partition by anomalies.building_id, anomalies.energy, anomalies.day_date
                order by
                    if(anomalies.excess_kwh is null, 1, 0),
                    if(anomalies.anomaly_kind = 'heating_excess', 1, 0),
                    anomalies.anomaly_kind
            ) = 1
            then anomalies.excess_kwh
    end as counted_excess_kwh,
    prices.mean_price_eur_per_kwh

from anomalies
left join prices
    on
        anomalies.building_id = prices.building_id
        and anomalies.energy = prices.energy
        and extract(year from anomalies.day_date) = prices.year
