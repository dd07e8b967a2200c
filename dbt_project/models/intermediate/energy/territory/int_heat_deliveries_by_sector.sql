with networks as (

    select * from {{ ref('stg_reseaux_chaleur__networks') }}

),

sectors as (

    select * from {{ ref('territory_sectors') }}
    where producer = 'reseaux_chaleur'

),

-- A network of several communes cannot be shared between them: it has no row here.
networks_with_rest as (

    select
        *,
        case
            when network_id like '%F' then 'cold_network' else 'heat_network'
        end as energy,
        -- What the total holds beyond the sectors told, but for their rounding.
        delivered_mwh
        - coalesce(residential_mwh, 0)
        - coalesce(tertiary_mwh, 0)
        - coalesce(industry_mwh, 0)
        - coalesce(agriculture_mwh, 0)
        - coalesce(other_mwh, 0) > 3 as has_hidden_sector
    from networks
    where commune_codes is not null and commune_codes not like '%,%'

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
        end as shown_kwh
    from networks_with_rest
    cross join sectors

)

select
    -- keys
    deliveries.network_id,
    deliveries.commune_codes as source_commune_code,
    deliveries.energy,
    deliveries.sector_code,
    deliveries.year,

    -- attributes
    deliveries.shown_kwh is null as is_hidden,

    -- measures
    deliveries.shown_kwh,
    1000 * deliveries.delivered_mwh as network_kwh,
    deliveries.content_kgco2e_per_kwh,
    deliveries.renewable_share

from deliveries
-- A sector without a figure is none, unless the total says that some are hidden.
where deliveries.shown_kwh is not null or deliveries.has_hidden_sector
