"""What dbt reads of the lake: each declared table as a view over the explicit list of its accepted files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ingestion.brick import Brick, Table
from ingestion.casting import Notation, cast, found, mapped, notation_of
from ingestion.journal import Entry, Journal
from ingestion.lake import Lake, LakeError, listed, literal, quoted

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
    groups: dict[tuple[str, str], tuple[Entry, list[str]]] = {}  # by contract and shape: one load of it, and the files of all
    for load in loads:
        landed = load["tables"].get(table.name)
        if landed and landed["files"]:
            shape = json.dumps([landed["columns"], landed.get("refused_as")], sort_keys=True)
            groups.setdefault((load["contract"][table.name], shape), (load, []))[1].extend(landed["files"])
    if not groups:
        columns = [f"null::{c.sql_type} as {quoted(c.name)}" for c in table.columns if c.is_landed]
        marks = "null::varchar as _file, null::bigint as _row, null::timestamptz as _read_at, null::varchar as _load_id"
        return f"select {', '.join(columns)}, {marks} where false"
    selects, notation = [], notation_of(brick, table)
    for load, files in groups.values():
        types = shape_of(journal, load, table)
        columns = [f"{mapped(column, types, notation)} as {quoted(column.name)}" for column in table.columns if column.is_landed]
        conditions = ["_refused is null"] + [f"not ({test})" for test in is_erased(journal, brick, table, types)]
        relation = (
            f"read_parquet({listed([lake.path(file) for file in files])}, "
            "hive_partitioning = true, hive_types = {'load_id': 'varchar'}, file_row_number = true)"
        )
        marks = "_file, file_row_number as _row, _read_at, load_id as _load_id"
        selects.append(f"select {', '.join(columns)}, {marks} from {relation} where {' and '.join(conditions)}")
    return " union all ".join(selects)


def shape_of(journal: Journal, load: Entry, table: Table) -> dict[str, str]:
    """Give the type, by name, of what a load landed of a table; JSON, which lands as text, is told by its declaration."""
    declared = {column["name"]: column["data_type"] for column in journal.declaration(load, table.name)["columns"]}
    landed = load["tables"][table.name]["columns"]
    return {name: "json" if (kind, declared.get(name)) == ("string", "json") else kind for name, kind in landed.items()}


def is_erased(journal: Journal, brick: Brick, table: Table, landed: dict[str, str]) -> list[str]:
    """Write, for each key that was erased, whether a row of files that hold the columns `landed` is of it.

    Raises LakeError for a key of a column that the files do not hold: without it too much would go, or too little.
    """
    keys = [key for erasure in journal.of("erase", brick.name) if erasure["table"] == table.name for key in erasure["keys"]]
    return [" and ".join(_holds(brick, table, landed, *item) for item in key.items()) or "false" for key in keys]


def _holds(brick: Brick, table: Table, landed: dict[str, str], name: str, value: Any) -> str:
    """Write whether a row holds a value of a key, as text or as a value of the type that landed or is declared today."""
    named = [c for c in table.columns if name.casefold() in {each.casefold() for each in (c.name, *c.meta.formerly)}]
    held = found((named[0].name, *named[0].meta.formerly) if named else (name,), landed)
    if not held and named and named[0].meta.optional:
        return "false"
    if not held:
        raise LakeError(
            f"{brick.name}.{table.name}: rows are erased by their column '{name}', which some files do not hold ({', '.join(landed)}). "
            "Mend: tell the other name of the column by `formerly`, or `optional: true` where those loads never held it."
        )
    if value is None:
        return " and ".join(f"({held_value}) is null" for held_value, _ in held)
    notation = notation_of(brick, table)
    held += [(mapped(column, landed, notation), column.data_type) for column in named]
    text, tests = literal(str(value)), []
    for held_value, kind in dict.fromkeys(held):
        typed = cast(kind, text, Notation())
        tests.append(f"coalesce(({held_value})::varchar = {text} or ({held_value}) = {typed}, false)")
    return f"({' or '.join(tests)})"


def _replace(connection: duckdb.DuckDBPyConnection, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
    connection.execute(f"create or replace table meta.{table} ({columns})")
    if rows:
        # Column by column: row by row, 10,000 loads take four seconds.
        values = [list(column) for column in zip(*rows, strict=True)]
        connection.execute(f"insert into meta.{table} select {', '.join(['unnest(?)'] * len(values))}", values)
