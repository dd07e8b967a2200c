{# `dbt source freshness` says what `orchestra status` says: a brick is read as one, so that a table without news does not make it
   late; and the clock of a synthetic lake is that of its last load. #}
{% macro duckdb__collect_freshness(source, loaded_at_field, filter) %}
    {%- set tables = graph.sources.values() | selectattr('source_name', 'equalto', source.schema) -%}
    {% call statement('collect_freshness', fetch_result=True, auto_begin=False) -%}
    select
        max(loaded_at) as max_loaded_at,
        (select case when is_synthetic then as_of else now() end from meta.journal) as snapshotted_at
    from (
        {%- for table in tables %}
        select max({{ loaded_at_field }}) as loaded_at
        from {{ adapter.quote(table.schema) }}.{{ adapter.quote(table.identifier) }}
        {%- if filter %} where {{ filter }}{% endif %}
        {{ 'union all' if not loop.last }}
        {%- endfor %}
    )
    {%- endcall %}
    {{ return(load_result('collect_freshness')) }}
{% endmacro %}
