with meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

placed as (

    select
        meters.meter_id,
        meters.building_id,
        meters.energy,
        meters.deveui,
        calendar_days.day_date,
        calendar_days.month_date,
        calendar_days.day_hours,
        {{ hours_between(
            'greatest(meters.valid_from_at, calendar_days.day_starts_at)',
            'least(meters.valid_to_at, calendar_days.day_ends_at)'
        ) }} as expected_hours
    from meters
    inner join calendar_days
        on
            meters.valid_from_at < calendar_days.day_ends_at
            and (
                meters.valid_to_at > calendar_days.day_starts_at
                or meters.valid_to_at is null
            )

)

select
    -- keys
    placed.meter_id,
    placed.day_date,

    -- attributes
    placed.building_id,
    placed.energy,
    placed.deveui is not null as has_device,
    placed.expected_hours = placed.day_hours as is_all_day,

    -- measures
    placed.expected_hours,
    placed.day_hours,

    -- dates
    placed.month_date

from placed
