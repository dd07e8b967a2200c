with metered as (

    select * from {{ ref('int_consumptions_metered_by_day') }}

),

bill_periods as (

    select * from {{ ref('int_bill_periods_by_day') }}

),

degree_days as (

    select * from {{ ref('int_days_with_degree_days') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

)

select
    -- keys
    metered.building_id,
    metered.energy,
    'meter' as consumption_source,
    metered.day_date,

    -- measures
    -- The mean of the days that are read, against the weather of the same days.
    -- Sums are rounded before they are divided: a tie does not depend on their order.
    round(round(sum(metered.consumption_kwh) over period, 6) / count(*) over period, 6)
        as kwh_per_day,
    round(
        round(sum(degree_days.professional_degree_days) over period, 6)
        / count(*) over period, 6
    ) as degree_days_per_day,

    -- dates
    metered.month_date as period_date

from metered
inner join calendar_days on metered.day_date = calendar_days.day_date
inner join degree_days on metered.day_date = degree_days.day_date
where extract(year from metered.day_date) = {{ reference_year() }} and metered.is_known
window
    period as (
        partition by metered.building_id, metered.energy, metered.month_date
    )
qualify count(*) over period * 2 > calendar_days.month_day_count

union all

select
    -- keys
    bill_periods.building_id,
    bill_periods.energy,
    'bill' as consumption_source,
    bill_periods.day_date,

    -- measures
    bill_periods.kwh_per_day,
    bill_periods.degree_days_per_day,

    -- dates
    bill_periods.period_date

from bill_periods
