"""Land a brick: one SELECT per set of files casts, masks and refuses; dlt books the Parquet in; one journal entry commits."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion import erased_keys, privacy
from ingestion.brick import Brick, Table, endpoint_of
from ingestion.connectors import Reading
from ingestion.connectors.shared import Shared
from ingestion.cursor import start_of
from ingestion.declaration import BrickError
from ingestion.entries import Entry
from ingestion.erasing import take_back
from ingestion.footprint import Footprint
from ingestion.inbox import inbox_of, release
from ingestion.journal import Journal, files_of
from ingestion.keyed import NAMES, make_secret, names_by, secret_of
from ingestion.lake import Lake
from ingestion.own_census import own_census
from ingestion.parquet import Footers
from ingestion.position import Position
from ingestion.refusal import reasons_before_judging
from ingestion.staging import Staged, read_table, stage
from ingestion.sweep import sweep
from ingestion.territory import read_territory

if TYPE_CHECKING:
    import dlt
    import duckdb

LOAD_ID = "%Y%m%dT%H%M%S%fZ"  # the instant that the id of a load begins with
CLOCKS_APART = dt.timedelta(minutes=1)  # by which a clock may be behind the one of an earlier load without being told
HOW_FAR = ("cursor", "cursor_column", "folder_date", "tail")  # what of a position says how far a source was read; the rest, in what state

# (lake, journal, brick, {table: (staged files, record)}, read_at) -> why the load is refused.
JudgeLoad = Callable[[Lake, Journal, Brick, dict[str, tuple[list[Path], dict[str, Any]]], dt.datetime], list[str]]


@dataclass
class Landed:
    """What landing a brick did: the journal's entry, or None when its source had nothing new; `warned` is what the reading warns of."""

    brick: str
    entry: Entry | None = None
    footprint: dict[str, float] = field(default_factory=dict)
    request_count: int = 0
    bytes_read: int = 0
    warned: list[str] = field(default_factory=list)

    def count(self, readings: Iterable[Reading]) -> None:
        """Count what readings cost, and note what they warn of."""
        for reading in readings:
            self.request_count += reading.request_count
            self.bytes_read += reading.bytes_read
            self.warned += reading.warnings


def land_brick(
    lake: Lake,
    journal: Journal,
    brick: Brick,
    run_id: str,
    judge: JudgeLoad,
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
        masks = privacy.masks_of(journal, brick)
        connection = lake.connect(is_private=brick.has_personal)
        privacy.prepare(connection, brick, masks)
        take_back(connection, lake, journal, brick, work, masks)
        erased_keys.prepare(connection, lake, journal, brick)
        if brick.has_personal:
            sweep(lake, journal, brick)  # what a killed run left may be in clear
        release(lake, journal, brick)
        now, name_of = dt.datetime.now(dt.UTC), _names(lake, brick)
        before = list(journal.of("load", brick.name))
        load_id = f"{_after(now, [_named_at(load) for load in before]):{LOAD_ID}}-{brick.name}"
        by = reader_of(brick, judged_by)
        read_at = None
        readings: dict[str, Reading] = {}
        outcome, shared = Landed(brick.name), Shared(work / "shared", is_private=brick.has_personal)
        standing = journal.refused(brick.name)
        tried = next((load for load in reversed(standing) if load.get("read_by") == by), None)
        waiting: dict[str, tuple[Reading, Position]] = {}
        if not tried or _differs(lake, journal, brick, tried, work, outcome, name_of):
            for table in brick.tables:
                position = start_of(journal, brick, table, by)
                reading = read_table(
                    brick, table, position, connection, work / "spool", progress, name_of, inbox_of(lake, brick.name), shared,
                    functools.partial(own_census, journal),
                )  # fmt: skip
                readings[table.name] = reading
                read_at = read_at or _after(reading.read_at, [dt.datetime.fromisoformat(load["read_at"]) for load in before])
                if reading.parts or reading.failed - position.given_up:
                    waiting[table.name] = reading, position
        outcome.count(readings.values())
        if waiting and read_at and (extracted := _extract(lake, journal, brick, load_id, connection, work, read_at, waiting)):
            staged, pipeline = extracted
            told = [_told_clock(read_at, next(iter(readings.values())).read_at, before), privacy.told_form(brick, masks)]
            staged[0].warnings += filter(None, told)
            for each in staged:
                each.record |= {"profile": {"warnings": each.warnings}} if each.warnings else {}
            journal.found_lake(read_territory().name, is_synthetic=any(reading.is_synthetic for reading in readings.values()))
            reasons = [reason for table in staged for reason in reasons_before_judging(table)]
            reasons += judge(lake, journal, brick, {t.table.name: (t.files, t.record) for t in staged}, read_at)
            sweep(lake, journal, brick)
            lake.begin(f"landing-{brick.name}", load_id)
            _book(lake, brick, load_id, connection, staged, pipeline)
            contract, declarations = journal.new_contract(brick, [table.table.name for table in staged])
            replaced = [load for load in standing if _covers(readings, staged, journal.whole(load), is_refused=bool(reasons))]
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
                is_private=brick.has_personal,
                are_names_keyed=brick.has_personal,
                **masks.told(),
                available_at=max((r.available_at.isoformat() for r in readings.values() if r.available_at), default=None),
                contract=contract,
                declarations=declarations,
                tables={table.table.name: table.record for table in staged},
                metadata={name: reading.metadata for name, reading in readings.items() if reading.metadata},
                bytes_read=outcome.bytes_read,
                request_count=outcome.request_count,
                footprint=meter.read(),
            )
            outcome.entry = journal.whole(journal.entries[-1])
            _let_go(lake, journal, brick, replaced)
        connection.close()
    outcome.footprint = meter.read()
    return outcome


def _let_go(lake: Lake, journal: Journal, brick: Brick, replaced: list[Entry]) -> None:
    """Delete what the load that has just been named replaces, and what was pushed of it; nothing of it is about to be written."""
    lake.end(f"landing-{brick.name}")
    lake.delete([name for load in replaced for name in (*files_of(load), load["particulars"]["name"])])
    release(lake, journal, brick)


def _names(lake: Lake, brick: Brick) -> Callable[[str], str]:
    """Give what the files of a brick are called: names may be of persons where its columns are."""
    if not brick.has_personal:
        return str
    make_secret(lake)
    return names_by(secret_of(lake, NAMES))


def _after(moment: dt.datetime, others: list[dt.datetime]) -> dt.datetime:
    """Give a moment, moved after others: what is read later is the latest, whatever the clock says."""
    return max((moment, *(other + dt.timedelta(microseconds=1) for other in others)))


def _named_at(load: Entry) -> dt.datetime:
    return dt.datetime.strptime(load["load_id"].partition("-")[0], LOAD_ID).replace(tzinfo=dt.UTC)


def _told_clock(read_at: dt.datetime, clock: dt.datetime, before: list[Entry]) -> str | None:
    """Say that the clock is behind the one of an earlier load; None where it is not."""
    if read_at - clock <= CLOCKS_APART:
        return None
    last = max(before, key=lambda load: load["read_at"])
    return (
        f"the clock says {clock:%Y-%m-%d %H:%M:%S} UTC, and load {last['load_id']} was read at {last['read_at'][:19]}: this load is "
        "taken for read just after that one. Mend: check the clock; if that load's was wrong, nothing else is to be done"
    )


def _extract(
    lake: Lake,
    journal: Journal,
    brick: Brick,
    load_id: str,
    connection: duckdb.DuckDBPyConnection,
    work: Path,
    read_at: dt.datetime,
    taken: dict[str, tuple[Reading, Position]],
) -> tuple[list[Staged], dlt.Pipeline] | None:
    """Have dlt extract the tables of a brick that were read; give them as they wait to be judged, and the pipeline that holds them.

    A file may fail only as it is staged: one that was given up is nothing new then. None where nothing is.
    """
    from ingestion.source import extract, files_to_move, source_of

    staged = {}

    def files(table: Table) -> Iterator[Any]:
        reading, position = taken[table.name]
        gone = erased_keys.erasures(journal, brick, table.name)
        staged[table.name] = stage(connection, brick, table, reading, work, read_at, position, load_id, gone)
        yield from files_to_move(staged[table.name])

    pipeline = _pipeline(lake, brick, load_id, work)
    extract(pipeline, source_of(brick, files, naming="ingestion.naming").with_resources(*taken))
    found = [staged[name] for name, (reading, position) in taken.items() if staged[name].files or reading.failed - position.given_up]
    return (found, pipeline) if found else None


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


def _book(
    lake: Lake, brick: Brick, load_id: str, connection: duckdb.DuckDBPyConnection, staged: list[Staged], pipeline: dlt.Pipeline
) -> None:
    """Have dlt move what it has extracted into the lake, and record the names, the sizes and the rows of the files."""
    pipeline.normalize()
    pipeline.load(raise_on_failed_jobs=True)
    for table in staged:
        listed = lake.listing(f"landed/{brick.name}/{table.table.name}/load_id={load_id}")
        record, sizes = table.record, [stored.size for stored in listed.values()]
        if sorted(sizes) != sorted(record["sizes"]):
            raise BrickError(f"{brick.name}.{table.table.name}: dlt booked {len(sizes)} of {len(table.files)} files, or changed them")
        counts = set(zip(record["sizes"], record["rows"], strict=True))
        if len(counts) == len({size for size, _ in counts}):  # dlt has named them anew: a size tells which is which
            record["rows"] = [dict(counts)[size] for size in sizes]
        else:
            footers = Footers(connection, [lake.path(name) for name in listed])
            record["rows"] = [footers.row_counts[lake.path(name)] for name in listed]
        record["files"], record["sizes"] = list(listed), sizes


def reader_of(brick: Brick, judged_by: str = "") -> str:
    """Sum up what reads a brick and judges its loads: a load that one refused, another may accept."""
    told: Any = {"mode": "json", "exclude_defaults": True, "exclude": {"unit"}}
    columns = {t.name: [[c.name, c.data_type, c.meta.model_dump(**told)] for c in t.columns] for t in brick.tables}
    tables = [[t.name, t.meta.model_dump(mode="json"), columns[t.name]] for t in brick.tables]
    said = [endpoint_of(brick), brick.meta.connector, brick.meta.options, tables, judged_by]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _differs(lake: Lake, journal: Journal, brick: Brick, tried: Entry, work: Path, outcome: Landed, name_of: Callable[[str], str]) -> bool:
    """Say whether a source has changed since a load that stands refused was read, and count what it cost to know."""
    spool, tried = work / "tried", journal.whole(tried)
    shared = Shared(spool / "shared of its tables", is_private=brick.has_personal)
    try:
        for table in brick.tables:
            position = start_of(journal, brick, table, tried["read_by"])
            record = tried["tables"].get(table.name, {"position": position.at, "opened": {}, "refused_files": []})
            since = [journal.whole(load)["tables"] for load in journal.accepted(brick.name) if load["read_at"] > tried["read_at"]]
            newer = {name for tables in since if table.name in tables for name in tables[table.name]["opened"]}
            if not any(table.name in tables for tables in since):
                # As it was then, but for how far it was settled.
                state = {name: value for name, value in record["position"].items() if name not in HOW_FAR}
                position.at = state | {name: value for name, value in position.at.items() if name in HOW_FAR}
            position.known |= {name: signature for name, signature in record["opened"].items() if name not in newer}
            with lake.connect(is_private=brick.has_personal) as connection:
                reading = read_table(
                    brick, table, position, connection, spool, None, name_of, inbox_of(lake, brick.name), shared,
                    functools.partial(own_census, journal),
                )  # fmt: skip
            outcome.count([reading])
            known_to_fail = {name for name, _ in record["refused_files"]}
            if reading.parts or reading.failed - known_to_fail - position.given_up:
                return True
    finally:
        shutil.rmtree(spool, ignore_errors=True)
    return False


def _covers(readings: dict[str, Reading], staged: list[Staged], load: Entry, *, is_refused: bool) -> bool:
    """Say whether what was read holds all that a load that stands refused had read, or had failed to read.

    A load that is refused itself stands for the same failures.
    """
    read = {}
    for name in (table.table.name for table in staged):
        read[name] = {*readings[name].taken, *(readings[name].failed if is_refused else ())}
    return all(
        name in read and {*record["opened"], *(file for file, _ in record["refused_files"])} <= read[name]
        for name, record in load["tables"].items()
    )
