with deliveries as (

    select * from {{ ref('int_network_deliveries_united') }}

),

expected as (

    select * from {{ ref('int_network_deliveries_expected') }}

),

delivered as (

    select
        commune_code,
        energy,
        sector_code,
        year,
        count(*) as part_count,
        count(*) filter (where is_hidden) as hidden_part_count,
        count(*) filter (where is_shared) as shared_part_count,
        count(*) filter (where is_hidden or is_shared) as unknown_part_count,
        sum(shown_kwh) as shown_kwh,
        -- The points of the parts that tell theirs are not those of the cell.
        case
            when count(*) = count(delivery_point_count)
                then cast(sum(delivery_point_count) as bigint)
        end as delivery_point_count,
        -- Heat whose content is not told weighs nothing in the mean.
        sum(shown_kwh * content_kgco2e_per_kwh)
        / nullif(sum(shown_kwh) filter (where content_kgco2e_per_kwh is not null), 0)
            as content_kgco2e_per_kwh,
        sum(shown_kwh * renewable_share)
        / nullif(sum(shown_kwh) filter (where renewable_share is not null), 0)
            as renewable_share
    from deliveries
    group by commune_code, energy, sector_code, year

)

select
    -- keys
    coalesce(expected.commune_code, delivered.commune_code) as commune_code,
    coalesce(expected.energy, delivered.energy) as energy,
    coalesce(expected.sector_code, delivered.sector_code) as sector_code,
    coalesce(expected.year, delivered.year) as year,

    -- attributes
    coalesce(delivered.hidden_part_count, 0) > 0 as is_suppressed,
    case
        when delivered.part_count is null then 'not_delivered'
        when delivered.shared_part_count > 0 then 'shared_network'
        when delivered.hidden_part_count = 0 then 'known'
        when delivered.hidden_part_count < delivered.part_count then 'partly_hidden'
        else 'hidden'
    end as delivery_status,

    -- measures
    -- The sum of what is shown of a cell with unknown parts is not the cell.
    case
        when delivered.unknown_part_count = 0 then delivered.shown_kwh
    end as delivered_kwh,
    delivered.shown_kwh,
    case
        when delivered.unknown_part_count = 0 then delivered.delivery_point_count
    end as delivery_point_count,
    (coalesce(delivered.part_count, 0) - coalesce(delivered.unknown_part_count, 0))
    / cast(coalesce(delivered.part_count, 1) as double) as known_part_share,
    delivered.content_kgco2e_per_kwh,
    delivered.renewable_share

from expected
full join delivered
    on
        expected.commune_code = delivered.commune_code
        and expected.energy = delivered.energy
        and expected.sector_code = delivered.sector_code
        and expected.year = delivered.year
