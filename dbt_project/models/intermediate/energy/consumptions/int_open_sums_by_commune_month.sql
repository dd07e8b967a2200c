with open_figures as (
    select * from {{ ref('open_figures_by_building_month') }}
),

months as (
    select * from {{ ref('energy_by_building_month') }}
),

energies as (
    select * from {{ ref('energies') }}
    where valid_to is null
),

figures as (
    select
        open_figures.*,
        months.completeness_share,
        months.is_energy_known,
        months.is_factor_verified,
        months.is_conversion_verified,
        months.consumption_kwh as known_kwh,
        months.factor_kgco2e_per_kwh as factor,
        open_figures.flow = 'consumption' as is_consumption,
        open_figures.flow = 'consumption' and open_figures.is_present as is_expected,
        open_figures.flow = 'consumption' and not open_figures.is_suppressed
        and open_figures.counted_kwh is not null as is_shown,
        open_figures.counted_kwh / nullif(energies.pcs_per_pci, 0) as counted_kwh_pci,
        case
            when months.consumption_kwh_pci_per_m2 is not null then months.floor_area_m2
        end as area_m2
    from open_figures
    left join months
        on
            open_figures.building_id = months.building_id
            and open_figures.month_date = months.month_date
            and open_figures.energy = months.energy
    left join energies on open_figures.energy = energies.energy
)

select
    -- keys
    commune_code,
    month_date,
    energy,

    -- attributes
    bool_and(is_energy_known) filter (where is_expected) as is_energy_known,
    bool_and(is_factor_verified) filter (where is_expected) as is_factor_verified,
    bool_and(is_conversion_verified) filter (where is_expected)
        as is_conversion_verified,
    bool_or(is_consumption and is_suppressed) as is_suppressed,
    bool_or(not is_consumption and is_suppressed) as is_injection_suppressed,

    -- measures
    count(*) filter (where is_expected) as expected_building_count,
    count(known_kwh) filter (where is_expected) as building_count,
    count(*) filter (where is_shown) as counted_building_count,
    count(*) filter (where is_consumption and is_waiting) as waiting_building_count,
    round(avg(completeness_share) filter (where is_expected), 6) as completeness_share,
    round(sum(counted_kwh) filter (where is_shown), 6) as consumption_kwh,
    round(sum(counted_kwh_pci) filter (where is_shown), 6) as consumption_kwh_pci,
    round(sum(counted_kwh) filter (where not is_consumption and not is_suppressed), 6)
        as produced_kwh,
    -- Of fewer buildings than the consumption, these would tell that of the others.
    case
        when count(area_m2) filter (where is_shown) = count(*) filter (where is_shown)
            then sum(area_m2) filter (where is_shown)
    end as floor_area_m2,
    case
        when
            count(factor) filter (where is_shown) = count(*) filter (where is_shown)
            and min(factor) filter (where is_shown)
            = max(factor) filter (where is_shown)
            then round(sum(counted_kwh_pci * factor) filter (where is_shown), 6)
    end as emissions_kgco2e

from figures
group by commune_code, month_date, energy
having count(*) filter (where is_expected) > 0
