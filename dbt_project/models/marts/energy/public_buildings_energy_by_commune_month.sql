with open_sums as (

    select * from {{ ref('int_open_sums_by_commune_month') }}

),

epci_members as (

    select * from {{ ref('stg_insee_cog__epci_members') }}

)

select
    -- keys
    open_sums.commune_code,
    open_sums.month_date,
    open_sums.energy,

    -- attributes
    epci_members.commune_name,
    open_sums.is_energy_known,
    open_sums.is_factor_verified,
    open_sums.is_conversion_verified,
    open_sums.is_suppressed,
    open_sums.is_injection_suppressed,

    -- measures
    open_sums.expected_building_count,
    open_sums.building_count,
    open_sums.counted_building_count,
    open_sums.waiting_building_count,
    round(
        open_sums.building_count
        / nullif(cast(open_sums.expected_building_count as double), 0), 4
    ) as covered_building_share,
    round(open_sums.completeness_share, 4) as completeness_share,
    round(open_sums.consumption_kwh, 1) as consumption_kwh,
    round(open_sums.consumption_kwh_pci, 1) as consumption_kwh_pci,
    open_sums.floor_area_m2,
    round(open_sums.consumption_kwh_pci / nullif(open_sums.floor_area_m2, 0), 2)
        as consumption_kwh_pci_per_m2,
    round(open_sums.produced_kwh, 1) as produced_kwh,
    round(open_sums.emissions_kgco2e, 1) as emissions_kgco2e

from open_sums
inner join epci_members
    on
        open_sums.commune_code = epci_members.commune_code
        and epci_members.epci_code = {{ epci_code() }}
