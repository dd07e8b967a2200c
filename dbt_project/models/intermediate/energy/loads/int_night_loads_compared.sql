with loads as (

    select * from {{ ref('int_loads_by_building_day') }}

),

expected_loads as (

    select * from {{ ref('int_night_loads_expected') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

compared as (

    select
        loads.building_id,
        loads.day_date,
        loads.month_date,
        loads.night_load_kw,
        expected_loads.expected_kw,
        expected_loads.reference_window,
        loads.night_load_kw >= thresholds.night_load_ratio * expected_loads.expected_kw
        and loads.night_load_kw - expected_loads.expected_kw
        >= thresholds.night_load_excess_kw as is_above
    from loads
    inner join expected_loads
        on
            loads.building_id = expected_loads.building_id
            and date_trunc('week', loads.day_date) = expected_loads.week_date
    cross join thresholds
    where loads.night_load_kw is not null

),

persisted as (

    select
        compared.*,
        sum(case when compared.is_above then 1 else 0 end) over (
            partition by compared.building_id
            order by compared.day_date
            rows between 6 preceding and current row
        ) as above_night_count
    from compared

)

select
    -- keys
    persisted.building_id,
    persisted.day_date,

    -- attributes
    persisted.is_above
    and persisted.above_night_count >= thresholds.night_persistence_count as is_anomaly,
    persisted.reference_window,

    -- measures
    persisted.night_load_kw,
    persisted.expected_kw,
    persisted.above_night_count,
    thresholds.night_load_ratio as threshold_ratio,

    -- dates
    persisted.month_date

from persisted
cross join thresholds
