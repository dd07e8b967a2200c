with consumptions as (

    select * from {{ source('conso_electricite_gaz', 'consumptions') }}

)

select
    -- keys
    consumptions.{{ named_by_producer('Année') }} as year,
    trim(consumptions.filiere) as energy_source_code,
    trim(consumptions.operateur) as network_operator,
    trim(consumptions.{{ named_by_producer('Code Commune') }}) as commune_code,
    trim(
        consumptions.{{ named_by_producer('CODE CATEGORIE CONSOMMATION') }}
    ) as category_code,
    trim(
        consumptions.{{ named_by_producer('CODE GRAND SECTEUR') }}
    ) as sector_source_code,
    nullif(
        trim(consumptions.{{ named_by_producer('CODE SECTEUR NAF2') }}), ''
    ) as activity_code,

    -- measures
    consumptions.{{ named_by_producer('Nb sites') }} as delivery_point_count,
    consumptions.{{ named_by_producer('Conso totale (MWh)') }} as consumption_mwh,
    consumptions.{{ named_by_producer('Nombre de mailles secretisées') }}
        as hidden_cell_count

from consumptions
-- The latest photo is the whole: a year that is published again replaces itself.
qualify
    rank() over (order by consumptions._read_at desc, consumptions._load_id desc) = 1
    and row_number() over (
        partition by
            consumptions.{{ named_by_producer('Année') }},
            consumptions.filiere,
            consumptions.operateur,
            consumptions.{{ named_by_producer('Code Commune') }},
            consumptions.{{ named_by_producer('CODE CATEGORIE CONSOMMATION') }},
            consumptions.{{ named_by_producer('CODE GRAND SECTEUR') }},
            consumptions.{{ named_by_producer('CODE SECTEUR NAF2') }}
        order by
            consumptions._read_at desc,
            consumptions._load_id desc,
            consumptions._file desc,
            consumptions._row desc
    ) = 1
