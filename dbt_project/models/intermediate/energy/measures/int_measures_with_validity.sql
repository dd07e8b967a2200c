with measures as (

    select * from {{ ref('int_measures_judged') }}

),

measure_natures as (

    select * from {{ ref('measure_natures') }}

),

measure_units as (

    select * from {{ ref('measure_units') }}

)

select
    -- keys
    measures.deveui,
    measures.measure_name,
    measures.channel_id,
    measures.measure_nature_id,
    measures.unit_id,

    -- attributes
    measure_natures.quantity,
    measure_natures.flow,
    case
        when measures.measured_value is null then 'unparsable' else 'measured'
    end as quality,
    measures.value_text,

    -- measures
    measures.measured_value,
    measure_units.kwh_per_unit,

    -- dates
    measures.measured_at,
    measures.enabled_date,
    {{ local_month('measures.measured_at') }} as month_date

from measures
left join measure_natures
    on measures.measure_nature_id = measure_natures.measure_nature_id
left join measure_units on measures.unit_id = measure_units.unit_id
where measures.set_aside_reason is null
-- One value comes in several frames when histories overlap: a readable one wins,
-- then the latest read.
qualify row_number() over (
    partition by measures.deveui, measures.measure_name, measures.measured_at
    order by
        case when measures.measured_value is null then 1 else 0 end asc,
        measures.read_at desc,
        measures.history_position asc,
        measures.frame_id desc
) = 1
