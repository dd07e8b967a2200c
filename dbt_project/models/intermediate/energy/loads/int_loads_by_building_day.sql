with meter_days as (

    select * from {{ ref('int_loads_by_meter_day') }}

),

meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

loads as (

    select
        meter_days.building_id,
        meter_days.day_date,
        meter_days.month_date,
        meter_days.window_code,
        count(*) as meter_count,
        round(sum(meter_days.consumption_kwh / meter_days.covered_hours), 6) as load_kw
    from meter_days
    cross join thresholds
    where
        meter_days.covered_hours > 0
        and meter_days.covered_hours
        >= thresholds.load_window_share * meter_days.window_hours
    group by all

),

expected as (

    select
        loads.building_id,
        loads.day_date,
        loads.window_code,
        count(*) as meter_count
    from loads
    inner join meters
        on
            loads.building_id = meters.building_id
            and meters.energy = 'electricity'
            and meters.deveui is not null
            and {{ local_date('meters.valid_from_at') }} < loads.day_date
            and coalesce({{ local_date('meters.valid_to_at') }}, date '9999-12-31')
            > loads.day_date
    group by all

)

select
    -- keys
    loads.building_id,
    loads.day_date,

    -- measures
    max(loads.load_kw) filter (where loads.window_code = 'day') as day_load_kw,
    max(loads.load_kw) filter (where loads.window_code = 'night') as night_load_kw,
    max(loads.load_kw) filter (where loads.window_code = 'core') as core_load_kw,

    -- dates
    loads.month_date

from loads
-- A day on which a meter is missing is not compared with days on which it is there.
inner join expected
    on
        loads.building_id = expected.building_id
        and loads.day_date = expected.day_date
        and loads.window_code = expected.window_code
        and loads.meter_count >= expected.meter_count
group by all
