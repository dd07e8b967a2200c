{# What ends before it begins is told, row by row. #}
{% test no_earlier_than(model, column_name, from_column) %}
    select *
    from {{ model }}
    where {{ column_name }} < {{ from_column }}
{% endtest %}
