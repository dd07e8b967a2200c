{# Instants and local calendars. Days and months are those of the territory's time zone; instants are UTC. #}

{% macro local_clock(instant) %}{{ return(adapter.dispatch('local_clock')(instant)) }}{% endmacro %}

{% macro default__local_clock(instant) -%}
    ({{ instant }} at time zone '{{ time_zone() }}')
{%- endmacro %}

{% macro spark__local_clock(instant) -%}
    from_utc_timestamp({{ instant }}, '{{ time_zone() }}')
{%- endmacro %}

{% macro instant_of(clock) %}{{ return(adapter.dispatch('instant_of')(clock)) }}{% endmacro %}

{% macro default__instant_of(clock) -%}
    (cast({{ clock }} as timestamp) at time zone '{{ time_zone() }}')
{%- endmacro %}

{% macro spark__instant_of(clock) -%}
    to_utc_timestamp(cast({{ clock }} as timestamp), '{{ time_zone() }}')
{%- endmacro %}

{% macro local_date(instant) -%}
    cast({{ local_clock(instant) }} as date)
{%- endmacro %}

{% macro local_month(instant) -%}
    cast(date_trunc('month', {{ local_clock(instant) }}) as date)
{%- endmacro %}

{% macro hours_between(from_at, to_at) %}{{ return(adapter.dispatch('hours_between')(from_at, to_at)) }}{% endmacro %}

{% macro default__hours_between(from_at, to_at) -%}
    (date_diff('second', {{ from_at }}, {{ to_at }}) / cast(3600 as double))
{%- endmacro %}

{% macro spark__hours_between(from_at, to_at) -%}
    (timestampdiff(second, {{ from_at }}, {{ to_at }}) / cast(3600 as double))
{%- endmacro %}

{% macro is_within(instant, from_date, to_date) -%}
    coalesce(
        {{ local_date(instant) }} >= {{ from_date }}
        and {{ local_date(instant) }} < coalesce({{ to_date }}, date '9999-12-31'),
        false
    )
{%- endmacro %}

{% macro is_read_by(meters, measures) -%}
    {{ measures }}.deveui = {{ meters }}.deveui
    and {{ measures }}.measured_at >= {{ meters }}.valid_from_at
    and coalesce({{ measures }}.measured_at < {{ meters }}.valid_to_at, true)
{%- endmacro %}
