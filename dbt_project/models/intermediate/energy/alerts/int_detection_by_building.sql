with loads as (

    select * from {{ ref('int_loads_judged') }}

),

periods as (

    select * from {{ ref('int_periods_compared') }}

),

meters as (

    select * from {{ ref('int_meters_judged_by_day') }}

),

told as (

    select
        building_id,
        'electricity' as energy,
        24 * avg(
            if(
                window_code = 'night',
                threshold_kw - expected_kw,
                drift_threshold_kw - mean_expected_kw
            )
        ) as margin_kwh,
        null as last_billed_date,
        null as last_heard_date
    from loads
    where window_code in ('night', 'core')
    group by building_id, window_code

    union all

    select
        building_id,
        energy,
        avg(threshold_kwh_per_day - expected_kwh_per_day) as margin_kwh,
        max(if(consumption_source = 'bill', day_date, null)) as last_billed_date,
        null as last_heard_date
    from periods
    group by building_id, energy

    union all

    select
        building_id,
        energy,
        null as margin_kwh,
        null as last_billed_date,
        max(day_date) as last_heard_date
    from meters
    group by building_id, energy

)

select
    -- keys
    building_id,
    energy,

    -- measures
    -- What lasts day and night is told by the rule that tells it first.
    round(min(margin_kwh), 1) as smallest_detectable_excess_kwh,

    -- dates
    max(last_billed_date) as last_billed_date,
    -- Of any meter: what falls silent is open until another is heard without it.
    max(max(last_heard_date)) over () as last_heard_date

from told
group by building_id, energy
