with days as (

    select * from {{ ref('int_consumptions_metered_by_day') }}
    union all
    select * from {{ ref('int_consumptions_billed_by_day') }}

),

bill_days as (

    select * from {{ ref('int_bills_by_day') }}

),

degree_days as (

    select * from {{ ref('int_days_with_degree_days') }}

),

billed as (

    select
        bill_days.building_id,
        bill_days.energy,
        bill_days.day_date,
        max(bill_days.from_date) as period_date
    from bill_days
    group by bill_days.building_id, bill_days.energy, bill_days.day_date
    having not bool_or(bill_days.is_overlapped)

),

told as (

    select
        days.*,
        if(days.consumption_source = 'bill', billed.period_date, days.month_date)
            as period_date,
        degree_days.professional_degree_days
    from days
    inner join degree_days on days.day_date = degree_days.day_date
    left join billed
        on
            days.building_id = billed.building_id
            and days.energy = billed.energy
            and days.day_date = billed.day_date
    where
        days.is_known
        and (billed.period_date is not null or days.consumption_source = 'meter')
    -- What a meter knows of a day, no bill tells better.
    qualify row_number() over (
        partition by days.building_id, days.energy, days.day_date
        order by days.consumption_source desc
    ) = 1

)

select
    -- keys
    building_id,
    energy,
    day_date,

    -- attributes
    consumption_source,

    -- measures
    count(*) over period as period_day_count,
    round(sum(consumption_kwh) over period, 6) as period_kwh,
    round(sum(professional_degree_days) over period, 6) as period_degree_days,

    -- dates
    min(day_date) over period as period_from_date,
    max(day_date) over period as period_to_date,
    month_date

from told
window period as (partition by building_id, energy, consumption_source, period_date)
