with measures as (

    select * from {{ ref('int_measures_with_meter') }}

),

declared_indexes as (

    select * from {{ ref('stg_patrimoine_bati__declared_indexes') }}

),

readings as (

    select
        measures.meter_id,
        measures.measure_name,
        measures.measured_at,
        case
            when not measures.is_register_unknown
                then measures.measured_value * measures.kwh_per_unit
        end as index_kwh,
        measures.kwh_per_unit as unit_kwh,
        if(measures.is_register_unknown, 'consumed', measures.flow) as flow,
        false as is_declared,
        measures.read_at,
        measures.history_position
    from measures
    where
        measures.meter_id is not null and (
            measures.is_register_unknown
            or measures.quantity = 'active_energy'
            and measures.set_aside_reason is null
        )

    union all

    select
        declared_indexes.meter_id,
        declared_indexes.measure_name,
        declared_indexes.measured_at,
        declared_indexes.index_kwh,
        1 as unit_kwh,
        if(declared_indexes.measure_name like '%EAP_i', 'produced', 'consumed') as flow,
        true as is_declared,
        declared_indexes.measured_at as read_at,
        0 as history_position
    from declared_indexes
    where declared_indexes.index_kwh is not null

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
    readings.unit_kwh,

    -- dates
    readings.measured_at,
    {{ local_month('readings.measured_at') }} as month_date

from readings
-- What the steward read on the meter wins over what the device sent then; where
-- histories overlap, the latest read wins.
qualify row_number() over (
    partition by readings.meter_id, readings.measure_name, readings.measured_at
    order by
        readings.is_declared desc,
        readings.read_at desc,
        readings.history_position asc,
        readings.index_kwh desc
) = 1
