"""How a text becomes a value of the type that a brick declares: the same SQL when it lands, and when an older contract landed it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from ingestion.brick import Brick, Table
from ingestion.column import EPOCHS, Bound, Column
from ingestion.connectors import connector
from ingestion.lake import literal, quoted
from ingestion.local_hours import resolved, twin

# How many digits the numbers of a date have, by their code.
DIGITS = {"Y": 4, "G": 4, "j": 3, "g": 3, "f": 6, "n": 9, **dict.fromkeys("ydmHIMSUWV", 2)}


@dataclass(frozen=True)
class Notation:
    """How a table's source writes numbers and missing values; the time zone of its dates without one, and its hours shown twice."""

    decimal: str = "."
    thousands: str | None = None
    null_values: tuple[str, ...] = ()
    time_zone: str = "UTC"
    time_fold: str = "in_order"


def notation_of(brick: Brick, table: Table) -> Notation:
    """Give what a brick says of how a table is written."""
    options = connector(brick.meta.connector).TableOptions.model_validate(table.meta.options)
    told = {name: getattr(options, name) for name in ("decimal", "thousands", "null_values") if hasattr(options, name)}
    return Notation(time_zone=table.meta.time_zone, time_fold=table.meta.time_fold, **told)


def without_nulls(text: str, null_values: tuple[str, ...]) -> str:
    """Write a text, NULL where it is one of those that stand for a missing value."""
    for null in null_values:
        text = f"nullif({text}, {literal(null)})"
    return text


def typed_without_nulls(value: str, kind: str, null_values: tuple[str, ...]) -> str:
    """Write a value of a type of DuckDB, NULL where it is one of those that stand for a missing value."""
    for null in null_values:
        value = f"nullif({value}, try_cast({literal(null)} as {kind}))"
    return value


def cast(
    data_type: str,
    text: str,
    notation: Notation,
    date_format: str | None = None,
    years_from: int | None = None,
    *,
    is_bounded: bool = False,
) -> str:
    """Write the value of a text, NULL when it is not of the type; an instant without a zone is of the session's.

    The date of a text that tells its offset is the local one, as that of a typed instant is: `2024-01-05T23:30:00Z` is the 6th in Paris.

    `years_from` is the first of the hundred years that two digits mean. `is_bounded` tells that the column says which values are its own.

    DuckDB reads more than a steward would call a number or a date (`0x1F`, `1_000`, `2024-01-05x`, 12.7 as 13): that is NULL.
    A `case` and a `coalesce` ask for the dearer where the cheaper does not do, which `and` and `or` do not.
    """
    if data_type == "string":
        return text
    if data_type == "json":
        return f"case when json_valid({text}) and not {_is_loose(text)} then {text} end"
    if date_format in EPOCHS:
        return f"try_cast({_of_epoch(text, date_format, is_bounded=is_bounded)} as {data_type})"
    if date_format:
        parsed = f"try_strptime({_of_digits(text, date_format)}, {literal(date_format)})"
        if (data_type, has_zone(text, date_format)) == ("date", "true"):
            return f"try_cast({parsed} at time zone {literal(notation.time_zone)} as date)"
        return f"try_cast({parsed if years_from is None else _of_years(parsed, years_from)} as {data_type})"
    if data_type == "date":
        # Read as a date alone, what follows it may be anything.
        slowly = f"case when try_cast(trim({text}) as timestamptz) is not null then try_cast({text} as date) end"
        local = f"try_cast(try_cast({text} as timestamptz) at time zone {literal(notation.time_zone)} as date)"
        told = f"case when contains({text}, ':') then case when {has_zone(text, None)} then {local} end end"
        return f"coalesce({told}, try_cast(try_cast({text} as timestamp) as date), {slowly})"
    if data_type in ("double", "bigint"):
        return _number(data_type, text, notation)
    return f"try_cast({text} as {data_type})"


def _of_epoch(text: str, unit: str, *, is_bounded: bool = False) -> str:
    """Write the instant of a number of seconds or milliseconds since 1970, NULL for what is none, or rather is of the other unit.

    As seconds, what is said in milliseconds is after the year 5000; as milliseconds, the seconds of any year until then are of 1960 to
    1980: an instant of these years, `0` itself, is read only where the column bounds its values (`between`).
    """
    number = f"case when regexp_full_match(trim({text}), '[-+]?[0-9]+([.][0-9]*)?') then try_cast(trim({text}) as decimal(24, 6)) end"
    is_other = f"abs({number}) >= 100000000000" if unit == "epoch_s" else "false" if is_bounded else f"abs({number}) < 315532800000"
    return f"case when not ({is_other}) then try(make_timestamptz(({number} * {EPOCHS[unit]})::bigint)) end"


def _of_digits(text: str, date_format: str) -> str:
    """Write a date's text, NULL where numbers that nothing parts have not all their digits: `2024111` is of January or of November."""
    sizes = [DIGITS.get(piece[-1], 0) if len(piece) > 1 else 0 for piece in re.findall("%-?.|[^%]", date_format)]
    unparted = [size and (before or after) for before, size, after in zip([0, *sizes], sizes, [*sizes[1:], 0], strict=False)]
    if not any(unparted):
        return f"trim({text})"
    whole = "".join(f"[0-9]{{{size}}}" if is_unparted else ".*" for size, is_unparted in zip(sizes, unparted, strict=True))
    return f"case when regexp_full_match(trim({text}), {literal(whole)}) then trim({text}) end"


def _of_years(parsed: str, first: int) -> str:
    """Write a date whose year was told by two digits, in the hundred years from `first`; a 29 February that these lack is NULL."""
    ahead = f"((year({parsed}) - {first}) % 100 + 100) % 100"
    moved = f"{parsed} + to_years(({first} + {ahead} - year({parsed}))::integer)"
    return f"case when day({moved}) = day({parsed}) then {moved} end"


def has_zone(text: str, date_format: str | None) -> str:
    """Write whether a text, of a format when it has one, tells its offset or its zone."""
    if date_format in EPOCHS:
        return "true"
    if date_format:
        return str(bool({"z", "Z"} & set(re.findall("%-?(.)", date_format)))).lower()
    return f"regexp_matches({text}, ':.*[-+A-Za-z]')"


def _is_loose(text: str) -> str:
    """Write whether what DuckDB takes for JSON holds what no other reader does: NaN, an infinity, a comma before a closing bracket."""
    loose, strings = literal(r"(?i)nan|inf|,\s*[\]}]"), literal(r'"([^"\\]|\\.)*"')
    bare = f"regexp_replace({text}, {strings}, '\"\"', 'g')"
    return f"case when regexp_matches({text}, {loose}) then regexp_matches({bare}, {loose}) else false end"


def _number(data_type: str, text: str, notation: Notation) -> str:
    if notation.thousands is not None:
        # Where a mark does not part thousands (`1.5` from a source that wrote `1.000,5` before), it is no number.
        marks = "".join(dict.fromkeys((notation.thousands, "\u00a0", "\u202f")))
        mark, around = f"[{re.escape(marks)}]", rf"[\s{re.escape(marks)}]*"
        parted = rf"{around}[-+]?\d{{1,3}}({mark}\d{{3}})*({re.escape(notation.decimal)}\d*)?{around}"
        bare = f"translate({text}, {literal(marks)}, '')"
        text = f"case when {bare} = {text} then {text} when regexp_full_match({text}, {literal(parted)}) then {bare} end"
    if notation.decimal == ",":
        # Neither a mark of thousands nor of decimals: nothing tells whether `1.234` is one or a thousand.
        text = f"case when not contains({text}, '.') then replace({text}, ',', '.') end"
    if data_type == "double":
        return f"case when not contains({text}, '_') and not contains({text}, '+-') then try_cast({text} as double) end"
    whole, exact = f"try_cast({text} as bigint)", f"try_cast({text} as decimal(38, 19))"
    is_decimal, is_hexadecimal = (" or ".join(f"contains({text}, '{mark}')" for mark in marks) for marks in (".eE", "xXbB"))
    otherwise = (
        f"case when contains({text}, '_') or {is_hexadecimal} then null "
        f"when {is_decimal} then case when {exact} = trunc({exact}) then try_cast({exact} as bigint) end else {whole} end"
    )
    return f"case when {whole}::varchar = {text} then {whole} else {otherwise} end"


def plausible(data_type: str, value: str, text: str) -> str:
    """Write a value from its cast: a double that is not finite is none, nor a date that no calendar shows.

    DuckDB takes `24/10/90` for the year 90: a year before 1000 is one where its text writes it with four digits. The word `epoch`
    is no date.
    """
    if data_type == "double":
        return f"case when isfinite({value}) then {value} end"
    if data_type in ("date", "timestamptz"):
        first, four, last = (f"'{day}'::{data_type}" for day in ("0001-01-02", "1000-01-02", "9999-12-30"))
        is_written = f"contains(({text})::varchar, lpad(year({value})::varchar, 4, '0'))"
        early = f"when {value} between {first} and {four} then case when {is_written} then {value} end"
        zero = f"'1970-01-01{'' if data_type == 'date' else ' 00:00:00+00'}'::{data_type}"
        word = f"when {value} = {zero} then case when regexp_matches(({text})::varchar, '[0-9]') then {value} end"
        return f"case {word} when {value} between {four} and {last} then {value} {early} end"
    return value


def within(column: Column, value: str, notation: Notation) -> str | None:
    """Write whether a value is between the bounds of its column, NULL for none; a date bounds instants by its whole day, local."""
    if not column.meta.between:
        return None
    low, high = column.meta.between
    tests = [f"{value} >= {_bound(column, low, notation)}"] if low is not None else []
    if isinstance(high, dt.date) and not isinstance(high, dt.datetime) and column.data_type == "timestamptz":
        tests.append(f"{value} < {_bound(column, high + dt.timedelta(days=1), notation)}")
    elif high is not None:
        tests.append(f"{value} <= {_bound(column, high, notation)}")
    return f"({' and '.join(tests)})"


def _bound(column: Column, bound: Bound, notation: Notation) -> str:
    if column.data_type == "timestamptz" and isinstance(bound, dt.date):
        moment = bound if isinstance(bound, dt.datetime) else dt.datetime(bound.year, bound.month, bound.day)
        bound = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(notation.time_zone))
    return f"{literal(str(bound))}::{column.data_type}" if isinstance(bound, dt.date) else str(bound)


def mapped(column: Column, landed: dict[str, str], notation: Notation, key: list[str] | None = None) -> str:
    """Write a column as today's contract names and types it, from what an older one landed (type by name).

    What landing would refuse today is NULL. Names that differ by their case are one. With the expressions of the `key`,
    among the rows of landed files, local hours shown twice are told apart as landing does; else they are the first.
    """
    names = (column.name, *column.meta.formerly)
    values = [_as_today(column, value, kind, notation, key) for value, kind in landed_under(names, landed)]
    told = f"coalesce({', '.join(values)})" if len(values) > 1 else (values or [f"null::{column.sql_type}"])[0]
    is_within = within(column, f"({told})", notation)
    if column.meta.pattern and not column.meta.mask:
        is_within = f"trim({told}) = '' or regexp_full_match({told}, {literal(column.meta.pattern)})"
    return f"case when {is_within} then {told} end" if is_within else told


def landed_under(names: tuple[str, ...], landed: dict[str, str]) -> list[tuple[str, str]]:
    """Give the expressions and types of the landed columns of some names; in documents, of what was let in under them."""
    spelled = {name.casefold(): name for name in landed}
    present = [spelled[name.casefold()] for name in names if name.casefold() in spelled]
    if present or "_extra" not in landed:
        return [(quoted(name), landed[name]) for name in present]
    return [(f"(_extra ->> {json_place(name)})", "string") for name in names]


def json_place(name: str) -> str:
    """Write where a key of a document is, whatever its name holds (RFC 6901)."""
    return literal("/" + name.replace("~", "~0").replace("/", "~1"))


def as_written(text: str, document: str, name: str) -> str:
    """Write the text of a member of a document as the document writes it: DuckDB writes the number 1.50 as 1.5, and 1e3 as 1000.0.

    The dearer is asked where the cheaper does not do. Where another object of the document writes the same number otherwise,
    under the same key, or the key is written with escapes, it is what DuckDB writes.
    """
    pattern = literal(re.escape(json.dumps(name, ensure_ascii=False)) + r"\s*:\s*(-?[0-9][0-9.eE+-]*)")
    written = f"regexp_extract_all({document}, {pattern}, 1)"
    same = f"list_distinct(list_filter({written}, lambda each: try_cast(each as double) = try_cast({text} as double)))"
    is_double = f"try(json_type({document}, {json_place(name)})) = 'DOUBLE'"
    told = f"case when {is_double} then case when len({same}) = 1 then {same}[1] end end"
    is_like_one = f"contains({text}, '.') or contains({text}, 'e')"
    for test in (f"try_cast({text} as double) is not null", is_like_one, f"ascii({text}) between 45 and 57"):
        told = f"case when {test} then {told} end"
    return f"coalesce({told}, {text})"


def _as_today(column: Column, value: str, kind: str, notation: Notation, key: list[str] | None) -> str:
    """Write what landed as `kind` as the column's type of today."""
    is_text, zone = kind in ("string", "json"), literal(notation.time_zone)
    text = without_nulls(value, notation.null_values) if is_text else f"{value}::varchar"
    if column.data_type in (kind, "string"):
        is_number = kind in ("bigint", "double")
        return text if column.data_type == "string" else typed_without_nulls(value, kind, notation.null_values if is_number else ())
    if (kind, column.data_type) == ("timestamptz", "date"):
        return f"({value} at time zone {zone})::date"
    # A typed value is written as DuckDB does; a whole number, as its source wrote it, or no date that has all its digits.
    is_written = is_text or (kind == "bigint" and column.meta.format)
    written = (notation, column.meta.format, column.meta.years_from) if is_written else (Notation(), None, None)
    today = cast(column.data_type, text, *written, is_bounded=bool(column.meta.between))
    if column.data_type == "timestamptz" and notation.time_zone != "UTC":
        # The session's zone is UTC where sources are read.
        local = _local(cast("timestamp", text, *written), notation, key)
        today = f"case when {has_zone(text, written[1])} then {today} else {local} end"
    return plausible(column.data_type, today, text)


def _local(wall: str, notation: Notation, key: list[str] | None) -> str:
    """Write the instant of a wall clock, the session's zone being UTC."""
    value = f"(({wall}) at time zone {literal(notation.time_zone)})"
    far = twin(value, f"({wall})", notation.time_zone)
    if notation.time_fold == "refuse":
        return f"case when {far} is null then {value} end"
    if notation.time_fold != "in_order" or key is None:
        return resolved(value, far, notation.time_fold)
    same = f"partition by load_id, _file, {', '.join([*key, wall])}"
    rank, many = f"row_number() over ({same} order by _row, file_row_number)", f"count(*) over ({same})"
    one, other = (resolved(value, far, fold) for fold in ("first", "second"))
    return f"case when {far} is null then {value} when {many} <= 2 then case when {rank} = 2 then {other} else {one} end end"


def as_json(texts: Iterable[str]) -> Iterator[str]:
    """Give texts as JSON holds them: as strings, and those that are JSON themselves (`-999`) as they are."""
    for text in texts:
        yield json.dumps(text, ensure_ascii=False)
        with contextlib.suppress(ValueError):
            json.loads(text)
            yield text
