with months as (
    select
        *,
        row_number() over (
            partition by building_id, series_code order by month_number
        ) as place,
        count(*) over (
            partition by building_id, series_code order by month_number
            range between unbounded preceding and 25 preceding
        ) as too_old_count
    from {{ ref('int_loads_summed_by_month') }}
),

thresholds as (
    select * from {{ ref('int_energy_thresholds_pivoted') }}
),

-- What goes on now, and has for a year, is not what it is compared with: the first
-- twelve months of two years.
reference_months as (
    select
        past.*,
        months.month_date as target_month_date
    from months
    inner join months as past
        on
            months.building_id = past.building_id
            and months.series_code = past.series_code
            and past.month_number - months.month_number between -24 and -2
            and past.place - months.too_old_count <= 12
),

sums as (
    select
        building_id,
        window_code,
        day_kind,
        threshold_c,
        target_month_date as month_date,
        sum(day_count) as day_count,
        min(temperature_min_c) as temperature_min_c,
        max(temperature_max_c) as temperature_max_c,
        sum(degrees) / sum(day_count) as mean_degrees,
        sum(load_kw) / sum(day_count) as mean_kw,
        sum(degrees_squared) - sum(degrees) * sum(degrees) / sum(day_count) as sxx,
        sum(degrees_by_load) - sum(degrees) * sum(load_kw) / sum(day_count) as sxy,
        sum(load_squared) - sum(load_kw) * sum(load_kw) / sum(day_count) as syy,
        if(sxy > 0, sxy * sxy / nullif(sxx, 0), 0) as explained
    from reference_months
    group by building_id, window_code, day_kind, threshold_c, target_month_date
)

select
    -- keys
    sums.building_id,
    sums.window_code,
    sums.day_kind,
    sums.month_date,

    -- measures
    sums.threshold_c,
    round(if(
        sums.explained > thresholds.load_slope_r2 * sums.syy, sums.sxy / sums.sxx, 0
    ), 6) as slope_kw_per_c,
    round(sums.mean_kw - slope_kw_per_c * sums.mean_degrees, 6) as base_kw,
    round(sqrt(
        greatest(0, sums.syy - slope_kw_per_c * sums.sxy) / (sums.day_count - 2)
    ), 6) as noise_kw,
    sums.temperature_min_c,
    sums.temperature_max_c

from sums
cross join thresholds
where sums.day_count >= thresholds.load_reference_day_count
-- The outside temperature below which it heats is the one that explains the most.
qualify row_number() over (
    partition by sums.building_id, sums.window_code, sums.day_kind, sums.month_date
    order by round(sums.explained, 4) desc, sums.threshold_c
) = 1
