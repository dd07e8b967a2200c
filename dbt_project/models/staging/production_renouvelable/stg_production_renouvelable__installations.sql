with installations as (

    select * from {{ source('production_renouvelable', 'installations') }}

)

select
    -- keys
    -- The register is as of 31 December: of 2024, registre-...-311224.
    2000 + cast(regexp_extract(installations._file, '-3112([0-9][0-9])', 1) as bigint)
        as year,
    trim(installations.codeinseecommune) as commune_code,
    trim(installations.filiere) as technology_source_code,

    -- measures
    installations.nbinstallations as installation_count,
    installations.puismaxinstallee as installed_kw,
    installations.energieannuelleglissanteinjectee as injected_kwh,
    installations.lignes as register_row_count,
    installations.connues as known_row_count

from installations
-- The latest photo is the whole: a register that is published again replaces itself.
qualify
    rank() over (order by installations._read_at desc, installations._load_id desc) = 1
    and row_number() over (
        partition by
            installations._file, installations.codeinseecommune, installations.filiere
        order by
            installations._read_at desc,
            installations._load_id desc,
            installations._row desc
    ) = 1
