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
        count(*) as heard_meter_count,
        row_number() over (order by heard.day_date) as day_place,
        count(*) over () as day_count
    from heard
    group by heard.day_date, heard.month_date

),

expected as (

    select
        meters.meter_id,
        meters.building_id,
        meters.energy,
        days.*,
        heard.meter_id is null as is_silent,
        coalesce(heard.is_frozen, false) as is_frozen,
        heard.still_day_count,
        days.heard_meter_count / count(*) over (partition by days.day_date)
            as heard_meter_share
    from days
    -- A meter is expected on the days on which it stands from end to end, with a device.
    inner join meters
        on
            meters.deveui is not null
            and {{ local_date('meters.valid_from_at') }} < days.day_date
            and coalesce({{ local_date('meters.valid_to_at') }}, date '9999-12-31')
            > days.day_date
    left join heard
        on meters.meter_id = heard.meter_id and days.day_date = heard.day_date

)

select
    -- keys
    expected.meter_id,
    expected.day_date,

    -- attributes
    expected.building_id,
    expected.energy,
    expected.is_frozen,
    -- One silent day is a lost frame; where most are silent the network failed. At both
    -- edges of the data nobody knows: its first day is cut, late frames are to come.
    expected.is_silent
    and (coalesce(lag(expected.is_silent) over meter, false)
    or coalesce(lead(expected.is_silent) over meter, false))
    and expected.heard_meter_share >= thresholds.reporting_share
    and expected.day_place > thresholds.edge_day_count
    and expected.day_place <= expected.day_count - thresholds.edge_day_count
        as is_missing,

    -- measures
    expected.still_day_count,

    -- dates
    expected.month_date

from expected
cross join thresholds
window meter as (partition by expected.meter_id order by expected.day_date)
