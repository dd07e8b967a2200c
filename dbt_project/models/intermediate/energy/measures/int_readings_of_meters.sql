with measures as (

    select * from {{ ref('int_measures_with_validity') }}

),

meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

),

declared_indexes as (

    select * from {{ ref('stg_patrimoine_bati__declared_indexes') }}

),

readings as (

    select
        meters.meter_id,
        measures.measure_name,
        measures.measured_at,
        measures.measured_value * measures.kwh_per_unit as index_kwh,
        measures.flow,
        false as is_declared,
        measures.month_date
    from measures
    -- A device reads the meter that stands there: [from, to).
    inner join meters
        on
            measures.deveui = meters.deveui
            and measures.measured_at >= meters.valid_from_at
            and coalesce(measures.measured_at < meters.valid_to_at, true)
    where measures.quantity = 'active_energy'

    union all

    select
        declared_indexes.meter_id,
        declared_indexes.measure_name,
        declared_indexes.measured_at,
        declared_indexes.index_kwh,
        if(declared_indexes.measure_name like '%EAP_i', 'produced', 'consumed') as flow,
        true as is_declared,
        {{ local_month('declared_indexes.measured_at') }} as month_date
    from declared_indexes

)

select
    -- keys
    readings.meter_id,
    readings.measure_name,

    -- attributes
    readings.flow,
    readings.is_declared,

    -- measures
    readings.index_kwh,

    -- dates
    readings.measured_at,
    readings.month_date

from readings
where readings.index_kwh is not null
-- What the steward read on the meter wins over what the device sent then.
qualify row_number() over (
    partition by
        readings.month_date,
        readings.meter_id,
        readings.measure_name,
        readings.measured_at
    order by readings.is_declared desc, readings.index_kwh desc
) = 1
