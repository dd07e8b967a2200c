with communes as (

    select * from {{ source('insee_cog', 'communes') }}

)

select
    -- keys
    communes.com as commune_code,
    communes.typecom as commune_type_code,
    communes.reg as region_code,
    communes.dep as departement_code,
    nullif(trim(communes.comparent), '') as parent_commune_code,

    -- attributes
    trim(communes.libelle) as commune_name

from communes
-- The latest photo is the whole referential: what it lacks has ended.
qualify
    rank() over (order by communes._read_at desc, communes._load_id desc) = 1
    and row_number() over (
        partition by communes.typecom, communes.com
        order by
            communes._read_at desc,
            communes._load_id desc,
            communes._file desc,
            communes._row desc
    ) = 1
