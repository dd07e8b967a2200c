with entities as (

    select * from {{ ref('int_tertiary_entities_by_year') }}

),

comparisons as (

    select * from {{ ref('int_tertiary_entities_compared') }}

)

select
    -- keys
    entities.efa_id,
    entities.year,
    entities.site_id,

    -- attributes
    entities.is_entity_declared,
    case
        when entities.subject_from_year is not null then true
        when entities.is_site_area_known then false
    end as is_subject,
    case
        when entities.subject_from_year is null and not entities.is_site_area_known
            then 'area_not_known'
    end as subject_refusal_reason,
    -- Ours is an estimate, whatever it rests on: the figure of OPERAT wins.
    true as is_estimated,
    case
        when not entities.is_entity_declared then 'entity_not_declared'
        when not comparisons.is_fact_verified then 'facts_not_verified'
        else 'own_computation'
    end as estimate_reason,
    comparisons.reference_source,
    comparisons.comparison_refusal_reason,

    -- measures, rounded here, once, to what they mean
    entities.building_count as entity_building_count,
    entities.known_building_count as known_entity_building_count,
    round(entities.completeness_share, 4) as completeness_share,
    entities.tertiary_area_m2,
    entities.site_tertiary_area_m2,
    entities.subject_from_year,
    case when entities.is_whole then round(entities.consumption_kwh_pci, 1) end
        as consumption_kwh_pci,
    round(comparisons.kwh_pci_per_m2, 1) as tertiary_kwh_pci_per_m2,
    comparisons.reference_year,
    round(comparisons.reference_kwh_per_m2, 1) as reference_kwh_per_m2,
    -- A zero without sign.
    0 + round(comparisons.reduction_share, 4) as reduction_share,
    comparisons.milestone_year,
    comparisons.target_share,
    round(comparisons.reference_kwh_per_m2 * (1 - comparisons.target_share), 1)
        as target_kwh_per_m2,
    round(comparisons.target_share - comparisons.reduction_share, 4)
        as gap_to_target_share,
    round(comparisons.indicative_line_share, 4) as indicative_line_share,
    round(comparisons.indicative_line_share - comparisons.reduction_share, 4)
        as gap_to_indicative_line_share,
    comparisons.absolute_value_kwh_per_m2,
    round(
        comparisons.kwh_pci_per_m2 - comparisons.absolute_value_kwh_per_m2, 1
    ) as gap_to_absolute_kwh_per_m2,
    -- Either way of the decree meets the milestone; judged on the gaps as shown.
    case
        when gap_to_target_share <= 0 then 'met_relative'
        when gap_to_absolute_kwh_per_m2 <= 0 then 'met_absolute'
        when gap_to_target_share > 0 and gap_to_absolute_kwh_per_m2 > 0
            then 'not_met'
        when coalesce(gap_to_target_share, gap_to_absolute_kwh_per_m2) > 0
            then 'not_met_known_way'
    end as milestone_state

from entities
inner join comparisons
    on entities.efa_id = comparisons.efa_id and entities.year = comparisons.year
