with contracts as (

    select * from {{ source('patrimoine_bati', 'contracts') }}

)

select
    -- keys
    trim(contracts.contract_id) as contract_id,
    contracts.building_id,

    -- attributes
    trim(contracts.energy) as energy,

    -- dates
    contracts.valid_from as valid_from_date,
    contracts.valid_to as valid_to_date

from contracts
-- The latest photo is the whole referential: what it lacks has ended.
qualify
    rank() over (order by contracts._read_at desc, contracts._load_id desc) = 1
    and row_number() over (
        partition by contracts.contract_id
        order by
            contracts._read_at desc,
            contracts._load_id desc,
            contracts._file desc,
            contracts._row desc
    ) = 1
