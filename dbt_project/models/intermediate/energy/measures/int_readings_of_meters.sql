with measures as (

    select * from {{ ref('int_measures_judged') }}

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
        if(measures.is_register_unknown, null, measures.measured_value)
        * measures.kwh_per_unit as index_kwh,
        measures.kwh_per_unit as unit_kwh,
        if(measures.is_register_unknown, 'consumed', measures.flow) as flow,
        false as is_declared,
        measures.read_at,
        measures.history_position
    from measures
    inner join meters on {{ is_read_by('meters', 'measures') }}
    where
        measures.is_register_unknown
        or measures.quantity = 'active_energy' and measures.set_aside_reason is null

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
    meter_id,
    measure_name,

    -- attributes
    flow,
    is_declared,

    -- measures
    index_kwh,
    unit_kwh,

    -- dates
    measured_at,
    {{ local_month('measured_at') }} as month_date

from readings
-- What the steward read on the meter wins over what the device sent then; where
-- histories overlap, the latest read wins.
qualify row_number() over (
    partition by meter_id, measure_name, measured_at
    order by is_declared desc, read_at desc, history_position asc, index_kwh desc
) = 1
