with bill_days as (

    select * from {{ ref('int_bills_by_day') }}

),

calendar_days as (

    select * from {{ ref('int_calendar_days') }}

),

bill_months as (

    select
        bill_days.bill_id,
        bill_days.building_id,
        bill_days.energy,
        bill_days.month_date,
        case when bill_days.is_by_degree_days then 'degree_days' else 'time' end
            as apportionment_method,
        count(*) as billed_day_count,
        count(*) < max(bill_days.bill_day_count) as is_apportioned,
        round(
            sum(
                bill_days.billed_kwh * case
                    when bill_days.is_by_degree_days
                        then
                            bill_days.professional_degree_days
                            / bill_days.bill_degree_days
                    else cast(1 as double) / bill_days.bill_day_count
                end
            ), 6
        ) as consumption_kwh
    from bill_days
    group by all

)

select
    -- keys
    bill_months.building_id,
    bill_months.energy,
    bill_months.month_date,

    -- attributes
    case
        when count(distinct bill_months.apportionment_method) > 1 then 'mixed'
        else min(bill_months.apportionment_method)
    end as apportionment_method,
    bool_or(bill_months.is_apportioned) as is_apportioned,

    -- measures
    round(sum(bill_months.consumption_kwh), 6) as consumption_kwh,
    round(
        coalesce(
            sum(bill_months.consumption_kwh) filter (where bill_months.is_apportioned),
            0
        ), 6
    ) as apportioned_kwh,
    least(
        1,
        coalesce(
            sum(bill_months.billed_day_count) filter (
                where bill_months.consumption_kwh is not null
            ), 0
        ) / cast(max(calendar_days.month_day_count) as double)
    ) as completeness_share

from bill_months
inner join calendar_days on bill_months.month_date = calendar_days.day_date
group by bill_months.building_id, bill_months.energy, bill_months.month_date
