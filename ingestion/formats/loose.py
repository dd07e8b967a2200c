"""Values that are not of the type of their field, which GDAL changes in silence (`12,5` to 12, no date to 1970): as they are written."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, NamedTuple

from ingestion.lake import quoted

# From so many digits on, GDAL reads a whole number of a .dbf as a double: its last digits are others, and 35000 is 35000.0.
DOUBLE_DIGITS = 19
NUMBERS, LOGICALS = b"0123456789 +-.eE*\0", b"TtFfYyNn? \0"
WHOLE = {"TINYINT": 2**15, "SMALLINT": 2**15, "MEDIUMINT": 2**31, "INT": 2**63, "INTEGER": 2**63}
REAL = ("REAL", "DOUBLE", "FLOAT")  # of which GDAL reads the last one in 32 bits


@dataclass(frozen=True)
class Loose:
    """Columns as texts: by their place among the fields, in the order of the features; or by name, by the value of the column `key`."""

    by_place: dict[int, list[str | None]] | None = None
    key: str = ""
    by_name: dict[str, dict[int, str | None]] | None = None

    def put(self, table: Any, begin: int) -> Any:
        """Give a table of features, the first of them the one after `begin`, with these columns as they are written."""
        import pyarrow as pa

        columns = {table.column_names[place]: texts[begin : begin + len(table)] for place, texts in (self.by_place or {}).items()}
        for name, texts_by_key in (self.by_name or {}).items():
            columns[name] = [texts_by_key[key] for key in table[self.key].to_pylist()]
        for name, texts in columns.items():
            table = table.set_column(table.column_names.index(name), name, pa.array(texts, pa.string()))
        return table


class Field(NamedTuple):
    """A field of a .dbf: where it is in a row, its kind, its width and its decimals."""

    at: int
    kind: bytes
    width: int
    decimals: int


def fields_of_dbf(head: bytes) -> list[Field]:
    """Read the fields of a .dbf from what follows the first 32 bytes of its head."""
    fields, at = list[Field](), 1
    for told in (head[start : start + 32] for start in range(0, len(head) - 31, 32)):
        if told[0] == 13:
            break
        fields.append(Field(at, told[11:12], told[16], told[17]))
        at += told[16]
    return fields


def is_odd(field: Field, rows: Any) -> bool:
    """Say whether GDAL would change some values of a field in rows of a .dbf (bytes, a row each)."""
    import numpy as np

    held = rows[:, field.at : field.at + field.width]
    if field.kind in (b"N", b"F"):
        is_double = field.kind == b"N" and not field.decimals and field.width >= DOUBLE_DIGITS
        return is_double or not np.isin(held, np.frombuffer(NUMBERS, np.uint8)).all()
    if field.kind == b"L":
        return not np.isin(held, np.frombuffer(LOGICALS, np.uint8)).all()
    if field.kind != b"D" or field.width != len("20240105"):
        return False
    days = {bytes(day) for day in np.unique(np.ascontiguousarray(held).view(f"S{field.width}"))}
    return any(day.strip(b" 0") and not _is_day(day) for day in days)


def texts_of_dbf(file: Any, field: Field, width: int, count: int) -> list[str | None]:
    """Read the texts of a field from the rows of a .dbf that are not deleted, of a day as ISO writes it; none for what is blank."""
    begin, texts = file.tell(), list[str | None]()
    for _ in range(count):
        row = file.read(width)
        text = row[field.at : field.at + field.width].replace(b"\0", b" ").decode("ascii", "replace").strip()
        if row[:1] != b"*":
            texts.append(_as_day(text) if field.kind == b"D" else text if text.strip("*?") else None)
    file.seek(begin)
    return texts


def _as_day(text: str) -> str | None:
    return (f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == len("20240105") else text) if text.strip("0") else None


def _is_day(told: bytes) -> bool:
    import datetime as dt

    try:
        return bool(dt.date(int(told[:4]), int(told[4:6]), int(told[6:])))
    except ValueError:
        return False


def loose_of_geopackage(connection: sqlite3.Connection, layer: str) -> Loose | None:
    """Find the columns of a layer that hold what is not of their type, as SQLite lets them; raises ValueError where rows have no key."""
    import numpy as np

    columns = connection.execute(f"pragma table_info({quoted(layer)})").fetchall()
    tests = {name: test for _, name, kind, *_, key in columns if not key and (test := _misfit(quoted(name), kind))}
    if not tests:
        return None
    connection.create_function("single", 1, lambda value: float(np.float32(value)))
    asked = ", ".join(f"coalesce(sum({test}), 0)" for test in tests.values())
    counts = connection.execute(f"select {asked} from {quoted(layer)}").fetchone()
    odd = [name for name, count in zip(tests, counts, strict=True) if count]
    if not odd:
        return None
    key = next((name for _, name, *_, is_key in columns if is_key), None)
    if key is None:
        told = f"holds values that are not of the type of their column ({', '.join(odd)}), in rows without a key"
        raise ValueError(f"{told}. Mend: have the source repair them, or give the layer a primary key")
    given = connection.execute(f"select {', '.join(map(quoted, (key, *odd)))} from {quoted(layer)}").fetchall()
    return Loose(key=key, by_name={name: {row[0]: _as_text(row[place]) for row in given} for place, name in enumerate(odd, 1)})


def _misfit(name: str, kind: str) -> str | None:
    """Write whether a value is not of the type that a GeoPackage declares of its column; None for a type that changes nothing."""
    own = kind.upper().partition("(")[0].strip()
    if own in WHOLE:
        most = WHOLE[own]
        return f"({name} is not null and (typeof({name}) <> 'integer' or {name} not between {-most} and {most - 1}))"
    if own == "BOOLEAN":
        return f"({name} is not null and (typeof({name}) <> 'integer' or {name} not in (0, 1)))"
    if own in REAL:
        short = f" or (typeof({name}) = 'real' and {name} <> single({name}))" if own == "FLOAT" else ""
        return f"(typeof({name}) in ('text', 'blob'){short})"
    if own == "DATE":
        return f"({name} is not null and (typeof({name}) <> 'text' or date({name}, '+0 days') is not {name}))"  # which has it be a day
    return f"(typeof({name}) not in ('text', 'null'))" if own in ("DATETIME", "TIMESTAMP") else None


def _as_text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
