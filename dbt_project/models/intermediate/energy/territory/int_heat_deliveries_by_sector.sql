with networks as (

    select * from {{ ref('stg_reseaux_chaleur__networks') }}

),

sectors as (

    select * from {{ ref('territory_sectors') }}
    where producer = 'reseaux_chaleur' and valid_to is null

),

communes as (

    select * from {{ ref('int_communes_by_code') }}

),

-- A network of several communes cannot be shared: each has its rows, no figure.
networks_with_rest as (

    select
        networks.*,
        communes.source_commune_code,
        networks.commune_codes like '%,%' as is_shared,
        case when networks.network_id like '%F' then 'cold' else 'heat' end as kind,
        -- What the total holds beyond the sectors told, but for their rounding.
        coalesce(
            networks.delivered_mwh
            - coalesce(networks.residential_mwh, 0) - coalesce(networks.tertiary_mwh, 0)
            - coalesce(networks.industry_mwh, 0) - coalesce(networks.agriculture_mwh, 0)
            - coalesce(networks.other_mwh, 0) > 3, true
        ) as has_hidden_sector
    from networks
    inner join communes
        on
            concat(',', replace(networks.commune_codes, ' ', ''), ',')
            like concat('%,', communes.source_commune_code, ',%')

),

deliveries as (

    select
        networks_with_rest.*,
        sectors.sector_code,
        1000 * case sectors.sector_source_code
            when 'residentiel' then networks_with_rest.residential_mwh
            when 'tertiaire' then networks_with_rest.tertiary_mwh
            when 'industrie' then networks_with_rest.industry_mwh
            when 'agriculture' then networks_with_rest.agriculture_mwh
            when 'autre' then networks_with_rest.other_mwh
        end as told_kwh
    from networks_with_rest
    cross join sectors

)

select
    -- keys
    deliveries.network_id,
    deliveries.source_commune_code,
    concat(deliveries.kind, '_network') as energy,
    deliveries.sector_code,
    deliveries.year,

    -- attributes
    deliveries.told_kwh is null and not deliveries.is_shared as is_hidden,
    deliveries.is_shared,

    -- measures
    case when not deliveries.is_shared then deliveries.told_kwh end as shown_kwh,
    1000 * deliveries.delivered_mwh as network_kwh,
    deliveries.content_kgco2e_per_kwh,
    deliveries.renewable_share

from deliveries
-- A sector without a figure is none, unless the total says that some are hidden.
where deliveries.told_kwh is not null or deliveries.has_hidden_sector
