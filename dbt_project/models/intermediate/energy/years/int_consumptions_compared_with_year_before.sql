with days as (

    select * from {{ ref('int_consumptions_metered_by_day') }}
    union all
    select * from {{ ref('int_consumptions_billed_by_day') }}

),

months as (

    select * from {{ ref('int_consumptions_judged') }}

),

degree_days as (

    select * from {{ ref('int_days_with_degree_days') }}

),

-- The days that int_consumptions_compared chooses, against those of the year before.
chosen as (

    select
        days.building_id,
        days.energy,
        days.month_date,
        days.consumption_kwh,
        degree_days.professional_degree_days as degree_days,
        extract(year from days.day_date) as year_number,
        extract(month from days.day_date) as month_number,
        extract(day from days.day_date) as day_number
    from days
    inner join months
        on
            days.building_id = months.building_id
            and days.energy = months.energy
            and days.month_date = months.month_date
            and days.consumption_source = months.consumption_source
    left join degree_days on days.day_date = degree_days.day_date
    where days.is_known and months.month_refusal_reason is null

)

select
    -- keys
    chosen.building_id,
    chosen.energy,
    chosen.month_date,

    -- measures
    count(*) as compared_day_count,
    round(sum(chosen.consumption_kwh), 6) as compared_kwh,
    round(sum(past.consumption_kwh), 6) as past_kwh,
    case
        when count(chosen.degree_days) = count(*)
            then round(sum(chosen.degree_days), 6)
    end as compared_degree_days,
    case
        when count(past.degree_days) = count(*) then round(sum(past.degree_days), 6)
    end as past_degree_days

from chosen
inner join chosen as past
    on
        chosen.building_id = past.building_id
        and chosen.energy = past.energy
        and chosen.year_number = past.year_number + 1
        and chosen.month_number = past.month_number
        and chosen.day_number = past.day_number
group by chosen.building_id, chosen.energy, chosen.month_date
