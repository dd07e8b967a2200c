with differences as (

    select * from {{ ref('int_readings_with_difference') }}

),

indexes_frozen as (

    select * from {{ ref('int_indexes_frozen') }}

),

meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

)

select
    -- keys
    differences.meter_id,
    differences.measure_name,
    meters.building_id,

    -- attributes
    meters.energy,
    differences.flow,
    case
        when differences.difference_kwh is null then 'unknown_register'
        when indexes_frozen.meter_id is not null then 'frozen_index'
        when differences.difference_kwh < 0 then 'reset'
        -- The power is subscribed in kVA and read here as kW: the highest energy
        -- possible, and one unit, by which the index rises at once.
        when
            differences.difference_kwh
            > meters.subscribed_power_kva
            * differences.interval_hours
            * thresholds.power_tolerance_ratio
            + differences.unit_kwh
            then 'implausible'
        else 'measured'
    end as quality,

    -- measures
    differences.interval_hours,
    differences.difference_kwh,
    differences.outlier_count,

    -- dates
    indexes_frozen.since_at as frozen_since_at,
    differences.from_at,
    differences.to_at,
    differences.month_date

from differences
inner join meters on differences.meter_id = meters.meter_id
cross join thresholds
-- The rise that ends a standstill is of all of it: no one can tell its days.
left join indexes_frozen
    on
        differences.meter_id = indexes_frozen.meter_id
        and differences.from_at <= indexes_frozen.until_at
        and differences.to_at > indexes_frozen.since_at
qualify row_number() over (
    partition by differences.meter_id, differences.measure_name, differences.to_at
    order by indexes_frozen.since_at
) = 1
