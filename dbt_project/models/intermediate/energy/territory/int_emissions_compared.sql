with emissions as (

    select * from {{ ref('int_emissions_by_version') }}

),

targets as (

    select * from {{ ref('climate_targets') }}
    where target_code = 'territorial_emissions' and valid_to is null

),

-- One series is of one version: the latest makes all its years again.
latest as (

    select
        emissions.*,
        targets.reference_year,
        targets.target_year,
        targets.change_share as target_change_share,
        targets.verified_on is null as is_unverified,
        (emissions.year - targets.reference_year)
        / nullif(
            cast(targets.target_year - targets.reference_year as double), 0
        ) as way_share
    from emissions
    cross join targets
    where emissions.version_rank = 1

)

select
    -- keys
    latest.sector_code,
    latest.year,

    -- attributes
    latest.inventory_version,
    previous_versions.inventory_version as previous_inventory_version,
    latest.reference_year,
    latest.target_year,
    latest.is_unverified,

    -- measures
    latest.emissions_ktco2e,
    latest.all_sectors_ktco2e,
    latest.sum_of_sectors_ktco2e,
    previous_versions.emissions_ktco2e as previous_version_ktco2e,
    reference_years.emissions_ktco2e as reference_ktco2e,
    reference_years.emissions_ktco2e * (1 + latest.target_change_share)
        as target_ktco2e,
    -- A straight line between the two years: the plan gives none.
    case
        when latest.way_share between 0 and 1
            then
                reference_years.emissions_ktco2e
                * (1 + latest.target_change_share * latest.way_share)
    end as path_ktco2e

from latest
left join emissions as reference_years
    on
        latest.inventory_version = reference_years.inventory_version
        and latest.sector_code = reference_years.sector_code
        and latest.reference_year = reference_years.year
left join emissions as previous_versions
    on
        latest.version_rank = previous_versions.version_rank - 1
        and latest.sector_code = previous_versions.sector_code
        and latest.year = previous_versions.year
