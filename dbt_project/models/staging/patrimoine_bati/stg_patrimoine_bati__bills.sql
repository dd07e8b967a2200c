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
