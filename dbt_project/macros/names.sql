{# A schema is named as the folder says, without the target's name before it. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}

{# A column that its producer named with blanks or accents, as each engine quotes it. #}
{% macro named_by_producer(name) %}{{ return(adapter.quote(name)) }}{% endmacro %}
