"""The three steps of a run as plain functions: land, build, publish. No scheduler is needed to call them."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import logging
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from expectations import docs, gate
from expectations.suite import files_of_marts, judged_by
from ingestion.brick import BRICKS, PROJECT, Brick, BrickError, endpoint_of, read_bricks, read_territory
from ingestion.connectors import SourceError
from ingestion.footprint import Footprint
from ingestion.journal import Entry, Journal
from ingestion.lake import Busy, Lake, LakeError
from ingestion.landing import Landed, land_brick
from ingestion.verify import landed_faults
from ingestion.warehouse import REWRITES, warehouse_fault
from redistribution import publish as marts
from redistribution.site import Site, standing_sites

log = logging.getLogger("orchestra")
DBT_PROJECT = PROJECT / "dbt_project"
STEPS = ("land", "build", "publish")
FAILED = ("error", "fail", "runtime error")  # what dbt says of a node that did
WAIT = 600  # seconds that a step waits for the same step of another run
LONGEST_RUN = 24 * 3600  # seconds that a run waits for another one
# Of these libraries, what fails may go well the next minute: a network, a disk.
PASSING = ("botocore", "urllib3")

# Called with (step, "") when a step begins, then with (step, what is done of it).
Progress = Callable[[str, str], None]


def silent(step: str, detail: str) -> None:
    """Tell nobody how a run goes on."""


@dataclass
class LandStep(Landed):
    """What landing one brick gave: a load, nothing new, or why it failed.

    `may_pass` says that what failed may go well the next minute, as a network does. `skipped` says why it is not plugged in,
    `late` that its source has given nothing for longer than it should, `refused` which older loads of it stand refused, or could
    not read some files, and why, by load.
    """

    error: str | None = None
    may_pass: bool = False
    skipped: str | None = None
    late: str | None = None
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """Say why the step failed, or its load was refused, and which older loads stand refused."""
        told = [f"landing {self.brick}: {self.error}"] if self.error else []
        if self.entry and self.entry["verdict"] == "refused":
            told.append(f"load {self.entry['load_id']} refused: {'; '.join(self.entry['reasons'])}. {mend_of(self.entry)}")
        return [*told, *self.refused.values()]

    @property
    def warnings(self) -> list[str]:
        """Say what the expectations of the brick warn of, and whether its source is late."""
        told = _warned(f"{self.brick}.", self.entry["tables"] if self.entry else {})
        return [*told, f"{self.brick}: {self.late}"] if self.late else told


@dataclass
class BuildStep:
    """What dbt built: its nodes with their time, and the failures told in words; no node when nothing was behind.

    `unreached` says, by node, why it is to be built again: it failed, a test of it failed, or what it is made of did.
    """

    nodes: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    footprint: dict[str, float] = field(default_factory=dict)
    unreached: dict[str, str] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """Say what dbt's tests found and that stops nothing: rows that mean little, to be mended at their source."""
        return [f"{n['kind']} {n['name']}: {n['message']}" for n in self.nodes if n["status"] == "warn"]


@dataclass
class PublishStep:
    """What was published: a journal entry, or None when nothing had changed; the snapshot of it in each class.

    `withheld` are the marts that an earlier run withheld, and why; `sites` the sites that followed, and what was written of them.
    """

    entry: Entry | None = None
    footprint: dict[str, float] = field(default_factory=dict)
    snapshots: dict[str, int] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """Say which marts were withheld, or still are, and why (readers have an older version), and which pages of the sites failed."""
        withheld = self.entry["withheld"] if self.entry else {}
        told = [f"mart {name} withheld: {marts.why_withheld(name, record)}" for name, record in withheld.items()]
        told += [f"mart {name} still is withheld: {why}" for name, why in self.withheld.items()]
        return told + [failure for site in self.sites for failure in site.failures]

    @property
    def warnings(self) -> list[str]:
        """Say what the expectations of marts warn of."""
        return _warned("mart ", self.entry["marts"] if self.entry else {})


@dataclass
class Run:
    """A whole run; `data_docs` is the page of what its gates judged, None when they judged nothing."""

    run_id: str
    lands: list[LandStep] = field(default_factory=list)
    build: BuildStep | None = None
    publish: PublishStep | None = None
    data_docs: Path | None = None
    footprint: dict[str, float] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """Say what failed, was refused or withheld; nothing when the run is done."""
        return [failure for step in self._steps() for failure in step.failures]

    @property
    def warnings(self) -> list[str]:
        """Say what stops nothing and is to be mended at its source."""
        return [warning for step in self._steps() for warning in step.warnings]

    def _steps(self) -> list[LandStep | BuildStep | PublishStep]:
        return [*self.lands, *(step for step in (self.build, self.publish) if step)]


def _warned(prefix: str, records: dict[str, Any]) -> list[str]:
    """Say what the profiles of tables or marts warn of."""
    return [f"{prefix}{name}: {told}" for name, record in records.items() for told in record.get("profile", {}).get("warnings", [])]


def new_run_id() -> str:
    """Name a run: its instant (UTC) and four hexadecimal digits."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def run(lake: Lake, bricks: dict[str, Brick], progress: Progress = silent, steps: Sequence[str] = STEPS) -> Run:
    """Land, build and publish, or some of these; one broken brick never stops the others, nor does a model that fails."""
    with turn(lake, lambda told: progress(told, "")):
        meter = Footprint()
        docs.begin(lake)
        journal = Journal(lake)
        outcome = Run(new_run_id())
        if "land" in steps:
            outcome.lands = [land(lake, journal, brick, outcome.run_id, progress) for brick in bricks.values()]
        if "build" in steps:
            outcome.build = build(lake, journal, progress)
        if "publish" in steps and not (outcome.build and outcome.build.failures and not is_built(lake, journal)):
            outcome.publish = publish(lake, journal, outcome.run_id, progress)
        outcome.data_docs = docs.render(lake, outcome.run_id)
        outcome.footprint = meter.read()
    return outcome


@contextlib.contextmanager
def turn(lake: Lake, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the lake for one run; when another one holds it, `tell` says so and its end is waited for."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lake.lock("run"))
        except Busy as busy:
            tell(f"waits its turn: another run holds the lake, process {str(busy).rpartition(' ')[2]}")
            held.enter_context(lake.lock("run", wait=LONGEST_RUN))
        yield


def land(lake: Lake, journal: Journal, brick: Brick, run_id: str, progress: Progress = silent) -> LandStep:
    """Land one brick; what goes wrong is told in the step, never raised."""
    name = f"land {brick.name}"
    progress(name, "")
    try:
        endpoint_of(brick)
    except BrickError as error:
        return LandStep(brick.name, skipped=str(error), refused=standing(journal, brick.name))

    def tell(table: str, byte_count: int) -> None:
        progress(name, f"{table} {byte_count:,} bytes")

    try:
        landed = land_brick(lake, journal, brick, run_id, gate.judge_load, tell, WAIT, judged_by(f"landed/{brick.name}.yml"))
        new = landed.entry["load_id"] if landed.entry and landed.entry["verdict"] == "refused" else None
        refused = {load_id: why for load_id, why in standing(journal, brick.name).items() if load_id != new}
        return LandStep(**vars(landed), late=None if landed.entry else late(journal, brick), refused=refused)
    except (BrickError, SourceError, LakeError) as error:
        return LandStep(brick.name, error=str(error), may_pass=may_pass(error))
    except Exception as error:
        log.debug("landing %s", brick.name, exc_info=True)
        return LandStep(brick.name, error=f"{type(error).__name__}: {error}", may_pass=may_pass(error))


def may_pass(error: BaseException) -> bool:
    """Say whether what failed may go well the next minute, as a network or a lock does; a bad declaration does not."""
    if isinstance(error, SourceError):
        return error.may_pass
    return isinstance(error, Busy | OSError) or type(error).__module__.partition(".")[0] in PASSING


def standing(journal: Journal, brick: str) -> dict[str, str]:
    """Say, by load, which stand refused, or are accepted without files that could not be read; why, and the mend."""
    refused = {load["load_id"]: f"load {load['load_id']} stands refused: {'; '.join(load['reasons'])}. {mend_of(load)}"
               for load in journal.refused(brick)}  # fmt: skip
    unread = {
        load_id: f"load {load_id} is not whole: {'; '.join(f'{brick}.{table}: {file}: {why}' for table, file, why in files)}. Mend: "
        f"mend the source or its brick, and it is read then, or orchestra loads accept {load_id} --why '...', which gives that file up"
        for load_id, files in journal.unread(brick).items()
    }
    return refused | unread


def mend_of(load: Entry) -> str:
    """Say what ends a refusal, as commands that work."""
    command = f"orchestra loads {{}} {load['load_id']}"
    return (
        f"Mend: see {command.format('show')}; then mend its source or its brick, and it is tried again, or "
        f"{command.format('accept')} --why '...', or {command.format('drop')} --refetch (--forget gives its rows up)"
    )


def late(journal: Journal, brick: Brick) -> str | None:
    """Say that a source has given nothing for longer than its freshness asks; None when it is on time, or never landed.

    The clock of a synthetic lake is that of its last load.
    """
    last = max((load["read_at"] for load in journal.accepted(brick.name)), default=None)
    now = journal.as_of() if journal.is_synthetic else dt.datetime.now(dt.UTC).isoformat()
    limit = brick.config.freshness.error_after.days
    if not last or not now or (dt.datetime.fromisoformat(now) - dt.datetime.fromisoformat(last)) <= dt.timedelta(days=limit):
        return None
    return f"nothing new since {last[:16]}, more than {limit:g} days"


def build(lake: Lake, journal: Journal, progress: Progress = silent) -> BuildStep:
    """Have dbt build the models that are behind the journal, all when the project changed; it is not imported when none is.

    What the last build did not reach is built again, with what is made of it. Before anything is built, marts leave the
    classes that may not see them any more.
    """
    meter = Footprint()
    with lake.lock("build", wait=WAIT) as held:
        journal.refresh()
        project = project_digest()
        seq, built, unreached = reached(lake, journal)
        untold = _untold_cost(journal, seq, built)
        if fault := warehouse_fault(lake, journal, seq):
            log.warning("%s %s: it is made again from zero", lake.state / "warehouse.duckdb", fault)
            for path in lake.state.glob("warehouse.duckdb*"):
                path.unlink()
            seq, built, unreached = 0, None, {}
        changed = changed_sources(journal, seq)
        if built == project and not changed and not unreached:
            return BuildStep(footprint=meter.read())
        progress("build", "")
        if built != project:
            _retract(lake, journal, new_run_id(), held)
        select = sorted({f"source:{brick}.{table}+" for brick, table in changed} | {_selector(node) for node in unreached})
        lake.state_path("built.json").unlink(missing_ok=True)  # what a killed build leaves is not published
        step = _dbt_build(lake, select if built == project else [], held)
        ran = {node["id"] for node in step.nodes}
        step.unreached |= {node: why for node, why in unreached.items() if built == project and node not in ran and step.nodes}
        if step.nodes or not step.failures:
            cost = _cost(lake, step, meter.read(), untold)
            journal.note("built.json", project=project, unreached=step.unreached, cost=cost)
        if step.failures and (lost := [f"build: {fault}" for fault in landed_faults(lake, journal)]):
            step.failures = lost  # every model that reads them has failed, for that one reason
    step.footprint = meter.read()
    return step


def _untold_cost(journal: Journal, seq: int, project: str | None) -> dict[str, float]:
    """Give what earlier builds cost that no publication has followed: it was killed, or failed; the next one tells it too."""
    cost: dict[str, float] = (journal.noted("built.json") or {}).get("cost") or {}
    state = (journal.noted("published.json") or {}).get("state") or []
    is_told = state[:2] == [seq, project] or any(entry.get("build") == cost for entry in journal.of("publication"))
    return {} if is_told else cost


def _cost(lake: Lake, step: BuildStep, footprint: dict[str, float], untold: dict[str, float]) -> dict[str, float]:
    """Say what a build cost: its footprint, how many models dbt ran and in how many seconds of them all, bytes of the warehouse.

    What earlier builds cost that nobody was told of (`untold`) is added.
    """
    models = [node["seconds"] for node in step.nodes if node["kind"] == "model" and node["status"] != "skipped"]
    path = lake.state / "warehouse.duckdb"
    size = path.stat().st_size if path.exists() else 0
    spent = {**footprint, "models": len(models), "models_s": round(sum(models), 3)}
    return {name: round(value + untold.get(name, 0), 5) for name, value in spent.items()} | {"warehouse_bytes": size}


def publish(lake: Lake, journal: Journal, run_id: str, progress: Progress = silent) -> PublishStep:
    """Publish the marts whose content changed; what an earlier run left undone is done first."""
    step, meter = PublishStep(), Footprint()
    # A warehouse that is written to cannot be read.
    with lake.lock("build", wait=WAIT):
        journal.refresh()
        seq, project, unreached = reached(lake, journal)
        accepted = max((entry["seq"] for entry in journal.of("accept")), default=0)
        classes = {name: brick.meta.access_class for name, brick in read_bricks().items()}
        state = [seq, project, unreached, _digest(files_of_marts()), accepted, classes]
        published = journal.noted("published.json")
        if not published or published["state"] != state or not marts.is_followed(lake, journal):
            progress("publish", "")
            manifest = _written_by_dbt(lake, "manifest.json")
            if project is None or manifest is None:
                mend = "orchestra build" if project is None else "orchestra rebuild"
                raise LakeError(f"{lake.state}: nothing was built yet, or the last build failed. Mend: {mend}")
            of_project = marts.read_marts(manifest, classes)
            marts.retract(lake, journal, of_project, classes, run_id)
            cost = (journal.noted("built.json") or {}).get("cost")
            step.entry = marts.publish(lake, journal, of_project, run_id, gate.judge_mart, _expected, unreached, cost)
            journal.note("published.json", state=state)
        step.sites = follow_sites(lake, journal, progress)
    if step.entry:
        step.snapshots = {
            name: numbers[seq][0] for name in marts.CLASSES if (seq := step.entry["seq"]) in (numbers := marts.snapshots(lake, name))
        }
    told = step.entry["withheld"] if step.entry else {}
    step.withheld = {name: marts.why_withheld(name, r) for name, r in marts.still_withheld(journal).items() if name not in told}
    step.footprint = meter.read()
    return step


def follow_sites(lake: Lake, journal: Journal, progress: Progress = silent, asked: str | None = None) -> list[Site]:
    """Bring each site that stands to the journal, and the one of the class that is asked for; give those that were written to.

    Nothing of it is imported where no site stands.
    """
    if not asked and not standing_sites(lake):
        return []
    from redistribution.site import follow

    manifest = _written_by_dbt(lake, "manifest.json")
    if manifest is None:
        raise LakeError(f"{lake.state}: nothing was built yet. Mend: orchestra run")
    found = []
    for access_class in sorted({*standing_sites(lake), *([asked] if asked else [])}, key=marts.CLASSES.index):

        def tell(name: str, access_class: str = access_class) -> None:
            progress(f"site {access_class}", name)

        is_asked = access_class == asked
        site = follow.follow(lake, journal, access_class, manifest, read_bricks(), read_territory(), tell, is_thorough=is_asked)
        if is_asked or site.written or site.taken_away or site.failures:
            found.append(site)
    return found


def rebuild(lake: Lake, progress: Progress = silent) -> Run:
    """Throw away the warehouse and the catalogues and catch up from zero: contents and snapshots' dates come back the same."""
    meter = Footprint()
    with lake.lock("build", wait=WAIT), lake.lock("publish", wait=WAIT):
        journal = Journal(lake)  # nothing is thrown away when it cannot be read
        for name in ("warehouse.duckdb", "warehouse.duckdb.wal", "built.json", "published.json"):
            (lake.state / name).unlink(missing_ok=True)
        for name in ("catalogues", "target"):
            shutil.rmtree(lake.state / name, ignore_errors=True)
        marts.follow(lake, journal, is_rebuild=True)
    outcome = run(lake, {}, progress, ("build", "publish"))
    outcome.footprint = meter.read()
    return outcome


def _expected(mart: str) -> str:
    return judged_by(f"marts/{mart}.yml")


def _retract(lake: Lake, journal: Journal, run_id: str, held: int) -> None:
    """Take marts away from the classes that may not see them any more, by what the project says now."""
    if not any(True for _ in journal.of("publication")):
        return
    classes = {name: brick.meta.access_class for name, brick in read_bricks().items()}
    # A project that does not parse will be told by the build: what it was made of before is told by its last manifest.
    _dbt(lake, ["parse"], held)
    # Where there is none (a rebuild throws it away), what was published is held to its sources alone.
    manifest = _written_by_dbt(lake, "manifest.json")
    if marts.retract(lake, journal, marts.read_marts(manifest, classes) if manifest else [], classes, run_id):
        follow_sites(lake, journal)


class Reached(NamedTuple):
    """How far the warehouse has followed: seq of the journal, digest of the dbt project, why which nodes are to be built again."""

    seq: int
    project: str | None
    unreached: dict[str, str]


def reached(lake: Lake, journal: Journal) -> Reached:
    """Read how far the warehouse has followed.

    Nowhere (0, None) for no warehouse, one whose last build was killed or could not begin, or one of another history. It stands
    beside the warehouse, which nobody can read while dbt writes to it.
    """
    built = journal.noted("built.json")
    if not built or not (lake.state / "warehouse.duckdb").exists():
        return Reached(0, None, {})
    return Reached(built["seq"], built["project"], built.get("unreached", {}))


def is_built(lake: Lake, journal: Journal) -> bool:
    """Say whether the last build came to its end, whatever failed in it."""
    return reached(lake, journal).project is not None


def _selector(node: str) -> str:
    """Write how dbt selects a node and what is made of it."""
    kind, _, name = node.split(".", 2)
    return f"source:{name}+" if kind == "source" else f"{name.partition('.')[0]}+"


def changed_sources(journal: Journal, seq: int) -> set[tuple[str, str]]:
    """Name the (brick, table) whose accepted rows changed after a seq of the journal."""
    tables = {load["load_id"]: list(load["tables"]) for load in journal.of("load")}
    visible = {load["load_id"] for load in journal.accepted()}
    changed: set[tuple[str, str]] = set()
    for entry in journal.entries[seq:]:
        load_id = entry.get("load_id")
        if entry["kind"] in REWRITES or (entry["kind"] == "load" and load_id in visible):
            named = [entry["table"]] if "table" in entry else tables.get(load_id, [])
            changed |= {(entry["brick"], table) for table in named}
    return changed


def project_digest() -> str:
    """Sum up what dbt builds from: the project, the bricks, the territory."""
    # Not what dbt writes beside it when it is run by hand.
    folders = (*(DBT_PROJECT / name for name in ("models", "seeds", "macros", "tests")), Path(os.environ.get("ORCHESTRA_BRICKS", BRICKS)))
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".sql", ".yml", ".csv")]
    return _digest([*files, DBT_PROJECT.parent / "dbt_project.yml", Path(os.environ.get("ORCHESTRA_TERRITORY", PROJECT / "territory.yml"))])


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def dbt_environment(lake: Lake) -> dict[str, str]:
    """Give the environment in which dbt finds the lake, its state and the project's modules, and phones nobody."""
    return {
        **os.environ,
        "ORCHESTRA_LAKE": lake.root,
        "ORCHESTRA_STATE": str(lake.state),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "DBT_PROJECT_DIR": str(DBT_PROJECT.parent),
        "DBT_PROFILES_DIR": str(DBT_PROJECT),
        "DBT_TARGET_PATH": str(lake.state_path("target")),
        "DBT_LOG_PATH": str(lake.state_path("logs")),
        "DBT_USE_COLORS": "false",  # what it says of a failure stands in messages and journals
    }


def _written_by_dbt(lake: Lake, name: str) -> dict[str, Any] | None:
    """Read a document that dbt leaves in its target folder; None for none, or one that a full disk or a kill has cut short."""
    path = lake.state_path("target", name)
    try:
        told: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return told


def _dbt_build(lake: Lake, select: list[str], held: int) -> BuildStep:
    """Run `dbt build` in a process of its own, which gives its memory back; it inherits the lock of the build.

    So when this process is killed, the next build waits for what dbt still writes.
    """
    results_file = lake.state_path("target", "run_results.json")
    results_file.unlink(missing_ok=True)
    # Unit tests are of the SQL, whatever the lake holds: they are run when it changes, not with each build.
    process = _dbt(lake, ["build", "--exclude-resource-type", "unit_test", *(["--select", *select] if select else [])], held)
    results = (_written_by_dbt(lake, results_file.name) or {"results": []})["results"]
    nodes = []
    for result in results:
        kind, _, name = result["unique_id"].split(".", 2)
        seconds = round(result["execution_time"], 3)
        node = {"status": result["status"], "seconds": seconds, "kind": kind, "name": name, "message": result["message"]}
        nodes.append({**node, "id": result["unique_id"]})
    failures = [f"build: {n['kind']} {n['name']}: {n['message']}" for n in nodes if n["status"] in FAILED]
    if (process.returncode or not results_file.exists()) and not failures:
        told = (process.stdout + process.stderr).strip()[-2000:]
        failures = [f"build: dbt ended with status {process.returncode}: {told}"]
    return BuildStep(nodes, failures, unreached=_unreached(nodes, _written_by_dbt(lake, "manifest.json") or {}))


def _dbt(lake: Lake, arguments: list[str], held: int) -> subprocess.CompletedProcess[str]:
    """Run dbt over the lake."""
    command = [sys.executable, "-m", "dbt.cli.main", "--quiet", *arguments, "--target", "prod"]
    return subprocess.run(command, cwd=DBT_PROJECT, env=dbt_environment(lake), capture_output=True, text=True, check=False, pass_fds=[held])


def _unreached(nodes: list[dict[str, Any]], manifest: dict[str, Any]) -> dict[str, str]:
    """Give, by node that is to be built again, why: it failed, dbt skipped it, or a test of it failed."""
    tests = manifest.get("nodes", {})
    found: dict[str, str] = {}
    for node in nodes:
        is_test = node["kind"] == "test"
        if node["status"] in FAILED:
            test = tests.get(node["id"], {})
            attached = [test["attached_node"]] if test.get("attached_node") else test.get("depends_on", {}).get("nodes", [])
            found |= dict.fromkeys(attached if is_test else [node["id"]], f"{node['kind']} {node['name']}: {node['message']}")
        elif node["status"] == "skipped" and not is_test:
            found.setdefault(node["id"], f"{node['kind']} {node['name']}: skipped, for what it is made of failed")
    return found
