with inventory as (

    select * from {{ source('emissions_territoire', 'inventory') }}

)

select
    -- keys
    trim(inventory.version) as inventory_version,
    trim(inventory.code) as epci_code,
    inventory.annee as year,
    trim(inventory.code_pcaet) as sector_source_code,

    -- measures
    inventory.ges as emissions_tco2e,

    -- dates
    inventory.date_maj as made_date

from inventory
-- The latest photo is the whole: a version that was withdrawn has ended.
qualify
    rank() over (order by inventory._read_at desc, inventory._load_id desc) = 1
    and row_number() over (
        partition by
            inventory.version, inventory.annee, inventory.code, inventory.code_pcaet
        order by
            inventory._read_at desc,
            inventory._load_id desc,
            inventory._file desc,
            inventory._row desc
    ) = 1
