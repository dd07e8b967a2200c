with intervals as (

    select * from {{ ref('int_intervals_by_month') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

covering as (

    select
        intervals.*,
        intervals.consumption_kwh is not null
        and intervals.interval_hours <= thresholds.covered_interval_hours as is_covering
    from intervals
    cross join thresholds

),

successions as (

    select
        covering.*,
        -- Registers take turns with the tariff period: an hour counts once
        -- for all of them.
        max(case when covering.is_covering then covering.to_at end) over (
            partition by covering.month_date, covering.meter_id, covering.flow
            order by covering.from_at, covering.to_at, covering.measure_name
            rows between unbounded preceding and 1 preceding
        ) as covered_until_at
    from covering

)

select
    -- keys
    successions.meter_id,
    successions.measure_name,
    successions.building_id,

    -- attributes
    successions.energy,
    successions.flow,
    successions.quality,
    successions.is_apportioned,

    -- measures
    successions.consumption_kwh,
    case
        when successions.is_covering
            then greatest(
                0,
                {{ hours_between(
                    'greatest(successions.from_at, successions.covered_until_at)',
                    'successions.to_at'
                ) }}
            )
    end as covered_hours,

    -- dates
    successions.from_at,
    successions.to_at,
    successions.month_date

from successions
