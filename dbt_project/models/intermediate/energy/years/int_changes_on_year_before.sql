with consumptions as (

    select * from {{ ref('int_consumptions_corrected') }}

),

compared as (

    select * from {{ ref('int_consumptions_compared_with_year_before') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

)

select
    -- keys
    compared.building_id,
    compared.energy,
    compared.month_date,

    -- measures
    compared.compared_day_count,
    compared.compared_kwh,
    compared.past_kwh,
    -- On both sides as cold as the reference climate is in as many days, as the change
    -- against the reference year is.
    consumptions.reference_degree_days * compared.compared_day_count
    / extract(day from last_day(compared.month_date)) as normal_degree_days,
    compared.compared_kwh
    - consumptions.slope * (compared.compared_degree_days - normal_degree_days)
        as now_kwh,
    compared.past_kwh
    - consumptions.slope * (compared.past_degree_days - normal_degree_days) as then_kwh

from compared
cross join thresholds
inner join consumptions
    on
        compared.building_id = consumptions.building_id
        and compared.energy = consumptions.energy
        and compared.month_date = consumptions.month_date
-- A part of a month is not compared.
where
    compared.compared_day_count >= thresholds.complete_month_share
    * extract(day from last_day(compared.month_date))
