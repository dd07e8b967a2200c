{% macro disclosed(cells, domain, cell, levels, contributors, value, largest, measures, apart=[], thresholds=none, shown=none) -%}
{%- set key = apart + levels + cell -%}
with thresholds as (

    select minimum_count, coalesce(dominance_share, 1) as dominance_share
    from {{ thresholds or ref('disclosure_thresholds') }}
    where domain = '{{ domain }}' and valid_to is null

),

part_0 as (

    select
        {% for name in key %}cells.{{ name }}, {% endfor %}
        cells.{{ contributors }} as part_count,
        cells.{{ value }} as part_value,
        {{ 'cells.' ~ largest if largest else 'cast(0 as double)' }} as part_largest,
        {% if shown -%}
        coalesce(shown.is_suppressed, false) as was_hidden,
        cells.{{ contributors }} > 0 and not coalesce(shown.is_suppressed, false) as is_new,
        coalesce(not shown.is_suppressed, false) as is_known
        {% for level in levels %}, coalesce(shown.{{ level }}_is_suppressed, false) as {{ level }}_was_hidden,
        coalesce(not shown.{{ level }}_is_suppressed, false) as {{ level }}_is_known
        {% endfor %}
        {%- else -%}
        false as was_hidden, true as is_new, false as is_known
        {% for level in levels %}, false as {{ level }}_was_hidden, false as {{ level }}_is_known
        {% endfor %}
        {%- endif %}
    from {{ cells }} as cells
    {% if shown -%}
    left join {{ shown }} as shown
        on {% for name in key %}cells.{{ name }} = shown.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
    {%- endif %}

),

{# From the finest total to the widest: which of its parts are hidden, and whether it can be shown. -#}
{% for depth in range(levels | length) -%}
{%- set level = levels[levels | length - 1 - depth] -%}
{%- set total = apart + levels[:levels | length - depth] -%}
{%- set part = total + (cell if depth == 0 else [levels[levels | length - depth]]) -%}
judged_{{ depth }} as (

    select
        part_{{ depth }}.*,
        part_count > 0 and (
            was_hidden
            or {{ 'is_unprotected' if depth else 'false' }}
            or part_count < thresholds.minimum_count
            or part_largest > thresholds.dominance_share * part_value
        ) as is_small,
        thresholds.minimum_count,
        thresholds.dominance_share
    from part_{{ depth }}
    cross join thresholds

),

{# What a reader knows already protects nothing; beside what is newly hidden, nor does what was hidden: its sum is known. -#}
weighed_{{ depth }} as (

    select
        *,
        case
            when part_count = 0 or is_known then 0
            when
                was_hidden and max(case when is_small and (is_new or not was_hidden) then 1 else 0 end)
                    over (partition by {{ total | join(', ') }}) = 1
                then 0
            else 1
        end as part_weight,
        sum(case when is_small then 1 else 0 end) over (partition by {{ total | join(', ') }}) as small_count,
        row_number() over (
            partition by {{ total | join(', ') }}
            order by is_small desc, is_known, part_count, {{ part | join(', ') }}
        ) as part_rank
    from judged_{{ depth }}

),

ranked_{{ depth }} as (

    select
        *
        {% for name, sum in [
            ('group_parts', 'sum(part_weight)'), ('group_count', 'sum(part_weight * part_count)'),
            ('group_value', 'sum(part_weight * part_value)'), ('group_largest', 'max(part_weight * part_largest)'),
        ] -%}
        , {{ sum }} over (
            partition by {{ total | join(', ') }} order by part_rank rows between unbounded preceding and current row
        ) as {{ name }}
        {% endfor %}
    from weighed_{{ depth }}

),

enough_{{ depth }} as (

    select
        *,
        min(
            case
                when
                    part_rank >= small_count
                    and group_parts >= 2
                    and group_count >= minimum_count
                    and group_largest <= dominance_share * group_value
                    then part_rank
            end
        ) over (partition by {{ total | join(', ') }}) as last_hidden
    from ranked_{{ depth }}

),

hidden_{{ depth }} as (

    select
        *,
        small_count > 0 and part_count > 0 and coalesce(part_rank <= last_hidden, false) as is_hidden,
        small_count > 0 and last_hidden is null as is_total_unprotected
    from enough_{{ depth }}

),

part_{{ depth + 1 }} as (

    select
        {{ total | join(', ') }},
        sum(part_count) as part_count,
        sum(part_value) as part_value,
        max(part_largest) as part_largest,
        bool_or({{ level }}_was_hidden) as was_hidden,
        bool_or(is_new) as is_new,
        bool_and({{ level }}_is_known) as is_known,
        bool_or(is_total_unprotected) as is_unprotected
        {% for wider in levels[:levels | length - 1 - depth] %}, bool_or({{ wider }}_was_hidden) as {{ wider }}_was_hidden,
        bool_and({{ wider }}_is_known) as {{ wider }}_is_known
        {% endfor %}
    from hidden_{{ depth }}
    group by {{ total | join(', ') }}

),

{% endfor -%}
{# The widest totals have no total above. One that is too small by itself has parts that are not enough: it is unprotected. -#}
hidden_{{ levels | length }} as (

    select
        part_{{ levels | length }}.*,
        part_count > 0 and (was_hidden or is_unprotected) as is_hidden
    from part_{{ levels | length }}

),

statuses as (

    select
        {% for name in key %}hidden_0.{{ name }}, {% endfor %}
        {% for depth in range(1, levels | length + 1) -%}
        {%- set level = levels[levels | length - depth] -%}
        {% for wider in range(depth, levels | length + 1) %}hidden_{{ wider }}.is_hidden{{ ' or ' if not loop.last }}{% endfor %} as {{ level }}_is_suppressed,
        {% endfor -%}
        hidden_0.part_count > 0
        and ({% for depth in range(levels | length + 1) %}hidden_{{ depth }}.is_hidden{{ ' or ' if not loop.last }}{% endfor %}) as is_suppressed
    from hidden_0
    {% for depth in range(1, levels | length + 1) -%}
    {%- set total = apart + levels[:levels | length - depth + 1] -%}
    inner join hidden_{{ depth }}
        on {% for name in total %}hidden_0.{{ name }} = hidden_{{ depth }}.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
    {% endfor %}

)

select
    {% for name in key %}cells.{{ name }},
    {% endfor -%}
    {% for name in measures %}case when not statuses.is_suppressed then cells.{{ name }} end as {{ name }},
    {% endfor -%}
    {% for level in levels %}statuses.{{ level }}_is_suppressed,
    {% endfor -%}
    statuses.is_suppressed,
    case
        when not statuses.is_suppressed then null
        {% for depth in range(1, levels | length + 1) -%}
        {%- set total = apart + levels[:levels | length - depth + 1] -%}
        when not statuses.{{ levels[levels | length - depth] }}_is_suppressed
            then concat_ws('/', {% for name in total %}cast(cells.{{ name }} as string){{ ', ' if not loop.last }}{% endfor %})
        {% endfor -%}
    end as disclosure_block
from {{ cells }} as cells
inner join statuses
    on {% for name in key %}cells.{{ name }} = statuses.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
{%- endmacro %}

{% macro disclosed_elsewhere(rows, zone) -%}
with rows_with_cut as (

    select
        {{ zone }},
        is_suppressed and (
            disclosure_block is null
            or min({{ zone }}) over (partition by disclosure_block) != max({{ zone }}) over (partition by disclosure_block)
        ) as is_cut
    from {{ rows }} as cells

)

select
    {{ zone }},
    bool_or(is_cut) as is_suppressed
from rows_with_cut
group by {{ zone }}
{%- endmacro %}

{% macro disclosed_over_time(figures, domain, cell, contributor, figure, standing, thresholds=none) -%}
{%- set key = cell + [contributor] -%}
with thresholds as (

    select minimum_count, coalesce(dominance_share, 1) as dominance_share
    from {{ thresholds or ref('disclosure_thresholds') }}
    where domain = '{{ domain }}' and valid_to is null

),

present as (

    select * from {{ figures }}

),

past as (

    select
        {% for name in key %}{{ name }}, {% endfor %}
        counted_{{ figure }},
        has_counted
    from {{ standing }} as standing
    where has_counted

),

compared as (

    select
        {% for name in key %}coalesce(present.{{ name }}, past.{{ name }}) as {{ name }}, {% endfor %}
        present.{{ contributor }} is not null as is_present,
        present.{{ figure }} as figure,
        past.counted_{{ figure }} as counted,
        past.{{ contributor }} is not null as has_counted,
        {# One that came back after its figure was forgotten brings nothing new: readers may have had it. -#}
        coalesce(
            present.{{ figure }} is not null
            and (past.{{ contributor }} is null or present.{{ figure }} != past.counted_{{ figure }}),
            false
        ) as is_news,
        abs(coalesce(present.{{ figure }}, 0) - coalesce(past.counted_{{ figure }}, 0)) as change
    from present
    full outer join past
        on {% for name in key %}present.{{ name }} = past.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}

),

weighed as (

    select
        {{ cell | join(', ') }},
        count(case when is_news then 1 end) as news_count,
        sum(change) as change_value,
        max(change) as largest_change,
        sum(abs(figure)) as present_value,
        max(abs(figure)) as largest_present,
        count(figure) + count(counted) as figure_count,
        count(counted) as counted_count,
        sum(abs(counted)) as counted_value,
        max(abs(counted)) as largest_counted,
        count(case when counted is not null and figure is null then 1 end) as left_count
    from compared
    group by {{ cell | join(', ') }}

),

decided as (

    select
        {{ cell | join(', ') }},
        figure_count,
        coalesce(
            news_count >= minimum_count
            and largest_change <= dominance_share * change_value
            and largest_present <= dominance_share * present_value,
            false
        ) as is_anew,
        coalesce(
            left_count = 0
            and counted_count >= minimum_count
            and largest_counted <= dominance_share * counted_value,
            false
        ) as may_stand
    from weighed
    cross join thresholds

),

counted_anew as (

    select
        compared.*,
        decided.figure_count > 0 and not decided.is_anew and not decided.may_stand as is_suppressed,
        compared.has_counted or (decided.is_anew and compared.figure is not null) as has_counted_anew,
        case when decided.is_anew then compared.figure else compared.counted end as counted_anew
    from compared
    inner join decided
        on {% for name in cell %}compared.{{ name }} = decided.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}

)

select
    {% for name in key %}{{ name }},
    {% endfor -%}
    is_present,
    is_suppressed,
    has_counted_anew as has_counted,
    figure is distinct from counted_anew as is_waiting,
    counted_anew as counted_{{ figure }}
from counted_anew
{%- endmacro %}
