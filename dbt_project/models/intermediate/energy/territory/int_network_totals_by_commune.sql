with cells as (

    select
        *,
        concat(commune_code, '/', energy, '/', cast(year as string))
            as total_code,
        -- The producers' totals of an energy hold what they hide of its sectors.
        cast(null as string) as disclosure_block
    from {{ ref('int_network_deliveries_by_commune_sector') }}

),

heat_deliveries as (

    select * from {{ ref('int_heat_deliveries_by_sector') }}

),

communes as (

    select * from {{ ref('int_communes_by_code') }}

),

networks as (

    select distinct
        communes.commune_code,
        heat_deliveries.energy,
        heat_deliveries.year,
        heat_deliveries.network_id,
        heat_deliveries.network_kwh
    from heat_deliveries
    inner join communes
        on heat_deliveries.source_commune_code = communes.source_commune_code

),

network_totals as (

    select
        concat(commune_code, '/', energy, '/', cast(year as string))
            as total_code,
        count(*) as network_count,
        -- What the networks that tell their total deliver is not what all do.
        case when count(network_kwh) = count(*) then sum(network_kwh) end as network_kwh
    from networks
    group by commune_code, energy, year

),

shown as (

    {{ disclosed_elsewhere('cells', 'total_code') }}

)

select
    cells.commune_code,
    cells.energy,
    cells.year,
    shown.is_suppressed as is_total_suppressed,
    case
        when not shown.is_suppressed and count(*) = count(cells.delivered_kwh)
            then
                case
                    when max(network_totals.network_count) is null
                        then sum(cells.delivered_kwh)
                    -- A total below its sectors, but for their rounding, is not theirs.
                    when
                        max(network_totals.network_kwh) >= sum(cells.delivered_kwh)
                        - 3000 * max(network_totals.network_count)
                        then max(network_totals.network_kwh)
                end
    end as commune_delivered_kwh
from cells
inner join shown on cells.total_code = shown.total_code
left join network_totals on cells.total_code = network_totals.total_code
group by cells.commune_code, cells.energy, cells.year, shown.is_suppressed
