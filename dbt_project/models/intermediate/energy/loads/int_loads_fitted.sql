with months as (

    select * from {{ ref('int_loads_summed_by_month') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

-- The first twelve of the months from two years to two months before: what goes on now,
-- and has for a year, is not what it is compared with.
reference_months as (

    select
        past.*,
        months.month_date as target_month_date
    from months
    inner join months as past
        on
            months.building_id = past.building_id
            and months.window_code = past.window_code
            and months.day_kind = past.day_kind
            and months.threshold_c = past.threshold_c
            and past.month_number between months.month_number - 24
            and months.month_number - 2
    qualify row_number() over (
        partition by
            months.building_id,
            months.window_code,
            months.day_kind,
            months.threshold_c,
            months.month_date
        order by past.month_number
    ) <= 12

),

sums as (

    select
        building_id,
        window_code,
        day_kind,
        target_month_date as month_date,
        threshold_c,
        sum(day_count) as day_count,
        sum(cold_day_count) as cold_day_count,
        min(temperature_min_c) as temperature_min_c,
        max(temperature_max_c) as temperature_max_c,
        sum(degrees) / sum(day_count) as degrees,
        sum(load_kw) / sum(day_count) as load_kw,
        sum(degrees_squared) - sum(degrees) * sum(degrees) / sum(day_count) as sxx,
        sum(degrees_by_load) - sum(degrees) * sum(load_kw) / sum(day_count) as sxy,
        sum(load_squared) - sum(load_kw) * sum(load_kw) / sum(day_count) as syy
    from reference_months
    group by all

),

fits as (

    select
        sums.*,
        case
            when
                sums.cold_day_count >= thresholds.load_cold_day_count
                and sums.sxy > 0
                and sums.sxy * sums.sxy
                >= thresholds.load_slope_r2 * sums.sxx * sums.syy
                then sums.sxy / nullif(sums.sxx, 0)
            else 0
        end as slope_kw_per_c
    from sums
    cross join thresholds
    where sums.day_count >= thresholds.load_reference_day_count

)

select
    -- keys
    building_id,
    window_code,
    day_kind,
    month_date,

    -- measures
    round(load_kw - slope_kw_per_c * degrees, 6) as base_kw,
    round(slope_kw_per_c, 6) as slope_kw_per_c,
    threshold_c,
    round(sqrt(greatest(0, syy - slope_kw_per_c * sxy) / (day_count - 2)), 6)
        as noise_kw,
    temperature_min_c,
    temperature_max_c,
    day_count

from fits
-- The outside temperature below which it heats is the one that leaves the least.
qualify row_number() over (
    partition by building_id, window_code, day_kind, month_date
    order by round(syy - slope_kw_per_c * sxy, 6), threshold_c
) = 1
