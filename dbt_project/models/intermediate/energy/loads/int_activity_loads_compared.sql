with loads as (

    select * from {{ ref('int_activity_loads_averaged') }}

),

signatures as (

    select * from {{ ref('int_energy_signatures_fitted') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

loads_with_fit as (

    select
        loads.*,
        signatures.base_kwh_per_day * 28
        + signatures.slope_kwh_per_degree_day * loads.professional_degree_days
            as fit_kwh
    from loads
    left join signatures
        on
            loads.building_id = signatures.building_id
            and signatures.energy = 'electricity'
            and signatures.refusal_reason is null
            and signatures.base_kwh_per_day > 0

)

select
    -- keys
    loads.building_id,
    loads.day_date,

    -- measures
    loads.activity_kw as observed_kw,
    -- Colder weather excuses a rise; warmer weather accuses nobody.
    year_before.activity_kw
    * greatest(1, coalesce(loads.fit_kwh / year_before.fit_kwh, 1)) as expected_kw,
    thresholds.drift_ratio as threshold_ratio,

    -- attributes
    observed_kw >= threshold_ratio * expected_kw as is_above,

    -- dates
    loads.month_date

from loads_with_fit as loads
inner join loads_with_fit as year_before
    on
        loads.building_id = year_before.building_id
        -- 52 weeks, so that the same days of the week face each other.
        and loads.day_date = year_before.day_date + 364
cross join thresholds
where
    loads.has_load
    and loads.day_count >= thresholds.drift_day_count
    and year_before.day_count >= thresholds.drift_day_count
    -- The ratio of two small numbers says nothing.
    and year_before.activity_kw
    >= thresholds.drift_activity_share * year_before.day_load_kw
