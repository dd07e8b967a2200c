with weeks as (

    select * from {{ ref('int_night_loads_by_week') }}

),

buildings as (

    select * from {{ ref('stg_patrimoine_bati__buildings') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

reference_weeks as (

    select
        weeks.building_id,
        weeks.week_date,
        past_weeks.night_load_kw,
        past_weeks.week_date < weeks.week_date - interval '300' day as is_year_before
    from weeks
    inner join buildings on weeks.building_id = buildings.building_id
    inner join weeks as past_weeks
        on
            weeks.building_id = past_weeks.building_id
            and (
                past_weeks.week_date between weeks.week_date - interval '378' day
                and weeks.week_date - interval '350' day
                -- Electric heating follows the season: only the same is a reference.
                or past_weeks.week_date between weeks.week_date - interval '84' day
                and weeks.week_date - interval '28' day
                and coalesce(buildings.heating_energy, '') <> 'electricity'
            )

),

reference_loads as (

    select
        reference_weeks.building_id,
        reference_weeks.week_date,
        reference_weeks.is_year_before,
        median(reference_weeks.night_load_kw) as night_load_kw,
        count(*) as week_count
    from reference_weeks
    group by all

)

select
    -- keys
    reference_loads.building_id,
    reference_loads.week_date,

    -- attributes
    case
        when reference_loads.is_year_before then 'same_weeks_one_year_before'
        else '4_to_12_weeks_before'
    end as reference_window,

    -- measures
    reference_loads.night_load_kw as expected_kw

from reference_loads
cross join thresholds
where reference_loads.week_count >= thresholds.night_reference_week_count
-- The same season of the year before is preferred.
qualify row_number() over (
    partition by reference_loads.building_id, reference_loads.week_date
    order by reference_loads.is_year_before desc
) = 1
