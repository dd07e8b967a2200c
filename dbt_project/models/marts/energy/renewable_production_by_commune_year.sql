with productions as (

    select * from {{ ref('int_productions_by_commune') }}

),

totals as (

    select * from {{ ref('int_network_totals_by_commune') }}
    where energy = 'electricity'

),

methods as (

    select * from {{ ref('network_methods') }}
    where energy = 'electricity' and valid_to is null

),

communes as (

    select * from {{ ref('int_communes_by_code') }}
    where source_commune_code = commune_code

)

select
    -- keys
    productions.commune_code,
    productions.technology,
    productions.year,

    -- attributes
    communes.commune_name,
    productions.is_suppressed,
    methods.method_version as consumption_method_version,
    case
        when productions.injected_kwh is null and productions.is_suppressed
            then 'production_hidden'
        when productions.injected_kwh is null then 'production_not_told'
        when totals.year is null or methods.method_version is null
            then 'no_consumption'
        when totals.commune_delivered_kwh is null then 'consumption_hidden'
    end as share_refusal_reason,

    -- measures
    productions.installation_count,
    round(productions.installed_kw, 1) as installed_kw,
    round(productions.injected_kwh, 0) as injected_kwh,
    round(totals.commune_delivered_kwh, 0) as commune_electricity_kwh,
    round(
        productions.injected_kwh / nullif(totals.commune_delivered_kwh, 0), 4
    ) as share_of_network_electricity,
    round(productions.known_share, 4) as production_completeness_share

from productions
inner join communes on productions.commune_code = communes.commune_code
left join totals
    on
        productions.commune_code = totals.commune_code
        and productions.year = totals.year
left join methods
    on
        productions.year >= methods.from_year
        and productions.year <= coalesce(methods.to_year, 9999)
