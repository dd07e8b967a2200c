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
    cross join json_tree({{ json_numbers_as_texts(relation ~ '.' ~ json_column) }}) as nodes
    where nodes.type not in ('OBJECT', 'ARRAY', 'NULL')
{%- endmacro %}

{# A number is parsed as a text, so that it stays as it is written; what stands in texts is stepped over. The last match is
   the rest without a number, whose two quotes are cut off. #}
{% macro json_numbers_as_texts(text) -%}
    left(
        regexp_replace(
            {{ text }},
            '((?:"(?:[^"\\]|\\.)*"|[^"0-9-])*)(-?[0-9][0-9.eE+-]*|$)', '\1"\2"', 'g'
        ), -2
    )
{%- endmacro %}

{% macro spark__json_leaves(relation, columns, json_column) -%}
    {%- set levels = range(1, 9) -%}
    {%- set node, keys, places = [], [], [] -%}
    {%- for level in levels -%}
        {%- do node.insert(0, 'level_' ~ level ~ '.value') -%}
        {%- do keys.append('level_' ~ level ~ '.key') -%}
        {%- do places.append('case when level_' ~ level ~ '.key is null then level_' ~ level ~ '.pos end') -%}
    {%- endfor -%}
    select
        {%- for column in columns %}
        {{ relation }}.{{ column }},
        {%- endfor %}
        concat_ws('_', {{ keys | join(', ') }}) as leaf_path,
        cast(get(array_compact(array({{ places | join(', ') }})), 0) as bigint) as first_position,
        cast(get(array_compact(array({{ places | join(', ') }})), 1) as bigint) as second_position,
        cast(coalesce({{ node | join(', ') }}) as string) as leaf_text
    from {{ relation }},
        lateral variant_explode_outer(try_parse_json(regexp_replace(
            {{ relation }}.{{ json_column }},
            r'\G((?:"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^"0-9-]++)*+)(-?[0-9][0-9.eE+-]*+)', '$1"$2"'
        ))) as level_1
        {%- for level in levels if level > 1 %},
        lateral variant_explode_outer(level_{{ level - 1 }}.value) as level_{{ level }}
        {%- endfor %}
    where schema_of_variant(coalesce({{ node | join(', ') }})) not rlike '^(OBJECT|ARRAY|VOID)'
{%- endmacro %}

{% macro joined_in_order(text, position, separator) %}
    {{ return(adapter.dispatch('joined_in_order')(text, position, separator)) }}
{% endmacro %}

{% macro default__joined_in_order(text, position, separator) -%}
    string_agg({{ text }}, '{{ separator }}' order by {{ position }})
{%- endmacro %}

{% macro spark__joined_in_order(text, position, separator) -%}
    listagg({{ text }}, '{{ separator }}') within group (order by {{ position }})
{%- endmacro %}

{% macro number_of(text) -%}
    try_cast(
        replace(
            nullif(
                regexp_extract(
                    translate({{ text }}, '{{ " \u00a0\u202f" }}', ''),
                    '^[^0-9.,+-]*([+-]?[0-9]*[.,]?[0-9]+([eE][+-]?[0-9]+)?)'
                    || '([a-zA-Z°µ%][a-zA-Z°µ%/23]*)?$',
                    1
                ),
                ''
            ),
            ',', '.'
        ) as double
    )
{%- endmacro %}
