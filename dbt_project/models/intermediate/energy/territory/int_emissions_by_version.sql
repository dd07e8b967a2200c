with inventory as (

    select * from {{ ref('stg_emissions_territoire__inventory') }}
    where epci_code = {{ epci_code() }}

),

sectors as (

    select * from {{ ref('territory_sectors') }}
    where producer = 'emissions_territoire' and valid_to is null

),

versions as (

    select
        inventory_version,
        max(made_date) as made_date,
        row_number() over (
            order by max(made_date) desc, inventory_version desc
        ) as version_rank
    from inventory
    group by inventory_version

),

-- Every sector of every year of a version, whether it is told or not.
expected as (

    select distinct
        inventory.inventory_version,
        inventory.year,
        sectors.sector_source_code,
        sectors.sector_code
    from inventory
    cross join sectors
    where sectors.is_expected

)

select
    -- keys
    expected.inventory_version,
    expected.sector_code,
    expected.year,

    -- attributes
    versions.version_rank,
    versions.made_date,

    -- measures
    told.emissions_tco2e / cast(1000 as double) as emissions_ktco2e,
    wholes.emissions_tco2e / cast(1000 as double) as all_sectors_ktco2e,
    sum(told.emissions_tco2e) over (
        partition by expected.inventory_version, expected.year
    ) / cast(1000 as double) as sum_of_sectors_ktco2e

from expected
inner join versions on expected.inventory_version = versions.inventory_version
left join inventory as told
    on
        expected.inventory_version = told.inventory_version
        and expected.year = told.year
        and expected.sector_source_code = told.sector_source_code
left join inventory as wholes
    on
        expected.inventory_version = wholes.inventory_version
        and expected.year = wholes.year
        and wholes.sector_source_code = 'All'
