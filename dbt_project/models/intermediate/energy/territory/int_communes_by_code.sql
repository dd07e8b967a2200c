with communes as (

    select * from {{ ref('stg_insee_cog__communes') }}

),

epci_members as (

    select * from {{ ref('stg_insee_cog__epci_members') }}

)

select
    -- keys
    communes.commune_code as source_commune_code,
    epci_members.commune_code,

    -- attributes
    epci_members.commune_name

from communes
-- A former commune counts in the one that holds it today.
inner join epci_members
    on
        coalesce(communes.parent_commune_code, communes.commune_code)
        = epci_members.commune_code
        and epci_members.epci_code = {{ epci_code() }}
-- A commune that gave its code to the one that absorbed it has two rows.
qualify row_number() over (
    partition by communes.commune_code
    order by
        case when communes.commune_type_code = 'COM' then 0 else 1 end,
        epci_members.commune_code
) = 1
