with measures as (

    select * from {{ ref('int_measures_named') }}

),

channels as (

    select * from {{ ref('int_channels_with_quantity') }}

),

-- One row per measure and channel of its name, whenever that one is valid.
candidates as (

    select
        measures.*,
        channels.channel_id,
        channels.set_aside_reason as channel_reason,
        channels.enabled_date,
        channels.disabled_date,
        -- The step of this very device on the day of the frame.
        max(
            if({{ is_within('received_at', 'enabled_date', 'disabled_date') }}, step_s, null)
        ) over (
            partition by month_date, measures.deveui, received_at, measures.measure_name
        ) as step_s
    from measures
    left join channels
        on
            measures.deveui = channels.deveui
            and measures.measure_name = channels.measure_name

),

dated as (

    select
        *,
        {{ number_of('value_text') }} as measured_value,
        received_at - history_position * coalesce(step_s, 0) * interval '1' second
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
    dated.deveui,
    dated.measure_name,
    if(dated.is_valid, dated.channel_id, null) as channel_id,
    dated.history_position,

    -- attributes
    case
        when not dated.is_sensor_declared then 'sensor_not_declared'
        when dated.channel_id is null then 'name_not_declared'
        when dated.history_position > 0 and dated.step_s is null
            then 'history_without_step'
        when not dated.is_valid then 'outside_validity'
        when dated.measured_value is null then 'unreadable_value'
        else dated.channel_reason
    end as set_aside_reason,
    if(dated.measured_value is null, dated.value_text, null) as unreadable_text,

    -- measures
    dated.measured_value,

    -- dates
    dated.measured_at,
    dated.read_at,
    dated.month_date

from dated
