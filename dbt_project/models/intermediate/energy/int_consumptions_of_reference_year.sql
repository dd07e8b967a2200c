with consumptions as (

    select * from {{ ref('int_consumptions_united') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

)

select
    -- keys
    consumptions.building_id,
    consumptions.energy,
    extract(month from consumptions.month_date) as month_number,

    -- measures
    consumptions.consumption_kwh as reference_year_kwh

from consumptions
cross join thresholds
where
    extract(year from consumptions.month_date) = {{ reference_year() }}
    and consumptions.completeness_share >= thresholds.complete_month_share
