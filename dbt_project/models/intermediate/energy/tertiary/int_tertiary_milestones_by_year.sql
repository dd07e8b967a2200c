with entities as (

    select * from {{ ref('int_tertiary_entities_by_year') }}

),

facts as (

    select * from {{ ref('tertiary_facts') }}
    where valid_to is null

),

years as (

    select distinct entities.year from entities

)

select
    -- keys
    years.year,
    facts.milestone_year,

    -- attributes
    facts.verified_on is not null as is_fact_verified,

    -- measures
    facts.fact_value as target_share,
    -- What was before it; none before the first: the line begins at the reference year.
    past.milestone_year as past_milestone_year,
    coalesce(past.fact_value, 0) as past_target_share

from years
inner join facts
    on
        years.year <= facts.milestone_year
        and facts.fact_code = 'milestone_reduction'
left join facts as past
    on
        years.year > past.milestone_year
        and past.fact_code = 'milestone_reduction'
-- The next milestone, and the last one that is past.
qualify row_number() over (
    partition by years.year
    order by facts.milestone_year asc, past.milestone_year desc nulls last
) = 1
