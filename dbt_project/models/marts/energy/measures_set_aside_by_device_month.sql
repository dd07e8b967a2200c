with set_aside as (

    select * from {{ ref('int_measures_set_aside') }}

),

meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

)

select
    -- keys
    set_aside.deveui,
    set_aside.meter_id,
    set_aside.measure_name,
    set_aside.set_aside_reason,
    meters.building_id,

    -- attributes
    set_aside.is_register_unknown,

    -- measures
    set_aside.measure_count,

    -- dates
    set_aside.from_at as first_measured_at,
    set_aside.to_at as last_measured_at,
    set_aside.month_date

from set_aside
left join meters on set_aside.meter_id = meters.meter_id
