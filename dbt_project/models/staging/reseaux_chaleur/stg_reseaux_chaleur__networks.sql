with networks as (

    select * from {{ source('reseaux_chaleur', 'networks') }}

)

select
    -- keys
    networks.annee as year,
    trim(networks.{{ named_by_producer('Identifiant reseau') }}) as network_id,

    -- attributes
    trim(networks.nom_reseau) as network_name,
    trim(networks.communes_insee) as commune_codes,
    trim(networks.gestionnaire) as network_operator,
    trim(networks.arrete) as legal_text,

    -- measures
    networks.nb_pdl as delivery_point_count,
    networks.livraisons_totale_mwh as delivered_mwh,
    networks.livraisons_residentiel_mwh as residential_mwh,
    networks.livraisons_tertiaire_mwh as tertiary_mwh,
    networks.livraisons_industrie_mwh as industry_mwh,
    networks.livraisons_agriculture_mwh as agriculture_mwh,
    networks.livraisons_autre_mwh as other_mwh,
    networks.{{ named_by_producer('contenu CO2') }} as content_kgco2e_per_kwh,
    networks.{{ named_by_producer('contenu CO2 ACV') }}
        as life_cycle_content_kgco2e_per_kwh,
    networks.{{ named_by_producer('Taux EnR&R') }} / cast(100 as double)
        as renewable_share

from networks
-- The latest photo is the whole: what it lacks has ended.
qualify
    rank() over (order by networks._read_at desc, networks._load_id desc) = 1
    and row_number() over (
        partition by
            networks.annee, networks.{{ named_by_producer('Identifiant reseau') }}
        order by
            networks._read_at desc,
            networks._load_id desc,
            networks._file desc,
            networks._row desc
    ) = 1
