{% macro threshold(code) -%}
    (select {{ code }} from {{ ref('int_energy_thresholds_pivoted') }})
{%- endmacro %}

{% macro one_or_mixed(column) -%}
    case when count(distinct {{ column }}) > 1 then 'mixed' else min({{ column }}) end
{%- endmacro %}
