with intervals as (

    select * from {{ ref('int_intervals_judged') }}

),

degree_days as (

    select * from {{ ref('int_days_with_degree_days') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

runs as (

    select
        *,
        sum(if(difference_kwh = 0, 0, 1)) over own as run_number,
        sum(greatest(if(flow = 'consumed', difference_kwh, 0), 0)) over own as used_kwh,
        min(from_at) over (partition by meter_id) as first_at
    from intervals
    window own as (partition by meter_id order by to_at)

),

still as (

    select
        meter_id,
        energy,
        -- What the steward read on the meter itself, unchanged, is true.
        coalesce(max(if(is_declared and difference_kwh = 0, to_at, null)), min(to_at))
            as since_at,
        max(to_at) as until_at,
        {{ hours_between('min(first_at)', 'min(to_at)') }} as used_hours,
        max(used_kwh) as used_kwh,
        max(unit_kwh) as unit_kwh
    from runs
    group by meter_id, energy, run_number

)

select
    -- keys
    still.meter_id,

    -- dates
    still.since_at,
    still.until_at

from still
cross join thresholds
-- Heat may truly rest: only the cold days between both ends speak against it.
left join degree_days
    on
        thresholds.frozen_degree_days <= degree_days.professional_degree_days
        and degree_days.day_date > {{ local_date('still.since_at') }}
        and degree_days.day_date < {{ local_date('still.until_at') }}
where
    {{ hours_between('since_at', 'until_at') }} >= 24 * thresholds.frozen_day_count
    -- At its own pace it would have moved by so many units.
    and {{ hours_between('since_at', 'until_at') }}
    * still.used_kwh / nullif(still.used_hours, 0)
    >= thresholds.frozen_unit_count * still.unit_kwh
group by still.meter_id, still.since_at, still.until_at, still.energy
having
    still.energy = 'electricity'
    or count(degree_days.day_date) >= max(thresholds.frozen_day_count)
