with months as (

    select * from {{ ref('int_consumptions_by_building_month') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

judged as (

    select
        months.*,
        thresholds.complete_month_share * extract(day from last_day(months.month_date))
            as least_day_count,
        case
            when months.consumption_kwh is null then 'no_consumption'
            when months.completeness_share < thresholds.complete_month_share
                then 'incomplete_month'
            -- Data begin or end within it: what lacks is no gap.
            when
                months.first_known_date is null
                or (
                    months.first_known_date > months.month_date
                    and months.first_known_date
                    = min(months.first_known_date) over series
                )
                or (
                    months.last_known_date < last_day(months.month_date)
                    and months.last_known_date
                    = max(months.last_known_date) over series
                )
                then 'open_month'
        end as month_refusal_reason
    from months
    cross join thresholds
    window series as (partition by months.building_id, months.energy)

)

select
    -- keys
    judged.building_id,
    judged.energy,
    judged.month_date,

    -- attributes
    judged.consumption_source,
    judged.apportionment_method,
    judged.is_apportioned,
    judged.is_conversion_verified,
    judged.month_refusal_reason,

    -- measures
    judged.consumption_kwh,
    judged.produced_kwh,
    judged.apportioned_kwh,
    judged.completeness_share,
    judged.reset_count,
    judged.outlier_count,
    judged.implausible_count,
    judged.least_day_count,
    -- Of the reference year, where it may be compared.
    max(
        case
            when
                judged.month_refusal_reason is null
                and extract(year from judged.month_date) = {{ reference_year() }}
                then judged.consumption_kwh
        end
    ) over (
        partition by
            judged.building_id, judged.energy, extract(month from judged.month_date)
    ) as reference_year_kwh

from judged
