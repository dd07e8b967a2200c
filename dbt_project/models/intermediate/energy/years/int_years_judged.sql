with years as (

    select * from {{ ref('int_consumptions_by_building_year') }}

),

months as (

    select * from {{ ref('int_consumptions_by_building_month') }}

),

edges as (

    select
        min(months.first_known_date) as first_date,
        max(months.last_known_date) as last_date
    from months

),

buildings as (

    select * from {{ ref('stg_patrimoine_bati__buildings') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

)

select
    -- keys
    years.building_id,
    years.energy,
    years.year,
    buildings.commune_code,

    -- attributes
    buildings.building_name,
    buildings.building_use,
    case
        -- The data of all begin or end within it.
        when
            edges.first_date is null
            or edges.first_date > make_date(cast(years.year as int), 1, 1)
            or edges.last_date < make_date(cast(years.year as int), 12, 31)
            then 'open'
        -- The building, or its supply, came or left.
        when years.month_count < 12 then 'partial'
        -- Twelve months that each lack a little lack much together.
        when
            years.complete_month_count < 12
            or years.completeness_share < thresholds.known_day_share
            then 'incomplete'
        else 'whole'
    end as year_state,

    -- measures
    buildings.floor_area_m2,
    -- What is not a whole year gives no ratio of a year, nor does one billed in part.
    case
        when year_state = 'whole'
            then years.consumption_kwh_pci / nullif(buildings.floor_area_m2, 0)
    end as yearly_kwh_pci_per_m2,
    case
        when
            year_state = 'whole'
            and years.cost_completeness_share >= thresholds.known_day_share
            then years.billed_cost_eur / nullif(buildings.floor_area_m2, 0)
    end as yearly_cost_eur_per_m2

from years
cross join edges
cross join thresholds
left join buildings on years.building_id = buildings.building_id
