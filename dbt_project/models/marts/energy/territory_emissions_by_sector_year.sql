with emissions as (

    select * from {{ ref('int_emissions_compared') }}

)

select
    -- keys
    sector_code,
    year,

    -- attributes
    inventory_version,
    previous_inventory_version,
    cast(reference_year as string) as reference_year_label,
    cast(target_year as string) as target_year_label,
    -- The sum of the sectors is what the producer tells of all, but for rounding.
    coalesce(
        abs(sum_of_sectors_ktco2e - all_sectors_ktco2e) <= 0.005 * all_sectors_ktco2e,
        false
    ) as is_reconciled,
    is_unverified,

    -- measures
    round(emissions_ktco2e, 2) as emissions_ktco2e,
    round(reference_ktco2e, 2) as reference_ktco2e,
    round(target_ktco2e, 2) as target_ktco2e,
    round(path_ktco2e, 2) as indicative_path_ktco2e,
    round(emissions_ktco2e - target_ktco2e, 2) as gap_to_target_ktco2e,
    round(emissions_ktco2e - path_ktco2e, 2) as gap_to_indicative_path_ktco2e,
    round(
        emissions_ktco2e / nullif(reference_ktco2e, 0) - 1, 4
    ) as since_reference_share,
    round(previous_version_ktco2e, 2) as previous_version_ktco2e,
    cast(case when emissions_ktco2e is null then 0 else 1 end as double)
        as inventory_completeness_share

from emissions
