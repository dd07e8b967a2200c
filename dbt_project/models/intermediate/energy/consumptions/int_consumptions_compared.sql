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

chosen as (

    select
        days.building_id,
        days.energy,
        days.day_date,
        days.month_date,
        days.consumption_kwh,
        degree_days.professional_degree_days as degree_days,
        extract(month from days.day_date) * 100 + extract(day from days.day_date)
            as day_number
    from days
    inner join months
        on
            days.building_id = months.building_id
            and days.energy = months.energy
            and days.month_date = months.month_date
            and days.consumption_source = months.consumption_source
    left join degree_days on days.day_date = degree_days.day_date
    where days.is_known and months.month_refusal_reason is null

),

past as (

    select * from chosen
    where extract(year from day_date) = {{ reference_year() }}

)

select
    -- keys
    chosen.building_id,
    chosen.energy,
    chosen.month_date,

    -- measures
    count(*) as known_day_count,
    round(sum(chosen.consumption_kwh), 6) as known_kwh,
    round(sum(chosen.degree_days), 6) as known_degree_days,
    -- The same days of both years; a year is not compared with itself.
    count(past.day_date) as compared_day_count,
    round(sum(chosen.consumption_kwh) filter (where past.day_date is not null), 6)
        as compared_kwh,
    round(sum(past.consumption_kwh), 6) as past_kwh,
    round(sum(chosen.degree_days) filter (where past.day_date is not null), 6)
        as compared_degree_days,
    case
        when count(past.degree_days) = count(past.day_date)
            then round(sum(past.degree_days), 6)
    end as past_degree_days

from chosen
left join past
    on
        chosen.building_id = past.building_id
        and chosen.energy = past.energy
        and chosen.day_number = past.day_number
        and chosen.day_date <> past.day_date
group by chosen.building_id, chosen.energy, chosen.month_date
