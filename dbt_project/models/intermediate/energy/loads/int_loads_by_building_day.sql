with meter_days as (

    select * from {{ ref('int_loads_by_meter_day') }}

),

expected_meters as (

    select * from {{ ref('int_meters_judged_by_day') }}

),

windows as (

    select * from {{ ref('int_windows_with_weather') }}

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
        expected_meters.building_id,
        expected_meters.day_date,
        count(*) as meter_count
    from expected_meters
    where expected_meters.energy = 'electricity'
    group by expected_meters.building_id, expected_meters.day_date
    having not bool_or(expected_meters.is_still)

)

select
    -- keys
    loads.building_id,
    loads.day_date,
    loads.window_code,
    windows.day_kind,

    -- measures
    loads.load_kw,
    windows.temperature_c,

    -- dates
    loads.month_date

from loads
inner join expected
    on
        loads.building_id = expected.building_id
        and loads.day_date = expected.day_date
        and loads.meter_count >= expected.meter_count
inner join windows
    on
        loads.day_date = windows.day_date
        and loads.window_code = windows.window_code
