{# One threshold of the energy rules, for a model that needs no other. #}
{% macro threshold(code) -%}
    (select {{ code }} from {{ ref('int_energy_thresholds_pivoted') }})
{%- endmacro %}
