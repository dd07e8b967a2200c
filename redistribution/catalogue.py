"""One DuckLake catalogue by access class: a publication is one snapshot of it, of which readers see all or nothing."""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError, listed, literal, load_extension, quoted
from redistribution.history import GRACE, Records, Shown, kept, lists, oldest_kept, shown, taken_away
from redistribution.labels import comments_of, metadata_of
from redistribution.mart import FILE_NAME
from redistribution.publications import labels_by_digest, labels_told, retractions

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger("orchestra")

VERDICTS = ("published", "withheld", "withdrawn")
LIST = "publications"  # the table that lists them, with its columns
COLUMNS = {
    "seq": "bigint", "mart": "varchar", "verdict": "varchar", "row_count": "bigint", "reasons": "varchar", "run_id": "varchar",
    "published_at": "timestamptz",
}  # fmt: skip


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

    Seq 0 is what no publication made: DuckLake's own first snapshot, which holds nothing and is dated NEVER. `files` are those
    that readers see now, `leaving` those that no snapshot holds any more, with when that began.
    """

    snapshots: dict[int, tuple[int, dt.datetime]]
    digests: dict[int, str | None]
    data_path: str | None
    files: frozenset[str]
    leaving: dict[str, dt.datetime]


NOTHING = Followed({}, {}, None, frozenset(), {})
# The first snapshot stays, so that there are never less than two. Of a table of one row, DuckDB's SQLite reads what is there now,
# of all others what was there when its transaction began: with a single snapshot, a reader who asks while the next is made sees
# the number of the new one, and none of its files: its tables would be empty. No reader goes back to that date.
NEVER = dt.datetime(3000, 1, 1, tzinfo=dt.UTC)


def followed(lake: Lake, access_class: str) -> Followed:
    """Read what the catalogue of a class has followed: nothing for one that is not there, or is broken."""
    path = catalogue(lake, access_class)
    if not path.exists():
        return NOTHING
    connection = lake.connect()
    # Always DuckDB's own SQLite: two copies of SQLite in one process undo each other's locks.
    load_extension(connection, "sqlite_scanner")
    try:
        connection.execute(f"attach {literal(str(path))} as catalogue (type sqlite, read_only)")
        sql = (
            "select commit_extra_info, snapshot_id, snapshot_time::timestamptz from catalogue.ducklake_snapshot "
            "left join catalogue.ducklake_snapshot_changes using (snapshot_id)"
        )
        rows = [(json.loads(info or "{}"), number, date) for info, number, date in connection.execute(sql).fetchall()]
        place = connection.execute("select value from catalogue.ducklake_metadata where key = 'data_path'").fetchall()
        # DuckLake says where its own lie, relative to their table, or to its place once they leave it.
        own, place_of = lake.path("marts", access_class, "main", LIST), lake.path("marts", access_class)
        files = connection.execute(
            f"select if(path_is_relative, {literal(own + '/')}, '') || path, null from catalogue.ducklake_data_file "
            "where end_snapshot is null union all "
            f"select if(path_is_relative, {literal(place_of + '/')}, '') || path, schedule_start::timestamptz "
            "from catalogue.ducklake_files_scheduled_for_deletion"
        ).fetchall()
    except Exception:  # killed while it was being made, or broken: attaching it tells
        return NOTHING
    finally:
        connection.close()
    return Followed(
        {info.get("seq", 0): (number, date) for info, number, date in rows},
        {info["seq"]: info.get("digest") for info, *_ in rows if info},
        place[0][0] if place else None,
        frozenset(path.removeprefix(f"{lake.root}/") for path, leaves_at in files if leaves_at is None),
        {path.removeprefix(f"{lake.root}/"): leaves_at for path, leaves_at in files if leaves_at is not None},
    )


def stray(lake: Lake, journal: Journal, access_class: str, standing: Followed) -> str | None:
    """Say why a catalogue stands elsewhere: on another history, or on a lake that has moved since (its paths are absolute)."""
    if standing.snapshots and 0 not in standing.snapshots:
        return "has no first snapshot, so that readers who ask during a publication could see empty tables"
    if not all(journal.follows(seq, digest) for seq, digest in standing.digests.items()):
        return f"follows another history than the journal of {lake.root}, which is at {journal.seq}"
    if standing.data_path not in (None, place := lake.path("marts", access_class) + "/"):
        return f"follows the lake where it was ({standing.data_path}), not in {place}"
    return None


def is_behind(entries: list[Entry], standing: Followed) -> bool:
    """Say whether a catalogue lacks the last publication of its class, or a snapshot the date of its own: a kill may come between."""
    dates = _dates(entries)
    reached = max(standing.snapshots, default=0)
    return entries[-1]["seq"] > reached or any(dates.get(seq, date) != date for seq, (_, date) in standing.snapshots.items())


def is_expiring(entries: list[Entry], standing: Followed, now: dt.datetime) -> bool:
    """Say whether a catalogue holds snapshots that readers may not go back to any more, or lets files go that nobody reads by now."""
    return min(standing.snapshots.keys() - {0}, default=entries[-1]["seq"]) < oldest_kept(entries, now) or any(
        began <= now - GRACE for began in standing.leaving.values()
    )


def follow_catalogue(lake: Lake, journal: Journal, entries: list[Entry], access_class: str, existing: set[str], now: dt.datetime) -> None:
    """Bring the catalogue of a class to the last of its publications, and have it forget those that readers may not go back to.

    It is made again from zero where it stands elsewhere, or lacks a file. `existing` are the mart files that stand.
    """
    import duckdb

    standing, retracted = followed(lake, access_class), retractions(journal)
    listed_in = lists(journal, entries, access_class, retracted)
    is_retracting = max((seq for (_, of), seq in retracted.items() if of == access_class), default=0) > max(standing.snapshots, default=0)
    why = "holds marts that its class may not see any more" if is_retracting and standing.snapshots else None
    if why := why or stray(lake, journal, access_class, standing) or _lost(standing, existing, set(listed_in.values())):
        log.warning("%s %s: it is made again from zero", catalogue(lake, access_class), why)
        throw_catalogue(lake, access_class)
        standing = NOTHING
    if not is_behind(entries, standing) and not is_expiring(entries, standing, now):
        return
    reached = max(standing.snapshots, default=0)
    held = kept(entries, access_class, retracted, now, existing)
    before: Records = {}
    for each in shown((entry for entry in entries if entry["seq"] <= reached), access_class, retracted):
        before = each.marts
    labels = labels_by_digest(journal)
    connection = lake.connect()
    try:
        attach(connection, lake, access_class, is_reader=False)
        for each in held:
            if (seq := each.entry["seq"]) > reached:
                # What readers may not go back to is told with the first publication to which they may.
                untold = [entry for entry in entries if reached < entry["seq"] <= seq]
                for entry in untold:
                    if (file := listed_in[entry["seq"]]) not in existing:
                        _list(
                            lake, connection, file, journal.whole(entry), access_class, taken_away(entry, access_class, retracted), labels
                        )
                files = [lake.path(listed_in[entry["seq"]]) for entry in untold]
                _commit(connection, lake, each, before, files, existing, journal.digests[seq], labels)
                reached, before = seq, each.marts
        _date_snapshots(connection, entries)
        _expire(connection, {each.entry["seq"] for each in held}, now)
    except duckdb.Error as error:
        mend = "run again when nobody else writes to it" if "locked" in str(error) else "orchestra rebuild"
        raise LakeError(f"{catalogue(lake, access_class)} cannot be read ({error}). Mend: {mend}") from error
    finally:
        connection.close()


def _lost(standing: Followed, existing: set[str], lists: set[str]) -> str | None:
    """Say which file that readers see is gone, which DuckLake could not even take away, or lists publications otherwise than they stand."""
    for file in sorted(standing.files):
        if file not in existing:
            return f"names {file}, which is gone"
        if "/main/" in file and file not in lists:
            return f"names {file}, which lists what does not stand"
    return None


def _list(
    lake: Lake,
    connection: duckdb.DuckDBPyConnection,
    file: str,
    entry: Entry,
    access_class: str,
    gone: set[str],
    labels: Mapping[str, dict[str, Any]],
) -> None:
    """Write the file that lists what a publication says of a class."""
    from pyarrow import parquet

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
    columns = {**COLUMNS, **{name: "varchar" for row in rows for name in row if name not in COLUMNS}}
    connection.execute(f"create or replace temp table told ({', '.join(f'{quoted(name)} {kind}' for name, kind in columns.items())})")
    for row in rows:
        connection.execute(f"insert into told values ({', '.join('?' for _ in columns)})", [row.get(name) for name in columns])
    content = io.BytesIO()
    parquet.write_table(connection.execute("from told").to_arrow_table(), content, compression="zstd")
    lake.replace(file, content.getvalue())


def _commit(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    each: Shown,
    before: Records,
    lists: list[str],
    existing: set[str],
    digest: str,
    labels: Mapping[str, dict[str, Any]],
) -> None:
    """Make what a class shows from a publication on one snapshot: readers see all of it or none, and no mart of which a file is gone."""
    tables = {row[0] for row in connection.execute("select table_name from duckdb_tables() where database_name = 'lake'").fetchall()}
    whole = {name: record for name, record in each.marts.items() if set(record["files"].values()) <= existing}
    connection.execute("begin")
    for name in sorted(tables - whole.keys() - {LIST}):
        connection.execute(f"drop table lake.main.{quoted(name)}")
    for name, record in whole.items():
        if name in tables and before.get(name) is record:
            continue
        _show(connection, name, [lake.path(file) for file in record["files"].values()], is_new=name not in tables)
        _comment(connection, name, labels_told(record, labels))
    _tell(connection, lists, is_new=LIST not in tables)
    run_id = each.entry["run_id"]
    info = json.dumps({"seq": each.entry["seq"], "run_id": run_id, "digest": digest})
    connection.execute(f"call lake.set_commit_message('city-orchestra', {literal('run ' + run_id)}, extra_info => {literal(info)})")
    connection.execute("commit")


def _show(connection: duckdb.DuckDBPyConnection, name: str, files: list[str], *, is_new: bool) -> None:
    """Have the table of a mart hold the columns and the rows of its files, and of no other."""
    table, relation = f"lake.main.{quoted(name)}", f"read_parquet({listed(files)})"
    wanted = connection.execute(f"select column_name, column_type from (describe from {relation})").fetchall()
    columns = wanted if is_new else connection.execute(f"select column_name, column_type from (describe {table})").fetchall()
    if wanted[: len(columns)] != columns:  # another table: readers travel back to the one that was
        connection.execute(f"drop table {table}")
        is_new, columns = True, wanted
    if is_new:
        connection.execute(f"create table {table} as select * from {relation} limit 0")
    for column, kind in wanted[len(columns) :]:
        connection.execute(f"alter table {table} add column {quoted(column)} {kind}")
    sql = f"select data_file from ducklake_list_files('lake', {literal(name)})"
    standing = {row[0] for row in connection.execute(sql).fetchall()}
    if left := sorted(standing - set(files)):
        connection.execute(f"delete from {table} where {FILE_NAME} in ({', '.join(map(literal, left))})")
    if added := sorted(set(files) - standing):
        connection.execute(f"call ducklake_add_data_files('lake', {literal(name)}, {listed(added)})")


def _tell(connection: duckdb.DuckDBPyConnection, files: list[str], *, is_new: bool) -> None:
    """Add files to the list of publications, and the columns that it lacks: labels, in the languages of today."""
    table, relation = f"lake.main.{LIST}", f"read_parquet({listed(files)}, union_by_name => true)"
    if is_new:
        connection.execute(f"create table {table} as select * from {relation} limit 0")
    standing = {name for name, *_ in connection.execute(f"describe {table}").fetchall()}
    for name, kind in connection.execute(f"select column_name, column_type from (describe from {relation})").fetchall():
        if name not in standing:
            connection.execute(f"alter table {table} add column {quoted(name)} {kind}")
    connection.execute(f"call ducklake_add_data_files('lake', {literal(LIST)}, {listed(files)}, allow_missing => true)")


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


def _date_snapshots(connection: duckdb.DuckDBPyConnection, entries: list[Entry]) -> None:
    """Date each snapshot as its publication, so that time travel by date is true after a rebuild too."""
    snapshots = "__ducklake_metadata_lake.ducklake_snapshot"
    rows = connection.execute(
        f"select snapshot_id, snapshot_time::timestamptz, commit_extra_info from {snapshots} "
        f"left join {snapshots}_changes using (snapshot_id)"
    ).fetchall()
    dates = _dates(entries)
    connection.execute("begin")
    for number, date, info in rows:
        if (told := dates.get(json.loads(info)["seq"] if info else 0, date)) != date:
            connection.execute(f"update {snapshots} set snapshot_time = ? where snapshot_id = ?", [told, number])
    connection.execute("commit")


def _dates(entries: list[Entry]) -> dict[int, dt.datetime]:
    return {0: NEVER} | {entry["seq"]: dt.datetime.fromisoformat(entry["at"]) for entry in entries}


def _expire(connection: duckdb.DuckDBPyConnection, kept: set[int], now: dt.datetime) -> None:
    """Forget the snapshots of other publications than those kept."""
    metadata = "__ducklake_metadata_lake"
    rows = connection.execute(
        f"select snapshot_id, commit_extra_info from {metadata}.ducklake_snapshot inner join {metadata}.ducklake_snapshot_changes "
        "using (snapshot_id) where commit_extra_info is not null order by snapshot_id"
    ).fetchall()
    leaving, begun = f"{metadata}.ducklake_files_scheduled_for_deletion", dt.datetime.now(dt.UTC)
    if left := [str(number) for number, info in rows[:-1] if json.loads(info)["seq"] not in kept]:
        connection.execute(f"call ducklake_expire_snapshots('lake', versions => [{', '.join(left)}])")
        connection.execute(f"update {leaving} set schedule_start = ? where schedule_start::timestamptz >= ?", [now, begun])
    # DuckLake would delete them, and publications that stand may name them still: the journal says which go.
    connection.execute(f"delete from {leaving} where schedule_start::timestamptz <= ?", [now - GRACE])
