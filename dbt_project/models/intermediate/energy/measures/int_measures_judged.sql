with named as (

    select * from {{ ref('int_measures_named') }}

),

channels as (

    select * from {{ ref('int_channels_with_quantity') }}

),

candidates as (

    select
        *, -- noqa: RF02
        max(if(
            {{ is_within(
                'named.received_at', 'channels.enabled_date', 'channels.disabled_date'
            ) }}, channels.step_s, null
        )) over (
            partition by named.month_date, named.received_at, deveui, measure_name
        ) as frame_step_s
    from named
    left join channels using (deveui, measure_name)

),

dated as (

    select
        *,
        {{ number_of('value_text') }} as measured_value,
        received_at - history_position * coalesce(frame_step_s, 0) * interval '1' second
            as measured_at,
        {{ is_within('measured_at', 'enabled_date', 'disabled_date') }} as is_valid
    from candidates
    qualify row_number() over (
        partition by month_date, deveui, received_at, measure_name, history_position
        order by is_valid desc, enabled_date desc, channel_id asc, value_text asc
    ) = 1

)

select
    -- keys
    deveui,
    measure_name,
    history_position,

    -- attributes
    if(is_valid, quantity, null) as quantity,
    flow,
    case
        when not is_sensor_declared then 'sensor_not_declared'
        when channel_id is null then 'name_not_declared'
        when history_position > 0 and frame_step_s is null then 'history_without_step'
        when not is_valid then 'outside_validity'
        when measured_value is null then 'unreadable_value'
        else channel_reason
    end as set_aside_reason,
    if(measured_value is null, value_text, null) as unreadable_text,
    coalesce(
        set_aside_reason in ('name_not_declared', 'nature_not_known', 'unit_not_known')
        and (measure_name like '%EAP_s' or is_withdrawn), false
    ) as is_register_unknown,

    -- measures
    kwh_per_unit,
    measured_value,

    -- dates
    measured_at,
    read_at,
    month_date

from dated
-- Rows of one measure that follow each other take half the room.
order by deveui, measure_name, measured_at
