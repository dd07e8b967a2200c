"""From where a table is read on: what the journal says of it, as far as its column of today can read that."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion import local_hours
from ingestion.brick import Brick, Table
from ingestion.connectors import Reading
from ingestion.journal import Journal
from ingestion.lake import listed, literal, quoted
from ingestion.position import Position

if TYPE_CHECKING:
    import duckdb

MARKS = ("_file", "_row", "_refused", "_read_at", "_load_id")  # of a landed row, what its source does not say


def start_of(journal: Journal, brick: Brick, table: Table, by: str) -> Position:
    """Give where the next reading of a table starts."""
    return usable(journal.position(brick.name, table.name), table, by)


def usable(position: Position, table: Table, by: str) -> Position:
    """Give a position without a cursor of another column, or that its column's type does not read.

    Files that failed are known to what failed to read them (`by`), and to nothing else.
    """
    column = table.cursor_column
    known = {name: signature for name, signature in position.known.items() if position.failed.get(name, by) == by}
    read: Any = {"bigint": int, "double": float, "date": dt.date.fromisoformat, "timestamptz": dt.datetime.fromisoformat}
    try:
        is_own = column is not None and position.at.get("cursor_column", column.name) == column.name
        if column and "cursor" in position.at:
            read.get(column.data_type, str)(position.at["cursor"])
    except ValueError:
        is_own = False
    at = position.at if is_own else {name: value for name, value in position.at.items() if name not in ("cursor", "cursor_column")}
    return replace(position, at=at, known=known)


def cursor_from(position: dict[str, Any], table: Table) -> str | None:
    """Give the value of the cursor column from which rows are landed: the last one less the lookback."""
    column = table.cursor_column
    if not column or "cursor" not in position or table.meta.delivers == "whole":
        return None
    if column.data_type not in ("date", "timestamptz"):
        return str(position["cursor"])
    back = table.meta.lookback.days if table.meta.lookback else 0
    moment = dt.datetime.fromisoformat(position["cursor"]) - dt.timedelta(days=back)
    if column.data_type == "date":
        return moment.date().isoformat()
    return local_hours.floor(moment, table.meta.time_zone).isoformat()


def position_after(reading: Reading, table: Table, newest: str | None, before: dict[str, Any]) -> dict[str, Any]:
    """Give what the journal says of where the next reading starts, once the newest cursor of this one is known."""
    if not (column := table.cursor_column):
        return reading.position
    cursors = [value for value in (newest, before.get("cursor")) if value is not None]
    order: Any = float if column.data_type in ("bigint", "double") else str
    return {**reading.position, **({"cursor": max(cursors, key=order), "cursor_column": column.name} if cursors else {})}


def tail_of(connection: duckdb.DuckDBPyConnection, table: Table, files: list[Path], position: dict[str, Any]) -> dict[str, Any] | None:
    """Give how many staged rows the next reading will be given again, and a digest of them, whatever their order; None where none is asked.

    They are those at the cursor of `position` or above, less the lookback, and those without one. Files are told by their own signatures.
    """
    column, since = table.cursor_column, cursor_from(position, table)
    if column is None or since is None or "digest" not in position or not files:
        return None
    cursor = quoted(column.name)
    kept = f"{cursor} >= {literal(since)}::{column.sql_type} or {cursor} is null"
    told = f"columns(name -> name not in ({', '.join(map(literal, MARKS))}))"
    rows = f"select {told} from read_parquet({listed([str(file) for file in files])}, union_by_name = true)"
    ((count, digest),) = connection.execute(f"select count(*), sum(hash(r)::hugeint)::text from ({rows} where {kept}) as r").fetchall()
    return {"rows": count, "digest": digest}
