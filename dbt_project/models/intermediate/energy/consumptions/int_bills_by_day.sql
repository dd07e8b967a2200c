with bills as (

    select * from {{ ref('stg_patrimoine_bati__bills') }}

),

energies as (

    select * from {{ ref('energies') }}

),

energy_units as (

    select * from {{ ref('energy_units') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

degree_days as (

    select * from {{ ref('int_days_with_degree_days') }}

)

select
    -- keys
    bills.bill_id,
    bills.building_id,
    calendar_days.day_date,

    -- attributes
    bills.energy,
    case when energy_units.unit is null then 'unknown_unit' else 'billed' end
        as quality,
    -- Heat follows the weather, when it was cold and the weather of each day is known.
    coalesce(energies.is_for_heating_only, false)
    and count(degree_days.day_date) over bill = count(*) over bill
    and sum(degree_days.professional_degree_days) over bill > 0 as is_by_degree_days,

    -- measures
    bills.quantity * energy_units.kwh_per_unit as billed_kwh,
    degree_days.professional_degree_days,
    round(sum(degree_days.professional_degree_days) over bill, 6) as bill_degree_days,
    count(*) over bill as bill_day_count,

    -- dates
    calendar_days.month_date

from bills
inner join calendar_days
    on
        bills.from_date <= calendar_days.day_date
        and bills.to_date > calendar_days.day_date
left join degree_days on calendar_days.day_date = degree_days.day_date
left join energies on bills.energy = energies.energy
left join energy_units on bills.unit = energy_units.unit
window bill as (partition by bills.bill_id)
