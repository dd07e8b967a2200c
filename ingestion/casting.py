"""How a text becomes a value of the type that a brick declares: the same SQL when it lands, and when an older contract landed it."""

from __future__ import annotations

from dataclasses import dataclass

from ingestion.brick import Brick, Column, Table
from ingestion.connectors import connector
from ingestion.lake import literal, quoted


@dataclass(frozen=True)
class Notation:
    """How a table's source writes numbers and missing values, and the time zone of its dates without one."""

    decimal: str = "."
    thousands: str | None = None
    null_values: tuple[str, ...] = ()
    time_zone: str = "UTC"


def notation_of(brick: Brick, table: Table) -> Notation:
    """Give what a brick says of how a table is written."""
    options = connector(brick.meta.connector).TableOptions.model_validate(table.meta.options)
    told = {name: getattr(options, name) for name in ("decimal", "thousands", "null_values") if hasattr(options, name)}
    return Notation(time_zone=table.meta.time_zone, **told)


def without_nulls(text: str, null_values: tuple[str, ...]) -> str:
    """Write a text, NULL where it is one of those that stand for a missing value."""
    for null in null_values:
        text = f"nullif({text}, {literal(null)})"
    return text


def cast(data_type: str, text: str, notation: Notation, date_format: str | None = None) -> str:
    """Write the value of a text, NULL when it is not of the type; a date without a zone is of the session's.

    DuckDB reads more than a steward would call a number or a date (`0x1F`, `1_000`, `2024-01-05x`, 12.7 as 13): that is NULL.
    A `case` and a `coalesce` ask for the dearer where the cheaper does not do, which `and` and `or` do not.
    """
    if data_type == "string":
        return text
    if data_type == "json":
        return f"case when json_valid({text}) and not {_is_loose(text)} then {text} end"
    if date_format:
        return f"try_cast(try_strptime(trim({text}), {literal(date_format)}) as {data_type})"
    if data_type == "date":
        # Read as a date alone, what follows it may be anything.
        slowly = f"case when try_cast(trim({text}) as timestamptz) is not null then try_cast({text} as date) end"
        return f"coalesce(try_cast(try_cast({text} as timestamp) as date), {slowly})"
    if data_type in ("double", "bigint"):
        return _number(data_type, text, notation)
    return f"try_cast({text} as {data_type})"


def _is_loose(text: str) -> str:
    """Write whether what DuckDB takes for JSON holds what no other reader does: NaN, an infinity, a comma before a closing bracket."""
    loose, strings = literal(r"(?i)nan|inf|,\s*[\]}]"), literal(r'"([^"\\]|\\.)*"')
    bare = f"regexp_replace({text}, {strings}, '\"\"', 'g')"
    return f"case when regexp_matches({text}, {loose}) then regexp_matches({bare}, {loose}) else false end"


def _number(data_type: str, text: str, notation: Notation) -> str:
    if notation.thousands is not None:
        for blank in dict.fromkeys((notation.thousands, "\u00a0", "\u202f")):
            text = f"replace({text}, {literal(blank)}, '')"
    if notation.decimal == ",":
        text = f"replace({text}, ',', '.')"
    if data_type == "double":
        return f"case when not contains({text}, '_') then try_cast({text} as double) end"
    whole, exact = f"try_cast({text} as bigint)", f"try_cast({text} as decimal(38, 19))"
    is_decimal, is_hexadecimal = (" or ".join(f"contains({text}, '{mark}')" for mark in marks) for marks in (".eE", "xXbB"))
    otherwise = (
        f"case when contains({text}, '_') or {is_hexadecimal} then null "
        f"when {is_decimal} then case when {exact} = trunc({exact}) then try_cast({exact} as bigint) end else {whole} end"
    )
    return f"case when {whole}::varchar = {text} then {whole} else {otherwise} end"


def plausible(data_type: str, value: str) -> str:
    """Write a value from its cast: a double that is not finite is none, nor a date that no calendar shows."""
    if data_type == "double":
        return f"case when isfinite({value}) then {value} end"
    if data_type in ("date", "timestamptz"):
        first, last = (f"'{day}'::{data_type}" for day in ("0001-01-02", "9999-12-30"))
        return f"case when {value} between {first} and {last} then {value} end"
    return value


def mapped(column: Column, landed: dict[str, str], notation: Notation) -> str:
    """Write a column as today's contract names and types it, from what an older one landed (type by name).

    What landing would refuse today is NULL. Names that differ by their case are one.
    """
    names = (column.name, *column.meta.formerly)
    values = [_as_today(column, value, kind, notation) for value, kind in found(names, landed)]
    return f"coalesce({', '.join(values)})" if len(values) > 1 else (values or [f"null::{column.sql_type}"])[0]


def found(names: tuple[str, ...], landed: dict[str, str]) -> list[tuple[str, str]]:
    """Give the expressions and types of the landed columns of some names; in documents, of what was let in under them."""
    spelled = {name.casefold(): name for name in landed}
    present = [spelled[name.casefold()] for name in names if name.casefold() in spelled]
    if present or "_extra" not in landed:
        return [(quoted(name), landed[name]) for name in present]
    return [(f"(_extra ->> {json_place(name)})", "string") for name in names]


def json_place(name: str) -> str:
    """Write where a key of a document is, whatever its name holds (RFC 6901)."""
    return literal("/" + name.replace("~", "~0").replace("/", "~1"))


def _as_today(column: Column, value: str, kind: str, notation: Notation) -> str:
    """Write what landed as `kind` as the column's type of today."""
    is_text, zone = kind in ("string", "json"), literal(notation.time_zone)
    text = without_nulls(value, notation.null_values) if is_text else f"{value}::varchar"
    if column.data_type in (kind, "string"):
        return text if column.data_type == "string" else value
    if (kind, column.data_type) == ("timestamptz", "date"):
        return f"({value} at time zone {zone})::date"
    told = column.meta.format if is_text else None
    # A typed value is written as DuckDB does.
    today = cast(column.data_type, text, notation if is_text else Notation(), told)
    if column.data_type == "timestamptz" and notation.time_zone != "UTC":
        # The session's zone is UTC where sources are read.
        has_zone = str("%z" in told.lower()).lower() if told else f"regexp_matches({text}, ':.*[-+A-Za-z]')"
        today = f"case when {has_zone} then {today} else ({today} at time zone 'UTC') at time zone {zone} end"
    return plausible(column.data_type, today)
