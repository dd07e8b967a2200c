{% test sums_reconcile(model, of, key, columns, only='true', within=none, tolerance=0.5) %}
    with whole as (

        select {{ key | join(', ') }}{% for column in columns %}, sum({{ column }}) as {{ column }}{% endfor %}
        from {{ model }}
        group by {{ key | join(', ') }}

    ),

    parts as (

        select {{ key | join(', ') }}{% for column in columns %}, sum({{ column }}) as {{ column }}{% endfor %}
        from {{ of }}
        where
            {{ only }}
            {% if within %}and {{ within }} in (select {{ within }} from {{ model }}){% endif %}
        group by {{ key | join(', ') }}

    )

    select
        {% for name in key %}coalesce(whole.{{ name }}, parts.{{ name }}) as {{ name }},
        {% endfor %}
        {% for column in columns %}whole.{{ column }} as whole_{{ column }}, parts.{{ column }} as parts_{{ column }}{{ ',' if not loop.last }}
        {% endfor %}
    from whole
    full outer join parts
        on {% for name in key %}whole.{{ name }} = parts.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
    where {% for column in columns %}
        abs(coalesce(whole.{{ column }}, 0) - coalesce(parts.{{ column }}, 0)) > {{ tolerance }}
        or (whole.{{ column }} is null) != (parts.{{ column }} is null){{ ' or ' if not loop.last }}
    {% endfor %}
{% endtest %}
