{# Materialization `partitioned`: a plain SELECT, of which only the touched partitions are computed, and only those whose
   content differs are written, with the seq reached, in one transaction.

   Config: `partition` (a column; without it the model is one whole), `reach` (own: a touched partition of a parent touches
   the same one here; next: and the one that follows; all: any), `unique_key` (of a model that reads a source).
   Touched: partitions of the new rows of a source, those where their keys stood before, those that parents say they
   touched; everything when a parent without partition changed, or the SQL, the contract, what the brick declares, a seed,
   or when loads were taken away; when a new photo came of a table that delivers its whole, when the model leaves out a new
   row, whose partition nothing tells, and when its columns are not those that stand. #}
{% materialization partitioned, default, supported_languages=['sql'] %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set partition = config.get('partition') -%}
    {%- set staged = orchestra_staged() -%}
    {%- set now = orchestra_row('select seq, run from meta.journal') -%}
    {%- set fingerprint = orchestra_fingerprint(sql) -%}
    {%- set built = orchestra_row("select seq, run, fingerprint from meta.built where model = '" ~ model.unique_id ~ "'") -%}
    {%- set is_new = not existing or not built or built[2] != fingerprint or should_full_refresh() -%}
    {%- set touched = 'all' if is_new else orchestra_touched(sql, existing, partition, built[0], built[1]) -%}

    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if not touched -%}
        {% call statement('main') %}
            update meta.built set seq = {{ now[0] }}, run = {{ now[1] }} where model = '{{ model.unique_id }}'
        {% endcall %}
    {%- else -%}
        {%- set scope = "true" if touched == 'all' else orchestra_unit(partition) ~ ' in (' ~ orchestra_texts(touched) ~ ')' -%}
        {%- do orchestra_stage(sql, staged, scope) -%}
        {%- set reshaped = not existing or orchestra_reshaped(existing, staged) -%}
        {#- What has another shape is made anew, from all of its rows. -#}
        {%- if reshaped and touched != 'all' -%}{%- do orchestra_stage(sql, staged, 'true') -%}{%- endif -%}
        {%- set changed = none if reshaped else orchestra_changed(existing, staged, partition, scope) -%}
        {%- if changed is none or is_new -%}
            {%- if existing %}{% do adapter.drop_relation(existing) %}{% endif -%}
            {% call statement('main') %}{{ get_create_table_as_sql(False, target, 'select * from ' ~ staged) }}{% endcall %}
        {%- elif changed and not partition -%}
            {% call statement('main') %}
                delete from {{ target }};
                insert into {{ target }} by name select * from {{ staged }};
            {% endcall %}
        {%- elif changed -%}
            {%- set rows = orchestra_unit(partition) ~ ' in (' ~ orchestra_texts(changed) ~ ')' -%}
            {% call statement('main') %}
                delete from {{ target }} where {{ rows }};
                insert into {{ target }} by name select * from {{ staged }} where {{ rows }};
            {% endcall %}
        {%- else -%}
            {% call statement('main') %}select 1{% endcall %}
        {%- endif -%}
        {%- do orchestra_book(now, fingerprint, partition, changed) -%}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}

{% macro orchestra_staged() %}{{ return(adapter.quote('staged_' ~ this.identifier)) }}{% endmacro %}

{# A partition as text; rows without one are a partition too, so that none is lost on the way. #}
{% macro orchestra_unit(partition) %}{{ return("coalesce(" ~ partition ~ "::varchar, 'none')") }}{% endmacro %}

{# Texts as a list of SQL. #}
{% macro orchestra_texts(texts) %}
    {%- set escaped = [] -%}
    {%- for text in texts -%}{%- do escaped.append("'" ~ text | replace("'", "''") ~ "'") -%}{%- endfor -%}
    {{ return(escaped | join(", ")) }}
{% endmacro %}

{% macro orchestra_stage(sql, staged, scope) %}
    {% call statement('stage') %}
        create or replace temp table {{ staged }} as select * from (
        {{ sql }}
        ) where {{ scope }}
    {% endcall %}
{% endmacro %}

{% macro orchestra_row(query) %}
    {%- set rows = run_query(query).rows -%}
    {{ return(rows[0] if rows | length else none) }}
{% endmacro %}

{% macro orchestra_value(query) %}{{ return(orchestra_row(query)[0]) }}{% endmacro %}

{% macro orchestra_list(query) %}{{ return(run_query(query).columns[0].values() | list) }}{% endmacro %}

{# What a model is made of, apart from its inputs' rows: SQL, contract, configuration, content of its seeds, and what of a
   brick says how its rows are read. #}
{% macro orchestra_fingerprint(sql) %}
    {%- set parts = [sql, config.get('partition') or '', config.get('reach') or 'own', model.columns.values() | map(attribute='data_type') | join(' '), model.columns.keys() | join(' ')] -%}
    {%- for parent in model.depends_on.nodes if parent.startswith('seed.') -%}
        {%- do parts.append(graph.nodes[parent].checksum.checksum) -%}
    {%- endfor -%}
    {%- for parent in model.depends_on.nodes if parent.startswith('source.') -%}
        {%- set source = graph.sources[parent] -%}
        {%- for column in source.columns.values() -%}{%- do parts.append(tojson([column.name, column.data_type, column.config.get('meta')], sort_keys=true)) -%}{%- endfor -%}
        {%- set meta = source.config.meta -%}
        {%- do parts.append(tojson([meta.delivers, meta.key, meta.get('time_zone'), meta.get('crs')])) -%}
    {%- endfor -%}
    {{ return(local_md5(parts | join('|'))) }}
{% endmacro %}

{# The partitions that inputs changed since the seq (sources) and the run (models) of the last build may change: a list, or 'all'. #}
{% macro orchestra_touched(sql, existing, partition, seq, run) %}
    {%- set found = [] -%}
    {%- for parent in model.depends_on.nodes if not parent.startswith('seed.') -%}
        {%- if parent.startswith('source.') -%}
            {%- set source = graph.sources[parent] -%}
            {%- set of_source = "brick = '" ~ source.source_name ~ "' and coalesce(table_name, '" ~ source.name ~ "') = '" ~ source.name ~ "' and seq > " ~ seq -%}
            {%- if orchestra_value('select count(*) from meta.rewrites where ' ~ of_source) -%}{{ return('all') }}{%- endif -%}
            {%- set loads = orchestra_list('select load_id from meta.loads where ' ~ of_source) -%}
            {%- if loads and (not partition or source.config.meta.delivers == 'whole') -%}{{ return('all') }}{%- endif -%}
            {%- if loads -%}
                {%- set relation = api.Relation.create(database=source.database, schema=source.schema, identifier=source.identifier) | string -%}
                {%- set new_rows = '(select * from ' ~ relation ~ ' where _load_id in (' ~ orchestra_texts(loads) ~ '))' -%}
                {%- set keys = config.require('unique_key') | join(', ') -%}
                {%- set news = adapter.quote('news_' ~ this.identifier) -%}
                {% call statement('news') %}
                    create or replace temp table {{ news }} as
                    select distinct {{ keys }}, {{ partition }} from (
                    {{ sql | replace(relation, new_rows) }}
                    )
                {% endcall %}
                {#- A key of the brick that gives no row was left out: what stood under it may stand in any partition. -#}
                {%- set brick_keys = [] -%}
                {%- for key in source.config.meta.key -%}{%- do brick_keys.append(adapter.quote(key)) -%}{%- endfor -%}
                {%- set distinct_count = 'select count(*) from (select distinct ' -%}
                {%- if orchestra_value(distinct_count ~ brick_keys | join(', ') ~ ' from ' ~ new_rows ~ ')') != orchestra_value(distinct_count ~ keys ~ ' from ' ~ news ~ ')') -%}{{ return('all') }}{%- endif -%}
                {%- do found.extend(orchestra_list(
                    'select distinct ' ~ orchestra_unit(partition) ~ ' from ' ~ news
                    ~ ' union select distinct ' ~ orchestra_unit(partition) ~ ' from ' ~ existing
                    ~ ' semi join ' ~ news ~ ' using (' ~ keys ~ ')'
                )) -%}
            {%- endif -%}
        {%- elif not graph.nodes[parent].config.get('partition') or not partition -%}
            {%- if orchestra_value("select count(*) from meta.built where model = '" ~ parent ~ "' and content_run > " ~ run) -%}{{ return('all') }}{%- endif -%}
        {%- else -%}
            {%- do found.extend(orchestra_list("select distinct partition from meta.touched where model = '" ~ parent ~ "' and run > " ~ run)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if '*' in found or found and config.get('reach') == 'all' -%}{{ return('all') }}{%- endif -%}
    {%- if found and config.get('reach') == 'next' -%}
        {%- do found.extend(orchestra_list(
            'select cast(cast(partition as date) + interval 1 month as date)::varchar from (select unnest([' ~ orchestra_texts(found)
            ~ "]) as partition) where partition <> 'none'"
        )) -%}
    {%- endif -%}
    {{ return(found | unique | list) }}
{% endmacro %}

{# Whether the columns are not the same any more. #}
{% macro orchestra_reshaped(existing, staged) %}
    {%- set shape = "select string_agg(column_name || ' ' || column_type, ', ' order by column_name) from (describe " -%}
    {{ return(orchestra_value(shape ~ existing ~ ')') != orchestra_value(shape ~ staged ~ ')')) }}
{% endmacro %}

{# The partitions whose content differs between what stands and what was staged; ['whole'] for a model without partition. #}
{% macro orchestra_changed(existing, staged, partition, scope) %}
    {%- set unit = orchestra_unit(partition) if partition else "'whole'" -%}
    {%- set columns = adapter.get_columns_in_relation(existing) | map(attribute='quoted') | join(', ') -%}
    {%- set digest = 'count(*) as row_count, sum(hash(' ~ columns ~ ')::hugeint) as digest' -%}
    {{ return(orchestra_list(
        'with old as (select ' ~ unit ~ ' as unit, ' ~ digest ~ ' from ' ~ existing ~ ' where ' ~ scope ~ ' group by all), '
        ~ 'new as (select ' ~ unit ~ ' as unit, ' ~ digest ~ ' from ' ~ staged ~ ' group by all) '
        ~ 'select coalesce(old.unit, new.unit) as unit from old full join new on old.unit is not distinct from new.unit '
        ~ 'where old.row_count is distinct from new.row_count or old.digest is distinct from new.digest order by unit'
    )) }}
{% endmacro %}

{# Say, in the transaction of the content, what seq it has reached and what it touched ('*': everything). #}
{% macro orchestra_book(now, fingerprint, partition, changed) %}
    {%- set name = "'" ~ model.unique_id ~ "'" -%}
    {%- set is_changed = changed is none or changed -%}
    {% call statement('book') %}
        {% if is_changed and partition %}
        insert into meta.touched select {{ name }}, unnest([{{ orchestra_texts(['*'] if changed is none else changed) }}]), {{ now[1] }};
        {% endif %}
        create or replace temp table booked as
        select coalesce(max(content_run), {{ now[1] }}) as content_run from meta.built where model = {{ name }};
        delete from meta.built where model = {{ name }};
        insert into meta.built
        select {{ name }}, {{ now[0] }}, {{ now[1] }}, {{ now[1] if is_changed else 'content_run' }}, '{{ fingerprint }}' from booked;
    {% endcall %}
{% endmacro %}
