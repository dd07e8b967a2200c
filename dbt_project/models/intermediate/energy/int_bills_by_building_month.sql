with bills as (

    select * from {{ ref('int_bills_apportioned') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

months as (

    select
        calendar_days.month_date,
        cast(count(*) as double) as day_count
    from calendar_days
    group by calendar_days.month_date

)

select
    -- keys
    bills.building_id,
    bills.energy,
    bills.month_date,

    -- attributes
    case
        when min(bills.apportionment_method) = max(bills.apportionment_method)
            then min(bills.apportionment_method)
        else 'mixed'
    end as apportionment_method,
    bool_or(bills.billed_day_count < bills.bill_day_count) as is_apportioned,

    -- measures
    round(sum(bills.consumption_kwh), 6) as consumption_kwh,
    round(
        coalesce(
            sum(bills.consumption_kwh) filter (
                where bills.billed_day_count < bills.bill_day_count
            ), 0
        ), 6
    ) as apportioned_kwh,
    least(
        1,
        coalesce(
            sum(bills.billed_day_count) filter (
                where bills.consumption_kwh is not null
            ),
            0
        )
        / max(months.day_count)
    ) as completeness_share

from bills
inner join months on bills.month_date = months.month_date
group by bills.building_id, bills.energy, bills.month_date
