-- What a year says of a building and energy is what its months say, each rounded once; emissions where it says some.
with months as (

    select
        building_id,
        energy,
        extract(year from month_date) as year_number,
        sum(consumption_kwh) as consumption_kwh,
        sum(consumption_kwh_pci) as consumption_kwh_pci,
        sum(produced_kwh) as produced_kwh,
        sum(emissions_kgco2e) as emissions_kgco2e,
        sum(billed_cost_excluding_tax_eur) as billed_cost_excluding_tax_eur,
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
    {% for column in ['consumption_kwh', 'consumption_kwh_pci', 'produced_kwh', 'billed_cost_excluding_tax_eur', 'billed_cost_eur'] -%}
    or abs(coalesce(years.{{ column }}, 0) - coalesce(months.{{ column }}, 0)) > 1
    {% endfor -%}
    or abs(years.emissions_kgco2e - months.emissions_kgco2e) > 1
