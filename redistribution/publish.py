"""Publish marts: write the changed ones as files, judge them, commit one journal entry; catalogues and stable files follow."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from expectations.gate import Figures
from ingestion.brick import read_territory
from ingestion.journal import Entry, Journal
from ingestion.lake import Lake, LakeError, listed, literal, load_extension, quoted
from redistribution.meta import NUMBERS, asked, comments_of, is_mart, labels_of, metadata_of, read_meta, summed_of

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger("orchestra")

# From what anybody may see to what few may.
CLASSES = ("open", "partner", "internal", "restricted")
VERDICTS = ("published", "withheld", "withdrawn")
FILE_NAME = "filename"  # DuckLake's own column of the file that holds a row
WHOLE = "whole"  # the unit of a mart that is one file
KEPT_DAYS = 30  # how long readers can travel back; files go a day later, so that no open reader loses one
PUBLICATIONS = "seq bigint, mart varchar, verdict varchar, row_count bigint, reasons varchar, run_id varchar, published_at timestamptz"

RETRACTED = "is_retracted"  # marks a mart taken away from a class that may not see it any more, with all that it was there

# (lake, mart, files, columns, key, profile of the last publication, what it says of its figures) -> (why it is withheld, its profile).
Judge = Callable[[Lake, str, list[str], list[str], list[str], dict[str, Any] | None, Figures], tuple[list[str], dict[str, Any]]]


@dataclass(frozen=True)
class Mart:
    """A decision mart, as the dbt project declares it.

    `sources` are the bricks that it is made of, with their class; `files_by` the column of which each value has a file of its
    own, its unit: only units whose rows differ are written and replaced; `lineage` are the nodes of dbt that it is made of,
    itself included; `figures` what it says of them, by which its gate judges; `labels` is what readers are told of it, in each
    language (`redistribution.meta.labels_of`). `broken` says what its YAML lacks: it cannot be published then.
    """

    name: str
    relation: str
    access_class: str
    sources: dict[str, str]
    key: tuple[str, ...]
    labels: dict[str, Any] = field(default_factory=dict)
    declassified_because: str | None = None
    position: tuple[str, str] | None = None
    files_by: str | None = None
    figures: Figures = field(default_factory=Figures)
    lineage: frozenset[str] = frozenset()
    broken: str | None = None

    @property
    def labels_digest(self) -> str:
        """Sum up what readers are told of it: a publication says it once, and is referred to until it differs."""
        return hashlib.sha256(json.dumps(self.labels, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def source_class(self) -> str:
        """The highest class among its sources."""
        return max(self.sources.values(), key=CLASSES.index, default="open")

    @property
    def lowest_class(self) -> str:
        """The lowest class that may see it: its own, or its sources' where it does not say why it may be lower."""
        return self.own_class if self.declassified_because else max(self.own_class, self.source_class, key=CLASSES.index)

    @property
    def own_class(self) -> str:
        """The class that it says; the highest for what is none: it may have been meant higher than what stands."""
        return self.access_class if self.access_class in CLASSES else CLASSES[-1]

    def judged_by(self, expectations: str) -> str:
        """Sum up what its gate judges by, apart from its content: its expectations, its grain, its class and that of its sources."""
        told = [expectations, self.key, self.access_class, self.source_class, self.declassified_because, self.figures]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def fault(self, units: Iterable[str], columns: Mapping[str, str | None]) -> str | None:
        """Say why the mart cannot be published; `columns` are those that it holds, by their type.

        A class lower than the sources' without a reason, a unit that names no file, a column that is not there, no number, or DuckDB's own.
        """
        if self.access_class not in CLASSES:
            return f"access_class '{self.access_class}' is not one of {', '.join(CLASSES)}"
        is_lower = CLASSES.index(self.access_class) < CLASSES.index(self.source_class)
        if is_lower and not self.declassified_because:
            return f"class {self.access_class} is lower than its sources' ({self.source_class}): say why in `declassified_because`"
        held = {name.casefold(): kind for name, kind in columns.items()}
        completeness = [self.figures.completeness] if self.figures.completeness else []
        numbers = [*(self.position or ()), *completeness]
        if absent := [name for name in (*self.key, *numbers) if name.casefold() not in held]:
            return f"{', '.join(absent)} is no column of it. Mend: its `grain`, its `position` or its `completeness`"
        if others := [name for name in numbers if not NUMBERS.match(held[name.casefold()] or "double")]:
            return f"{', '.join(others)} is no number. Mend: its `position`, or its `completeness`"
        if FILE_NAME in held:  # by which the rows of a file are taken away: the mart's own would hide it, and old rows stay
            return f"a column is called {FILE_NAME}, as DuckDB's own. Mend: name it otherwise"
        if unnamed := [unit for unit in units if not re.fullmatch(r"[\w.-]+", unit)]:
            return f"`files_by: {self.files_by}` makes files, and {unnamed[0]!r} cannot name one (letters, digits, `_`, `-` and `.`)"
        return None


def read_marts(manifest: dict[str, Any], classes: Mapping[str, str]) -> list[Mart]:
    """Read the marts of a dbt manifest: the models of the folder `marts`; one whose YAML is not whole is `broken`.

    `classes` are those of the bricks today, by name: the manifest may be older than they are.
    """
    nodes, languages = manifest["nodes"], read_territory().languages
    told_in = tuple(dict.fromkeys([*languages, *asked(languages)]))  # English, where the house speaks none of them

    def lineage(node_id: str, seen: set[str]) -> set[str]:
        seen.add(node_id)
        for parent in nodes.get(node_id, {}).get("depends_on", {}).get("nodes", []):
            if parent not in seen:
                lineage(parent, seen)
        return seen

    marts = []
    for node in nodes.values():
        if not is_mart(node):
            continue
        said, broken = read_meta(node, languages)
        made_of = lineage(node["unique_id"], set())
        sources = [manifest["sources"][each] for each in made_of if each.startswith("source.")]
        marts.append(
            Mart(
                name=node["name"],
                relation=f"{quoted(node['schema'])}.{quoted(node['alias'])}",
                access_class=str(node["config"]["meta"].get("access_class", "")),
                sources={each["source_name"]: classes.get(each["source_name"], each["source_meta"]["access_class"]) for each in sources},
                key=tuple(said.get("grain", ())),
                labels=labels_of(node, told_in, [each["source_meta"]["licence"] for each in sources]),
                declassified_because=said.get("declassified_because"),
                position=(position[0], position[1]) if (position := said.get("position")) else None,
                files_by=said.get("files_by"),
                figures=Figures(node["config"].get("partition"), said.get("completeness"), tuple(summed_of(node))),
                lineage=frozenset(made_of),
                broken="; ".join(broken) or None,
            )
        )
    return sorted(marts, key=lambda mart: mart.name)


def publish(
    lake: Lake,
    journal: Journal,
    marts: list[Mart],
    run_id: str,
    judge: Judge,
    expectations: Callable[[str], str] = str,
    unreached: dict[str, str] | None = None,
    cost: dict[str, float] | None = None,
) -> Entry | None:
    """Publish the marts whose content, or what judges it, differs from the last publication; give its entry, None when nothing does.

    `marts` are all those of the project: one that was published and is not among them any more is withdrawn. `expectations`
    sums up what is expected of a mart, by name. `unreached` says, by node of dbt, why its last build failed: a mart that is made
    of one is withheld, as is one that its gate fails, unless a steward accepted that very content. Readers keep the last good
    one, and `publications` says so. `cost` is that of the build, which the entry tells once. Raises LakeError when another process
    publishes.
    """
    import duckdb

    with lake.lock("publish", wait=60), lake.workspace("publish") as work:
        journal.refresh()
        follow(lake, journal)
        lake.begin("publish", run_id)
        last, already, labels = _held(lake, journal), still_withheld(journal), _labels(journal)
        connection = _attached(lake)
        published: dict[str, Any] = {}
        withheld: dict[str, Any] = {}
        for mart in marts:
            look = _Look(mart, last.get(mart.name), connection, work, run_id, mart.name in already)
            record: dict[str, Any] = {"class": mart.own_class, "digests": {}, "row_count": 0, "labels": mart.labels_digest}
            try:
                reasons = _unready(mart, unreached or {}) or _look(lake, journal, look, record, judge, expectations)
            except duckdb.Error as error:
                reasons = [_unread(error)]
            if reasons:
                withheld[mart.name] = {**record, "reasons": reasons}
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
        return journal.entries[-1]


class _Look(NamedTuple):
    """A mart that is looked at, what was last published of it, and where: `is_told` when it has been withheld since."""

    mart: Mart
    before: dict[str, Any] | None
    connection: duckdb.DuckDBPyConnection
    work: Path
    run_id: str
    is_told: bool


def _look(lake: Lake, journal: Journal, look: _Look, record: dict[str, Any], judge: Judge, expectations: Callable[[str], str]) -> list[str]:
    """Give why a mart is withheld; have the record say what is to be published of it, its files included, where something is."""
    mart, before, connection = look.mart, look.before, look.connection
    shape = _columns(connection, mart)
    record["digests"] = digests = _digests(connection, mart, shape)
    record["row_count"] = sum(int(digest.partition(":")[0]) for digest in digests.values())
    record["judged_by"] = mart.judged_by(expectations(mart.name))
    is_awaited = not before and not record["row_count"]  # its bricks have not all landed yet, or nothing is to be told
    is_same = before and all(before.get(name) == record[name] for name in ("digests", "class", "labels", "judged_by"))
    if is_awaited or (is_same and not look.is_told):  # one that was withheld since is said to be good again
        return []
    if fault := mart.fault(digests, dict(shape)):
        return [fault]
    kept = _kept(mart, before, digests)
    written = {unit: look.work / f"{mart.name}-{unit}.parquet" for unit in digests if unit not in kept}
    columns = [*(_write(connection, mart, unit, file) for unit, file in written.items()), before["columns"] if before else []][0]
    judged = [*map(str, written.values()), *map(lake.path, kept.values())]
    reasons, profile = _verdict(judge, lake, mart, judged, columns, before)
    why = _accepted_because(journal, mart.name, record) if reasons and profile else None
    if reasons and why is None:
        record |= {"is_judged": True} if profile else {}
        return reasons
    if why is not None:
        record["accepted_because"] = why
        profile["warnings"] += [f"accepted ({why}): {reason}" for reason in reasons]
    record |= {"sources": {} if mart.declassified_because else mart.sources, "profile": profile, "columns": columns}
    record |= _stored(lake, mart, before, kept, written, look.run_id)
    return []


def _unready(mart: Mart, unreached: dict[str, str]) -> list[str]:
    """Say why a mart is not even looked at: what it is made of was not built, or its YAML is not whole."""
    faults = [f"not built: {unreached[node]}" for node in sorted(mart.lineage & unreached.keys())]
    faults += [f"its YAML, under config.meta: {mart.broken}"] if mart.broken else []
    return [f"{fault}. Mend: mend it, then orchestra run" for fault in faults]


def _verdict(
    judge: Judge, lake: Lake, mart: Mart, files: list[str], columns: list[str], before: dict[str, Any] | None
) -> tuple[list[str], dict[str, Any]]:
    """Give why the gate withholds a mart, and its profile; none where what is expected of it cannot be used."""
    try:
        return judge(lake, mart.name, files, columns, list(mart.key), (before or {}).get("profile"), mart.figures)
    except LakeError as error:
        return [f"{error}. Mend: mend it (make check tries it), then orchestra run"], {}


def _unread(error: duckdb.Error) -> str:
    """Say why DuckDB cannot read, write or judge a mart; raises what is no fault of the mart: of the disk, of the memory, or its own."""
    import duckdb

    if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException | duckdb.InternalException | duckdb.FatalException):
        raise error
    return f"DuckDB cannot publish it: {str(error).splitlines()[0][:200]}. Mend: its model or its YAML, then orchestra run"


def _stored(
    lake: Lake, mart: Mart, before: dict[str, Any] | None, kept: dict[str, str], written: dict[str, Path], run_id: str
) -> dict[str, Any]:
    """Move the files that were written of a mart into the lake; give the name and the size of the file of each unit."""
    names = {unit: f"{run_id}{'' if unit == WHOLE else f'-{unit}'}.parquet" for unit in written}
    files = kept | {unit: f"marts/{mart.access_class}/{mart.name}/{name}" for unit, name in names.items()}
    sizes = {unit: size for unit, size in (before or {}).get("sizes", {}).items() if unit in kept}
    return {"files": files, "sizes": sizes | {unit: lake.upload(file, files[unit]) for unit, file in written.items()}}


def _kept(mart: Mart, before: dict[str, Any] | None, digests: dict[str, str]) -> dict[str, str]:
    """Give the files of the last publication, by unit, that hold what is to be published."""
    if not before or before["class"] != mart.access_class:
        return {}
    return {unit: file for unit, file in before["files"].items() if before["digests"][unit] == digests.get(unit)}


def _untold(journal: Journal, cost: dict[str, float] | None) -> dict[str, Any]:
    """Give the cost of a build for the publication that follows it, unless one has told it already."""
    return {"build": cost} if cost and all(entry.get("build") != cost for entry in journal.of("publication")) else {}


def accept_mart(lake: Lake, journal: Journal, name: str, why: str) -> int:
    """Accept what is withheld of a mart, with a reason: that very content is published, once; give the journal's entry.

    Raises LakeError for a mart that is not withheld, or that its gate has not judged: a fault of class, or of a build, stands.
    """
    with lake.lock("publish", wait=60):
        journal.refresh()
        record = still_withheld(journal).get(name)
        if record is None:
            raise LakeError(f"mart {name} is not withheld. Mend: nothing is to be accepted; see orchestra status")
        if not record.get("is_judged"):
            raise LakeError(f"mart {name}: {'; '.join(record['reasons'])}. Nobody can accept that: mend it, then orchestra run")
        return journal.append("accept", mart=name, digests=record["digests"], judged_by=record["judged_by"], why=why)


def _accepted_because(journal: Journal, name: str, record: dict[str, Any]) -> str | None:
    """Say why a steward accepted this very content of a mart, judged by this; None when nobody did since it was last published."""
    content = (record["digests"], record["judged_by"])
    for entry in reversed(journal.entries):
        if entry["kind"] == "publication" and name in entry["marts"]:
            return None
        if entry["kind"] == "accept" and entry["mart"] == name:
            return str(entry["why"]) if (entry["digests"], entry["judged_by"]) == content else None
    return None


def retract(lake: Lake, journal: Journal, marts: list[Mart], classes: Mapping[str, str], run_id: str) -> list[str]:
    """Take each mart away from the classes that may not see it any more, with all that it ever was there; give their names.

    Its stable files, its files and its snapshots go: the catalogue is made again without it. A mart that has left the project
    is held to the classes of its sources today (`classes`, by brick), and of when it was published.
    """
    of_project = {mart.name: mart.lowest_class for mart in marts}
    lowest, seen = dict(of_project), dict[str, set[str]]()
    for entry in journal.of("publication"):
        for name, record in entry["marts"].items():
            seen.setdefault(name, set()).add(record["class"])
            if name not in of_project:
                of_sources = [classes.get(brick, told) for brick, told in record.get("sources", {}).items()]
                lowest[name] = max(["open", *of_sources], key=CLASSES.index)
        for name, record in entry["withdrawn"].items():
            if RETRACTED in record:
                seen.get(name, set()).discard(record["class"])
    gone: dict[str, list[str]] = {}
    for name, held in seen.items():
        for access_class in held:
            if CLASSES.index(access_class) < CLASSES.index(lowest[name]):
                gone.setdefault(access_class, []).append(name)
    for access_class, names in sorted(gone.items()):
        why = f"class {access_class} may not see it any more"
        withdrawn = {name: {"class": access_class, "row_count": 0, "reasons": [why], RETRACTED: True} for name in sorted(names)}
        journal.append("publication", run_id=run_id, as_of=journal.as_of(), marts={}, withheld={}, withdrawn=withdrawn)
        for name in names:
            log.warning("mart %s: %s: it is taken away from there, with its past", name, why)
    if gone:
        with lake.lock("publish", wait=60):
            follow(lake, journal)
    return sorted({name for names in gone.values() for name in names})


def _retractions(journal: Journal) -> dict[tuple[str, str], int]:
    """Give, by mart and class, the seq up to which what was published of the mart is taken away from the class."""
    return {
        (name, record["class"]): entry["seq"]
        for entry in journal.of("publication")
        for name, record in entry["withdrawn"].items()
        if RETRACTED in record
    }


def _attached(lake: Lake) -> duckdb.DuckDBPyConnection:
    """Give a connection that reads the warehouse."""
    import duckdb

    connection = lake.connect()
    path = lake.state_path("warehouse.duckdb")
    try:
        connection.execute(f"attach {literal(str(path))} as warehouse (read_only)")
    except duckdb.IOException as error:
        mend = "close what has it open for writing" if "lock" in str(error) else "orchestra rebuild"
        raise LakeError(f"{path} cannot be read ({error}). Mend: {mend}") from error
    return connection


def last_published(journal: Journal) -> dict[str, Any]:
    """Give, by mart, what the last publication that holds it says; those withdrawn left out."""
    return _standing(journal.of("publication"))


def still_withheld(journal: Journal) -> dict[str, Any]:
    """Give, by mart, what the last publication says of those that are withheld and were not published or withdrawn since."""
    last: dict[str, Any] = {}
    for entry in journal.of("publication"):
        told = entry["marts"].keys() | {name for name, record in entry["withdrawn"].items() if RETRACTED not in record}
        last = {name: record for name, record in last.items() if name not in told} | entry["withheld"]
    return last


def why_withheld(name: str, record: dict[str, Any]) -> str:
    """Say why a mart is withheld, and the mend where a steward may accept it."""
    told = "; ".join(record["reasons"])
    mend = f"its models or expectations/marts/{name}.yml; or accept that content: orchestra marts accept {name} --why '...'"
    return f"{told}. Mend: {mend}" if record.get("is_judged") else told


def _labels(journal: Journal) -> dict[str, dict[str, Any]]:
    """Give, by digest, what publications told readers of marts."""
    return {digest: told for entry in journal.of("publication") for digest, told in entry.get("labels", {}).items()}


def labels_told(record: dict[str, Any], labels: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Give what a publication told readers of a mart; of one before labels had a digest, its titles."""
    of = record.get("labels", {})
    return labels.get(of, {}) if isinstance(of, str) else {"label": of}


def _standing(entries: Iterable[Entry]) -> dict[str, Any]:
    last: dict[str, Any] = {}
    for entry in entries:
        gone = entry["withdrawn"]
        last = {name: r for name, r in (last | entry["marts"]).items() if name not in gone or gone[name]["class"] != r["class"]}
    return last


def _whole(lake: Lake, journal: Journal) -> set[str]:
    """Name the mart files that stand, of the size with which they were published."""
    records = [record for entry in journal.of("publication") for record in entry["marts"].values()]
    sizes = {file: size for r in records for unit, file in r["files"].items() if (size := r.get("sizes", {}).get(unit)) is not None}
    return {name for name, stored in lake.listing("marts").items() if sizes.get(name, stored.size) == stored.size}


def _held(lake: Lake, journal: Journal) -> dict[str, Any]:
    """Give what was last published, less the units whose file is lost: they are written again, under a new name."""
    held, whole = {}, _whole(lake, journal)
    for name, record in last_published(journal).items():
        if lost := {unit for unit, file in record["files"].items() if file not in whole}:
            log.warning("mart %s: %s is gone, or cut short: it is published again", name, record["files"][min(lost)])
        units = {of: {unit: value for unit, value in record[of].items() if unit not in lost} for of in ("files", "digests")}
        held[name] = {**record, **units}
    return held


def follow(lake: Lake, journal: Journal, *, is_rebuild: bool = False) -> None:
    """Bring every catalogue and stable file to the last publication: what a killed run left undone is done here."""
    for access_class, entries in _by_class(journal).items():
        _follow_catalogue(lake, journal, entries, access_class, is_rebuild=is_rebuild)
        _follow_files(lake, journal, access_class, entries[-1]["seq"], is_rebuild=is_rebuild)
    _sweep(lake, journal)


def of_class(journal: Journal, access_class: str) -> list[Entry]:
    """Give the publications that say something of a class, oldest first."""
    return _by_class(journal).get(access_class, [])


def _by_class(journal: Journal) -> dict[str, list[Entry]]:
    """Give, by access class, the publications that say something of one of its marts, or take one away from it."""
    found: dict[str, list[Entry]] = {}
    classes: dict[str, str] = {}
    for entry in journal.of("publication"):
        records = {**entry["withheld"], **entry["marts"], **entry["withdrawn"]}
        concerned = {record["class"] for record in records.values()} | {classes[name] for name in entry["marts"] if name in classes}
        for access_class in sorted(concerned & set(CLASSES)):
            found.setdefault(access_class, []).append(entry)
        # What was withdrawn has nothing left there: a publication elsewhere says nothing of that class.
        classes = {name: of for name, of in classes.items() if entry["withdrawn"].get(name, {}).get("class") != of}
        classes |= {name: record["class"] for name, record in entry["marts"].items()}
    return found


def is_followed(lake: Lake, journal: Journal) -> bool:
    """Say whether every catalogue and stable file has reached the last publication of its class."""
    return all(
        not _is_behind(entries, found := followed(lake, name))
        and not stray(lake, journal, name, found)
        and _files_seq(lake, journal, name) >= entries[-1]["seq"]
        for name, entries in _by_class(journal).items()
    )


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


def _unit(mart: Mart) -> str:
    """Write the expression of the unit of a row, as text."""
    return f"coalesce({quoted(mart.files_by)}::varchar, 'none')" if mart.files_by else literal(WHOLE)


def _columns(connection: duckdb.DuckDBPyConnection, mart: Mart) -> list[tuple[str, str]]:
    """Give the columns of a mart and their types."""
    return connection.execute(f"select column_name, column_type from (describe warehouse.{mart.relation}) order by 1").fetchall()


def _digests(connection: duckdb.DuckDBPyConnection, mart: Mart, columns: list[tuple[str, str]]) -> dict[str, str]:
    """Sum up the content of a mart by unit, whatever the order of its rows; an empty mart has one unit, without rows."""
    names = ", ".join(quoted(name) for name, _ in columns)
    shape = literal(" ".join(name + kind for name, kind in columns) + " ".join(mart.position or ()))
    sql = (
        # By place: a mart may have a column of whatever name is given here.
        f"select {_unit(mart)}, count(*) || ':' || sum(hash({names})::hugeint) || ':' || hash({shape}) "
        f"from warehouse.{mart.relation} group by 1 order by 1"
    )
    empty = connection.execute(f"select '0:0:' || hash({shape})").fetchall()[0][0]
    return dict(connection.execute(sql).fetchall()) or {WHOLE: empty}


def _write(connection: duckdb.DuckDBPyConnection, mart: Mart, unit: str, file: Path) -> list[str]:
    """Write a unit of a mart as Parquet ordered by its key, with a point when it has a position; give its columns."""
    point = ""
    if mart.position:
        load_extension(connection, "spatial")
        longitude, latitude = (quoted(name) for name in mart.position)
        # Longitude first, as GeoParquet and GeoJSON do.
        point = f", st_point({longitude}, {latitude}) as geometry"
    order = ", ".join(quoted(name) for name in mart.key)
    version = ", geoparquet_version 'BOTH'" if point else ""
    select = f"select *{point} from warehouse.{mart.relation} where {_unit(mart)} = {literal(unit)} order by {order}"
    told = {"mart": mart.name, "access_class": mart.access_class, **metadata_of(mart.labels)}
    metadata = ", ".join(f"{quoted(name)}: {literal(text)}" for name, text in told.items())
    connection.execute(f"copy ({select}) to {literal(str(file))} (format parquet, compression zstd, kv_metadata {{{metadata}}}{version})")
    return [row[0] for row in connection.execute(f"describe from read_parquet({literal(str(file))})").fetchall()]


def _follow_catalogue(lake: Lake, journal: Journal, entries: list[Entry], access_class: str, *, is_rebuild: bool) -> None:
    import duckdb

    standing, retracted, labels = followed(lake, access_class), _retractions(journal), _labels(journal)
    existing = _whole(lake, journal)
    is_retracting = max((seq for (_, of), seq in retracted.items() if of == access_class), default=0) > max(standing.snapshots, default=0)
    why = "holds marts that its class may not see any more" if is_retracting and standing.snapshots else None
    if why := why or stray(lake, journal, access_class, standing) or _lost(entries, access_class, standing, existing):
        log.warning("%s %s: it is made again from zero", catalogue(lake, access_class), why)
        throw_catalogue(lake, access_class)
        if is_retracting:
            lake.delete(lake.names(f"marts/{access_class}/main"))  # DuckLake's own, which only that catalogue knew
        standing = Followed({}, {}, None)
    if not _is_behind(entries, standing):
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


def throw_catalogue(lake: Lake, access_class: str) -> None:
    """Delete the catalogue of a class, which follows the journal again from zero."""
    path = catalogue(lake, access_class)
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


def stray(lake: Lake, journal: Journal, access_class: str, standing: Followed) -> str | None:
    """Say why a catalogue stands elsewhere: on another history, or on a lake that has moved since (its paths are absolute)."""
    if not all(journal.follows(seq, digest) for seq, digest in standing.digests.items()):
        return f"follows another history than the journal of {lake.root}, which is at {journal.seq}"
    if standing.data_path not in (None, place := lake.path("marts", access_class) + "/"):
        return f"follows the lake where it was ({standing.data_path}), not in {place}"
    return None


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
        connection.execute(f"create table lake.main.publications ({PUBLICATIONS})")
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


def _shape(connection: duckdb.DuckDBPyConnection, name: str, files: list[str], *, is_new: bool) -> set[str]:
    """Give the table of a mart the columns that its files have; give the files that it holds."""
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


class Followed(NamedTuple):
    """What a catalogue has followed: the number and the date of its snapshots, and the digests of the history, by seq; its place.

    `own` are the files of its list of publications, which no entry names; `files` all that it holds of its own, past ones included.
    """

    snapshots: dict[int, tuple[int, dt.datetime]]
    digests: dict[int, str | None]
    data_path: str | None
    own: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()


def snapshots(lake: Lake, access_class: str) -> dict[int, tuple[int, dt.datetime]]:
    """Read which snapshot of a class is of which publication, by seq: its number and its date; none for no catalogue."""
    return followed(lake, access_class).snapshots


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


def _is_behind(entries: list[Entry], standing: Followed) -> bool:
    """Say whether a catalogue lacks the last publication of its class, or a snapshot the date of its own: a kill may come between."""
    dates = {entry["seq"]: dt.datetime.fromisoformat(entry["at"]) for entry in entries}
    reached = max(standing.snapshots, default=0)
    return entries[-1]["seq"] > reached or any(dates.get(seq, date) != date for seq, (_, date) in standing.snapshots.items())


def _date_snapshots(connection: duckdb.DuckDBPyConnection, entries: list[Entry]) -> None:
    """Give each snapshot the date of its publication, so that time travel by date is true after a rebuild too."""
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


def _files_seq(lake: Lake, journal: Journal, access_class: str) -> int:
    """Give the seq that the stable files of a class have reached; 0 when they follow another history, or nothing says which."""
    told = (lake.read(f"files/{access_class}/.seq") or b"").decode(errors="replace").split()
    if len(told) == 2 and told[0].isdecimal() and journal.follows(int(told[0]), told[1]):
        return int(told[0])
    return 0


def _follow_files(lake: Lake, journal: Journal, access_class: str, seq: int, *, is_rebuild: bool = False) -> None:
    """Make `files/<class>/<mart>.parquet`, or `<mart>/<unit>.parquet`, another name of the last good file of each unit."""
    entries, reached = list(journal.of("publication")), 0 if is_rebuild else _files_seq(lake, journal, access_class)
    if reached >= seq:
        return
    seq_name = f"files/{access_class}/.seq"
    existing, held = set(lake.names(f"files/{access_class}")) - {seq_name}, _whole(lake, journal)
    # What a lost file was named by stays as it is until the mart is published again.
    wanted = stable_names(entries, access_class)
    linked = stable_names([entry for entry in entries if entry["seq"] <= reached], access_class)
    for alias, file in wanted.items():
        if file in held and (alias not in existing or linked.get(alias) != file):
            lake.link(file, alias)
    lake.delete(sorted(existing - wanted.keys()))
    lake.replace(seq_name, f"{seq} {journal.digests[seq]}".encode())


def stable_names(entries: list[Entry], access_class: str) -> dict[str, str]:
    """Give, by stable name, the file that some publications leave under it."""
    return {
        f"files/{access_class}/{name}{'' if unit == WHOLE else f'/{unit}'}.parquet": file
        for name, record in _standing(entries).items()
        if record["class"] == access_class
        for unit, file in record["files"].items()
    }


def _sweep(lake: Lake, journal: Journal) -> None:
    """Delete the mart files that no publication names; DuckLake's own, under `main/`, follow their catalogue."""
    named: set[str] = set()
    gone: set[str] = set()
    retracted = _retractions(journal)
    for entry in journal.of("publication"):
        for name, record in entry["marts"].items():
            (gone if retracted.get((name, record["class"]), 0) > entry["seq"] else named).update(record["files"].values())
    named |= journal.kept_files()
    lake.sweep("marts", "publish", lambda name: name in named or name.split("/")[2] == "main", gone - named)
