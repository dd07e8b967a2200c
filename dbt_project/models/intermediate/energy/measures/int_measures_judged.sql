with measures as (

    select * from {{ ref('int_measures_dated') }}

),

sensors as (

    select * from {{ ref('stg_lora_batiments__sensors') }}

),

measure_information as (

    select * from {{ ref('stg_lora_batiments__measure_information') }}

),

declared_names as (

    select distinct
        measure_information.deveui,
        measure_information.measure_name
    from measure_information

)

select
    -- keys
    measures.frame_id,
    measures.deveui,
    measures.measure_name,
    measures.history_position,
    measure_information.channel_id,
    measure_information.measure_nature_id,
    measure_information.unit_id,

    -- attributes
    measures.value_text,
    case
        when sensors.deveui is null then 'sensor_not_declared'
        when declared_names.deveui is null then 'name_not_declared'
        when not measures.is_dated then 'history_without_step'
        when measure_information.deveui is null then 'outside_validity'
    end as set_aside_reason,

    -- measures
    measures.measured_value,

    -- dates
    measures.measured_at,
    measure_information.enabled_date,
    measures.read_at,
    measures.month_date

from measures
left join sensors on measures.deveui = sensors.deveui
left join declared_names
    on
        measures.deveui = declared_names.deveui
        and measures.measure_name = declared_names.measure_name
-- Valid from the first day on, and no more on the last: [enabled, disabled).
left join measure_information
    on
        measures.deveui = measure_information.deveui
        and measures.measure_name = measure_information.measure_name
        and {{ local_date('measures.measured_at') }} >= measure_information.enabled_date
        and {{ local_date('measures.measured_at') }}
        < coalesce(measure_information.disabled_date, date '9999-12-31')
qualify row_number() over (
    partition by
        measures.month_date,
        measures.frame_id,
        measures.measure_name,
        measures.history_position
    order by
        measure_information.enabled_date desc nulls last,
        measure_information.channel_id asc
) = 1
