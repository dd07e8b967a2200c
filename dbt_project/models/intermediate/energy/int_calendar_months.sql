with months as (

    select
        make_date(
            cast(years.year_number as int), cast(months.month_number as int), 1
        ) as month_date
    from range(2010, 2051) as years (year_number)
    cross join range(1, 13) as months (month_number)

),

instants as (

    select
        months.month_date,
        {{ instant_of('months.month_date') }} as starts_at,
        {{ instant_of("months.month_date + interval '1' month") }} as ends_at
    from months

)

select
    -- keys
    instants.month_date,

    -- measures
    {{ hours_between('instants.starts_at', 'instants.ends_at') }} as hour_count,

    -- dates
    instants.starts_at,
    instants.ends_at

from instants
