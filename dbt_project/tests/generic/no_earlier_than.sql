{% test no_earlier_than(model, column_name, from_column) %}
    select *
    from {{ model }}
    where {{ column_name }} < {{ from_column }}
{% endtest %}
