with tertiary_entries as (

    select * from {{ source('patrimoine_bati', 'tertiary_entries') }}

)

select
    -- keys
    trim(tertiary_entries.efa_id) as efa_id,
    tertiary_entries.milestone_year,

    -- measures
    tertiary_entries.absolute_value_kwh_per_m2,
    tertiary_entries.reference_year,
    tertiary_entries.reference_kwh_per_m2,

    -- dates
    tertiary_entries.entered_on as entered_date

from tertiary_entries
-- The latest photo is the whole referential: what it lacks has ended.
qualify
    rank()
        over (
            order by tertiary_entries._read_at desc, tertiary_entries._load_id desc
        )
    = 1
    and row_number() over (
        partition by tertiary_entries.efa_id, tertiary_entries.milestone_year
        order by
            tertiary_entries._read_at desc,
            tertiary_entries._load_id desc,
            tertiary_entries._file desc,
            tertiary_entries._row desc
    ) = 1
