with buildings as (

    select * from {{ source('patrimoine_bati', 'buildings') }}

)

select
    -- keys
    buildings.building_id,
    buildings.commune_code,
    nullif(trim(buildings.efa_id), '') as efa_id,
    nullif(trim(buildings.site_id), '') as site_id,

    -- attributes
    trim(buildings.name) as building_name,
    trim(buildings.use) as building_use,
    trim(buildings.heating_energy) as heating_energy,
    nullif(trim(buildings.heat_network), '') as heat_network,
    nullif(trim(buildings.operator), '') as operator, -- noqa: RF04
    coalesce(buildings.is_publishable, false) as is_publishable,

    -- measures
    buildings.floor_area_m2,
    buildings.tertiary_area_m2,
    buildings.longitude,
    buildings.latitude,
    buildings.subject_from_year,

    -- dates
    buildings.valid_from as valid_from_date,
    buildings.valid_to as valid_to_date

from buildings
-- The latest photo is the whole referential: what it lacks has ended.
qualify
    rank() over (order by buildings._read_at desc, buildings._load_id desc) = 1
    and row_number() over (
        partition by buildings.building_id
        order by
            buildings._read_at desc,
            buildings._load_id desc,
            buildings._file desc,
            buildings._row desc
    ) = 1
