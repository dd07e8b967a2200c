with degree_days as (

    select * from {{ ref('int_days_with_degree_days') }}

),

summed as (

    select
        degree_days.day_date,
        degree_days.month_date,
        round(sum(degree_days.professional_degree_days) over four_weeks, 6)
            as professional_degree_days,
        count(*) over four_weeks as day_count
    from degree_days
    window four_weeks as (
        order by degree_days.day_date
        range between interval '27' day preceding and current row
    )

)

select
    -- keys
    day_date,

    -- measures
    professional_degree_days,

    -- dates
    month_date

from summed
where day_count = 28
