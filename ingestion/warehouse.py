"""What dbt reads of the lake: each declared table as a view over the explicit list of its accepted files, and no other file."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ingestion.brick import Brick, Table
from ingestion.casting import landed_under, mapped, notation_of
from ingestion.clear import clear_columns, landed_columns
from ingestion.deletion import DELETED
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError, listed, literal, quoted
from ingestion.territory import Territory
from ingestion.verify import landed_faults

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger("orchestra")
REWRITES = ("drop", "compact")


def catch_up(connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, bricks: dict[str, Brick]) -> int:
    """Make the sources of dbt say what the journal says now, in one transaction; give the seq that was reached.

    Views: one schema per brick, one view per table (declared columns, `_file`, `_row`, `_read_at`, `_load_id`, and `_deleted` of a
    table that may tell deletions), kept rows only. Tables of `meta`: `journal` (seq, digest, as_of, is_synthetic, and run, which
    numbers the times that the journal was caught up with), `sources` (brick, table_name), `loads` (brick, table_name, load_id, seq,
    reading: a digest of its files and of how they are read, run: when it came), `rewrites` (brick, table_name, run: when a load went,
    or was read otherwise).

    The models' own: `built` (model, made_as: its materialization, fingerprint: what it is made of, or its content for what the
    house does not write itself, seq and run that it reached, holds: see `plan.Built`, why: the whole was computed the last
    time), `touched` (model, partition, run: when it last changed; `*` for all). A model that fails leaves both as they were.
    A warehouse that stands on another history than the journal's is emptied first, and that is said.
    """
    connection.execute("begin")
    try:
        if (standing := reached(connection)) and not journal.follows(*standing):
            log.warning("the warehouse follows another history than the journal of %s (at %s): it is made again", lake.root, journal.seq)
            _empty(connection)
        _say(connection, lake, journal, bricks)
        connection.execute("commit")
    except Exception:
        connection.execute("rollback")
        raise
    return journal.seq


def say_territory(connection: duckdb.DuckDBPyConnection, territory: Territory) -> None:
    """Make the table `meta.territory` (name, value: as JSON) of what territory.yml says; the macro `territory_value` reads it."""
    told = [(name, json.dumps(value)) for name, value in territory.model_dump(mode="json").items()]
    _replace(connection, "territory", "name varchar, value varchar", told)


def reached(connection: duckdb.DuckDBPyConnection, database: str | None = None) -> tuple[int, str | None] | None:
    """Give the seq that a warehouse has reached and the digest of the history that led there; None for one that nothing built."""
    held = connection.execute(
        "select column_name from duckdb_columns() where (schema_name, table_name) = ('meta', 'journal') "
        f"and database_name = {literal(database) if database else 'current_database()'}"
    ).fetchall()
    if not held:
        return None
    digest = "digest" if ("digest",) in held else "null"
    sql = f"select seq, {digest} from {f'{quoted(database)}.' if database else ''}meta.journal"
    return next(iter(connection.execute(sql).fetchall()), None)


def _empty(connection: duckdb.DuckDBPyConnection) -> None:
    own = "where database_name = current_database() and not internal"
    for kind in ("view", "table"):
        rows = connection.execute(f"select schema_name, {kind}_name from duckdb_{kind}s() {own} and not temporary").fetchall()
        for schema, name in rows:
            connection.execute(f"drop {kind} {quoted(schema)}.{quoted(name)} cascade")


def warehouse_fault(lake: Lake, journal: Journal, seq: int) -> str | None:
    """Say why the warehouse cannot be what has followed this history to a seq; None when it is, or somebody has it open for writing."""
    import duckdb

    path = lake.state_path("warehouse.duckdb")
    if not path.exists():
        return None
    connection = lake.connect()
    try:
        connection.execute(f"attach {literal(str(path))} as warehouse (read_only)")
        standing = reached(connection, "warehouse")
        used = "select block_size * used_blocks from pragma_database_size() where database_name = 'warehouse'"
        # Three headers of 4,096 bytes stand before the blocks; free blocks at the end are cut off by DuckDB itself.
        is_short = path.stat().st_size < 3 * 4096 + connection.execute(used).fetchall()[0][0]
    except duckdb.Error as error:
        return None if "lock" in str(error) else f"cannot be read ({str(error).splitlines()[0]})"
    finally:
        connection.close()
    if is_short:
        return "cannot be read: it was cut short"
    if standing and not journal.follows(*standing):
        return f"follows another history than the journal of {lake.root}, which is at {journal.seq}"
    return f"was put back from before the last build, which reached {seq}" if (standing or (0,))[0] < seq else None


def _say(connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, bricks: dict[str, Brick]) -> None:
    loads = journal.accepted()
    connection.execute("create schema if not exists meta")
    _follow_models(connection)
    as_of = journal.as_of()
    stamp = f"{literal(as_of)}::timestamptz" if as_of else "null::timestamptz"
    connection.execute("create table if not exists meta.journal (seq bigint, digest varchar, as_of timestamptz, run bigint)")
    connection.execute(
        f"create or replace table meta.journal as select {journal.seq}::bigint as seq, {literal(journal.digests[-1])} as digest, "
        f"{stamp} as as_of, {journal.is_synthetic} as is_synthetic, (select coalesce(max(run), 0) + 1 from meta.journal) as run"
    )
    read: list[tuple[Any, ...]] = []
    for brick in bricks.values():
        connection.execute(f"create schema if not exists {quoted(brick.name)}")
        own = [load for load in loads if load["brick"] == brick.name]
        for table in brick.tables:
            view = f"{quoted(brick.name)}.{quoted(table.name)}"
            told, of_table = readings_of(journal, brick, table, own), [load for load in own if table.name in load["tables"]]
            read += [(brick.name, table.name, e["load_id"], e["seq"], told.get(e["load_id"], "")) for e in of_table]
            try:
                connection.execute(f"create or replace view {view} as {source_sql(lake, journal, brick, table, own)}")
            except Exception as error:
                if fault := next(landed_faults(lake, journal), None):
                    raise LakeError(str(fault)) from error
                raise LakeError(f"{brick.name}.{table.name}: its landed files cannot be read ({error}). Mend: orchestra verify") from error
    declared = [(brick.name, table.name) for brick in bricks.values() for table in brick.tables]
    _replace(connection, "sources", "brick varchar, table_name varchar", declared)
    _follow_loads(connection, read)


def _follow_models(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the models' own tables, where they are not; those of an older version say too little, so that all is built again."""
    held = connection.execute(
        "select column_name from duckdb_columns() "
        "where (schema_name, table_name) = ('meta', 'built') and database_name = current_database()"
    ).fetchall()
    if held and ("made_as",) not in held:
        connection.execute("drop table meta.built; drop table meta.touched; drop table meta.loads; drop table meta.rewrites")
    connection.execute(
        "create table if not exists meta.built "
        "(model varchar, made_as varchar, fingerprint varchar, seq bigint, run bigint, holds boolean, why varchar)"
    )
    connection.execute("create table if not exists meta.touched (model varchar, partition varchar, run bigint)")


def _follow_loads(connection: duckdb.DuckDBPyConnection, read: list[tuple[Any, ...]]) -> None:
    """Say which loads came since the last time, and of which tables one went or is read otherwise than it was."""
    columns, run = "brick varchar, table_name varchar, load_id varchar, seq bigint, reading varchar", "(select run from meta.journal)"
    connection.execute(f"create table if not exists meta.loads ({columns}, run bigint)")
    connection.execute("create table if not exists meta.rewrites (brick varchar, table_name varchar, run bigint)")
    _replace(connection, "read", columns, read)
    connection.execute(
        f"insert into meta.rewrites select distinct brick, table_name, {run} from meta.loads "
        "anti join meta.read using (brick, table_name, load_id, reading)"
    )
    connection.execute(
        f"create or replace table meta.loads as select read.*, coalesce(loads.run, {run}) as run "
        "from meta.read left join meta.loads using (brick, table_name, load_id)"
    )
    connection.execute("drop table meta.read")


def source_sql(lake: Lake, journal: Journal, brick: Brick, table: Table, loads: list[Entry]) -> str:
    """Write the SELECT of a source over the files of its accepted loads, old contract versions mapped to today's names.

    A list of files, never a glob; `load_id` is a Hive partition of their path, so that a filter on it opens no other file.
    """
    selects = []
    for columns, conditions, alike in _read_alike(journal, brick, table, loads):
        files = [lake.path(file) for load in alike for file in load["tables"][table.name]["files"]]
        relation = f"read_parquet({listed(files)}, hive_partitioning = true, hive_types = {{'load_id': 'varchar'}}, file_row_number = true)"
        # A row has a number of its own where landing, or who wrote the file again, left one out. The load stands in the path too,
        # so that a filter on it opens no other file.
        marks = "_file, coalesce(_row, file_row_number) as _row, _read_at, load_id as _load_id"
        selects.append(f"select {columns}, {marks} from {relation} where {conditions}")
    if selects:
        return " union all ".join(selects)
    columns = ", ".join(f"null::{c.sql_type} as {quoted(c.name)}" for c in table.columns if c.is_landed)
    columns += f", false as {DELETED}" if table.meta.deleted_when else ""
    marks = "null::varchar as _file, null::bigint as _row, null::timestamptz as _read_at, null::varchar as _load_id"
    return f"select {columns}, {marks} where false"


def readings_of(journal: Journal, brick: Brick, table: Table, loads: list[Entry]) -> dict[str, str]:
    """Sum up, by load that holds rows of a table, its files and how they are read: another digest may give other rows."""
    told = {}
    for columns, conditions, alike in _read_alike(journal, brick, table, loads):
        for load in alike:
            text = json.dumps([columns, conditions, load["tables"][table.name]["files"]])
            told[load["load_id"]] = hashlib.md5(text.encode()).hexdigest()
    return told


def _read_alike(journal: Journal, brick: Brick, table: Table, loads: list[Entry]) -> Iterator[tuple[str, str, list[Entry]]]:
    """Give the columns and the conditions of the SELECT of a table, and the loads that are read by them."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[Entry]] = {}  # by contract, shape and columns in clear
    for load in _shown(table, loads):
        landed = load["tables"].get(table.name)
        if landed and landed["files"]:
            shape = json.dumps([landed_columns(journal, load, table.name), landed.get("refused_as")], sort_keys=True)
            clear = tuple(column.name for column in clear_columns(journal, load, table))
            groups.setdefault((load["contract"][table.name], shape, clear), []).append(load)
    notation = notation_of(brick, table)
    for (_, _, clear), alike in groups.items():
        types = shape_of(journal, alike[0], table.name)
        key = [value for name in table.meta.key for value, _ in landed_under(_names(table, name), types)]
        columns = [
            # What is personal today and stands there in clear is hidden until it is masked.
            f"{f'null::{column.sql_type}' if column.name in clear else mapped(column, types, notation, key)} as {quoted(column.name)}"
            for column in table.columns
            if column.is_landed
        ]
        if told := table.meta.deleted_when:
            value = mapped(next(column for column in table.columns if column.name == told.column), types, notation, key)
            columns.append(f"{told.test(f'({value})')} as {DELETED}")
        yield ", ".join(columns), "_refused is null", alike


def _shown(table: Table, loads: list[Entry]) -> list[Entry]:
    """Give the loads of which a table shows rows: where the last photo holds none, what those before it held has ended."""
    photos = [load for load in loads if table.name in load["tables"]] if table.meta.delivers == "whole" else []
    last = max(photos, key=lambda load: (load["read_at"], load["load_id"]), default=None)
    return loads if last is None or last["tables"][table.name]["kept"] else [last]


def shape_of(journal: Journal, load: Entry, table: str) -> dict[str, str]:
    """Give the type, by name, of what a load landed of a table; JSON, which lands as text, is told by its declaration."""
    declared = {column["name"]: column["data_type"] for column in journal.declaration(load, table)["columns"]}
    landed = landed_columns(journal, load, table)
    return {name: "json" if (kind, declared.get(name)) == ("string", "json") else kind for name, kind in landed.items()}


def _names(table: Table, name: str) -> tuple[str, ...]:
    """Give a column's name and its older ones."""
    return next((column.name, *column.meta.formerly) for column in table.columns if column.name == name)


def _replace(connection: duckdb.DuckDBPyConnection, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
    connection.execute(f"create or replace table meta.{table} ({columns})")
    if rows:
        # One text: row by row, 10,000 loads take four seconds; and a parameter, whatever it is, makes DuckDB import pandas.
        values = ", ".join(f"told[{place}]" for place in range(1, len(rows[0]) + 1))
        told = f"select unnest(from_json({literal(json.dumps(rows))}, '[[\"varchar\"]]')) as told"
        connection.execute(f"insert into meta.{table} select {values} from ({told})")
