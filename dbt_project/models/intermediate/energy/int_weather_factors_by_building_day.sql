with signatures as (

    select * from {{ ref('int_energy_signatures_fitted') }}

),

degree_days as (

    select * from {{ ref('int_days_with_degree_days') }}

),

four_weeks as (

    select
        degree_days.day_date,
        degree_days.month_date,
        round(sum(degree_days.professional_degree_days) over last_days, 6)
            as professional_degree_days,
        count(*) over last_days as day_count
    from degree_days
    window last_days as (
        order by degree_days.day_date
        range between interval '27' day preceding and current row
    )

)

select
    -- keys
    signatures.building_id,
    four_weeks.day_date,

    -- measures
    -- The signature is monthly: 28 days take 28 / 30.4 of its constant part.
    (
        signatures.intercept_kwh * 28 / 30.4
        + signatures.slope_kwh_per_degree_day * four_weeks.professional_degree_days
    )
    / (
        signatures.intercept_kwh * 28 / 30.4
        + signatures.slope_kwh_per_degree_day * year_before.professional_degree_days
    ) as weather_factor,

    -- dates
    four_weeks.month_date

from four_weeks
inner join four_weeks as year_before
    on four_weeks.day_date = year_before.day_date + 364
cross join signatures
where
    signatures.energy = 'electricity'
    and signatures.refusal_reason is null
    and signatures.intercept_kwh > 0
    and four_weeks.day_count = 28
    and year_before.day_count = 28
