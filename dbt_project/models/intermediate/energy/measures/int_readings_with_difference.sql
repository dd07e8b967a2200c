with readings as (

    select * from {{ ref('int_readings_of_meters') }}

),

neighbours as (

    select
        *,
        row_number() over (
            partition by meter_id, measure_name order by measured_at
        ) as place,
        max(index_kwh) over (
            partition by meter_id, measure_name
            order by measured_at
            rows between 3 preceding and 1 preceding
        ) as before_kwh,
        max(index_kwh) over (
            partition by meter_id, measure_name
            order by measured_at
            rows between 1 following and 3 following
        ) as after_kwh
    from readings

),

differences as (

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
    differences.meter_id,
    differences.measure_name,

    -- attributes
    differences.flow,
    differences.is_declared,

    -- measures
    {{ hours_between('differences.from_at', 'differences.measured_at') }}
        as interval_hours,
    differences.difference_kwh,
    differences.unit_kwh,
    differences.outlier_count,

    -- dates
    differences.from_at,
    differences.measured_at as to_at,
    differences.month_date

from differences
where differences.from_at is not null
