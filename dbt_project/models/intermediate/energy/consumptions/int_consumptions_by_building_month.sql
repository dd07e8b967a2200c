with source_months as (

    select * from {{ ref('int_consumptions_by_source_month') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

)

select
    -- keys
    source_months.building_id,
    source_months.energy,
    source_months.month_date,

    -- attributes
    source_months.consumption_source,
    source_months.apportionment_method,
    source_months.is_apportioned,
    source_months.is_conversion_verified,

    -- measures
    source_months.consumption_kwh,
    max(source_months.produced_kwh) over sources as produced_kwh,
    source_months.apportioned_kwh,
    source_months.completeness_share,
    max(source_months.reset_count) over sources as reset_count,
    max(source_months.outlier_count) over sources as outlier_count,
    max(source_months.implausible_count) over sources as implausible_count,

    -- dates
    source_months.first_known_date,
    source_months.last_known_date

from source_months
cross join thresholds
window
    sources as (
        partition by
            source_months.month_date, source_months.building_id, source_months.energy
    )
-- What is metered all month is not counted a second time from its bills; what is not
-- gives way to bills that tell more.
qualify row_number() over (
    partition by
        source_months.month_date, source_months.building_id, source_months.energy
    order by
        coalesce(
            source_months.consumption_source = 'meter'
            and source_months.completeness_share >= thresholds.complete_month_share,
            false
        ) desc,
        source_months.completeness_share desc,
        source_months.consumption_source desc
) = 1
