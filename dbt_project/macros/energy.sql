{# One threshold of the energy rules, for a model that needs no other. #}
{% macro threshold(code) -%}
    (select {{ code }} from {{ ref('int_energy_thresholds_pivoted') }})
{%- endmacro %}

{# The one value of a group, or that there are several. #}
{% macro one_or_mixed(column) -%}
    case when count(distinct {{ column }}) > 1 then 'mixed' else min({{ column }}) end
{%- endmacro %}
