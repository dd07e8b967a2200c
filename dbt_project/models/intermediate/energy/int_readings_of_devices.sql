with measures as (

    select * from {{ ref('int_measures_with_validity') }}

),

measure_natures as (

    select * from {{ ref('measure_natures') }}

),

meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

)

select
    -- keys
    meters.meter_id,
    measures.measure_name,

    -- measures
    measures.measured_value as index_kwh,

    -- dates
    measures.measured_at,
    measures.month_date

from measures
inner join measure_natures
    on
        measures.measure_nature_id = measure_natures.measure_nature_id
        and measure_natures.quantity = 'active_energy'
-- A device reads the meter that stands there at that instant: [valid from, valid to).
inner join meters
    on
        measures.deveui = meters.deveui
        and measures.measured_at >= meters.valid_from_at
        and (measures.measured_at < meters.valid_to_at or meters.valid_to_at is null)
where measures.measured_value is not null
