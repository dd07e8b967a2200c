with readings as (

    select * from {{ ref('int_readings_of_meters') }}

),

meters as (

    select * from {{ ref('stg_patrimoine_bati__meters') }}

),

neighbours as (

    select
        *,
        row_number() over register as place,
        max(index_kwh) over (
            partition by meter_id, measure_name order by measured_at
            rows between 3 preceding and 1 preceding
        ) as before_kwh,
        max(index_kwh) over (
            partition by meter_id, measure_name order by measured_at
            rows between 1 following and 3 following
        ) as after_kwh
    from readings
    window register as (partition by meter_id, measure_name order by measured_at)

),

intervals as (

    select
        *,
        lag(measured_at) over register as from_at,
        index_kwh - lag(index_kwh) over register as difference_kwh,
        place - lag(place) over register - 1 as outlier_count
    from neighbours
    -- A dip of at most three readings that comes back is no reading.
    where
        is_declared
        or not coalesce(index_kwh < before_kwh and after_kwh >= before_kwh, false)
    window register as (partition by meter_id, measure_name order by measured_at)

)

select
    -- keys
    meter_id,
    intervals.measure_name,
    meters.building_id,

    -- measures
    {{ hours_between('from_at', 'measured_at') }} as interval_hours,
    intervals.difference_kwh,
    intervals.unit_kwh,
    intervals.outlier_count,

    -- attributes
    meters.energy,
    intervals.flow,
    intervals.is_declared,
    case
        when intervals.difference_kwh is null then 'unknown_register'
        when intervals.difference_kwh < 0 then 'reset'
        -- The highest energy possible (kVA read as kW), and one unit of the index.
        when
            intervals.difference_kwh > interval_hours * meters.subscribed_power_kva
            * {{ threshold('power_tolerance_ratio') }} + intervals.unit_kwh
            then 'implausible'
        else 'measured'
    end as quality,

    -- dates
    intervals.from_at,
    intervals.measured_at as to_at

from intervals
inner join meters using (meter_id)
where intervals.from_at is not null
