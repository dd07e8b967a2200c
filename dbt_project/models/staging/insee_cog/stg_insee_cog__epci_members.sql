with epci_members as (

    select * from {{ source('insee_cog', 'epci_members') }}

)

select
    -- keys
    epci_members.siren as epci_code,
    epci_members.insee as commune_code,

    -- attributes
    trim(epci_members.raison_sociale) as epci_name,
    trim(epci_members.nature_juridique) as legal_form,
    trim(epci_members.nom_membre) as commune_name,

    -- measures
    epci_members.ptot_2025 as total_population_count,
    epci_members.pmun_2025 as municipal_population_count

from epci_members
-- The latest photo is the whole referential: what it lacks has ended.
qualify
    rank() over (order by epci_members._read_at desc, epci_members._load_id desc) = 1
    and row_number() over (
        partition by epci_members.siren, epci_members.insee
        order by
            epci_members._read_at desc,
            epci_members._load_id desc,
            epci_members._file desc,
            epci_members._row desc
    ) = 1
