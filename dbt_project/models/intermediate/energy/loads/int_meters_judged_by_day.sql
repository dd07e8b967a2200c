with meters as (

    select * from {{ ref('int_meters_expected_by_day') }}

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
        heard.meter_id is null as is_silent,
        coalesce(heard.is_still, false) as is_still,
        heard.still_day_count,
        heard.still_alarm_day_count,
        days.day_place > thresholds.edge_day_count
        and days.day_place <= days.day_count - thresholds.edge_day_count
        and days.heard_count
        >= thresholds.reporting_share * count(*) over (partition by days.day_date)
            as is_known
    from days
    cross join thresholds
    -- Silence says nothing on the days on which a meter is put in place or removed.
    inner join meters
        on
            days.day_date = meters.day_date
            and days.month_date = meters.month_date
            and meters.has_device
            and meters.is_all_day
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
    is_still,
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
