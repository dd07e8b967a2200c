-- A year's figures are made by one method: no two in force hold the same year.
with methods as (

    select
        energy,
        from_year,
        coalesce(to_year, 9999) as to_year
    from {{ ref('network_methods') }}
    where valid_to is null

)

select
    methods.energy,
    methods.from_year
from methods
inner join methods as later_methods
    on
        methods.energy = later_methods.energy
        and methods.from_year < later_methods.from_year
        and methods.to_year >= later_methods.from_year
