with loads as (

    select * from {{ ref('int_loads_judged') }}

),

margins as (

    select
        loads.building_id,
        loads.window_code,
        avg(
            if(
                loads.window_code = 'night',
                loads.threshold_kw - loads.expected_kw,
                loads.drift_threshold_kw - loads.mean_expected_kw
            )
        ) as margin_kw
    from loads
    where loads.window_code in ('night', 'core')
    group by loads.building_id, loads.window_code

)

select
    -- keys
    building_id,

    -- measures
    -- What lasts day and night is told by the window that tells it first.
    round(24 * min(margin_kw), 1) as smallest_detectable_excess_kwh

from margins
group by building_id
