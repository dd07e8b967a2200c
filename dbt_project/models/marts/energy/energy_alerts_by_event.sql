with events as (

    select * from {{ ref('int_events_valued') }}

),

detection as (

    select * from {{ ref('int_detection_by_building') }}

),

answers as (

    select * from {{ ref('int_answers_by_event') }}

),

savings as (

    select * from {{ ref('int_savings_by_event') }}

)

select
    -- keys
    events.building_id,
    events.energy,
    events.anomaly_kind,
    events.start_date,

    -- attributes
    events.open_until_date >= if(
        events.consumption_source = 'bill',
        detection.last_billed_date,
        detection.last_heard_date
    ) as is_open,
    events.consumption_source,
    events.value_unit,
    events.is_factor_verified,
    answers.seen_on is not null as is_seen,
    answers.action,
    answers.action_owner,
    savings.saving_method,

    -- measures
    rank() over (order by events.excess_kwh_pci desc nulls last) as event_rank,
    events.anomaly_day_count,
    events.excess_day_count,
    round(events.observed_value, 3) as observed_value,
    round(events.expected_value, 3) as expected_value,
    round(events.excess_kwh, 1) as excess_kwh,
    round(events.excess_kwh_pci, 1) as excess_kwh_pci,
    round(events.excess_emissions_kgco2e, 1) as excess_emissions_kgco2e,
    round(events.excess_cost_eur, 2) as excess_cost_eur,
    detection.smallest_detectable_excess_kwh,
    coalesce(answers.answer_count, 0) as answer_count,
    answers.effect_expected_kwh,
    savings.saving_day_count,
    round(savings.saved_kwh, 1) as saved_kwh,
    round(savings.saved_kwh * events.mean_price_eur_per_kwh, 2) as saved_cost_eur,
    round(savings.saved_kwh * events.kgco2e_per_billed_kwh, 1) as saved_kgco2e,

    -- dates
    events.end_date,
    answers.seen_on,
    answers.acted_on,
    answers.closed_on

from events
left join detection using (building_id, energy)
left join savings using (building_id, energy, anomaly_kind, start_date)
left join answers
    on
        events.building_id = answers.building_id
        and events.energy = answers.energy
        and events.anomaly_kind = answers.anomaly_kind
        and events.start_date = answers.event_start_date
        and answers.is_latest
