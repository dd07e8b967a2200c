"""What dbt reads of the lake: each declared table as a view over the explicit list of its accepted files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ingestion.brick import Brick, Column, Table
from ingestion.journal import Entry, Journal
from ingestion.lake import Lake, listed, literal, quoted

if TYPE_CHECKING:
    import duckdb

REWRITES = ("drop", "erase", "expire", "compact")


def catch_up(connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, bricks: dict[str, Brick]) -> int:
    """Make the sources of dbt say what the journal says now, in one transaction; give the seq that was reached.

    Views: one schema per brick, one view per table (declared columns, `_file`, `_row`, `_read_at`, `_load_id`), kept rows
    only. Tables of `meta`: `journal` (seq, as_of, and run, which
    numbers the builds), `loads` (brick, table_name, load_id, seq), `rewrites` (brick,
    table_name, seq: what was taken away); `built` and `touched` are the models' own.
    """
    loads = journal.accepted()
    connection.execute("begin")
    connection.execute("create schema if not exists meta")
    connection.execute(
        "create table if not exists meta.built (model varchar, seq bigint, run bigint, content_run bigint, fingerprint varchar)"
    )
    connection.execute("create table if not exists meta.touched (model varchar, partition varchar, run bigint)")
    as_of = journal.as_of()
    stamp = f"{literal(as_of)}::timestamptz" if as_of else "null::timestamptz"
    connection.execute("create table if not exists meta.journal (seq bigint, as_of timestamptz, run bigint)")
    connection.execute(
        f"create or replace table meta.journal as select {journal.seq}::bigint as seq, {stamp} as as_of, "
        "(select coalesce(max(run), 0) + 1 from meta.journal) as run"
    )
    connection.execute("delete from meta.touched where run <= (select min(run) from meta.built)")
    named = [(load["brick"], name, load["load_id"], load["seq"]) for load in loads for name in load["tables"]]
    _replace(connection, "loads", "brick varchar, table_name varchar, load_id varchar, seq bigint", named)
    taken = [(e["brick"], e.get("table"), e["seq"]) for kind in REWRITES for e in journal.of(kind)]
    _replace(connection, "rewrites", "brick varchar, table_name varchar, seq bigint", taken)
    for brick in bricks.values():
        connection.execute(f"create schema if not exists {quoted(brick.name)}")
        own = [load for load in loads if load["brick"] == brick.name]
        for table in brick.tables:
            view = f"{quoted(brick.name)}.{quoted(table.name)}"
            connection.execute(f"create or replace view {view} as {source_sql(lake, journal, brick, table, own)}")
    connection.execute("commit")
    return journal.seq


def source_sql(lake: Lake, journal: Journal, brick: Brick, table: Table, loads: list[Entry]) -> str:
    """Write the SELECT of a source over the files of its accepted loads, old contract versions mapped to today's names.

    A list of files, never a glob; `load_id` is a Hive partition of their path, so that a filter on it opens no other file.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for load in loads:
        landed = load["tables"].get(table.name)
        if landed and landed["files"]:
            shape = json.dumps(landed["columns"], sort_keys=True)
            groups.setdefault((load["contract"][table.name], shape), []).extend(landed["files"])
    if not groups:
        columns = [f"null::{c.sql_type} as {quoted(c.name)}" for c in table.columns if c.is_landed]
        marks = "null::varchar as _file, null::bigint as _row, null::timestamptz as _read_at, null::varchar as _load_id"
        return f"select {', '.join(columns)}, {marks} where false"
    selects = []
    for (_, shape), files in groups.items():
        values = {column.name: mapped(column, json.loads(shape)) for column in table.columns if column.is_landed}
        columns = [f"{value} as {quoted(name)}" for name, value in values.items()]
        conditions = ["_refused is null"] + [f"not ({test})" for test in is_erased(journal, brick.name, table.name, values)]
        relation = (
            f"read_parquet({listed([lake.path(file) for file in files])}, "
            "hive_partitioning = true, hive_types = {'load_id': 'varchar'}, file_row_number = true)"
        )
        marks = "_file, file_row_number as _row, _read_at, load_id as _load_id"
        selects.append(f"select {', '.join(columns)}, {marks} from {relation} where {' and '.join(conditions)}")
    return " union all ".join(selects)


def mapped(column: Column, landed: dict[str, str]) -> str:
    """Write a column as today's contract names and types it, from what an older one landed."""
    names = [name for name in (column.name, *column.meta.formerly) if name in landed]
    values = [quoted(name) if landed[name] == column.data_type else f"try_cast({quoted(name)} as {column.sql_type})" for name in names]
    if not names and "_extra" in landed:
        values = [f"try_cast(_extra ->> {literal('$.' + quoted(column.name))} as {column.sql_type})"]
    return f"coalesce({', '.join(values)})" if len(values) > 1 else (values or [f"null::{column.sql_type}"])[0]


def is_erased(journal: Journal, brick: str, table: str, values: dict[str, str]) -> list[str]:
    """Write, for each key that was erased, whether a row is of it; `values` are the expressions of the row's columns."""
    return [_matches(key, values) for e in journal.of("erase", brick) if e["table"] == table for key in e["keys"]]


def _matches(key: dict[str, Any], values: dict[str, str]) -> str:
    """Say whether a row is one of those erased; a column that the brick has not any more is left out of the key."""
    tests = [f"({values[name]})::varchar is not distinct from {literal(str(value))}" for name, value in key.items() if name in values]
    return " and ".join(tests) or "false"


def _replace(connection: duckdb.DuckDBPyConnection, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
    connection.execute(f"create or replace table meta.{table} ({columns})")
    if rows:
        # Column by column: row by row, 10,000 loads take four seconds.
        values = [list(column) for column in zip(*rows, strict=True)]
        connection.execute(f"insert into meta.{table} select {', '.join(['unnest(?)'] * len(values))}", values)
