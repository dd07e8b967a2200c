{# Materialization `partitioned`: a plain SELECT, of which only the touched partitions are computed, and only those whose
   content differs are written, with what was reached, in one transaction. What is touched is decided by ingestion/plan.py.

   Config: `partition` (a column; without it the model is one whole), `reach` (own: a touched partition of a parent touches
   the same one here; next: and the one that follows, by `partition_grain`; all, or none said: any), `unique_key` (of a model
   that reads a source: the columns that hold the key of its rows, as it landed), `slices` and `sliced_by` (so many times over,
   a part of the values of that column each: what windows over all rows would take more memory than DuckDB may have). #}
{% materialization partitioned, default, supported_languages=['sql'] %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set partition = config.get('partition') -%}
    {%- set staged = adapter.quote('staged_' ~ this.identifier) -%}
    {%- set plan = orchestra_plan(sql, staged, existing) -%}

    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if plan.touched is not none and not plan.touched -%}
        {% call statement('main') %}
            update meta.built set seq = journal.seq, run = journal.run, why = null
            from meta.journal where model = '{{ model.unique_id }}'
        {% endcall %}
    {%- else -%}
        {%- set scope = "true" if plan.touched is none else orchestra_unit(partition) ~ ' in (' ~ orchestra_texts(plan.touched) ~ ')' -%}
        {#- The usual day is one partition, and the rows of none. -#}
        {%- set is_large = plan.touched is none or plan.touched | length > 2 -%}
        {%- do orchestra_stage(sql, staged, scope, config.get('slices', 1) if is_large else 1) -%}
        {%- set reshaped = not plan.is_ours or orchestra_shape(existing) != orchestra_shape(staged) -%}
        {#- What has another shape is made anew, from all of its rows. -#}
        {%- if reshaped and plan.touched is not none -%}{%- do orchestra_stage(sql, staged, 'true', config.get('slices', 1)) -%}{%- endif -%}
        {%- set changed = ['*'] if reshaped else orchestra_changed(existing, staged, partition, scope) -%}
        {%- if reshaped or plan.is_new -%}
            {%- if existing %}{% do adapter.drop_relation(existing) %}{% endif -%}
            {% call statement('main') %}{{ get_create_table_as_sql(False, target, 'select * from ' ~ staged) }}{% endcall %}
        {%- elif changed -%}
            {%- set rows = orchestra_unit(partition) ~ ' in (' ~ orchestra_texts(changed) ~ ')' -%}
            {% call statement('main') %}
                delete from {{ target }} where {{ rows }};
                insert into {{ target }} by name select * from {{ staged }} where {{ rows }};
            {% endcall %}
        {%- else -%}
            {% call statement('main') %}select 1{% endcall %}
        {%- endif -%}
        {%- set columns = adapter.get_columns_in_relation(target) | map(attribute='name') | map('lower') | list -%}
        {%- set held = plan.held | map('lower') | reject('in', columns) | list | length == 0 -%}
        {%- set holds = plan.holds and held and not (plan.missed and orchestra_row(plan.missed ~ ' limit 1')) -%}
        {%- do orchestra_book(plan.made_as, plan.fingerprint, changed, holds, plan.why) -%}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}

{# What ingestion/plan.py decides of this model; the plugin of the house puts it beside what it is asked. #}
{% macro orchestra_plan(sql, staged, existing) %}
    {%- set asked = {
        'model': model, 'graph': graph, 'sql': sql, 'staged': staged,
        'stands': existing is not none and existing.is_table, 'is_refreshed': should_full_refresh()
    } -%}
    {%- do adapter.store_relation('dbt_plugin', this, [], '', '', asked) -%}
    {{ return(asked.plan) }}
{% endmacro %}

{# A partition as text, as ingestion/plan.py writes it; what has none is one whole. #}
{% macro orchestra_unit(partition) %}
    {{ return("coalesce(cast(" ~ partition ~ " as string), 'none')" if partition else "'whole'") }}
{% endmacro %}

{# Texts as a list of SQL. #}
{% macro orchestra_texts(texts) %}
    {%- set escaped = [] -%}
    {%- for text in texts -%}{%- do escaped.append("'" ~ text | replace("'", "''") ~ "'") -%}{%- endfor -%}
    {{ return(escaped | join(", ")) }}
{% endmacro %}

{% macro orchestra_stage(sql, staged, scope, slices) %}
    {#- Bounds of a hash come down to the rows that are read; what is left of its division does not. -#}
    {%- set width = (2 ** 64) // slices -%}
    {% call statement('stage') %}
        {% for slice in range(slices) %}
        {{ 'insert into ' ~ staged if slice else 'create or replace temp table ' ~ staged ~ ' as' }}
        select * from (
        {{ sql }}
        ) where {{ scope }}
        {%- if slice %} and hash({{ config.get('sliced_by') }}) >= {{ slice * width }}::ubigint{% endif %}
        {%- if slice + 1 < slices %} and hash({{ config.get('sliced_by') }}) < {{ (slice + 1) * width }}::ubigint{% endif %};
        {% endfor %}
    {% endcall %}
{% endmacro %}

{% macro orchestra_row(query) %}
    {%- set rows = run_query(query).rows -%}
    {{ return(rows[0] if rows | length else none) }}
{% endmacro %}

{# Names and types of the columns, as one text. #}
{% macro orchestra_shape(relation) %}
    {{ return(orchestra_row(
        "select string_agg(column_name || ' ' || column_type, ', ' order by column_name) from (describe " ~ relation ~ ")"
    )[0]) }}
{% endmacro %}

{# Number and digest of rows, whatever their order. #}
{% macro orchestra_digest(relation) %}
    {%- set columns = adapter.get_columns_in_relation(relation) | map(attribute='quoted') | join(', ') -%}
    {{ return('count(*) as row_count, sum(hash(' ~ columns ~ ')::hugeint) as digest') }}
{% endmacro %}

{# The partitions whose content differs between what stands and what was staged. #}
{% macro orchestra_changed(existing, staged, partition, scope) %}
    {%- set units = 'select ' ~ orchestra_unit(partition) ~ ' as unit, ' ~ orchestra_digest(existing) ~ ' from ' -%}
    {{ return(run_query(
        'with old as (' ~ units ~ existing ~ ' where ' ~ scope ~ ' group by all), new as (' ~ units ~ staged ~ ' group by all) '
        ~ 'select coalesce(old.unit, new.unit) as unit from old full join new on old.unit is not distinct from new.unit '
        ~ 'where old.row_count is distinct from new.row_count or old.digest is distinct from new.digest order by unit'
    ).columns[0].values() | list) }}
{% endmacro %}

{# Say, in the transaction of the content, what it is made of, what it has reached and what it touched ('*': everything). #}
{% macro orchestra_book(made_as, fingerprint, changed, holds=false, why=none) %}
    {%- set name = "'" ~ model.unique_id ~ "'" -%}
    {% call statement('book') %}
        {% if changed %}
        delete from meta.touched where model = {{ name }}{% if '*' not in changed %} and partition in ({{ orchestra_texts(changed) }}){% endif %};
        insert into meta.touched select {{ name }}, unnest([{{ orchestra_texts(changed) }}]), run from meta.journal;
        {% endif %}
        delete from meta.built where model = {{ name }};
        insert into meta.built
        select
            {{ name }}, '{{ made_as }}', '{{ fingerprint }}', seq, run,
            {{ holds }}, {{ orchestra_texts([why]) if why else 'null' }}
        from meta.journal;
    {% endcall %}
{% endmacro %}

{# Called after dbt has built what the house does not write itself: children are touched when the content has another digest,
   or the SELECT of a view. What is not known here has its children computed whole. A warehouse without our books (docs/leave.md)
   has nothing to be told. #}
{% macro orchestra_built() %}
    {%- set made_as = config.get('materialized') -%}
    {%- set books = "select count(*) from information_schema.tables where table_schema = 'meta' and table_name = 'built'" -%}
    {%- if not execute or made_as not in ('view', 'table', 'incremental', 'seed') or orchestra_row(books)[0] == 0 -%}
    {%- elif made_as == 'view' -%}
        {%- do orchestra_book(made_as, local_md5(sql), []) -%}
    {%- else -%}
        {%- set found = orchestra_row('select ' ~ orchestra_digest(this) ~ ' from ' ~ this) -%}
        {%- set fingerprint = local_md5(orchestra_shape(this) ~ found[0] ~ ' ' ~ found[1]) -%}
        {%- set before = orchestra_row(
            "select fingerprint from meta.built where model = '" ~ model.unique_id ~ "' and made_as = '" ~ made_as ~ "'"
        ) -%}
        {%- do orchestra_book(made_as, fingerprint, [] if before and before[0] == fingerprint else ['*']) -%}
    {%- endif -%}
{% endmacro %}

{# A seed is made anew: what is emptied and filled keeps the columns and the types that it had. #}
{% macro duckdb__reset_csv_table(model, full_refresh, old_relation, agate_table) %}
    {%- do adapter.drop_relation(old_relation) -%}
    {{ return(create_csv_table(model, agate_table)) }}
{% endmacro %}
