with answers as (

    select * from {{ source('reponses_alertes', 'answers') }}

)

select
    -- keys
    trim(answers.batiment) as building_id,
    trim(answers.energie) as energy,
    trim(answers.nature) as anomaly_kind,
    answers.debut as start_date,

    -- attributes
    nullif(trim(answers.action), '') as action, -- noqa: RF04
    nullif(trim(answers.responsable), '') as action_owner,

    -- measures
    answers.effet_attendu_kwh as effect_expected_kwh,

    -- dates
    answers.vu_le as seen_on,
    answers.action_le as acted_on,
    answers.clos_le as closed_on

from answers
-- The latest photo is the whole spreadsheet: what it lacks was taken back.
qualify
    rank() over (order by answers._read_at desc, answers._load_id desc) = 1
    and row_number() over (
        partition by
            trim(answers.batiment),
            trim(answers.energie),
            trim(answers.nature),
            answers.debut
        order by
            answers._read_at desc,
            answers._load_id desc,
            answers._file desc,
            answers._row desc
    ) = 1
