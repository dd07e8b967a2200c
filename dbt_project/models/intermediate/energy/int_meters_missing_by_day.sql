with meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

),

reporting as (

    select * from {{ ref('int_meters_reporting_by_day') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

days as (

    select
        reporting.day_date,
        reporting.month_date,
        count(*) as reporting_count
    from reporting
    -- The last day has not ended: a meter that is late on it is not missing.
    where
        reporting.day_date
        < (select max(all_days.day_date) from reporting as all_days)
    group by reporting.day_date, reporting.month_date

),

expected as (

    select
        meters.meter_id,
        meters.building_id,
        days.day_date,
        days.month_date,
        days.reporting_count,
        count(*) over (partition by days.day_date) as expected_count,
        count(reporting.meter_id) over (
            partition by meters.building_id, days.day_date
        ) as building_reporting_count,
        count(*) over (partition by meters.building_id, days.day_date)
            as building_expected_count,
        reporting.meter_id is null as is_missing
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
    max(expected.building_reporting_count) as reporting_meter_count,
    max(expected.building_expected_count) as expected_meter_count,
    max(thresholds.reporting_share) as network_threshold_share,

    -- dates
    expected.month_date

from expected
cross join thresholds
-- When most meters are silent the network failed, not the meter.
where
    expected.is_missing
    and expected.reporting_count >= thresholds.reporting_share * expected.expected_count
group by all
