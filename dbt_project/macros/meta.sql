{# What ingestion/dbt_plugin.py says when dbt connects. #}

{# A value of territory.yml. Parsing connects to nothing, and needs none: SQL is compiled by who is connected. #}
{% macro territory_value(name) -%}
    {%- if execute -%}
        {{ return(fromjson(orchestra_row("select value from meta.territory where name = '" ~ name ~ "'")[0])) }}
    {%- endif -%}
    {{ return('') }}
{%- endmacro %}
