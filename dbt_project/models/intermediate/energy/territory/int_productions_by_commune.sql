with installations as (

    select * from {{ ref('stg_production_renouvelable__installations') }}

),

technologies as (

    select * from {{ ref('renewable_technologies') }}
    where is_renewable and valid_to is null

),

communes as (

    select * from {{ ref('int_communes_by_code') }}

),

produced as (

    select
        communes.commune_code,
        technologies.technology,
        installations.year,
        cast(sum(installations.installation_count) as bigint) as installation_count,
        sum(installations.installed_kw) as installed_kw,
        sum(installations.injected_kwh) as injected_kwh,
        sum(installations.register_row_count) as register_row_count,
        sum(installations.known_row_count) as known_row_count
    from installations
    inner join technologies
        on installations.technology_source_code = technologies.technology_source_code
    inner join communes on installations.commune_code = communes.source_commune_code
    group by communes.commune_code, technologies.technology, installations.year

),

years as (

    select distinct year from installations

),

expected as (

    select
        communes.commune_code,
        technologies.technology,
        years.year
    from communes
    cross join technologies
    cross join years
    where
        technologies.is_expected
        and communes.source_commune_code = communes.commune_code

)

select
    coalesce(expected.commune_code, produced.commune_code) as commune_code,
    coalesce(expected.technology, produced.technology) as technology,
    coalesce(expected.year, produced.year) as year,
    coalesce(produced.known_row_count < produced.register_row_count, false)
        as is_suppressed,
    produced.installation_count,
    produced.installed_kw,
    -- A sum of those that tell their energy is not the energy of all.
    case
        when produced.known_row_count = produced.register_row_count
            then produced.injected_kwh
    end as injected_kwh,
    coalesce(produced.known_row_count, 0)
    / nullif(cast(coalesce(produced.register_row_count, 1) as double), 0) as known_share
from expected
full join produced
    on
        expected.commune_code = produced.commune_code
        and expected.technology = produced.technology
        and expected.year = produced.year
