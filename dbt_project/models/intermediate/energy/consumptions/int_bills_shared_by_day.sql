with bill_days as (

    select * from {{ ref('int_bills_by_day') }}

),

energies as (

    select * from {{ ref('energies') }}
    where valid_to is null

),

buildings as (

    select * from {{ ref('stg_patrimoine_bati__buildings') }}

),

signatures as (

    select * from {{ ref('int_energy_signatures_fitted') }}

)

select
    -- keys
    bill_days.bill_id,
    bill_days.contract_id,
    bill_days.building_id,
    bill_days.energy,
    bill_days.day_date,

    -- attributes
    case
        when coalesce(buildings.heating_energy, '') <> bill_days.energy then 'time'
        when bill_days.bill_degree_days is null then 'time'
        when signatures.refusal_reason = 'negative_slope' then 'time'
        when
            coalesce(signatures.refusal_reason, 'weak_fit') = 'weak_fit'
            and greatest(signatures.base_kwh_per_day, 0) * bill_days.bill_day_count
            + signatures.slope_kwh_per_degree_day * bill_days.bill_degree_days > 0
            then 'signature'
        when energies.is_for_heating_only and bill_days.bill_degree_days > 0
            then 'degree_days'
        else 'time'
    end as apportionment_method,
    bill_days.is_apportioned,
    bill_days.is_conversion_verified,
    bill_days.is_billed_twice,

    -- measures
    case apportionment_method
        when 'signature' then greatest(signatures.base_kwh_per_day, 0)
        when 'time' then 1
        else 0
    end as base_weight,
    case apportionment_method
        when 'signature' then signatures.slope_kwh_per_degree_day
        when 'time' then 0
        else 1
    end as slope_weight,
    (base_weight + slope_weight * coalesce(bill_days.professional_degree_days, 0))
    / nullif(
        base_weight * bill_days.bill_day_count
        + slope_weight * coalesce(bill_days.bill_degree_days, 0), 0
    ) as day_share,
    bill_days.billed_kwh * day_share as consumption_kwh,
    bill_days.day_hours,

    -- dates
    bill_days.month_date

from bill_days
left join energies on bill_days.energy = energies.energy
left join buildings on bill_days.building_id = buildings.building_id
left join signatures
    on
        bill_days.building_id = signatures.building_id
        and bill_days.energy = signatures.energy
