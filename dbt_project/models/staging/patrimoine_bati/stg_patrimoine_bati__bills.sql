with bills as (

    select * from {{ source('patrimoine_bati', 'bills') }}

)

select
    -- keys
    bills.bill_id,
    bills.building_id,
    -- Without a contract, the bills of a building and energy are those of one.
    coalesce(
        nullif(trim(bills.contract_id), ''),
        concat(bills.building_id, ':', trim(bills.energy))
    ) as contract_id,

    -- attributes
    trim(bills.energy) as energy,
    trim(bills.unit) as unit,

    -- measures
    bills.quantity,
    -- A cost is known when the amount and its tax both are, in euros.
    case
        when upper(coalesce(nullif(trim(bills.currency), ''), 'EUR')) = 'EUR'
            then bills.amount_excluding_tax + bills.tax_amount
    end as cost_eur,
    case when cost_eur is not null then bills.amount_excluding_tax end
        as cost_excluding_tax_eur,
    bills.subscribed_power_kva,
    bills.highest_power_kva,

    -- dates
    bills.from_date,
    bills.to_date,
    bills.updated_at,
    cast(date_trunc('month', bills.from_date) as date) as month_date

from bills
qualify row_number() over (
    partition by bills.bill_id
    order by bills._read_at desc, bills._load_id desc, bills._file desc, bills._row desc
) = 1
