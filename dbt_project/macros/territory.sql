{# The values of territory.yml, which reach models through these macros only: a unit test that reads one says its own, by
   `overrides: {macros: {reference_year: 2019}}`. #}

{% macro time_zone() %}{{ return(territory_value('time_zone')) }}{% endmacro %}

{% macro epci_code() -%}'{{ territory_value('epci_code') }}'{%- endmacro %}

{% macro reference_year() -%}{{ territory_value('reference_year') }}{%- endmacro %}

{% macro reference_station() -%}'{{ territory_value('reference_station') }}'{%- endmacro %}

{# A relation of 12 rows: month_number, reference_degree_days. #}
{% macro reference_degree_days() -%}
    (
        select
            cast(month_number as bigint) as month_number,
            cast(reference_degree_days as double) as reference_degree_days
        from (
            values
            {%- for degree_days in territory_value('reference_degree_days') %}
            ({{ loop.index }}, {{ degree_days }}){{ ',' if not loop.last }}
            {%- endfor %}
        ) as months (month_number, reference_degree_days)
    ) as reference_months
{%- endmacro %}
