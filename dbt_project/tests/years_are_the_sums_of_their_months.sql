-- What a year says of a building and energy is what its months say, each rounded once.
with months as (

    select
        building_id,
        energy,
        extract(year from month_date) as year_number,
        sum(consumption_kwh_pci) as consumption_kwh_pci,
        sum(billed_cost_eur) as billed_cost_eur
    from {{ ref('energy_by_building_month') }}
    group by building_id, energy, extract(year from month_date)

)

select
    years.building_id,
    years.energy,
    years.year
from {{ ref('energy_by_building_year') }} as years
full outer join months
    on
        years.building_id = months.building_id
        and years.energy = months.energy
        and years.year = months.year_number
where
    years.building_id is null
    or months.building_id is null
    or abs(
        coalesce(years.consumption_kwh_pci, 0) - coalesce(months.consumption_kwh_pci, 0)
    ) > 1
    or abs(coalesce(years.billed_cost_eur, 0) - coalesce(months.billed_cost_eur, 0)) > 0.1
