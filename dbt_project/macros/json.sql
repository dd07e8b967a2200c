{# The scalar leaves of a JSON text: one row per leaf, with the given columns of its row, `leaf_path` (keys joined by `_`,
   positions in arrays left out), `first_position` and `second_position` (places in the first and second array on the way,
   from 0, NULL without array) and `leaf_text`. A JSON null is no leaf, and its place in an array stays taken. #}
{% macro json_leaves(relation, columns, json_column) %}
    {{ return(adapter.dispatch('json_leaves')(relation, columns, json_column)) }}
{% endmacro %}

{% macro default__json_leaves(relation, columns, json_column) -%}
    select
        {%- for column in columns %}
        {{ relation }}.{{ column }},
        {%- endfor %}
        replace(
            ltrim(regexp_replace(nodes.fullkey, '\[[0-9]+\]|["$]', '', 'g'), '.'), '.', '_'
        ) as leaf_path,
        try_cast(
            regexp_extract(nodes.fullkey, '\[([0-9]+)\]', 1) as bigint
        ) as first_position,
        try_cast(
            regexp_extract(nodes.fullkey, '\[[0-9]+\][^\[]*\[([0-9]+)\]', 1) as bigint
        ) as second_position,
        json_extract_string(nodes.atom, '$') as leaf_text
    from {{ relation }}
    cross join json_tree({{ relation }}.{{ json_column }}) as nodes
    where nodes.type not in ('OBJECT', 'ARRAY', 'NULL')
{%- endmacro %}

{% macro spark__json_leaves(relation, columns, json_column) -%}
    with recursive nodes as (
        select
            {{ columns | join(', ') }},
            '' as leaf_path,
            cast(array() as array<bigint>) as positions,
            try_parse_json({{ json_column }}) as node
        from {{ relation }}
        union all
        select
            {% for column in columns %}nodes.{{ column }}, {% endfor %}
            concat_ws('_', nullif(nodes.leaf_path, ''), children.key),
            case
                when children.key is null
                    then array_append(nodes.positions, cast(children.pos as bigint))
                else nodes.positions
            end,
            children.value
        from nodes, lateral variant_explode(nodes.node) as children
        where schema_of_variant(nodes.node) rlike '^(OBJECT|ARRAY)'
    )

    select
        {{ columns | join(', ') }},
        leaf_path,
        try_element_at(positions, 1) as first_position,
        try_element_at(positions, 2) as second_position,
        cast(node as string) as leaf_text
    from nodes
    where schema_of_variant(node) not rlike '^(OBJECT|ARRAY|VOID)'
{%- endmacro %}

{# Texts of a group joined by a separator, in the order of another column. #}
{% macro joined_in_order(text, position, separator) %}
    {{ return(adapter.dispatch('joined_in_order')(text, position, separator)) }}
{% endmacro %}

{% macro default__joined_in_order(text, position, separator) -%}
    string_agg({{ text }}, '{{ separator }}' order by {{ position }})
{%- endmacro %}

{% macro spark__joined_in_order(text, position, separator) -%}
    listagg({{ text }}, '{{ separator }}') within group (order by {{ position }})
{%- endmacro %}
