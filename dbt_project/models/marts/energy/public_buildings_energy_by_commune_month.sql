with energy_by_building_month as (

    select * from {{ ref('energy_by_building_month') }}

),

operators as (

    select * from {{ ref('building_operators') }}
    where valid_to is null

),

epci_members as (

    select * from {{ ref('stg_insee_cog__epci_members') }}

)

select
    -- keys
    energy_by_building_month.commune_code,
    energy_by_building_month.month_date,
    energy_by_building_month.energy,

    -- attributes
    epci_members.commune_name,
    bool_and(energy_by_building_month.is_energy_known) as is_energy_known,
    bool_and(energy_by_building_month.is_factor_verified) as is_factor_verified,
    bool_and(energy_by_building_month.is_conversion_verified) as is_conversion_verified,

    -- measures
    count(*) as expected_building_count,
    count(energy_by_building_month.consumption_kwh) as building_count,
    round(
        count(energy_by_building_month.consumption_kwh)
        / nullif(cast(count(*) as double), 0), 4
    ) as covered_building_share,
    round(avg(energy_by_building_month.completeness_share), 4) as completeness_share,
    round(sum(energy_by_building_month.consumption_kwh), 1) as consumption_kwh,
    round(sum(energy_by_building_month.consumption_kwh_pci), 1) as consumption_kwh_pci,
    -- Of the buildings whose consumption and area are both known.
    sum(energy_by_building_month.floor_area_m2) filter (
        where energy_by_building_month.consumption_kwh_pci_per_m2 is not null
    ) as floor_area_m2,
    round(
        sum(energy_by_building_month.consumption_kwh_pci) filter (
            where energy_by_building_month.consumption_kwh_pci_per_m2 is not null
        ) / nullif(sum(energy_by_building_month.floor_area_m2) filter (
            where energy_by_building_month.consumption_kwh_pci_per_m2 is not null
        ), 0), 2
    ) as consumption_kwh_pci_per_m2,
    round(sum(energy_by_building_month.produced_kwh), 1) as produced_kwh,
    round(sum(energy_by_building_month.emissions_kgco2e), 1) as emissions_kgco2e

from energy_by_building_month
-- No enterprise and no household: public bodies, of which the steward lets be shown.
inner join operators
    on energy_by_building_month.operator = operators.operator and operators.is_public
inner join epci_members
    on
        energy_by_building_month.commune_code = epci_members.commune_code
        and epci_members.epci_code = {{ epci_code() }}
where energy_by_building_month.is_publishable
group by
    energy_by_building_month.commune_code,
    energy_by_building_month.month_date,
    energy_by_building_month.energy,
    epci_members.commune_name
