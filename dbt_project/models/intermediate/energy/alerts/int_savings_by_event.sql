with answers as (
    select * from {{ ref('int_answers_by_event') }}
),

days as (
    select * from {{ ref('int_days_compared') }}
),

thresholds as (
    select * from {{ ref('int_energy_thresholds_pivoted') }}
),

sides as (

    select
        answers.building_id,
        answers.energy,
        answers.anomaly_kind,
        answers.event_start_date as start_date,
        answers.acted_on,
        days.comparison_method,
        count(*) filter (where days.to_date < answers.acted_on) as before_day_count,
        sum(days.excess_kwh) filter (where days.to_date < answers.acted_on)
            as before_kwh,
        sum(days.excess_weight) filter (where days.to_date < answers.acted_on)
            as before_weight,
        count(*) filter (where days.from_date >= answers.acted_on) as after_day_count,
        sum(days.excess_kwh) filter (where days.from_date >= answers.acted_on)
            as after_kwh,
        sum(days.excess_weight) filter (where days.from_date >= answers.acted_on)
            as after_weight
    from answers
    cross join thresholds
    -- A bill across the day of the action speaks for neither side of it.
    inner join days
        on
            answers.building_id = days.building_id
            and answers.energy = days.energy
            and if(answers.anomaly_kind = 'heating_excess', 'signature', 'load_model')
            = days.comparison_method
            and answers.event_start_date <= days.to_date
            and answers.acted_on + cast(thresholds.saving_day_count as int)
            > days.from_date
    where
        answers.is_latest
        and answers.anomaly_kind in ('night_base_load', 'drift', 'heating_excess')
    group by all

)

select
    -- keys
    sides.building_id,
    sides.energy,
    sides.anomaly_kind,
    sides.start_date,

    -- attributes
    sides.comparison_method as saving_method,

    -- measures
    sides.after_day_count as saving_day_count,
    -- The excess that would have gone on, less the one that is left.
    round(
        sides.before_kwh / sides.before_weight * sides.after_weight - sides.after_kwh, 6
    ) as saved_kwh

from sides
cross join thresholds
where
    sides.before_day_count >= thresholds.saving_known_day_count
    and sides.after_day_count >= thresholds.saving_known_day_count
    and sides.before_weight > 0
-- What alerts that overlap saved is the same: the one that began first tells it.
qualify not coalesce(max(sides.acted_on) over (
    partition by sides.building_id, sides.energy
    order by sides.start_date, sides.comparison_method, sides.anomaly_kind
    rows between unbounded preceding and 1 preceding
) > sides.start_date, false)
