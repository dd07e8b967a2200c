{# What stands published of the mart that calls it, as a relation of the columns of its contract: without rows in a lake that never
   published it, NULL in a column that it has gained since. ingestion/published.py says it when dbt connects. #}
{% macro published() -%}
    {%- set held = [] -%}
    {%- if execute -%}
        {%- set held = run_query(
            "select column_name from information_schema.columns where table_catalog = current_database() "
            ~ "and table_schema = 'published' and table_name = '" ~ model.name ~ "'"
        ).columns[0].values() | list -%}
        {%- set books = "select count(*) from information_schema.tables where table_schema = 'meta' and table_name = 'published'" -%}
        {%- if orchestra_row(books)[0] and orchestra_row("select count(*) from meta.published where not is_whole and mart = '" ~ model.name ~ "'")[0] -%}
            {{ exceptions.raise_compiler_error(
                "what stands published of " ~ model.name ~ " is lost, so that nothing says what readers know. "
                ~ "Mend: put back the files that orchestra verify names. Without them, it remembers nothing: its model leaves the project "
                ~ "for one publication, and the next is compared with none"
            ) }}
        {%- endif -%}
    {%- endif -%}
    (
        select
            {%- for column in model.columns.values() %}
            {{ column.name if column.name in held else 'cast(null as ' ~ column.data_type ~ ') as ' ~ column.name }}{{ ',' if not loop.last }}
            {%- endfor %}
        {{ 'from published.' ~ model.name if held else 'where false' }}
    )
{%- endmacro %}
