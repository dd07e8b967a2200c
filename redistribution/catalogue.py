"""One DuckLake catalogue by access class: a publication is one snapshot of it, of which readers see all or nothing."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError, listed, literal, load_extension, quoted
from redistribution.labels import comments_of, metadata_of
from redistribution.mart import FILE_NAME
from redistribution.publications import labels_by_digest, labels_told, retractions, whole_files
from redistribution.stable_files import stable_names

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger("orchestra")

VERDICTS = ("published", "withheld", "withdrawn")
KEPT_DAYS = 30  # how long readers can travel back; files go a day later, so that no open reader loses one
COLUMNS = "seq bigint, mart varchar, verdict varchar, row_count bigint, reasons varchar, run_id varchar, published_at timestamptz"


def catalogue(lake: Lake, access_class: str) -> Path:
    """Give the path of the DuckLake catalogue of a class."""
    return lake.state_path("catalogues", f"{access_class}.sqlite")


def attach(connection: duckdb.DuckDBPyConnection, lake: Lake, access_class: str, *, is_reader: bool = True) -> None:
    """Attach the catalogue of a class as `lake`; any number of readers may, one writer."""
    for extension in ("ducklake", "sqlite_scanner"):
        load_extension(connection, extension)
    data_path = lake.path("marts", access_class) + "/"
    options = "read_only, " if is_reader else ""
    connection.execute(
        f"attach {literal(f'ducklake:sqlite:{catalogue(lake, access_class)}')} as lake ({options}data_path {literal(data_path)}, "
        "meta_journal_mode 'WAL', meta_busy_timeout 5000, data_inlining_row_limit 0)"
    )


def throw_catalogue(lake: Lake, access_class: str) -> None:
    """Delete the catalogue of a class, which follows the journal again from zero."""
    path = catalogue(lake, access_class)
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


class Followed(NamedTuple):
    """What a catalogue has followed: the number and the date of its snapshots, and the digests of the history, by seq; its place.

    `own` are the files of its list of publications, which no entry names; `files` all that it holds of its own, past ones included.
    """

    snapshots: dict[int, tuple[int, dt.datetime]]
    digests: dict[int, str | None]
    data_path: str | None
    own: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()


def followed(lake: Lake, access_class: str) -> Followed:
    """Read what the catalogue of a class has followed: nothing for one that is not there, or is broken."""
    path = catalogue(lake, access_class)
    if not path.exists():
        return Followed({}, {}, None)
    connection = lake.connect()
    # Always DuckDB's own SQLite: two copies of SQLite in one process undo each other's locks.
    load_extension(connection, "sqlite_scanner")
    try:
        connection.execute(f"attach {literal(str(path))} as catalogue (type sqlite, read_only)")
        sql = (
            "select commit_extra_info, snapshot_id, snapshot_time::timestamptz from catalogue.ducklake_snapshot "
            "inner join catalogue.ducklake_snapshot_changes using (snapshot_id) where commit_extra_info is not null"
        )
        rows = [(json.loads(info), number, date) for info, number, date in connection.execute(sql).fetchall()]
        own = connection.execute(
            "select file.path, file.end_snapshot is null and t.end_snapshot is null from catalogue.ducklake_data_file as file "
            "inner join catalogue.ducklake_table as t using (table_id) where t.table_name = 'publications'"
        ).fetchall()
        place = connection.execute("select value from catalogue.ducklake_metadata where key = 'data_path'").fetchall()
    except Exception:  # killed while it was being made, or broken: attaching it tells
        return Followed({}, {}, None)
    finally:
        connection.close()
    dates = {info["seq"]: (number, date) for info, number, date in rows}
    folder, digests = f"marts/{access_class}/main/publications", {info["seq"]: info.get("digest") for info, *_ in rows}
    files = {f"{folder}/{path}": is_seen for path, is_seen in own}
    return Followed(dates, digests, place[0][0] if place else None, frozenset(f for f, seen in files.items() if seen), frozenset(files))


def stray(lake: Lake, journal: Journal, access_class: str, standing: Followed) -> str | None:
    """Say why a catalogue stands elsewhere: on another history, or on a lake that has moved since (its paths are absolute)."""
    if not all(journal.follows(seq, digest) for seq, digest in standing.digests.items()):
        return f"follows another history than the journal of {lake.root}, which is at {journal.seq}"
    if standing.data_path not in (None, place := lake.path("marts", access_class) + "/"):
        return f"follows the lake where it was ({standing.data_path}), not in {place}"
    return None


def is_behind(entries: list[Entry], standing: Followed) -> bool:
    """Say whether a catalogue lacks the last publication of its class, or a snapshot the date of its own: a kill may come between."""
    dates = {entry["seq"]: dt.datetime.fromisoformat(entry["at"]) for entry in entries}
    reached = max(standing.snapshots, default=0)
    return entries[-1]["seq"] > reached or any(dates.get(seq, date) != date for seq, (_, date) in standing.snapshots.items())


def follow_catalogue(lake: Lake, journal: Journal, entries: list[Entry], access_class: str, *, is_rebuild: bool) -> None:
    """Bring the catalogue of a class to the last of its publications; made again from zero where it stands elsewhere, or lacks a file."""
    import duckdb

    standing, retracted, labels = followed(lake, access_class), retractions(journal), labels_by_digest(journal)
    existing = whole_files(lake, journal)
    is_retracting = max((seq for (_, of), seq in retracted.items() if of == access_class), default=0) > max(standing.snapshots, default=0)
    why = "holds marts that its class may not see any more" if is_retracting and standing.snapshots else None
    if why := why or stray(lake, journal, access_class, standing) or _lost(entries, access_class, standing, existing):
        log.warning("%s %s: it is made again from zero", catalogue(lake, access_class), why)
        throw_catalogue(lake, access_class)
        if is_retracting:
            lake.delete(lake.names(f"marts/{access_class}/main"))  # DuckLake's own, which only that catalogue knew
        standing = Followed({}, {}, None)
    if not is_behind(entries, standing):
        return
    connection = lake.connect()
    try:
        attach(connection, lake, access_class, is_reader=False)
        for entry in (entry for entry in entries if entry["seq"] > max(standing.snapshots, default=0)):
            gone = {name for (name, of), seq in retracted.items() if of == access_class and seq > entry["seq"]}
            _commit(connection, lake, entry, access_class, existing, journal.digests[entry["seq"]], gone, labels)
        _date_snapshots(connection, entries)
        if not is_rebuild:
            _expire(connection)
    except duckdb.Error as error:
        mend = "run again when nobody else writes to it" if "locked" in str(error) else "orchestra rebuild"
        raise LakeError(f"{catalogue(lake, access_class)} cannot be read ({error}). Mend: {mend}") from error
    finally:
        connection.close()
    _sweep_own(lake, access_class)


def _lost(entries: list[Entry], access_class: str, standing: Followed, existing: set[str]) -> str | None:
    """Say which file that readers see is gone: DuckLake cannot take such a file away, nor read its own without it."""
    reached = max(standing.snapshots, default=0)
    seen = [*stable_names([entry for entry in entries if entry["seq"] <= reached], access_class).values(), *standing.own]
    return next((f"names {file}, which is gone" for file in seen if file not in existing), None)


def _commit(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    entry: Entry,
    access_class: str,
    existing: set[str],
    digest: str,
    gone: set[str],
    labels: Mapping[str, dict[str, Any]],
) -> None:
    """Make one publication one snapshot of a class: readers see all of it or none, and nothing of the marts that are gone from it."""
    tables = {row[0] for row in connection.execute("select table_name from duckdb_tables() where database_name = 'lake'").fetchall()}
    connection.execute("begin")
    if "publications" not in tables:
        connection.execute(f"create table lake.main.publications ({COLUMNS})")
    for name, record in {**entry["marts"], **entry["withdrawn"]}.items():
        if record["class"] != access_class or name in entry["withdrawn"]:
            if name in tables:  # it has gone, or moved to another class
                connection.execute(f"drop table lake.main.{quoted(name)}")
            continue
        if name in gone or not set(record["files"].values()) <= existing:
            continue  # expired since
        files = [lake.path(file) for file in record["files"].values()]
        standing = _shape(connection, name, files, is_new=name not in tables)
        if left := sorted(standing - set(files)):
            connection.execute(f"delete from lake.main.{quoted(name)} where {FILE_NAME} in ({', '.join(map(literal, left))})")
        for file in sorted(set(files) - standing):
            connection.execute(f"call ducklake_add_data_files('lake', {literal(name)}, {literal(file)})")
        _comment(connection, name, labels_told(record, labels))
    rows = [
        # Why a mart was withheld may tell values of it.
        {
            "seq": entry["seq"], "mart": name, "verdict": verdict, "row_count": record["row_count"],
            "reasons": "; ".join([] if name in gone else record.get("reasons", [])), "run_id": entry["run_id"], "published_at": entry["at"],
            **metadata_of(labels_told(record, labels)),
        }
        for verdict in VERDICTS
        for name, record in entry["marts" if verdict == "published" else verdict].items()
        if record["class"] == access_class
    ]  # fmt: skip
    _book(connection, rows)
    info = json.dumps({"seq": entry["seq"], "run_id": entry["run_id"], "digest": digest})
    connection.execute(
        f"call lake.set_commit_message('city-orchestra', {literal('run ' + entry['run_id'])}, extra_info => {literal(info)})"
    )
    connection.execute("commit")


def _shape(connection: duckdb.DuckDBPyConnection, name: str, files: list[str], *, is_new: bool) -> set[str]:
    """Have the table of a mart hold the columns that its files have; give the files that it holds."""
    table = f"lake.main.{quoted(name)}"
    relation = f"read_parquet({listed(files)})"
    wanted = connection.execute(f"select column_name, column_type from (describe from {relation})").fetchall()
    if not is_new:
        standing = connection.execute(f"select column_name, column_type from (describe {table})").fetchall()
        added = [column for column in wanted if column not in standing]
        is_grown = set(standing) <= set(wanted) and not {name for name, _ in added} & {name for name, _ in standing}
        if is_grown:
            for column, kind in added:
                connection.execute(f"alter table {table} add column {quoted(column)} {kind}")
            return {row[0] for row in connection.execute(f"select data_file from ducklake_list_files('lake', {literal(name)})").fetchall()}
        connection.execute(f"drop table {table}")  # time travel starts anew at another schema
    connection.execute(f"create table {table} as select * from {relation} limit 0")
    return set()


def _comment(connection: duckdb.DuckDBPyConnection, name: str, told: dict[str, Any]) -> None:
    """Have the table of a mart and its columns say what they are; only what differs is written."""
    of_table, of_columns = comments_of(told)
    where = f"database_name = 'lake' and table_name = {literal(name)}"
    standing = connection.execute(f"select comment from duckdb_tables() where {where}").fetchall()[0][0]
    if of_table != standing:
        connection.execute(f"comment on table lake.main.{quoted(name)} is {literal(of_table) if of_table else 'null'}")
    for column, comment in connection.execute(f"select column_name, comment from duckdb_columns() where {where}").fetchall():
        if (wanted := of_columns.get(column)) != comment:
            connection.execute(f"comment on column lake.main.{quoted(name)}.{quoted(column)} is {literal(wanted) if wanted else 'null'}")


def _book(connection: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]) -> None:
    """Add rows to the list of publications, and the columns that it lacks: labels, in the languages of today."""
    table = "lake.main.publications"
    standing = [name for name, *_ in connection.execute(f"describe {table}").fetchall()]
    for name in dict.fromkeys(name for row in rows for name in row if name not in standing):
        connection.execute(f"alter table {table} add column {quoted(name)} varchar")
    if rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
        values = ", ".join([f"({', '.join('?' for _ in names)})"] * len(rows))
        told = [row.get(name) for row in rows for name in names]
        connection.execute(f"insert into {table} ({', '.join(map(quoted, names))}) values {values}", told)


def _date_snapshots(connection: duckdb.DuckDBPyConnection, entries: list[Entry]) -> None:
    """Date each snapshot as its publication, so that time travel by date is true after a rebuild too."""
    snapshots = "__ducklake_metadata_lake.ducklake_snapshot"
    rows = connection.execute(
        f"select snapshot_id, commit_extra_info from {snapshots} inner join {snapshots}_changes using (snapshot_id) "
        "where commit_extra_info is not null"
    ).fetchall()
    dates = {entry["seq"]: entry["at"] for entry in entries}
    for number, info in rows:
        if date := dates.get(json.loads(info)["seq"]):
            connection.execute(
                f"update {snapshots} set snapshot_time = ?::timestamptz where snapshot_id = ? and snapshot_time != ?::timestamptz",
                [date, number, date],
            )


def _expire(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"call ducklake_expire_snapshots('lake', older_than => now() - interval {KEPT_DAYS} day)")
    connection.execute("call ducklake_cleanup_old_files('lake', older_than => now() - interval 1 day)")


def _sweep_own(lake: Lake, access_class: str) -> None:
    """Delete DuckLake's own files that this state's earlier catalogues of a class wrote, and remember those of today's.

    Another state has a catalogue of its own, whose files stand beside: what this one has not written is not its to delete.
    """
    task, held = f"catalogue-{access_class}", followed(lake, access_class).files
    if not held:  # it cannot be read just now
        return
    lake.delete(sorted(lake.begun(task) - held))
    lake.end(task)
    lake.begin(task, "\n".join(sorted(held)))
