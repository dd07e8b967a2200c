with bills as (
    select * from {{ ref('stg_patrimoine_bati__bills') }}
),

energy_units as (
    select * from {{ ref('energy_units') }}
    where valid_to is null
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
    bills.contract_id,
    bills.building_id,
    bills.energy,
    calendar_days.day_date,

    -- attributes
    case when energy_units.unit is null then 'unknown_unit' else 'billed' end
        as quality,
    coalesce(energy_units.is_definition, true)
    or energy_units.verified_on is not null as is_conversion_verified,
    -- Two bills of a contract on one day: a correction, which says nothing of the day.
    count(*) over contract_day > 1 as is_overlapped,
    -- Two that charge and none that takes back: one of them was issued again.
    count(case when bills.quantity > 0 then 1 end) over contract_day > 1
    and min(bills.quantity) over contract_day >= 0 as is_billed_twice,
    count(*) over (partition by bills.bill_id, calendar_days.month_date)
    < count(*) over bill as is_apportioned,

    -- measures
    bills.quantity * energy_units.kwh_per_unit as billed_kwh,
    bills.cost_excluding_tax_eur as billed_excluding_tax_eur,
    bills.cost_eur as billed_eur,
    degree_days.professional_degree_days,
    -- Known when the weather of each day is.
    case
        when count(degree_days.day_date) over bill = count(*) over bill
            then round(sum(degree_days.professional_degree_days) over bill, 6)
    end as bill_degree_days,
    count(*) over bill as bill_day_count,
    calendar_days.day_hours,

    -- dates
    bills.from_date,
    calendar_days.month_date

from bills
inner join calendar_days
    on
        bills.from_date <= calendar_days.day_date
        -- A fee or a credit that ends on the day it begins is of that day.
        and bills.to_date >= calendar_days.day_date
        and (
            bills.to_date > calendar_days.day_date
            or bills.from_date = calendar_days.day_date
        )
left join degree_days on calendar_days.day_date = degree_days.day_date
left join energy_units
    on
        bills.unit = energy_units.unit
        and bills.energy = coalesce(energy_units.energy, bills.energy)
window
    bill as (partition by bills.bill_id),
    contract_day as (partition by bills.contract_id, calendar_days.day_date)
