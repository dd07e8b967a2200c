with readings as (

    select * from {{ ref('int_readings_with_previous') }}

),

meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

differences as (

    select
        readings.*,
        meters.building_id,
        meters.energy,
        meters.subscribed_power_kva,
        readings.to_index_kwh - readings.from_index_kwh as difference_kwh,
        {{ hours_between('readings.from_at', 'readings.to_at') }} as interval_hours
    from readings
    inner join meters on readings.meter_id = meters.meter_id
    where readings.from_at is not null

),

judged as (

    select
        differences.*,
        case
            when differences.difference_kwh < 0 then 'reset'
            -- The power is subscribed in kVA and read here as kW: the
            -- highest energy possible.
            when
                differences.difference_kwh
                > differences.subscribed_power_kva
                * differences.interval_hours
                * thresholds.power_tolerance_ratio
                then 'implausible'
            else 'measured'
        end as quality
    from differences
    cross join thresholds

)

select
    -- keys
    judged.meter_id,
    judged.measure_name,
    judged.building_id,

    -- attributes
    judged.energy,
    judged.flow,
    judged.quality,

    -- measures
    judged.interval_hours,
    judged.difference_kwh,
    case when judged.quality = 'measured' then judged.difference_kwh end
        as consumption_kwh,

    -- dates
    judged.from_at,
    judged.to_at,
    judged.month_date

from judged
