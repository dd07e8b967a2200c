with meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

),

readings as (

    select * from {{ ref('int_readings_by_meter_day') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

reporting as (

    select distinct
        readings.meter_id,
        readings.day_date,
        readings.month_date
    from readings
    where readings.is_reported

),

days as (

    select
        reporting.day_date,
        reporting.month_date,
        count(*) as reporting_count
    from reporting
    group by reporting.day_date, reporting.month_date
    -- The last day has not ended: a meter that is late on it is not missing.
    qualify reporting.day_date < max(reporting.day_date) over ()

),

expected as (

    select
        meters.building_id,
        days.day_date,
        days.month_date,
        reporting.meter_id,
        days.reporting_count / count(*) over (partition by days.day_date) as heard_share
    from days
    inner join meters
        on
            meters.deveui is not null
            and {{ local_date('meters.valid_from_at') }} < days.day_date
            and coalesce({{ local_date('meters.valid_to_at') }}, date '9999-12-31')
            > days.day_date
    left join reporting
        on meters.meter_id = reporting.meter_id and days.day_date = reporting.day_date

)

select
    -- keys
    expected.building_id,
    expected.day_date,

    -- measures
    count(expected.meter_id) as reporting_meter_count,
    count(*) as expected_meter_count,

    -- dates
    expected.month_date

from expected
cross join thresholds
-- When most meters are silent the network failed, not the meter.
where expected.heard_share >= thresholds.reporting_share
group by expected.building_id, expected.day_date, expected.month_date
having count(expected.meter_id) < count(*)
