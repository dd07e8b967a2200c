with changes as (

    select * from {{ ref('int_consumptions_corrected') }}

),

compared as (

    select * from {{ ref('int_consumptions_compared') }}

),

years_before as (

    select * from {{ ref('int_changes_on_year_before') }}

),

-- A side without the other is not summed: the same months, and the same days of them.
months as (

    select
        changes.building_id,
        changes.energy,
        extract(year from changes.month_date) as year_number,
        if(changes.comparable_day_count is null, null, compared.compared_kwh)
            as compared_kwh,
        if(changes.comparable_day_count is null, null, compared.past_kwh) as past_kwh,
        changes.then_kwh + 0 * changes.now_kwh as then_kwh,
        changes.now_kwh + 0 * changes.then_kwh as now_kwh,
        years_before.compared_kwh as year_before_compared_kwh,
        years_before.past_kwh as year_before_past_kwh,
        years_before.then_kwh + 0 * years_before.now_kwh as year_before_then_kwh,
        years_before.now_kwh + 0 * years_before.then_kwh as year_before_now_kwh
    from changes
    left join compared
        using (building_id, energy, month_date)
    left join years_before
        using (building_id, energy, month_date)

)

select
    -- keys
    building_id,
    energy,
    cast(year_number as bigint) as year,

    -- measures
    count(compared_kwh) as compared_month_count,
    round(sum(compared_kwh) / nullif(sum(past_kwh), 0) - 1, 6) as change_share,
    count(now_kwh) as corrected_month_count,
    round(sum(now_kwh) / nullif(greatest(sum(then_kwh), 0), 0) - 1, 6)
        as corrected_change_share,
    count(year_before_compared_kwh) as year_before_month_count,
    round(sum(year_before_compared_kwh) / nullif(sum(year_before_past_kwh), 0) - 1, 6)
        as year_before_change_share,
    count(year_before_now_kwh) as year_before_corrected_month_count,
    round(
        sum(year_before_now_kwh)
        / nullif(greatest(sum(year_before_then_kwh), 0), 0) - 1, 6
    ) as year_before_corrected_change_share

from months
group by building_id, energy, year_number
