with communes as (

    select * from {{ ref('stg_insee_cog__communes') }}

),

epci_members as (

    select * from {{ ref('stg_insee_cog__epci_members') }}

),

former_communes as (

    select * from {{ ref('former_communes') }}
    where valid_to is null

),

-- Associated and delegated communes are in the official code, merged ones are not.
codes as (

    select
        commune_code as source_commune_code,
        coalesce(parent_commune_code, commune_code) as commune_code,
        case when commune_type_code = 'COM' then 0 else 1 end as code_rank
    from communes
    union all
    select
        former_commune_code as source_commune_code,
        commune_code,
        2 as code_rank
    from former_communes

)

select
    -- keys
    codes.source_commune_code,
    epci_members.commune_code,

    -- attributes
    epci_members.commune_name

from codes
inner join epci_members
    on
        codes.commune_code = epci_members.commune_code
        and epci_members.epci_code = {{ epci_code() }}
-- A commune that gave its code to the one that absorbed it has two rows.
qualify row_number() over (
    partition by codes.source_commune_code
    order by codes.code_rank, epci_members.commune_code
) = 1
