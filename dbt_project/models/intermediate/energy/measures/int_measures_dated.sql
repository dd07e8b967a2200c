with measures as (

    select * from {{ ref('int_measures_named') }}

),

measure_information as (

    select * from {{ ref('stg_lora_batiments__measure_information') }}

),

steps as (

    select
        measures.*,
        measure_information.step_s
    from measures
    -- The step is that of this device on the day of the frame, never that of a
    -- namesake.
    left join measure_information
        on
            measures.deveui = measure_information.deveui
            and measures.measure_name = measure_information.measure_name
            and {{ local_date('measures.received_at') }}
            >= measure_information.enabled_date
            and (
                {{ local_date('measures.received_at') }}
                < measure_information.disabled_date
                or measure_information.disabled_date is null
            )
    qualify row_number() over (
        partition by
            measures.month_date,
            measures.frame_id,
            measures.measure_name,
            measures.history_position
        order by measure_information.channel_id nulls last, measures.value_text
    ) = 1

)

select
    -- keys
    steps.frame_id,
    steps.deveui,
    steps.measure_name,
    steps.history_position,

    -- attributes
    steps.value_text,
    steps.history_position = 0 or steps.step_s is not null as is_dated,

    -- measures
    try_cast(
        replace(
            nullif(
                regexp_extract(
                    replace(replace(steps.value_text, ' ', ''), ' ', ''),
                    '^[^0-9.,+-]*([+-]?[0-9]*[.,]?[0-9]+([eE][+-]?[0-9]+)?)'
                    || '([a-zA-Z°µ%][a-zA-Z°µ%/23]*)?$',
                    1
                ),
                ''
            ),
            ',', '.'
        ) as double
    ) as measured_value,

    -- dates
    steps.received_at
    - steps.history_position
    * coalesce(steps.step_s, 0)
    * interval '1' second as measured_at,
    steps.read_at,
    steps.month_date

from steps
