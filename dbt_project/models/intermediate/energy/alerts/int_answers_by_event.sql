with answers as (

    select * from {{ ref('stg_reponses_alertes__answers') }}

),

events as (

    select * from {{ ref('int_anomalies_by_event') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

matched as (

    select
        answers.*,
        events.start_date as event_start_date
    from answers
    cross join thresholds
    -- Late data may move both ends of an event: it is the first one that lasts on the
    -- day that the answer names, or begins until it was seen, a few days of gap apart.
    left join events
        on
            answers.building_id = events.building_id
            and answers.energy = events.energy
            and answers.anomaly_kind = events.anomaly_kind
            and answers.start_date <= events.open_until_date
            and coalesce(answers.seen_on, answers.start_date)
            + cast(thresholds.event_gap_day_count as int) >= events.start_date
    qualify row_number() over (
        partition by
            answers.building_id,
            answers.energy,
            answers.anomaly_kind,
            answers.start_date
        order by events.start_date
    ) = 1

)

select
    -- keys
    building_id,
    energy,
    anomaly_kind,
    start_date,

    -- attributes
    action,
    action_owner,
    -- Of several answers to what became one event, the latest one speaks.
    event_start_date is not null and row_number() over (
        partition by building_id, energy, anomaly_kind, event_start_date
        order by coalesce(acted_on, seen_on, start_date) desc, start_date desc
    ) = 1 as is_latest,

    -- measures
    effect_expected_kwh,
    count(*) over (
        partition by building_id, energy, anomaly_kind, event_start_date
    ) as answer_count,

    -- dates
    event_start_date,
    seen_on,
    acted_on,
    closed_on

from matched
