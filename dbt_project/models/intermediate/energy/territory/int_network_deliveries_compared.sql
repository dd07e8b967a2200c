with cells as (

    select * from {{ ref('int_network_deliveries_by_commune_sector') }}

),

methods as (

    select * from {{ ref('network_methods') }}
    where valid_to is null

),

cells_with_previous as (

    select
        cells.*,
        methods.method_version,
        methods.verified_on is not null as is_method_verified,
        previous.year is not null as has_previous,
        previous.delivered_kwh as previous_kwh,
        -- The first year of a method is not compared with what another one gave.
        coalesce(
            methods.from_year = cells.year
            and previous.year is not null, false
        ) as is_series_break
    from cells
    left join methods
        on
            cells.energy = methods.energy
            and cells.year >= methods.from_year
            and cells.year <= coalesce(methods.to_year, 9999)
    left join cells as previous
        on
            cells.commune_code = previous.commune_code
            and cells.energy = previous.energy
            and cells.sector_code = previous.sector_code
            and cells.year = previous.year + 1

)

select
    -- keys
    commune_code,
    energy,
    sector_code,
    year,

    -- attributes
    delivery_status,
    is_suppressed,
    method_version,
    is_method_verified,
    is_series_break,
    case
        when not has_previous then 'no_previous_year'
        when method_version is null then 'unknown_method'
        when is_series_break then 'series_break'
        when delivered_kwh is null or previous_kwh is null then 'not_known'
        when previous_kwh = 0 then 'nothing_before'
    end as change_refusal_reason,

    -- measures
    delivery_point_count,
    delivered_kwh,
    shown_kwh,
    known_part_share,
    content_kgco2e_per_kwh,
    renewable_share,
    case
        when not is_series_break and method_version is not null
            then delivered_kwh / nullif(previous_kwh, 0) - 1
    end as delivered_change_share

from cells_with_previous
