with days as (

    select * from {{ ref('int_days_with_degree_days') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

reference_months as (

    select * from {{ reference_degree_days() }}

)

select
    -- keys
    days.month_date,

    -- measures
    round(sum(days.meteo_degree_days), 6) as meteo_degree_days,
    round(sum(days.professional_degree_days), 6) as professional_degree_days,
    max(reference_months.reference_degree_days) as reference_degree_days,
    count(*) as day_count,
    max(calendar_days.month_day_count) as expected_day_count

from days
inner join calendar_days on days.month_date = calendar_days.day_date
inner join reference_months
    on extract(month from days.month_date) = reference_months.month_number
group by days.month_date
