-- An open sum is that of the figures that count in it; where no building waits, it is that of all that is known of its buildings.
with open_sums as (

    select * from {{ ref('public_buildings_energy_by_commune_month') }}

),

parts as (

    select
        figures.commune_code,
        figures.month_date,
        figures.energy,
        sum(figures.counted_kwh) filter (where figures.flow = 'consumption') as counted_kwh,
        sum(months.consumption_kwh) filter (where figures.flow = 'consumption') as consumption_kwh,
        sum(months.consumption_kwh_pci) filter (where figures.flow = 'consumption') as consumption_kwh_pci,
        sum(figures.counted_kwh) filter (where figures.flow = 'injection') as produced_kwh,
        sum(months.emissions_kgco2e) filter (where figures.flow = 'consumption') as emissions_kgco2e
    from {{ ref('open_figures_by_building_month') }} as figures
    left join {{ ref('energy_by_building_month') }} as months
        on
            figures.building_id = months.building_id
            and figures.month_date = months.month_date
            and figures.energy = months.energy
            and figures.counted_kwh is not null
    group by figures.commune_code, figures.month_date, figures.energy

)

select
    open_sums.commune_code,
    open_sums.month_date,
    open_sums.energy
from open_sums
inner join parts
    on
        open_sums.commune_code = parts.commune_code
        and open_sums.month_date = parts.month_date
        and open_sums.energy = parts.energy
where
    -- Each figure was rounded once.
    abs(open_sums.consumption_kwh - parts.counted_kwh) > 0.1
    or abs(open_sums.produced_kwh - parts.produced_kwh) > 0.1
    or (open_sums.is_suppressed and coalesce(open_sums.consumption_kwh, open_sums.emissions_kgco2e) is not null)
    or (open_sums.is_injection_suppressed and open_sums.produced_kwh is not null)
    or open_sums.waiting_building_count = 0
    and (
        abs(open_sums.consumption_kwh - parts.consumption_kwh) > 0.1
        or abs(open_sums.consumption_kwh_pci - parts.consumption_kwh_pci) > 0.1 * open_sums.building_count
        or abs(open_sums.emissions_kgco2e - parts.emissions_kgco2e) > 0.1 * open_sums.building_count
    )
