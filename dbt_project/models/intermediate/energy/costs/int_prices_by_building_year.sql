with bill_days as (

    select * from {{ ref('int_bills_by_day') }}

),

shares as (

    select * from {{ ref('int_bills_shared_by_day') }}

)

select
    -- keys
    bill_days.building_id,
    bill_days.energy,
    cast(extract(year from bill_days.day_date) as bigint) as year,

    -- measures
    -- A bill and its credit note count on both sides; what is taken back for the most
    -- part, or costs nothing, tells no price.
    case
        when
            sum(bill_days.billed_eur * shares.day_share) > 0
            and sum(bill_days.billed_kwh * shares.day_share)
            >= 0.5 * sum(abs(bill_days.billed_kwh * shares.day_share))
            then round(
                sum(bill_days.billed_eur * shares.day_share)
                / nullif(sum(bill_days.billed_kwh * shares.day_share), 0), 6
            )
    end as mean_price_eur_per_kwh

from bill_days
inner join shares
    on
        bill_days.bill_id = shares.bill_id
        and bill_days.day_date = shares.day_date
where bill_days.billed_eur is not null and bill_days.billed_kwh is not null
group by
    bill_days.building_id, bill_days.energy, extract(year from bill_days.day_date)
