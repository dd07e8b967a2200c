with entries as (
    select * from {{ ref('stg_patrimoine_bati__tertiary_entries') }}
),

entities as (
    select * from {{ ref('int_tertiary_entities_by_year') }}
),

facts as (
    select * from {{ ref('tertiary_facts') }}
    where valid_to is null
),

-- The last one entered tells the reference year of an entity.
declared as (

    select entries.* from entries
    where entries.reference_year is not null
    qualify row_number() over (
        partition by entries.efa_id
        order by
            entries.entered_date desc nulls last,
            (entries.reference_kwh_per_m2 is null),
            entries.milestone_year desc
    ) = 1

),

-- What was entered of that year stays, even if a later row leaves it empty.
entered as (

    select entries.* from entries
    where entries.reference_kwh_per_m2 is not null
    qualify row_number() over (
        partition by entries.efa_id, entries.reference_year
        order by entries.entered_date desc nulls last, entries.milestone_year desc
    ) = 1

)

select
    -- keys
    declared.efa_id,

    -- attributes
    case
        when entered.reference_kwh_per_m2 is not null then 'operat'
        when entities.is_whole then 'computed'
    end as reference_source,
    case
        when declared.reference_year < facts.fact_value then 'reference_too_early'
        when entered.reference_kwh_per_m2 is not null then null
        when coalesce(entities.known_building_count, 0) = 0 then 'reference_before_data'
        when not entities.is_whole then 'reference_not_whole'
        when coalesce(entities.tertiary_area_m2, 0) = 0 then 'area_not_known'
        when entities.is_mixed_use then 'mixed_use'
    end as reference_refusal_reason,

    -- measures
    declared.reference_year,
    case
        when reference_refusal_reason is null then round(coalesce(
            entered.reference_kwh_per_m2,
            entities.consumption_kwh_pci / nullif(entities.tertiary_area_m2, 0)
        ), 6)
    end as reference_kwh_per_m2

from declared
inner join facts
    on facts.fact_code = 'first_reference_year'
left join entered using (efa_id, reference_year)
left join entities
    on
        declared.efa_id = entities.efa_id
        and declared.reference_year = entities.year
