with meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

),

heard as (

    select * from {{ ref('int_meters_heard_by_day') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

days as (

    select
        heard.day_date,
        heard.month_date,
        count(*) as heard_count,
        row_number() over (order by heard.day_date) as day_place,
        count(*) over () as day_count
    from heard
    group by heard.day_date, heard.month_date

),

expected as (

    select
        meters.*,
        days.*,
        heard.meter_id is null as is_silent,
        coalesce(heard.is_frozen, false) as is_frozen,
        heard.still_day_count,
        heard.still_alarm_day_count,
        days.day_place > thresholds.edge_day_count
        and days.day_place <= days.day_count - thresholds.edge_day_count
        and days.heard_count
        >= thresholds.reporting_share * count(*) over (partition by days.day_date)
            as is_known
    from days
    cross join thresholds
    -- A meter is expected on days on which it stands from end to end, with a device.
    inner join meters
        on
            meters.deveui is not null
            and days.day_date > {{ local_date('meters.valid_from_at') }}
            and coalesce(days.day_date < {{ local_date('meters.valid_to_at') }}, true)
    left join heard
        on meters.meter_id = heard.meter_id and days.day_date = heard.day_date

)

select
    -- keys
    meter_id,
    day_date,

    -- attributes
    building_id,
    energy,
    is_frozen,
    is_known and is_silent and (
        lag(is_silent, 1, false) over meter or lead(is_silent, 1, false) over meter
    ) as is_missing,

    -- measures
    still_day_count,
    still_alarm_day_count,

    -- dates
    month_date

from expected
window meter as (partition by meter_id order by day_date)
