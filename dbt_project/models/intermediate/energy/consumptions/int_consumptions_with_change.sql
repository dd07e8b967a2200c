with consumptions as (

    select * from {{ ref('int_consumptions_with_signature') }}

),

compared as (

    select * from {{ ref('int_consumptions_compared') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

comparable as (

    select
        consumptions.building_id,
        consumptions.energy,
        consumptions.month_date,
        consumptions.base_kwh_per_day as base,
        consumptions.reference_degree_days
        / extract(day from last_day(consumptions.month_date)) as degree_days_per_day,
        case
            when consumptions.correction_refusal_reason is null
                then consumptions.slope_kwh_per_degree_day
        end as slope,
        -- A part of a month is not compared.
        case
            when
                compared.compared_day_count >= thresholds.complete_month_share
                * extract(day from last_day(consumptions.month_date))
                then compared.compared_day_count
        end as day_count,
        compared.known_day_count,
        compared.known_kwh,
        compared.known_degree_days,
        compared.compared_kwh,
        compared.compared_degree_days,
        compared.past_kwh,
        compared.past_degree_days
    from consumptions
    cross join thresholds
    left join compared
        on
            consumptions.building_id = compared.building_id
            and consumptions.energy = compared.energy
            and consumptions.month_date = compared.month_date

)

select
    -- keys
    building_id,
    energy,
    month_date,

    -- measures
    case
        when slope is not null
            then base * known_day_count + slope * known_degree_days
    end as expected_kwh,
    expected_kwh - known_kwh as avoided_kwh,
    day_count as compared_day_count,
    case
        when day_count is not null
            then round(compared_kwh / nullif(past_kwh, 0) - 1, 6)
    end as change_share,
    -- On both sides as cold as the reference climate is in as many days.
    compared_kwh
    - slope * (compared_degree_days - degree_days_per_day * day_count) as now_kwh,
    past_kwh
    - slope * (past_degree_days - degree_days_per_day * day_count) as then_kwh,
    round(now_kwh / nullif(greatest(then_kwh, 0), 0) - 1, 6) as corrected_change_share

from comparable
