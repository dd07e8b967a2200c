"""What was read of a table, as Parquet that waits to be judged, and what the journal will say of it."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion import local_hours
from ingestion.brick import Brick, Table, endpoint_of
from ingestion.column import EPOCHS
from ingestion.connectors import GIVE_BLANKS, Part, Reading, Request, connector, source_name
from ingestion.cursor import MARKS, cursor_from, position_after, tail_of
from ingestion.declaration import BrickError
from ingestion.deletion import deleted_count
from ingestion.erased_keys import Erasure
from ingestion.formats.header import ANOTHER
from ingestion.lake import listed, literal, quoted
from ingestion.one_select import Select
from ingestion.parquet import Footers, write
from ingestion.position import Position
from ingestion.refusal import REFUSAL, TOLD_ROWS, first_refused, lines_of, refused_count

if TYPE_CHECKING:
    import duckdb

    from ingestion.connectors.shared import Shared
    from ingestion.own_census import Own


@dataclass
class Staged:
    """A table on its way: local Parquet files, and what the journal will say of them."""

    table: Table
    record: dict[str, Any]
    files: list[Path] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)  # of every file, in their order
    absent: list[str] = field(default_factory=list)  # columns that the brick declares and that no document holds
    warnings: list[str] = field(default_factory=list)


def read_table(
    brick: Brick,
    table: Table,
    position: Position,
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    progress: Callable[[str, int], None] | None,
    name_of: Callable[[str], str] = str,
    inbox: Path | None = None,
    shared: Shared | None = None,
    census: Callable[[str], Own | None] | None = None,
) -> Reading:
    """Have the connector of a brick read a table from a position; `name_of` gives what a file is called in it.

    Rows that stand at its cursor, and are given again as they were, are nothing new. `inbox` is where what was pushed to the brick
    waits, `shared` holds what other tables of the brick were given in this landing, `census` gives what the lake knows of all bricks.
    """
    request = request_of(brick, table, position, connection, folder, progress, name_of, inbox, shared, census)
    reading: Reading = connector(brick.meta.connector).read(request)
    if _gives_again(connection, brick, table, reading, position, folder / f"{table.name} again"):
        reading.parts = []
    return reading


def _gives_again(
    connection: duckdb.DuckDBPyConnection, brick: Brick, table: Table, reading: Reading, position: Position, folder: Path
) -> bool:
    """Say whether a source, asked from its cursor on, gives the rows that the last reading ended with and no other: nothing is new.

    They are looked at where they are as many.
    """
    tail = position.at.get("tail")
    if not tail or not reading.parts or reading.refused_files or sum(part.counted or 0 for part in reading.parts) != tail["rows"]:
        return False
    folder.mkdir(parents=True)
    staged = stage(connection, brick, table, reading, folder, reading.read_at, position)
    return (
        staged.record["kept"] + staged.record["refused"] == tail["rows"] and tail_of(connection, table, staged.files, position.at) == tail
    )


def request_of(
    brick: Brick,
    table: Table,
    position: Position,
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    progress: Callable[[str, int], None] | None = None,
    name_of: Callable[[str], str] = str,
    inbox: Path | None = None,
    shared: Shared | None = None,
    census: Callable[[str], Own | None] | None = None,
) -> Request:
    """Make what the connector of a brick is asked for a table; its spool is a new folder. Raises BrickError without an endpoint."""
    spool = folder / table.name
    spool.mkdir(parents=True)
    module = connector(brick.meta.connector)
    return Request(
        brick=brick.name,
        table=table.name,
        endpoint=endpoint_of(brick),
        brick_options=module.BrickOptions.model_validate(brick.meta.options),
        table_options=module.TableOptions.model_validate(table.meta.options),
        columns=table.source_columns,
        cursor=table.meta.cursor and source_name(table.meta.cursor),
        crs=table.meta.crs,
        lookback_days=table.meta.lookback.days if table.meta.lookback else 0.0,
        position=position.at,
        known=position.known,
        connection=connection,
        spool=spool,
        is_private=brick.has_personal,
        whole=table.meta.delivers == "whole",
        progress=lambda count: progress(table.name, count) if progress else None,
        formerly={column.name: column.meta.formerly for column in table.columns if not column.meta.position},
        failed=frozenset(position.failed.keys() - position.given_up),
        name_of=name_of,
        inbox=inbox,
        tables=tuple(module.TableOptions.model_validate(each.meta.options) for each in brick.tables),
        shared=shared,
        census=census,
        typed=frozenset(column.name for column in table.columns if column.data_type != "string" and not column.meta.mask),
        formats={c.name: c.meta.format for c in table.columns if c.meta.format and c.meta.format not in EPOCHS},
    )


def stage(
    connection: duckdb.DuckDBPyConnection,
    brick: Brick,
    table: Table,
    reading: Reading,
    work: Path,
    read_at: dt.datetime,
    position: Position,
    load_id: str | None = None,
    erasures: Sequence[Erasure] = (),
) -> Staged:
    """Write every part of a reading as Parquet, and count what was kept and refused.

    Rows of keys that were erased are left out: the connection knows their secret (`erased_keys.prepare`).
    """
    before, since = position.at, cursor_from(position.at, table)
    connection.execute(f"set TimeZone = {literal(table.meta.time_zone)}")
    local_hours.watch(connection, table.meta.time_zone)
    staged = Staged(table, {})
    new_columns: set[str] = set()
    left_out, unreadable = Counter[str](), 0
    mixed: dict[int, set[str]] = {}
    selects = [
        Select(brick, table, part, reading, read_at, since, position.held, _kinds(connection, part), load_id, erasures)
        for part in reading.parts
    ]
    for number, select in enumerate(selects):
        part = select.part
        file = work / f"{table.name}-{number}.parquet"
        # The search for the zone of a position does not keep the order of the source.
        has_zone = any(column.meta.position for column in table.columns)
        with _named(brick, table, part):
            if part.header and (fitting := select.header_sql()):
                select.is_header_told = not connection.execute(fitting).fetchall()[0][0]
            write(connection, select.sql(is_numbered=has_zone), file)
            written = Footers(connection, [file])
            is_refused = refused_count(written) > 0
            if is_refused and part.header and (names := _holding_two_tables(connection, file)):
                mixed[number] = names
                continue
        staged.files.append(file)
        left_out.update(_left_out(connection, select))
        if select.since and is_refused and not has_zone:
            write(connection, select.sql(is_numbered=True), file)
        if select.marked:
            landed = [column.name for column in select.landed]
            staged.warnings += local_hours.settle(connection, file, select.marked, table.meta.key, table.meta.time_zone, landed)
        if part.rejects:
            unreadable += _stage_unreadable(connection, select, staged, work / f"{table.name}-{number}-unreadable.parquet")
        staged.columns = staged.columns or _schema(connection, file)
        new_columns |= select.new_columns() | (_extra_keys(connection, file) if written.held("_extra") else set())
    if mixed:
        _leave_out(reading, mixed)
        return stage(connection, brick, table, reading, work, read_at, position, load_id, erasures)
    footers = Footers(connection, staged.files)
    staged.absent = _absent(connection, selects, footers)
    connection.execute("set TimeZone = 'UTC'")
    rows, refused = footers.row_count, refused_count(footers)
    oldest, newest, reached = _reached(connection, staged.files, footers, table, read_at)
    source_count, method = _counted(reading)
    staged.record = {
        "files": [],
        "sizes": [file.stat().st_size for file in staged.files],
        "rows": [footers.row_counts[str(file)] for file in staged.files],
        "kept": rows - refused,
        "refused": refused,
        "source_count": rows if method == "none" else source_count - left_out.total(),
        "count_method": method,
        "unreadable": unreadable,
        "before_cursor": left_out["before_cursor"],
        "position": _with_tail(connection, staged, position_after(reading, table, reached, before)),
        "opened": reading.opened,
        "measured": [oldest, newest],
        "columns": {name: kind for name, kind in staged.columns.items() if name not in MARKS},
        "new_columns": _told_columns(brick, new_columns),
        "refused_files": [list(refusal) for refusal in reading.refused_files],
        "refused_as": "struct",
    }
    staged.warnings += _blank_cursors(brick, table, footers, rows - refused)
    if staged.absent and rows > refused and rows - refused == deleted_count(connection, table, staged.files):
        staged.absent = []  # of deletions, the key alone is asked for
    if left_out["erased"]:
        staged.record["erased"] = left_out["erased"]
    if refused:
        found = first_refused(connection, staged.files, TOLD_ROWS)
        staged.record["lines"], staged.record["refused_in"] = lines_of(found.rows, reading), found.files
    return staged


def _blank_cursors(brick: Brick, table: Table, footers: Footers, kept: int) -> list[str]:
    """Warn of rows without a value in the cursor, of a source that gives what stands at the cursor or above: others are not given."""
    column = table.cursor_column
    if column is None or not table.meta.options.get("since") or brick.meta.connector in GIVE_BLANKS:
        return []
    if (blank := kept - footers.counted(column.name)) <= 0:
        return []
    told = f"{brick.name}.{table.name}: {blank} rows have no {column.name}, by which what is new is asked for"
    return [f"{told}: those that come or change later are not given. Mend: a `cursor` that all rows have, or none."]


def _with_tail(connection: duckdb.DuckDBPyConnection, staged: Staged, position: dict[str, Any]) -> dict[str, Any]:
    """Give a position with what will be given again from it, where that is known."""
    tail = tail_of(connection, staged.table, staged.files, position)
    return {**{name: value for name, value in position.items() if name != "tail"}, **({"tail": tail} if tail else {})}


def _left_out(connection: duckdb.DuckDBPyConnection, select: Select) -> dict[str, int]:
    """Count the rows of a part that do not land: those before the cursor, of blank values alone, of keys that were erased."""
    asked = {
        "before_cursor": select.skipped_sql() if select.since else None,
        "blank": select.blank_sql() if select.part.thin else None,
        "erased": select.erased_sql() if select.erasures else None,
    }
    return {name: connection.execute(sql).fetchall()[0][0] for name, sql in asked.items() if sql}


def _counted(reading: Reading) -> tuple[int, str]:
    """Give how many records a source holds apart from the reader that parses them, and how that is known."""
    if reading.count_method == "announced" and reading.announced is not None:
        return reading.announced, "announced"
    counted = [part.counted for part in reading.parts]
    return sum(count for count in counted if count is not None), "none" if None in counted else reading.count_method


def _leave_out(reading: Reading, mixed: dict[int, set[str]]) -> None:
    """Refuse files that hold two tables, by the number of their part, and make the parts of a reading without them."""
    told = "holds another header further on, under which the columns are not the same. Mend: give each its own file"
    reading.refused_files += [(name, told) for names in mixed.values() for name in sorted(names)]
    rest = [part.without(mixed[n]) if part.without and n in mixed else part for n, part in enumerate(reading.parts)]
    reading.parts = [part for part in rest if part.files]


def _holding_two_tables(connection: duckdb.DuckDBPyConnection, file: Path) -> set[str]:
    """Name the files of the source that hold another header among their rows."""
    rows = f"select distinct _file from read_parquet({literal(str(file))}) where _refused.rule = {literal(ANOTHER)}"
    return {row[0] for row in connection.execute(rows).fetchall()}


def _kinds(connection: duckdb.DuckDBPyConnection, part: Part) -> dict[str, str]:
    """Give DuckDB's types of the columns of a typed part."""
    return {row[0].casefold(): row[1] for row in connection.execute(f"describe {part.relation}").fetchall()} if part.is_typed else {}


@contextlib.contextmanager
def _named(brick: Brick, table: Table, part: Part) -> Iterator[None]:
    """Name the table and the files of what DuckDB cannot read or write; its words may hold values, which a private brick keeps."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        told = type(error).__name__ if brick.has_personal else f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
        files = f"{', '.join(part.files[:3])}{' and more' if len(part.files) > 3 else ''}"
        mend = "check these files, the disk, and ORCHESTRA_MEMORY"
        raise BrickError(f"{brick.name}.{table.name}: {files} cannot be landed ({told}). Mend: {mend}.") from error


def _stage_unreadable(connection: duckdb.DuckDBPyConnection, select: Select, staged: Staged, file: Path) -> int:
    """Write the lines that the reader could not parse as a file of refused rows, when there are any."""
    errors = connection.execute(select.errors_sql()).fetchall()
    if not errors:
        return 0
    places = []
    for name, of_file in itertools.groupby(sorted(errors, key=lambda error: error[2]), key=lambda error: error[2]):
        own = list(of_file)
        found = select.part.places(name, [byte for *_, byte in own], [])[0] if select.part.places else []
        places += [(file_id, line, row) for (file_id, line, *_), (row, _) in zip(own, found, strict=True)]
    connection.execute("create or replace temp table _places (file_id bigint, line bigint, place bigint)")
    connection.execute("insert into _places select unnest(?), unnest(?), unnest(?)", [list(column) for column in zip(*places, strict=True)])
    write(connection, select.unreadable_sql(), file)
    staged.files.append(file)
    return len(errors)


def _schema(connection: duckdb.DuckDBPyConnection, file: Path) -> dict[str, str]:
    rows = connection.execute(f"describe from read_parquet({literal(str(file))})").fetchall()
    kinds = {"VARCHAR": "string", "TIMESTAMP WITH TIME ZONE": "timestamptz", REFUSAL: "json"}
    return {row[0]: kinds.get(row[1], row[1].lower()) for row in rows}


def _absent(connection: duckdb.DuckDBPyConnection, selects: list[Select], footers: Footers) -> list[str]:
    """Name the columns that the source must give and that no document of a load holds; documents are asked for empty columns only."""
    documents = [select for select in selects if select.part.columns is None]
    if not documents:
        return []
    table = documents[0].table
    columns = [column for column in table.columns if not column.meta.optional and footers.held(column.name) == 0]
    names = dict.fromkeys(name for column in columns for name in column.meta.position or (column.name,))

    def held(name: str) -> set[bool | None]:
        return {connection.execute(select.holds_sql(name)).fetchall()[0][0] for select in documents}

    return [name for name in names if held(name) - {None} == {False}]


def _told_columns(brick: Brick, names: set[str]) -> list[str]:
    """Tell the columns that a brick does not declare; with personal columns their number only: a header may be a person's row."""
    return [f"{len(names)} (the brick has personal columns: not named)"] if names and brick.has_personal else sorted(names)


def _extra_keys(connection: duckdb.DuckDBPyConnection, file: Path) -> set[str]:
    keys = f"select distinct unnest(json_keys(_extra)) from read_parquet({literal(str(file))}) where _extra is not null"
    return {row[0] for row in connection.execute(keys).fetchall()}


def _reached(
    connection: duckdb.DuckDBPyConnection, files: list[Path], footers: Footers, table: Table, read_at: dt.datetime
) -> tuple[str | None, str | None, str | None]:
    """Give the oldest and newest value of the cursor, and the one that the cursor moves to.

    A row dated after the reading does not move the cursor: it would hide all that follows.
    """
    column = table.cursor_column
    if column is None or not footers.held(column.name):
        return None, None, None
    tomorrow = f"{literal((read_at + dt.timedelta(days=1)).isoformat())}::timestamptz"
    is_past = f"{{}} <= {tomorrow}" if column.data_type in ("date", "timestamptz") else "true"
    if span := footers.span(column.name, column.sql_type):
        told = is_past.format(f"{literal(span[1])}::{column.sql_type}")
        if connection.execute(f"select {told}").fetchall()[0][0]:
            return *span, span[1]
    cursor = quoted(column.name)
    asked = f"min({cursor})::varchar, max({cursor})::varchar, (max({cursor}) filter (where {is_past.format(cursor)}))::varchar"
    oldest, newest, reached = connection.execute(f"select {asked} from read_parquet({listed([str(file) for file in files])})").fetchall()[0]
    return oldest, newest, reached
