with energy_by_building_month as (

    select * from {{ ref('energy_by_building_month') }}

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
    bool_and(energy_by_building_month.is_factor_verified) as is_factor_verified,

    -- measures
    count(*) as building_count,
    epci_members.municipal_population_count,
    round(sum(energy_by_building_month.consumption_kwh), 6) as consumption_kwh,
    round(
        sum(energy_by_building_month.consumption_kwh)
        / nullif(epci_members.municipal_population_count, 0), 6
    ) as consumption_kwh_per_inhabitant,
    round(sum(energy_by_building_month.produced_kwh), 6) as produced_kwh,
    round(sum(energy_by_building_month.emissions_kgco2e), 6) as emissions_kgco2e,
    round(avg(energy_by_building_month.completeness_share), 6) as completeness_share

from energy_by_building_month
inner join epci_members
    on
        energy_by_building_month.commune_code = epci_members.commune_code
        and epci_members.epci_code = {{ epci_code() }}
group by
    energy_by_building_month.commune_code,
    energy_by_building_month.month_date,
    energy_by_building_month.energy,
    epci_members.commune_name,
    epci_members.municipal_population_count
