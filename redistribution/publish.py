"""Publish marts: what differs is written, then judged whole; one entry of the journal publishes it all, or nothing of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from expectations.gate import MartFigures
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.keyed import keyed, secret_of
from ingestion.lake import Lake, LakeError, literal, load_extension, quoted
from ingestion.published import WHOLE
from redistribution.followers import follow
from redistribution.kept import rows_of
from redistribution.labels import metadata_of
from redistribution.mart import Mart
from redistribution.publications import labels_by_digest, last_published, whole_files
from redistribution.remains import compared_with
from redistribution.withheld import accepted_because, still_withheld

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger("orchestra")
DIGESTS = "digests"  # the use of the secret by which the content of marts made of what is personal is digested

Verdict = tuple[list[str], dict[str, Any]]  # why a mart is withheld, and its profile
# (lake, mart, files, columns, key, profile of the last publication, what it says of its figures, whether it is of what is personal).
MartJudge = Callable[[Lake, str, list[str], list[str], list[str], dict[str, Any] | None, MartFigures, bool], Verdict]


def publish_marts(
    lake: Lake,
    journal: Journal,
    marts: list[Mart],
    run_id: str,
    judge: MartJudge,
    expectations: Callable[[str], str] = str,
    unreached: dict[str, str] | None = None,
    cost: dict[str, float] | None = None,
    hidden: Mapping[str, str] | None = None,
    private: Collection[str] = (),
) -> Entry | None:
    """Publish the marts whose content, or what judges it, differs from the last publication; give its entry, None when nothing does.

    `marts` are all those of the project: one that was published and is not among them any more is withdrawn. `expectations`
    sums up what is expected of a mart, by name. `unreached` says, by node of dbt, why its last build failed: a mart that is made
    of one is withheld, as is one that its gate fails, unless a steward accepted that very content. Readers keep the last good
    one, and `publications` says so. So is one of a brick of which something is `hidden`, which says why by brick; what is made of
    `private` bricks is told by keyed digests. `cost` is that of the build, which the entry tells once. Raises LakeError when another
    process publishes.
    """
    import duckdb

    with lake.lock("publish", wait=60), lake.workspace("publish") as work:
        journal.refresh()
        follow(lake, journal)
        lake.begin("publish", run_id)
        last, already, labels = _held(lake, journal), still_withheld(journal), labels_by_digest(journal)
        connection, of_private = _attached(lake), secret_of(lake, DIGESTS) if private else None
        published: dict[str, Any] = {}
        withheld: dict[str, Any] = {}
        for mart in sorted(marts, key=lambda mart: len(mart.memories)):  # what remembers first
            secret = of_private if mart.sources.keys() & set(private) else None
            candidate = _Candidate(mart, last.get(mart.name), connection, work, run_id, mart.name in already, secret)
            record: dict[str, Any] = {"class": mart.own_class, "digests": {}, "row_count": 0, "labels": mart.labels_digest}
            try:
                reasons = _unready(mart, unreached or {}, hidden or {}, withheld)
                reasons = reasons or _prepare(lake, journal, candidate, record, judge, expectations)
            except duckdb.Error as error:
                reasons = [_why_unreadable(error)]
            if reasons:
                withheld[mart.name] = {**record, "reasons": reasons, "sources": mart.sources}
            elif "files" in record:
                published[mart.name] = record
        connection.close()
        news = {name: record for name, record in withheld.items() if already.get(name) != record}
        gone = (already | last).keys() - {mart.name for mart in marts}
        withdrawn = {name: {"class": (already | last)[name]["class"], "row_count": 0} for name in sorted(gone)}
        if not (published or news or withdrawn):
            return None
        said = {record["labels"] for record in (published | withheld).values()} - labels.keys()
        new = {mart.labels_digest: mart.labels for mart in marts if mart.labels_digest in said}
        told = {"marts": published, "withheld": withheld, "withdrawn": withdrawn, "labels": new, **_untold(journal, cost)}
        journal.append("publication", run_id=run_id, as_of=journal.as_of(), **told)
        follow(lake, journal)
        return journal.whole(journal.entries[-1])


def _held(lake: Lake, journal: Journal) -> dict[str, Any]:
    """Give what was last published, less the units whose file is lost: they are written again, under a new name."""
    held, whole = {}, whole_files(lake, journal)
    for name, record in last_published(journal).items():
        if lost := {unit for unit, file in record["files"].items() if file not in whole}:
            log.warning("mart %s: %s is gone, or cut short: it is published again", name, record["files"][min(lost)])
        units = {of: {unit: value for unit, value in record[of].items() if unit not in lost} for of in ("files", "digests")}
        held[name] = {**record, **units}
    return held


def _attached(lake: Lake) -> duckdb.DuckDBPyConnection:
    """Open a connection that reads the warehouse."""
    import duckdb

    connection = lake.connect()
    path = lake.state_path("warehouse.duckdb")
    try:
        connection.execute(f"attach {literal(str(path))} as warehouse (read_only)")
    except duckdb.IOException as error:
        mend = "close what has it open for writing" if "lock" in str(error) else "orchestra rebuild"
        raise LakeError(f"{path} cannot be read ({error}). Mend: {mend}") from error
    return connection


class _Candidate(NamedTuple):
    """A mart that may be published, what was last published of it, and where: `is_told` when it has been withheld since.

    `secret` is the one by which its content is digested, where it is made of what is personal.
    """

    mart: Mart
    before: dict[str, Any] | None
    connection: duckdb.DuckDBPyConnection
    work: Path
    run_id: str
    is_told: bool
    secret: bytes | None


def _prepare(
    lake: Lake, journal: Journal, candidate: _Candidate, record: dict[str, Any], judge: MartJudge, expectations: Callable[[str], str]
) -> list[str]:
    """Have the record say what is to be published of a mart, its files included, where something is; give why it is withheld."""
    mart, before, connection = candidate.mart, candidate.before, candidate.connection
    if mart.keeps and before and before["files"].keys() != last_published(journal)[mart.name]["files"].keys():
        return ["a file that holds rows it keeps is gone. Mend: put it back from a backup; orchestra verify names it"]
    rows = rows_of(lake, journal, connection, mart, before)
    shape = _columns(connection, rows)
    record["digests"] = digests = _digests(connection, mart, rows, shape, candidate.secret)
    record["row_count"] = sum(int(digest.partition(":")[0]) for digest in digests.values())
    record["judged_by"] = mart.judged_by(expectations(mart.name))
    is_awaited = not before and not record["row_count"]  # its bricks have not all landed yet, or nothing is to be told
    is_same = before and all(before.get(name) == record[name] for name in ("digests", "class", "labels", "judged_by"))
    if (is_awaited or is_same) and not candidate.is_told:  # one that was withheld since is said to be good again
        return []
    if fault := mart.fault(digests, dict(shape)):
        return [fault]
    kept = _kept(mart, before, digests)
    written = {unit: candidate.work / f"{mart.name}-{unit}.parquet" for unit in digests if unit not in kept}
    columns = [*(_write(connection, mart, rows, unit, file) for unit, file in written.items()), before["columns"] if before else []][0]
    judged = [*map(str, written.values()), *map(lake.path, kept.values())]
    what = (mart.name, judged, columns, list(mart.key), compared_with(journal, mart.name, mart.sources), mart.figures)
    reasons, profile = _verdict(judge, lake, *what, candidate.secret is not None)
    why = accepted_because(journal, mart.name, record) if reasons and profile else None
    if reasons and why is None:
        record |= {"is_judged": True} if profile else {}
        return reasons
    if why is not None:
        record["accepted_because"] = why
        profile["warnings"] += [f"accepted ({why}): {reason}" for reason in reasons]
    record |= {"sources": mart.sources, "is_declassified": bool(mart.declassified_because), "profile": profile, "columns": columns}
    record |= _store(lake, mart, before, kept, written, candidate.run_id)
    return []


def _unready(mart: Mart, unreached: dict[str, str], hidden: Mapping[str, str], withheld: Collection[str]) -> list[str]:
    """Say why a mart is not even looked at: what it is made of was not built, is hidden or withheld, or its YAML is not whole.

    Of what is withheld, what remembers: a publication that it does not know of would be compared with nothing.
    """
    if told := [hidden[brick] for brick in sorted(mart.sources.keys() & hidden.keys())]:
        return told
    faults = [f"not built: {unreached[node]}" for node in sorted(mart.lineage & unreached.keys())]
    faults += [f"{name}, by which what stands published is remembered, is withheld" for name in sorted(mart.memories & set(withheld))]
    faults += [f"its YAML, under config.meta: {mart.broken}"] if mart.broken else []
    return [f"{fault}. Mend: mend it, then orchestra run" for fault in faults]


def _columns(connection: duckdb.DuckDBPyConnection, rows: str) -> list[tuple[str, str]]:
    """Give the columns of a relation and their types."""
    return connection.execute(f"select column_name, column_type from (describe {rows}) order by 1").fetchall()


def _digests(
    connection: duckdb.DuckDBPyConnection, mart: Mart, rows: str, columns: list[tuple[str, str]], secret: bytes | None
) -> dict[str, str]:
    """Sum up the content of a mart by unit, whatever the order of its rows: the number of them, then a digest, keyed by a secret if any.

    An empty mart has one unit, without rows.
    """
    names = ", ".join(quoted(name) for name, _ in columns)
    shape = literal(" ".join(name + kind for name, kind in columns) + " ".join(mart.position or ()))
    sql = (
        # By place: a mart may have a column of whatever name is given here.
        f"select {_unit(mart)}, count(*) || ':' || sum(hash({names})::hugeint) || ':' || hash({shape}) from {rows} group by 1 order by 1"
    )
    empty = connection.execute(f"select '0:0:' || hash({shape})").fetchall()[0][0]
    found = dict(connection.execute(sql).fetchall()) or {WHOLE: empty}
    return {unit: f"{told.partition(':')[0]}:{keyed(secret, told)}" for unit, told in found.items()} if secret else found


def _unit(mart: Mart) -> str:
    """Write the expression of the unit of a row, as text."""
    return f"coalesce({quoted(mart.files_by)}::varchar, 'none')" if mart.files_by else literal(WHOLE)


def _kept(mart: Mart, before: dict[str, Any] | None, digests: dict[str, str]) -> dict[str, str]:
    """Give the files of the last publication, by unit, that hold what is to be published."""
    if not before or before["class"] != mart.access_class:
        return {}
    return {unit: file for unit, file in before["files"].items() if before["digests"][unit] == digests.get(unit)}


def _write(connection: duckdb.DuckDBPyConnection, mart: Mart, rows: str, unit: str, file: Path) -> list[str]:
    """Write a unit of a mart as Parquet ordered by its key, with a point when it has a position; give its columns."""
    point = ""
    if mart.position:
        load_extension(connection, "spatial")
        longitude, latitude = (quoted(name) for name in mart.position)
        # Longitude first, as GeoParquet and GeoJSON do.
        point = f", st_point({longitude}, {latitude}) as geometry"
    order = ", ".join(quoted(name) for name in mart.key)
    version = ", geoparquet_version 'BOTH'" if point else ""
    select = f"select *{point} from {rows} where {_unit(mart)} = {literal(unit)} order by {order}"
    told = {"mart": mart.name, "access_class": mart.access_class, **metadata_of(mart.labels)}
    metadata = ", ".join(f"{quoted(name)}: {literal(text)}" for name, text in told.items())
    connection.execute(f"copy ({select}) to {literal(str(file))} (format parquet, compression zstd, kv_metadata {{{metadata}}}{version})")
    return [row[0] for row in connection.execute(f"describe from read_parquet({literal(str(file))})").fetchall()]


def _verdict(judge: MartJudge, lake: Lake, *what: Any) -> Verdict:
    """Give why the gate withholds a mart, and its profile; none where what is expected of it cannot be used."""
    try:
        return judge(lake, *what)
    except LakeError as error:
        return [f"{error}. Mend: mend it (make check tries it), then orchestra run"], {}


def _store(
    lake: Lake, mart: Mart, before: dict[str, Any] | None, kept: dict[str, str], written: dict[str, Path], run_id: str
) -> dict[str, Any]:
    """Move the files that were written of a mart into the lake; give the name and the size of the file of each unit."""
    names = {unit: f"{run_id}{'' if unit == WHOLE else f'-{unit}'}.parquet" for unit in written}
    files = kept | {unit: f"marts/{mart.access_class}/{mart.name}/{name}" for unit, name in names.items()}
    sizes = {unit: size for unit, size in (before or {}).get("sizes", {}).items() if unit in kept}
    return {"files": files, "sizes": sizes | {unit: lake.upload(file, files[unit]) for unit, file in written.items()}}


def _why_unreadable(error: duckdb.Error) -> str:
    """Say why DuckDB cannot read, write or judge a mart; raises what is no fault of the mart: of the disk, of the memory, or its own."""
    import duckdb

    if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException | duckdb.InternalException | duckdb.FatalException):
        raise error
    return f"DuckDB cannot publish it: {str(error).splitlines()[0][:200]}. Mend: its model or its YAML, then orchestra run"


def _untold(journal: Journal, cost: dict[str, float] | None) -> dict[str, Any]:
    """Give the cost of a build for the publication that follows it, unless one has told it already."""
    return {"build": cost} if cost and all(entry.get("build") != cost for entry in journal.of("publication")) else {}
