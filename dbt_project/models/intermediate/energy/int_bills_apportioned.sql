with bill_days as (

    select * from {{ ref('int_bills_by_day') }}

)

select
    -- keys
    bill_days.bill_id,
    bill_days.building_id,
    bill_days.energy,
    bill_days.month_date,

    -- attributes
    case when bill_days.is_by_degree_days then 'degree_days' else 'time' end
        as apportionment_method,

    -- measures
    round(
        sum(
            bill_days.billed_kwh * case
                when bill_days.is_by_degree_days
                    then bill_days.professional_degree_days / bill_days.bill_degree_days
                else cast(1 as double) / bill_days.bill_day_count
            end
        ), 6
    ) as consumption_kwh,
    count(*) as billed_day_count,
    max(bill_days.bill_day_count) as bill_day_count

from bill_days
group by all
