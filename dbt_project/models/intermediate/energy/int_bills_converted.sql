with bills as (

    select * from {{ ref('stg_patrimoine_bati__bills') }}

),

energies as (

    select * from {{ ref('energies') }}

),

energy_units as (

    select * from {{ ref('energy_units') }}

)

select
    -- keys
    bills.bill_id,
    bills.building_id,

    -- attributes
    bills.energy,
    coalesce(energies.is_for_heating_only, false) as is_for_heating_only,
    case when energy_units.unit is null then 'unknown_unit' else 'billed' end
        as quality,

    -- measures
    bills.quantity * energy_units.kwh_per_unit as billed_kwh,

    -- dates
    bills.from_date,
    bills.to_date,
    bills.month_date

from bills
left join energies on bills.energy = energies.energy
left join energy_units on bills.unit = energy_units.unit
