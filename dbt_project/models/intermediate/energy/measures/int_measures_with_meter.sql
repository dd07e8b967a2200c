with measures as (

    select * from {{ ref('int_measures_judged') }}

),

channels as (

    select * from {{ ref('int_channels_with_quantity') }}

),

meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

)

select
    -- keys
    measures.deveui,
    measures.measure_name,
    measures.history_position,
    meters.meter_id,

    -- attributes
    channels.quantity,
    channels.flow,
    measures.set_aside_reason,
    -- Not known, and of energy withdrawn by its name, or by its unit: what its meter
    -- counts is not whole without it.
    coalesce(
        measures.set_aside_reason
        in ('name_not_declared', 'nature_not_known', 'unit_not_known')
        and (
            measures.measure_name like '%EAP_s'
            or coalesce(channels.flow = 'consumed', channels.kwh_per_unit is not null)
        ), false
    ) as is_register_unknown,

    -- measures
    channels.kwh_per_unit,
    measures.measured_value,

    -- dates
    measures.measured_at,
    measures.read_at,
    {{ local_month('measures.measured_at') }} as month_date

from measures
left join channels on measures.channel_id = channels.channel_id
-- A device reads the meter that stands there: [from, to).
left join meters
    on
        measures.deveui = meters.deveui
        and measures.measured_at >= meters.valid_from_at
        and coalesce(measures.measured_at < meters.valid_to_at, true)
