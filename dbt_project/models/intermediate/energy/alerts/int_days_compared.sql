with loads as (

    select * from {{ ref('int_loads_judged') }}

),

periods as (

    select * from {{ ref('int_periods_compared') }}

)

select
    -- keys
    loads.building_id,
    'electricity' as energy,
    loads.day_date,
    'load_model' as comparison_method,

    -- measures
    24 * (loads.load_kw - loads.expected_kw) as excess_kwh,
    -- An excess of load goes on by the day, one of heating by the degree-day.
    cast(1 as double) as excess_weight,

    -- dates
    loads.day_date as from_date,
    loads.day_date as to_date,
    loads.month_date

from loads
where loads.window_code = 'day'

union all

select
    -- keys
    periods.building_id,
    periods.energy,
    periods.day_date,
    'signature' as comparison_method,

    -- measures
    periods.kwh_per_day - periods.expected_kwh_per_day as excess_kwh,
    periods.degree_days_per_day as excess_weight,

    -- dates
    periods.period_from_date as from_date,
    periods.period_to_date as to_date,
    periods.month_date

from periods
