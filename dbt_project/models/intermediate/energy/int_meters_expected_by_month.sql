with meter_months as (

    select * from {{ ref('int_consumptions_by_meter_month') }}

),

meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

),

calendar_months as (

    select * from {{ ref('int_calendar_months') }}

),

building_months as (

    select distinct
        meter_months.building_id,
        meter_months.energy,
        meter_months.month_date
    from meter_months

)

select
    -- keys
    building_months.building_id,
    building_months.energy,
    building_months.month_date,
    meters.meter_id,

    -- measures
    {{ hours_between(
        'greatest(meters.valid_from_at, calendar_months.starts_at)',
        'least(meters.valid_to_at, calendar_months.ends_at)'
    ) }} as expected_hours

from building_months
inner join calendar_months on building_months.month_date = calendar_months.month_date
-- A silent meter counts as well: its hours are missing.
inner join meters
    on
        building_months.building_id = meters.building_id
        and building_months.energy = meters.energy
        and calendar_months.ends_at > meters.valid_from_at
        and (
            calendar_months.starts_at < meters.valid_to_at or meters.valid_to_at is null
        )
