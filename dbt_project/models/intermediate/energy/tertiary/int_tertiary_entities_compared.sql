with entities as (

    select * from {{ ref('int_tertiary_entities_by_year') }}

),

references_known as (

    select * from {{ ref('int_tertiary_references') }}

),

milestones as (

    select * from {{ ref('int_tertiary_milestones_by_year') }}

),

entries as (

    select * from {{ ref('stg_patrimoine_bati__tertiary_entries') }}

)

select
    -- keys
    entities.efa_id,
    entities.year,

    -- attributes
    milestones.is_fact_verified,
    references_known.reference_source,
    case
        when not entities.is_heating_known then 'heating_energy_not_known'
        when not entities.is_whole then 'year_not_whole'
        when coalesce(entities.tertiary_area_m2, 0) = 0 then 'area_not_known'
        when entities.is_mixed_use then 'mixed_use'
        when references_known.efa_id is null then 'no_reference_year'
        else references_known.reference_refusal_reason
    end as comparison_refusal_reason,

    -- measures; what is not subject has no target
    case
        when entities.is_whole and not entities.is_mixed_use
            then entities.consumption_kwh_pci / nullif(entities.tertiary_area_m2, 0)
    end as kwh_pci_per_m2,
    references_known.reference_year,
    references_known.reference_kwh_per_m2,
    1 - kwh_pci_per_m2 / nullif(references_known.reference_kwh_per_m2, 0)
        as reduction_share,
    case when entities.subject_from_year is not null then milestones.milestone_year end
        as milestone_year,
    case when entities.subject_from_year is not null then milestones.target_share end
        as target_share,
    case
        when
            entities.subject_from_year is not null
            and references_known.reference_year <= entities.year
            then coalesce(
                milestones.past_milestone_year, references_known.reference_year
            )
    end as line_from_year,
    milestones.past_target_share
    + (milestones.target_share - milestones.past_target_share)
    * (entities.year - line_from_year)
    / nullif(milestones.milestone_year - line_from_year, 0) as indicative_line_share,
    -- As entered from OPERAT, never computed.
    case
        when entities.subject_from_year is not null
            then entries.absolute_value_kwh_per_m2
    end as absolute_value_kwh_per_m2

from entities
inner join milestones on entities.year = milestones.year
left join references_known on entities.efa_id = references_known.efa_id
left join entries
    on
        entities.efa_id = entries.efa_id
        and milestones.milestone_year = entries.milestone_year
where entities.known_building_count > 0
