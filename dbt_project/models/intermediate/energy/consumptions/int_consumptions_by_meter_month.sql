with intervals as (

    select * from {{ ref('int_intervals_by_month') }}

),

successions as (

    select
        intervals.*,
        -- Registers take turns with the tariff period: an hour counts once
        -- for all of them.
        max(case when intervals.is_covering then intervals.to_at end) over (
            partition by intervals.month_date, intervals.meter_id, intervals.flow
            order by intervals.from_at, intervals.to_at, intervals.measure_name
            rows between unbounded preceding and 1 preceding
        ) as covered_until_at
    from intervals

),

coverages as (

    select
        successions.*,
        case
            when successions.is_covering
                then greatest(
                    0,
                    {{ hours_between(
                        'greatest(successions.from_at, successions.covered_until_at)',
                        'successions.to_at'
                    ) }}
                )
        end as covered_hours
    from successions

)

select
    -- keys
    coverages.meter_id,
    coverages.building_id,
    coverages.energy,
    coverages.month_date,

    -- attributes
    coalesce(bool_or(coverages.is_apportioned), false) as is_apportioned,

    -- measures
    -- Sums are rounded, so that a rebuild gives the same rows whatever the order.
    round(
        sum(coverages.consumption_kwh) filter (where coverages.flow = 'consumed'), 6
    ) as consumption_kwh,
    round(
        sum(coverages.consumption_kwh) filter (where coverages.flow = 'produced'), 6
    ) as produced_kwh,
    round(
        coalesce(
            sum(coverages.consumption_kwh) filter (
                where coverages.flow = 'consumed' and coverages.is_apportioned
            ), 0
        ), 6
    ) as apportioned_kwh,
    -- What a meter counts is not whole without a register.
    round(
        case
            when bool_or(coverages.quality = 'unknown_register') then 0
            else coalesce(
                sum(coverages.covered_hours) filter (where coverages.flow = 'consumed'),
                sum(coverages.covered_hours), 0
            )
        end, 6
    ) as covered_hours,
    cast(sum(coverages.outlier_count) as bigint) as outlier_count,
    count(*) filter (where coverages.quality = 'reset') as reset_count,
    count(*) filter (where coverages.quality = 'implausible') as implausible_count

from coverages
group by all
