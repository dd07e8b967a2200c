"""Land a brick: one SELECT per set of files casts, masks and refuses; dlt books the Parquet in; one journal entry commits."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import hashlib
import itertools
import json
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion import local_hours, privacy
from ingestion.brick import Brick, Column, Table, endpoint_of
from ingestion.casting import (
    Notation,
    as_written,
    cast,
    has_zone,
    json_place,
    notation_of,
    plausible,
    typed_without_nulls,
    within,
    without_nulls,
)
from ingestion.connectors import Part, Reading, Request, connector, source_name
from ingestion.declaration import BrickError
from ingestion.footprint import Footprint
from ingestion.journal import Entry, Journal, files_of
from ingestion.lake import Lake, listed, literal, quoted
from ingestion.position import Position
from ingestion.refusal import REFUSAL, TOLD_ROWS, UNREADABLE, first_refused, refusal
from ingestion.territory import read_territory

if TYPE_CHECKING:
    import dlt
    import duckdb

WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
# The types of a typed source that are cast as they are, without going through text.
CAST_AS_THEY_ARE = {
    "string": ("VARCHAR",),
    "bigint": WHOLE,
    "double": ("DOUBLE", *WHOLE),
    "boolean": ("BOOLEAN",),
    "date": ("DATE",),
    "timestamptz": ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP"),
}
LOAD_ID = "%Y%m%dT%H%M%S%fZ"  # the instant that the id of a load begins with
CLOCKS_APART = dt.timedelta(minutes=1)  # by which a clock may be behind the one of an earlier load without being told
HOW_FAR = ("cursor", "cursor_column", "folder_date")  # what of a position says how far a source was read; the rest, in what state
MARKS = ("_file", "_row", "_refused", "_read_at")
# What a steward calls a value of each type.
WORDS = {
    "bigint": "a whole number",
    "double": "a number",
    "boolean": "true or false",
    "date": "a date",
    "timestamptz": "a date and time",
    "json": "a JSON value",
}

# (lake, journal, brick, {table: (staged files, record)}, read_at) -> why the load is refused.
Judge = Callable[[Lake, Journal, Brick, dict[str, tuple[list[Path], dict[str, Any]]], dt.datetime], list[str]]


@dataclass
class Landed:
    """What landing a brick did: the journal's entry, or None when its source had nothing new."""

    brick: str
    entry: Entry | None = None
    footprint: dict[str, float] = field(default_factory=dict)
    request_count: int = 0
    bytes_read: int = 0


@dataclass
class Staged:
    """A table on its way: local Parquet files, and what the journal will say of them."""

    table: Table
    record: dict[str, Any]
    files: list[Path] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)  # of every file, in their order
    absent: list[str] = field(default_factory=list)  # columns that the brick declares and that no document holds
    warnings: list[str] = field(default_factory=list)


def land_brick(
    lake: Lake,
    journal: Journal,
    brick: Brick,
    run_id: str,
    judge: Judge,
    progress: Callable[[str, int], None] | None = None,
    wait: float = 0,
    judged_by: str = "",
) -> Landed:
    """Read what is new of a brick and land it as one load, accepted or refused as one.

    `judge` is the landed gate: it gives why a load is refused; `judged_by` sums up what it judges by. A load that stands
    refused is read again when its source, or what reads and judges it, has changed, and never before. `progress` is called
    with (table, bytes read so far). Another landing of the brick is waited for `wait` seconds. Raises BrickError, SourceError
    or LakeError, and then nothing is visible and nothing is to be cleaned by hand.
    """
    meter = Footprint()
    with lake.lock(f"landing-{brick.name}", wait), lake.workspace(f"landing-{brick.name}") as work:
        journal.refresh()
        connection = lake.connect(is_private=brick.has_personal)
        privacy.prepare(connection, brick)
        pseudonyms = privacy.check_key(journal, brick)
        privacy.mask_history(connection, lake, journal, brick, work, pseudonyms)
        if brick.has_personal:
            sweep(lake, journal, brick)  # what a killed run left may be in clear
        now = dt.datetime.now(dt.UTC)
        before = list(journal.of("load", brick.name))
        load_id = f"{_after(now, [_named_at(load) for load in before]):{LOAD_ID}}-{brick.name}"
        by = read_by(brick, judged_by)
        read_at = None
        readings: dict[str, Reading] = {}
        outcome = Landed(brick.name)
        standing = journal.refused(brick.name)
        tried = next((load for load in reversed(standing) if load.get("read_by") == by), None)
        waiting: dict[str, Position] = {}
        if not tried or _differs(lake, journal, brick, tried, work, outcome):
            for table in brick.tables:
                position = _position(journal, brick, table, by)
                reading = read_table(brick, table, position, connection, work / "spool", progress)
                readings[table.name] = reading
                read_at = read_at or _after(reading.read_at, [dt.datetime.fromisoformat(load["read_at"]) for load in before])
                if reading.parts or {name for name, _ in reading.refused_files} - position.given_up:
                    waiting[table.name] = position
        outcome.request_count += sum(reading.request_count for reading in readings.values())
        outcome.bytes_read += sum(reading.bytes_read for reading in readings.values())
        if waiting and read_at:
            staged, pipeline = _extract(lake, brick, load_id, connection, work, read_at, {n: (readings[n], p) for n, p in waiting.items()})
            if read_at - (clock := next(iter(readings.values())).read_at) > CLOCKS_APART:
                staged[0].warnings.append(_told_clock(clock, before))
            for each in staged:
                each.record |= {"profile": {"warnings": each.warnings}} if each.warnings else {}
            journal.found(read_territory().name, is_synthetic=any(reading.is_synthetic for reading in readings.values()))
            reasons = [reason for table in staged for reason in reasons_before_judging(table)]
            reasons += judge(lake, journal, brick, {t.table.name: (t.files, t.record) for t in staged}, read_at)
            sweep(lake, journal, brick)
            lake.begin(f"landing-{brick.name}", load_id)
            _book(lake, brick, load_id, staged, pipeline)
            contract, declarations = journal.new_contract(brick, [table.table.name for table in staged])
            replaced = [load for load in standing if _covers(readings, staged, load, is_refused=bool(reasons))]
            if reasons:
                # It may be tried again, or accepted, much later: whatever it has opened is to be known then.
                for each in staged:
                    each.record["opened"] |= readings[each.table.name].taken
            journal.append(
                "load",
                brick=brick.name,
                load_id=load_id,
                run_id=run_id,
                verdict="refused" if reasons else "accepted",
                reasons=reasons,
                read_by=by,
                replaces=[load["load_id"] for load in replaced],
                read_at=read_at.isoformat(),
                pseudonyms=pseudonyms,
                available_at=max((r.available_at.isoformat() for r in readings.values() if r.available_at), default=None),
                contract=contract,
                declarations=declarations,
                tables={table.table.name: table.record for table in staged},
                metadata={name: reading.metadata for name, reading in readings.items() if reading.metadata},
                bytes_read=outcome.bytes_read,
                request_count=outcome.request_count,
                footprint=meter.read(),
            )
            outcome.entry = journal.entries[-1]
            lake.end(f"landing-{brick.name}")
            lake.delete([file for load in replaced for record in load["tables"].values() for file in record["files"]])
        connection.close()
    outcome.footprint = meter.read()
    return outcome


def _after(moment: dt.datetime, others: list[dt.datetime]) -> dt.datetime:
    """Give a moment, moved after others: what is read later is the latest, whatever the clock says."""
    return max((moment, *(other + dt.timedelta(microseconds=1) for other in others)))


def _named_at(load: Entry) -> dt.datetime:
    return dt.datetime.strptime(load["load_id"].partition("-")[0], LOAD_ID).replace(tzinfo=dt.UTC)


def _told_clock(clock: dt.datetime, before: list[Entry]) -> str:
    last = max(before, key=lambda load: load["read_at"])
    return (
        f"the clock says {clock:%Y-%m-%d %H:%M:%S} UTC, and load {last['load_id']} was read at {last['read_at'][:19]}: this load is "
        "taken for read just after that one. Mend: check the clock; if that load's was wrong, nothing else is to be done"
    )


def sweep(lake: Lake, journal: Journal, brick: Brick) -> list[str]:
    """Delete the landed files of a brick that no entry names any more, or that a killed run left, and give their names."""
    journal.refresh()
    named, once = journal.named_files(brick.name) | journal.kept_files(), [n for e in journal.of("load", brick.name) for n in files_of(e)]
    return lake.sweep(f"landed/{brick.name}", f"landing-{brick.name}", lambda name: name in named or name.endswith("/init"), once)


def _extract(
    lake: Lake,
    brick: Brick,
    load_id: str,
    connection: duckdb.DuckDBPyConnection,
    work: Path,
    read_at: dt.datetime,
    taken: dict[str, tuple[Reading, Position]],
) -> tuple[list[Staged], dlt.Pipeline]:
    """Have dlt extract the tables of a brick that were read; give them as they wait to be judged, and the pipeline that holds them."""
    from ingestion.source import extract, files_of, source_of

    staged = {}

    def files(table: Table) -> Iterator[Any]:
        reading, position = taken[table.name]
        staged[table.name] = stage(connection, brick, table, reading, work, read_at, position)
        yield from files_of(staged[table.name])

    pipeline = _pipeline(lake, brick, load_id, work)
    extract(pipeline, source_of(brick, files, naming="ingestion.naming").with_resources(*taken))
    return [staged[name] for name in taken], pipeline


def _pipeline(lake: Lake, brick: Brick, load_id: str, work: Path) -> dlt.Pipeline:
    """Give the pipeline that books a load under `landed/<brick>/<table>/load_id=<id>/`; its folder goes with the workspace."""
    import dlt

    from ingestion.s3 import access

    destination = dlt.destinations.filesystem(
        bucket_url=lake.path("landed") if lake.is_s3 else Path(lake.path("landed")).as_uri(),
        layout="{table_name}/load_id=" + load_id + "/{file_id}.{ext}",
        # It warns of tables whose name holds a slash: names of tables are snake_case.
        warn_unsafe_layout_separators=False,
        **({"credentials": access().of_dlt()} if lake.is_s3 else {}),
    )
    folder = str(work / "dlt")
    return dlt.pipeline(brick.name, pipelines_dir=folder, dataset_name=brick.name, destination=destination, progress=None)


def _book(lake: Lake, brick: Brick, load_id: str, staged: list[Staged], pipeline: dlt.Pipeline) -> None:
    """Have dlt move what it has extracted into the lake, and record the names."""
    pipeline.normalize()
    pipeline.load(raise_on_failed_jobs=True)
    for table in staged:
        listed = lake.listing(f"landed/{brick.name}/{table.table.name}/load_id={load_id}")
        table.record["files"], table.record["sizes"] = list(listed), [stored.size for stored in listed.values()]
        if len(table.record["files"]) != len(table.files):
            raise BrickError(f"{brick.name}.{table.table.name}: dlt booked {len(table.record['files'])} of {len(table.files)} files")


def read_by(brick: Brick, judged_by: str = "") -> str:
    """Sum up what reads a brick and judges its loads: a load that one refused, another may accept."""
    told: Any = {"mode": "json", "exclude_defaults": True, "exclude": {"unit"}}
    columns = {t.name: [[c.name, c.data_type, c.meta.model_dump(**told)] for c in t.columns] for t in brick.tables}
    tables = [[t.name, t.meta.model_dump(mode="json"), columns[t.name]] for t in brick.tables]
    said = [endpoint_of(brick), brick.meta.connector, brick.meta.options, tables, judged_by]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _differs(lake: Lake, journal: Journal, brick: Brick, tried: Entry, work: Path, outcome: Landed) -> bool:
    """Say whether a source has changed since a load that stands refused was read, and count what it cost to know."""
    spool = work / "tried"
    try:
        for table in brick.tables:
            position = _position(journal, brick, table, tried["read_by"])
            record = tried["tables"].get(table.name, {"position": position.at, "opened": {}, "refused_files": []})
            since = [load["tables"] for load in journal.accepted(brick.name) if load["read_at"] > tried["read_at"]]
            newer = {name for tables in since if table.name in tables for name in tables[table.name]["opened"]}
            if not any(table.name in tables for tables in since):
                # As it was then, but for how far it was settled.
                state = {name: value for name, value in record["position"].items() if name not in HOW_FAR}
                position.at = state | {name: value for name, value in position.at.items() if name in HOW_FAR}
            position.known |= {name: signature for name, signature in record["opened"].items() if name not in newer}
            with lake.connect(is_private=brick.has_personal) as connection:
                reading = read_table(brick, table, position, connection, spool, None)
            outcome.request_count += reading.request_count
            outcome.bytes_read += reading.bytes_read
            failed, known_to_fail = ({name for name, _ in files} for files in (reading.refused_files, record["refused_files"]))
            if reading.parts or failed - known_to_fail - position.given_up:
                return True
    finally:
        shutil.rmtree(spool, ignore_errors=True)
    return False


def _read_as(column: Column, notation: Notation, text: str) -> str:
    """Write the value of a text as a column's."""
    meta = column.meta
    return cast(column.data_type, without_nulls(text, notation.null_values), notation, meta.format, meta.years_from)


def _covers(readings: dict[str, Reading], staged: list[Staged], load: Entry, *, is_refused: bool) -> bool:
    """Say whether what was read holds all that a load that stands refused had read, or had failed to read.

    A load that is refused itself stands for the same failures.
    """
    read = {}
    for name in (table.table.name for table in staged):
        failed = {file for file, _ in readings[name].refused_files}
        read[name] = {*readings[name].taken, *(failed if is_refused else ())}
    return all(
        name in read and {*record["opened"], *(file for file, _ in record["refused_files"])} <= read[name]
        for name, record in load["tables"].items()
    )


def read_table(
    brick: Brick,
    table: Table,
    position: Position,
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    progress: Callable[[str, int], None] | None,
) -> Reading:
    """Have the connector of a brick read a table from a position."""
    spool = folder / table.name
    spool.mkdir(parents=True)
    module = connector(brick.meta.connector)
    return module.read(
        Request(
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
            casts={
                column.name: functools.partial(_read_as, column, notation_of(brick, table))
                for column in table.columns
                if column.data_type != "string" and not column.meta.mask
            },
        )
    )


def stage(
    connection: duckdb.DuckDBPyConnection,
    brick: Brick,
    table: Table,
    reading: Reading,
    work: Path,
    read_at: dt.datetime,
    position: Position,
) -> Staged:
    """Write every part of a reading as Parquet, and count what was kept and refused."""
    before, since = position.at, _cursor_from(position.at, table)
    connection.execute(f"set TimeZone = {literal(table.meta.time_zone)}")
    local_hours.watch(connection, table.meta.time_zone)
    staged = Staged(table, {})
    new_columns: set[str] = set()
    skipped, unreadable, blank = 0, 0, 0
    selects = [_Select(brick, table, part, reading, read_at, since, position.held, _kinds(connection, part)) for part in reading.parts]
    for number, select in enumerate(selects):
        part = select.part
        file = work / f"{table.name}-{number}.parquet"
        # The search for the zone of a position does not keep the order of the source.
        has_zone = any(column.meta.position for column in table.columns)
        with _told(brick, table, part):
            _copy(connection, select.sql(is_numbered=has_zone), file)
        staged.files.append(file)
        if select.since:
            skipped += connection.execute(select.skipped_sql()).fetchall()[0][0]
            if not has_zone and _holds_refused(connection, file):
                _copy(connection, select.sql(is_numbered=True), file)
        if select.marked:
            landed = [column.name for column in select.landed]
            folds = local_hours.settle(connection, file, select.marked, table.meta.key, table.meta.time_zone, landed)
            staged.warnings += folds
        if part.thin:
            blank += connection.execute(select.blank_sql()).fetchall()[0][0]
        if part.rejects:
            unreadable += _stage_unreadable(connection, select, staged, work / f"{table.name}-{number}-unreadable.parquet")
        staged.columns = staged.columns or _schema(connection, file)
        new_columns |= select.new_columns() | _extra_keys(connection, file)
    staged.absent = _absent(connection, selects, staged.files)
    connection.execute("set TimeZone = 'UTC'")
    counted = [part.counted for part in reading.parts]
    rows, refused, newest, oldest, reached = _count(connection, staged.files, table, read_at)
    announced = reading.announced if reading.count_method == "announced" else None
    source_count = (announced if announced is not None else sum(c for c in counted if c is not None)) - skipped - blank
    method = reading.count_method if announced is not None or None not in counted else "none"
    staged.record = {
        "files": [],
        "kept": rows - refused,
        "refused": refused,
        "source_count": rows if method == "none" else source_count,
        "count_method": method,
        "unreadable": unreadable,
        "before_cursor": skipped,
        "position": _position_after(reading, table, reached, before),
        "opened": reading.opened,
        "measured": [oldest, newest],
        "columns": {name: kind for name, kind in staged.columns.items() if name not in MARKS},
        "new_columns": _told_columns(brick, new_columns),
        "refused_files": [list(refusal) for refusal in reading.refused_files],
        "refused_as": "struct",
    }
    if refused:
        staged.record["lines"] = _lines(connection, reading, staged.files)
        staged.record["refused_in"] = _files_of_refused(connection, staged.files)
    return staged


class _Select:
    """The one SELECT that lands a part: casts, masks, refusals."""

    def __init__(
        self,
        brick: Brick,
        table: Table,
        part: Part,
        reading: Reading,
        read_at: dt.datetime,
        since: str | None,
        held: set[str],
        kinds: dict[str, str],
    ) -> None:
        self.brick, self.table, self.part, self.kinds = brick, table, part, kinds
        # Only of a file that an accepted load holds whole are the rows before the cursor left out.
        self.held = [name for name in part.files if name in held]
        # Documents are read once: those before the cursor land again rather than being counted.
        self.since = since if self.held and (part.columns is not None or part.rejects) else None
        self.read_at = read_at
        self.is_private = brick.has_personal
        self.notation = notation_of(brick, table)
        self.landed = [column for column in table.columns if column.is_landed]
        self.local = {number: naive for number, column in enumerate(self.landed) if (naive := self._is_local(number, column))}
        self.marked = [self.landed[number].name for number in self.local] if table.meta.time_fold == "in_order" else []
        names = [name for column in table.columns for name in column.meta.position or (column.name,)]
        self.asked = list(dict.fromkeys(names))
        # Declared names stand in SQL as the file spells them: DuckDB takes É and é for two letters.
        spelled = {name.casefold(): name for name in reversed(part.columns or ())}
        self.spelled = {**spelled, **{name.casefold(): name for name in self.asked if name in (part.columns or ())}}
        # In a document, a column may be under an older name, or one whose accents are apart.
        older = {column.name: column.meta.formerly for column in table.columns}
        self.aliases = {name: _spellings(*map(source_name, (name, *older.get(name, ())))) for name in self.asked}
        self.first = [names[0] for names in self.aliases.values()]
        self.text = {name: self._text(name) for name in self.asked}
        # Every part of a load lands the same columns, so that its files are read as one.
        asked = {name.casefold() for name in self.asked}
        others = {name.casefold(): name for other in reading.parts for name in other.columns or ()}
        self.extra = [] if self.is_private else [name for key, name in sorted(others.items()) if key not in asked]
        self.has_documents = any(other.columns is None for other in reading.parts)

    def sql(self, *, is_numbered: bool = False) -> str:
        """Give the SELECT, in three layers so that nothing is computed twice: texts and casts, refusals, columns.

        `is_numbered` fills `_row`, at the cost of a sort, where rows are left out.
        """
        casts, columns = ["_file"], []
        for number, column in enumerate(self.landed):
            casts += [f"{self._value(column)} as v{number}", f"{self._source_text(column)} as t{number}"]
            value = self._checked(number, column)
            if column.name in self.marked:
                value = f"case when h{number} <> 0 then {local_hours.moment(value, str(local_hours.MARK))} else {value} end"
            value = f"case when _refused is null then {value} end" if self.is_private else value
            columns.append(f"{value} as {quoted(column.name)}")
        for number, name in enumerate(self.extra):
            casts.append(f"{self._own(name)}::varchar as e{number}")
            columns.append(f"e{number} as {quoted(name)}")
        if self.part.columns is None:
            # What begins as an object and was read is one.
            is_lost = "doc is null or case when starts_with(_doc, '{') then false else try(json_type(_doc)) is distinct from 'OBJECT' end"
            # Of a key told twice, one reader takes the first value and another the last.
            is_twice = "case when has_others then len(list_distinct(json_keys(_doc))) < len(json_keys(_doc)) end"
            casts += ["_doc", f"{is_lost} as is_lost", f"{is_twice} as is_twice"]
            casts.append(f"{self._others()} as _extra")
        if self.part.again:
            casts.append(f"{self.part.again} as is_header")
        if self.has_documents:
            columns.append("_extra" if self.part.columns is None else "null::varchar as _extra")
        where = f" where not coalesce({self._before_cursor()}, false)" if self.since else ""
        source, row = self._source(), "null"
        if is_numbered:
            # By names that are ours: no column of the source has them.
            source = f"(select *, row_number() over () as _seq from {source})"
            source, row = f"(select *, _seq - min(_seq) over (partition by _file) + 1 as _row from {source})", "_row"
        rows = f"(select {', '.join(casts)}, {row} as _row from {source}{where})"
        if self.local:
            rows = f"(select *, {', '.join(f'{self._twin(number)} as h{number}' for number in self.local)} from {rows})"
        rows = f"select *, {self._refusal()} as _refused from {rows}"
        return f"select {', '.join(columns)}, {self._marks('_file', '_row', '_refused')} from ({rows})"

    def skipped_sql(self) -> str:
        """Give the count of rows that stand before the cursor and were landed by an earlier load."""
        return f"select count(*) from {self._source()} where {self._before_cursor()}"

    def blank_sql(self) -> str:
        """Give the count of rows, and of lines that could not be read, that hold blank values alone."""
        is_blank, pattern = self.part.thin or ("false", "")
        errors = (self.part.rejects or ("", ""))[1]
        lines = f"select distinct file_id, line from {errors} where regexp_full_match(csv_line, {literal(pattern)})"
        return f"select (select count(*) from ({self.part.relation}) where {is_blank}) + (select count(*) from ({lines}))"

    def unreadable(self) -> str:
        """Write the relation of the errors of lines that could not be read, but for those that hold blank values alone."""
        errors = (self.part.rejects or ("", ""))[1]
        return f"(select * from {errors} where not regexp_full_match(csv_line, {literal(self.part.thin[1])}))" if self.part.thin else errors

    def unreadable_sql(self) -> str:
        """Give the rows that the reader itself could not parse, as refused rows of the same shape; `_places` tells where they are."""
        scans, _, file = self.part.rejects or ("", "", "")
        value = None if self.is_private else "coalesce(left(any_value(errors.csv_line), 500), '')"
        rule = f"'{UNREADABLE} (' || lower(replace(any_value(errors.error_type), '_', ' ')) || ')'"
        columns = [f"null::{column.sql_type} as {quoted(column.name)}" for column in self.landed]
        columns += [f"null::varchar as {quoted(name)}" for name in [*self.extra, *(["_extra"] if self.has_documents else [])]]
        return (
            f"select {', '.join(columns)}, {self._marks(f'any_value({file})', 'any_value(_places.place)', refusal(None, rule, value))} "
            f"from {self.unreadable()} as errors inner join {scans} as scans using (scan_id, file_id) "
            "inner join _places using (file_id, line) group by errors.file_id, errors.line order by errors.line"
        )

    def errors_sql(self) -> str:
        """Give the lines that could not be read: file and line as DuckDB numbers them, name of the file, byte where the line begins."""
        scans, _, file = self.part.rejects or ("", "", "")
        # DuckDB counts empty lines before it as the line's own.
        begins = "line_byte_position - 1 + length(csv_line) - length(ltrim(csv_line, chr(10) || chr(13)))"
        return (
            f"select errors.file_id, errors.line, any_value({file}), any_value({begins}) from {self.unreadable()} as errors "
            f"inner join {scans} as scans using (scan_id, file_id) group by all"
        )

    def holds_sql(self, name: str) -> str:
        """Give whether a document holds a key, NULL where none is an object."""
        held = " or ".join(f"json_exists(_doc, {json_place(alias)})" for alias in self.aliases[name])
        return f"select bool_or({held}) from {self._source()} where doc is not null and json_type(_doc) = 'OBJECT'"

    def new_columns(self) -> set[str]:
        """Name the columns of the source that the brick does not declare."""
        asked = {name.casefold() for name in self.asked}
        return {name for name in self.part.columns or () if name.casefold() not in asked}

    def _marks(self, file: str, row: str, refusal: str) -> str:
        return (
            f"{file} as _file, ({row})::bigint as _row, {refusal} as _refused, {literal(self.read_at.isoformat())}::timestamptz as _read_at"
        )

    def _source(self) -> str:
        if self.part.columns is not None:
            where = f" where not ({self.part.thin[0]})" if self.part.thin else ""
            return f"(select * from ({self.part.relation}){where})" if where else f"({self.part.relation})"
        kinds = {name: "JSON" if self._declared(name) == "json" else "VARCHAR" for name in self.asked}
        shape = {alias: kinds[name] for name in self.asked for alias in self.aliases[name]}
        transform = literal(json.dumps(shape))
        documents = f"select _file, _doc, try(json_transform(_doc, {transform})) as doc from ({self.part.relation})"
        # The declared keys in the brick's own order are what most documents hold; of others only more is asked.
        return f"(select *, case when doc is not null then json_keys(_doc) <> {listed(self.first)} end as has_others from ({documents}))"

    def _declared(self, name: str) -> str | None:
        return next((column.data_type for column in self.table.columns if column.name == name), None)

    def _own(self, name: str) -> str:
        """Write a column as the part spells it, NULL when it has none."""
        return quoted(self.spelled[name.casefold()]) if name.casefold() in self.spelled else "null"

    def _typed(self, name: str) -> str:
        """Write a column as the part spells it, NULL where a typed one holds what stands for a missing value."""
        own, kind = self._own(name), self.kinds.get(name.casefold())
        return typed_without_nulls(own, kind, self.notation.null_values) if kind and not self._is_nested(name) else own

    def _is_nested(self, name: str) -> bool:
        kind = self.kinds.get(name.casefold(), "")
        return kind.endswith("]") or kind.startswith(("STRUCT", "MAP"))

    def _is_number(self, name: str) -> str:
        """Write whether a source holds a number as such: how texts write theirs says nothing of it."""
        if self.part.columns is None:
            kinds = [f"json_type(_doc, {json_place(alias)})" for alias in self.aliases[name]]
            return f"try(coalesce({', '.join(kinds)}) <> 'VARCHAR')"
        return str(self.kinds.get(name.casefold(), "VARCHAR") != "VARCHAR").lower()

    def _text(self, name: str) -> str:
        """Write the text of a source column, empty being NULL."""
        if self.part.columns is None:
            values = [f"doc.{quoted(alias)}" for alias in self.aliases[name]]
            if self._declared(name) == "string":
                values = [as_written(value, "_doc", alias) for value, alias in zip(values, self.aliases[name], strict=True)]
            return without_nulls(f"coalesce({', '.join(values)})" if len(values) > 1 else values[0], self.notation.null_values)
        own = self._typed(name)
        if own == "null":
            return "null::varchar"
        if self.part.is_typed:
            return f"to_json({own})::varchar" if self._is_nested(name) else f"{own}::varchar"
        return without_nulls(own, ("", *self.notation.null_values))

    def _is_cast_as_it_is(self, column: Column) -> bool:
        return (
            not column.meta.format
            and not column.meta.mask
            and self.kinds.get(column.name.casefold()) in CAST_AS_THEY_ARE.get(column.data_type, ())
        )

    def _source_text(self, column: Column) -> str:
        """Write what a refusal reads the text of a column from; a typed one becomes text in refused rows only."""
        if column.meta.position:
            return "null"
        return self._typed(column.name) if self._is_cast_as_it_is(column) else self.text[column.name]

    def _value(self, column: Column) -> str:
        """Write the value of a column, NULL when its text is not what the brick declares."""
        if column.meta.mask:
            return privacy.masked(column, self.text)
        if self._is_cast_as_it_is(column):
            return f"try_cast({self._typed(column.name)} as {column.sql_type})"
        text = self.text[column.name]
        told, is_bounded = column.meta, bool(column.meta.between)
        value = cast(column.data_type, text, self.notation, told.format, told.years_from, is_bounded=is_bounded)
        has_marks = column.data_type in ("bigint", "double") and (self.notation.decimal, self.notation.thousands) != (".", None)
        if not has_marks or not (self.part.is_typed or self.part.columns is None):
            return value
        return f"case when {self._is_number(column.name)} then {cast(column.data_type, text, Notation())} else {value} end"

    def _is_local(self, number: int, column: Column) -> str | None:
        """Write whether the text of an instant tells neither offset nor zone; None where none does, or the clocks never change."""
        if column.data_type != "timestamptz" or column.meta.mask or not local_hours.changes(self.table.meta.time_zone):
            return None
        if self._is_cast_as_it_is(column):
            return "true" if self.kinds[column.name.casefold()] == "TIMESTAMP" else None
        told = has_zone(f"t{number}", column.meta.format)
        return None if told == "true" else f"not {told}"

    def _twin(self, number: int) -> str:
        column, text = self.landed[number], f"t{number}"
        typed = self._is_cast_as_it_is(column)
        wall = text if typed else cast("timestamp", text, self.notation, column.meta.format, column.meta.years_from)
        return local_hours.twin(f"v{number}", wall, self.table.meta.time_zone, self.local[number], is_watched=True)

    def _checked(self, number: int, column: Column) -> str:
        value = plausible(column.data_type, f"v{number}", f"t{number}")
        return local_hours.resolved(value, f"h{number}", self.table.meta.time_fold) if number in self.local else value

    def _refusal(self) -> str:
        """Write why a row is refused, NULL when it is kept; the value is told unless the brick has personal columns."""
        cases = []
        if self.part.columns is None:
            value = None if self.is_private else "left(_doc, 500)"
            kind = "lower(try(json_type(_doc)))"
            told = f"case when json_valid(_doc) then 'a JSON ' || {kind} || ' where an object is awaited' else 'not a JSON object' end"
            cases.append(f"when is_lost then {refusal(None, told, value)}")
            cases.append(f"when is_twice then {refusal(None, literal('a JSON object that holds a key twice'), value)}")
        if self.part.again:
            cases.append(f"when is_header then {refusal(None, literal('the header of the file once more'))}")
        for number, column in enumerate(self.landed):
            value, text = self._checked(number, column), f"t{number}::varchar"
            is_key = column.name in self.table.meta.key
            if is_key or column.meta.required:
                # What begins with a visible ASCII character is not blank: `trim`, which knows all of Unicode, is slow.
                is_blank = f"({text} is null or (({text} < '!' or {text} > '~') and trim({text}) = ''))"
                missing = is_blank if column.data_type == "string" and not column.meta.position else f"{value} is null"
                if column.data_type != "string":
                    missing += f" and {is_blank}"
                rule = literal(f"is missing, and is {'in the key' if is_key else 'required'}")
                cases.append(f"when {missing} then {refusal(column.name, rule)}")
            seen = None if self.is_private else f"left({text}, 200)"
            if number in self.local:
                clocks = f"that the clocks of {self.table.meta.time_zone}"
                cases.append(f"when h{number} = 0 then {refusal(column.name, literal(f'is an hour {clocks} skip'), seen)}")
                if self.table.meta.time_fold == "refuse":
                    rule = literal(f"is in an hour {clocks} show twice, and tells no offset")
                    cases.append(f"when h{number} <> 0 then {refusal(column.name, rule, seen)}")
            if is_within := within(column, value, self.notation):
                low, high = column.meta.between or (None, None)
                span = " ".join(f"{word} {bound}" for word, bound in (("from", low), ("to", high)) if bound is not None)
                cases.append(f"when not {is_within} then {refusal(column.name, literal(f'is not {span}'), seen)}")
            if column.data_type != "string":
                written = f" written {column.meta.format}" if column.meta.format else ""
                told = refusal(column.name, literal(f"is not {WORDS[column.data_type]}{written}"), seen)
                if column.data_type in ("date", "timestamptz") and not column.meta.format:
                    rule = literal(
                        f"is not {WORDS[column.data_type]} (of seconds or milliseconds since 1970, say `format: epoch_s` or `epoch_ms`)"
                    )
                    is_number = rf"regexp_full_match(trim({text}), '-?\d{{9,13}}([.]\d*)?')"
                    cases.append(f"when {value} is null and {is_number} then {refusal(column.name, rule, seen)}")
                cases.append(f"when {value} is null and trim({text}) <> '' then {told}")
        return f"case {' '.join(cases)} end" if cases else f"null::{REFUSAL}"

    def _others(self) -> str:
        """Write the keys of a document that the brick does not declare, as JSON; NULL when there is none."""
        if self.is_private:
            return "null::varchar"
        # A set costs more, taking keys away most of all: a `case` asks for the dearer only where the cheaper says so, which
        # `and` does not.
        names = [alias for each in self.aliases.values() for alias in each]
        asked, known, keys = listed(self.first), listed(names), "json_keys(_doc)"

        def without(taken: list[str]) -> str:
            return f"nullif(try(json_merge_patch(_doc, {literal(json.dumps(dict.fromkeys(taken)))}))::varchar, '{{}}')"

        others = without(names)
        if len(names) > len(self.asked):
            # A document that holds a column under two of its names keeps the one that is not read.
            twice = [f"len(list_intersect({keys}, {listed(list(each))})) > 1" for each in self.aliases.values() if len(each) > 1]
            others = f"case when {' or '.join(twice)} then {without(self.first)} else {others} end"
            known = f"case when {' or '.join(twice)} then {asked} else {known} end"
        return f"case when has_others then case when not list_has_all({known}, {keys}) then {others} end end"

    def _before_cursor(self) -> str:
        column = self.table.cursor_column
        is_held = "" if len(self.held) == len(self.part.files) else f"_file in ({', '.join(map(literal, self.held))}) and "
        if column is None:
            return "false"
        since = f"{literal(str(self.since))}::{column.data_type}"
        if column.data_type not in ("date", "timestamptz"):
            return f"{is_held}{self._value(column)} < {since}"
        # A year that its text does not write with four digits is refused, not cut.
        return f"{is_held}{self._value(column)} between '1000-01-02'::{column.data_type} and {since} - to_microseconds(1)"


def _kinds(connection: duckdb.DuckDBPyConnection, part: Part) -> dict[str, str]:
    """Give DuckDB's types of the columns of a typed part."""
    return {row[0].casefold(): row[1] for row in connection.execute(f"describe {part.relation}").fetchall()} if part.is_typed else {}


@contextlib.contextmanager
def _told(brick: Brick, table: Table, part: Part) -> Iterator[None]:
    """Name the table and the files of what DuckDB cannot read or write; its words may hold values, which a private brick keeps."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        told = type(error).__name__ if brick.has_personal else f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
        files = f"{', '.join(part.files[:3])}{' and more' if len(part.files) > 3 else ''}"
        mend = "check these files, the disk, and ORCHESTRA_MEMORY"
        raise BrickError(f"{brick.name}.{table.name}: {files} cannot be landed ({told}). Mend: {mend}.") from error


def _copy(connection: duckdb.DuckDBPyConnection, select: str, file: Path) -> None:
    connection.execute(f"copy ({select}) to {literal(str(file))} (format parquet, compression zstd)")


def _spellings(*names: str) -> tuple[str, ...]:
    """Give names as they are, and with their accents apart."""
    return tuple(dict.fromkeys(form for name in names for form in (name, unicodedata.normalize("NFD", name))))


def _stage_unreadable(connection: duckdb.DuckDBPyConnection, select: _Select, staged: Staged, file: Path) -> int:
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
    _copy(connection, select.unreadable_sql(), file)
    staged.files.append(file)
    return len(errors)


def _lines(connection: duckdb.DuckDBPyConnection, reading: Reading, files: list[Path]) -> dict[str, dict[str, int]]:
    """Give, by file of the source and row, the lines of the first refused rows, as an editor shows them; none where there are no lines."""
    refused = first_refused(connection, [str(file) for file in files], TOLD_ROWS)
    rows: dict[str, list[int]] = {}
    for row in refused:
        rows.setdefault(row["file"], []).append(row["row"])
    told = {}
    for name, places in ((name, part.places) for part in reading.parts for name in part.files):
        if places and name in rows:
            told[name] = dict(zip(map(str, rows[name]), places(name, [], rows[name])[1], strict=True))
    return told


def _schema(connection: duckdb.DuckDBPyConnection, file: Path) -> dict[str, str]:
    rows = connection.execute(f"describe from read_parquet({literal(str(file))})").fetchall()
    kinds = {"VARCHAR": "string", "TIMESTAMP WITH TIME ZONE": "timestamptz", REFUSAL: "json"}
    return {row[0]: kinds.get(row[1], row[1].lower()) for row in rows}


def _absent(connection: duckdb.DuckDBPyConnection, selects: list[_Select], files: list[Path]) -> list[str]:
    """Name the columns that the source must give and that no document of a load holds; documents are asked for empty columns only."""
    documents = [select for select in selects if select.part.columns is None]
    if not documents:
        return []
    sums = "select path_in_schema, sum(stats_null_count) = sum(num_values) from parquet_metadata($1) group by all"
    empty = {name for name, is_empty in connection.execute(sums, [[str(file) for file in files]]).fetchall() if is_empty}
    table = documents[0].table
    columns = [column for column in table.columns if not column.meta.optional and column.name in empty]
    names = dict.fromkeys(name for column in columns for name in column.meta.position or (column.name,))

    def held(name: str) -> set[bool | None]:
        return {connection.execute(select.holds_sql(name)).fetchall()[0][0] for select in documents}

    return [name for name in names if held(name) - {None} == {False}]


def _told_columns(brick: Brick, names: set[str]) -> list[str]:
    """Tell the columns that a brick does not declare; with personal columns their number only: a header may be a person's row."""
    return [f"{len(names)} (the brick has personal columns: not named)"] if names and brick.has_personal else sorted(names)


def _extra_keys(connection: duckdb.DuckDBPyConnection, file: Path) -> set[str]:
    if "_extra" not in _schema(connection, file):
        return set()
    keys = f"select distinct unnest(json_keys(_extra)) from read_parquet({literal(str(file))}) where _extra is not null"
    return {row[0] for row in connection.execute(keys).fetchall()}


def _files_of_refused(connection: duckdb.DuckDBPyConnection, files: list[Path]) -> list[str]:
    """Name the files of the source of which rows were refused."""
    relation = f"read_parquet({listed([str(file) for file in files])}, union_by_name = true)"
    return [row[0] for row in connection.execute(f"select distinct _file from {relation} where _refused is not null order by 1").fetchall()]


def _holds_refused(connection: duckdb.DuckDBPyConnection, file: Path) -> bool:
    return bool(connection.execute(f"select count(_refused) from read_parquet({literal(str(file))})").fetchall()[0][0])


def _count(
    connection: duckdb.DuckDBPyConnection, files: list[Path], table: Table, read_at: dt.datetime
) -> tuple[int, int, str | None, str | None, str | None]:
    """Count rows and refused rows; give the newest and oldest value of the cursor, and the one that the cursor moves to.

    A row dated after the reading does not move the cursor: it would hide all that follows.
    """
    if not files:
        return 0, 0, None, None, None
    column = table.cursor_column
    cursor = quoted(column.name) if column else "null"
    tomorrow = f"{literal((read_at + dt.timedelta(days=1)).isoformat())}::timestamptz"
    is_past = f"{cursor} <= {tomorrow}" if column and column.data_type in ("date", "timestamptz") else "true"
    sql = (
        f"select count(*), count(_refused), max({cursor})::varchar, min({cursor})::varchar, "
        f"(max({cursor}) filter (where {is_past}))::varchar from read_parquet({listed([str(file) for file in files])})"
    )
    rows, refused, newest, oldest, reached = connection.execute(sql).fetchall()[0]
    return rows, refused, newest, oldest, reached


def _position(journal: Journal, brick: Brick, table: Table, by: str) -> Position:
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


def _position_after(reading: Reading, table: Table, newest: str | None, before: dict[str, Any]) -> dict[str, Any]:
    if not (column := table.cursor_column):
        return reading.position
    cursors = [value for value in (newest, before.get("cursor")) if value is not None]
    order: Any = float if column.data_type in ("bigint", "double") else str
    return {**reading.position, **({"cursor": max(cursors, key=order), "cursor_column": column.name} if cursors else {})}


def _cursor_from(position: dict[str, Any], table: Table) -> str | None:
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


def reasons_before_judging(staged: Staged) -> list[str]:
    """Say why a load is refused before any expectation: no file left, or a count that does not fit."""
    record, name = staged.record, staged.table.name
    reasons = []
    if not staged.files:
        told = "; ".join(f"{file}: {reason}" for file, reason in record["refused_files"][:3])
        reasons.append(f"{name}: no file is left ({told})")
    elif staged.absent:
        told = f"{name}: no document holds {', '.join(staged.absent)}. Mend: the brick's columns"
        reasons.append(f"{told}, or `optional: true` for what the source may lack")
    elif record["count_method"] != "none" and record["source_count"] != record["kept"] + record["refused"]:
        reasons.append(
            f"{name}: the source holds {record['source_count']} rows, {record['kept']} were kept and {record['refused']} refused: "
            "some were lost on the way"
        )
    elif staged.table.meta.delivers == "whole" and record["refused_files"]:
        file, reason = record["refused_files"][0]
        reasons.append(f"{name}: {file}: {reason}; without it the photo is not whole, and what it holds would be taken as ended")
    return reasons
