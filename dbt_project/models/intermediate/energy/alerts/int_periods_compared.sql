with periods as (

    select * from {{ ref('int_periods_by_day') }}

),

signatures as (

    select * from {{ ref('int_energy_signatures_fitted') }}

),

thresholds as (

    select * from {{ ref('int_energy_thresholds_pivoted') }}

),

compared as (

    select
        periods.*,
        thresholds.heating_excess_ratio,
        periods.period_kwh / periods.period_day_count as kwh_per_day,
        periods.period_degree_days / periods.period_day_count as degree_days,
        greatest(0, signatures.base_kwh_per_day + (
            signatures.slope_kwh_per_degree_day * degree_days
        )) as expected_kwh,
        signatures.cvrmse * (
            signatures.base_kwh_per_day
            + signatures.slope_kwh_per_degree_day * signatures.mean_degree_days
        ) as noise_kwh,
        -- Of one more period, which is not that of the line alone.
        sqrt(
            noise_kwh * noise_kwh / signatures.period_count
            * (1 + signatures.day_count / cast(periods.period_day_count as double))
            + power(
                signatures.slope_standard_error
                * (degree_days - signatures.mean_degree_days), 2
            )
        ) as standard_error_kwh,
        -- Few periods say little of their own noise: Student's law, to the first order.
        thresholds.heating_noise_ratio * (1 + (
            power(thresholds.heating_noise_ratio, 2) + 1
        ) / (4 * nullif(signatures.period_count - 2, 0))) as error_count
    from periods
    cross join thresholds
    inner join signatures
        on
            periods.building_id = signatures.building_id
            and periods.energy = signatures.energy
            and signatures.refusal_reason is null
    where extract(year from periods.day_date) > {{ reference_year() }}

)

select
    -- keys
    building_id,
    energy,
    day_date,

    -- attributes
    consumption_source,

    -- measures
    round(kwh_per_day, 6) as kwh_per_day,
    round(degree_days, 6) as degree_days_per_day,
    round(expected_kwh, 6) as expected_kwh_per_day,
    round(greatest(
        heating_excess_ratio * expected_kwh,
        expected_kwh + error_count * standard_error_kwh
    ), 6) as threshold_kwh_per_day,

    -- dates
    period_from_date,
    period_to_date,
    month_date

from compared
