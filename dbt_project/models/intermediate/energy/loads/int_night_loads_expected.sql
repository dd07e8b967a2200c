with loads as (

    select * from {{ ref('int_loads_by_building_day') }}

),

buildings as (

    select * from {{ ref('stg_patrimoine_bati__buildings') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

weeks as (

    select
        loads.building_id,
        cast(date_trunc('week', loads.day_date) as date) as week_date,
        median(loads.night_load_kw) as night_load_kw
    from loads
    where loads.night_load_kw is not null
    group by all

),

reference_weeks as (

    select
        weeks.building_id,
        weeks.week_date,
        past_weeks.night_load_kw,
        past_weeks.week_date < weeks.week_date - interval '300' day as is_year_before
    from weeks
    inner join buildings on weeks.building_id = buildings.building_id
    inner join weeks as past_weeks on weeks.building_id = past_weeks.building_id
    where
        past_weeks.week_date between weeks.week_date - interval '378' day
        and weeks.week_date - interval '350' day
        -- Electric heating follows the season: only the same is a reference.
        or past_weeks.week_date between weeks.week_date - interval '84' day
        and weeks.week_date - interval '28' day
        and coalesce(buildings.heating_energy, '') <> 'electricity'

)

select
    -- keys
    reference_weeks.building_id,
    reference_weeks.week_date,

    -- attributes
    case
        when reference_weeks.is_year_before then 'same_weeks_one_year_before'
        else '4_to_12_weeks_before'
    end as reference_window,

    -- measures
    median(reference_weeks.night_load_kw) as expected_kw

from reference_weeks
cross join thresholds
group by
    reference_weeks.building_id,
    reference_weeks.week_date,
    reference_weeks.is_year_before
having count(*) >= max(thresholds.night_reference_week_count)
-- The same season of the year before is preferred.
qualify row_number() over (
    partition by reference_weeks.building_id, reference_weeks.week_date
    order by reference_weeks.is_year_before desc
) = 1
