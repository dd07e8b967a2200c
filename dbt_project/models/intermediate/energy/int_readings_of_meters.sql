with device_readings as (

    select * from {{ ref('int_readings_of_devices') }}

),

declared_indexes as (

    select * from {{ ref('stg_patrimoine_bati__declared_indexes') }}

),

readings as (

    select
        device_readings.meter_id,
        device_readings.measure_name,
        device_readings.measured_at,
        device_readings.index_kwh,
        false as is_declared,
        device_readings.month_date
    from device_readings

    union all

    select
        declared_indexes.meter_id,
        declared_indexes.measure_name,
        declared_indexes.measured_at,
        declared_indexes.index_kwh,
        true as is_declared,
        {{ local_month('declared_indexes.measured_at') }} as month_date
    from declared_indexes
    where declared_indexes.index_kwh is not null

)

select
    -- keys
    readings.meter_id,
    readings.measure_name,

    -- attributes
    case when readings.measure_name like '%EAP_i' then 'produced' else 'consumed' end
        as flow,
    readings.is_declared,

    -- measures
    readings.index_kwh,

    -- dates
    readings.measured_at,
    readings.month_date

from readings
-- What the steward read on the meter wins over what the device sent at the same
-- instant.
qualify row_number() over (
    partition by
        readings.month_date,
        readings.meter_id,
        readings.measure_name,
        readings.measured_at
    order by readings.is_declared desc, readings.index_kwh desc
) = 1
