with events as (

    select * from {{ ref('int_anomalies_by_event') }}

),

meters as (

    select * from {{ ref('int_meters_judged_by_day') }}

),

buildings as (

    select * from {{ ref('int_excess_detectable_by_building') }}

),

factors as (

    select * from {{ ref('emission_factors') }}

),

edge as (

    select max(meters.day_date) as last_date from meters

)

select
    -- keys
    events.building_id,
    events.anomaly_kind,
    events.start_date,

    -- attributes
    events.open_until_date >= edge.last_date as is_open,
    events.value_unit,
    factors.verified_on is not null as is_factor_verified,

    -- measures
    rank() over (order by events.excess_kwh desc nulls last) as event_rank,
    events.anomaly_day_count,
    events.excess_day_count,
    round(events.observed_value, 3) as observed_value,
    round(events.expected_value, 3) as expected_value,
    round(events.excess_kwh, 1) as excess_kwh,
    round(events.excess_kwh * factors.kgco2e_per_kwh, 1) as excess_emissions_kgco2e,
    cast(null as double) as cost_eur,
    buildings.smallest_detectable_excess_kwh,

    -- dates
    events.end_date

from events
cross join edge
left join factors
    on
        factors.energy = 'electricity'
        and factors.heat_network is null
        and events.start_date >= factors.valid_from
        and coalesce(events.start_date < factors.valid_to, true)
left join buildings on events.building_id = buildings.building_id
