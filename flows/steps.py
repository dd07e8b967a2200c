"""The three steps of a run as plain functions: land, build, publish. No scheduler is needed to call them."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingestion.brick import PROJECT, Brick, endpoint_of, read_territory
from ingestion.footprint import Footprint
from ingestion.journal import Entry, Journal
from ingestion.lake import Lake, LakeError, literal

log = logging.getLogger("orchestra")
DBT_PROJECT = PROJECT / "dbt_project"
STEPS = ("land", "build", "publish")
WAIT = 600  # seconds that a step waits for the same step of another run

# Called with (step, what is done of it): for progress bars.
Progress = Callable[[str, str], None]


@dataclass
class LandStep:
    """What landing one brick gave: a load, nothing new, or why it failed."""

    brick: str
    entry: Entry | None = None
    error: str | None = None
    skipped: str | None = None
    request_count: int = 0
    bytes_read: int = 0
    footprint: dict[str, float] = field(default_factory=dict)

    @property
    def is_failed(self) -> bool:
        """Whether the step failed or its load was refused."""
        return self.error is not None or (self.entry is not None and self.entry["verdict"] == "refused")

    @property
    def warnings(self) -> list[str]:
        """Say what the expectations of the brick warn of."""
        tables = self.entry["tables"] if self.entry else {}
        return [f"{self.brick}.{name}: {told}" for name, r in tables.items() for told in r.get("profile", {}).get("warnings", [])]


@dataclass
class BuildStep:
    """What dbt built: its nodes with their time, and the failures told in words; no node when nothing was behind."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    footprint: dict[str, float] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """Say what dbt's tests found and that stops nothing: rows that mean little, to be mended at their source."""
        return [f"{n['kind']} {n['name']}: {n['message']}" for n in self.nodes if n["status"] == "warn"]


@dataclass
class PublishStep:
    """What was published: a journal entry, or None when nothing had changed."""

    entry: Entry | None = None
    footprint: dict[str, float] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """Say what the expectations of marts warn of."""
        marts = {**self.entry["marts"], **self.entry["withheld"]} if self.entry else {}
        return [f"mart {name}: {told}" for name, record in marts.items() for told in record.get("profile", {}).get("warnings", [])]


@dataclass
class Run:
    """A whole run."""

    run_id: str
    lands: list[LandStep] = field(default_factory=list)
    build: BuildStep | None = None
    publish: PublishStep | None = None
    footprint: dict[str, float] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """Say what failed, was refused or withheld; nothing when the run is done."""
        told = [f"landing {step.brick}: {step.error}" for step in self.lands if step.error]
        told += [
            f"load {step.entry['load_id']} refused: {'; '.join(step.entry['reasons'])}"
            for step in self.lands
            if step.entry and step.entry["verdict"] == "refused"
        ]
        told += [f"build: {failure}" for failure in (self.build.failures if self.build else [])]
        withheld = self.publish.entry["withheld"] if self.publish and self.publish.entry else {}
        return told + [f"mart {name} withheld: {'; '.join(record['reasons'])}" for name, record in withheld.items()]

    @property
    def warnings(self) -> list[str]:
        """Say what stops nothing and is to be mended at its source."""
        told = [warning for step in self.lands for warning in step.warnings]
        told += self.build.warnings if self.build else []
        return told + (self.publish.warnings if self.publish else [])


def new_run_id() -> str:
    """Name a run: its instant (UTC) and four hexadecimal digits."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def run(lake: Lake, bricks: dict[str, Brick], progress: Progress | None = None, steps: Sequence[str] = STEPS) -> Run:
    """Land, build and publish, or some of these; one broken brick never stops the others, a broken build stops publishing."""
    meter = Footprint()
    journal = Journal(lake)
    outcome = Run(new_run_id())
    if "land" in steps:
        outcome.lands = [land(lake, journal, brick, outcome.run_id, progress) for brick in bricks.values()]
    if "build" in steps:
        outcome.build = build(lake, journal, progress=progress)
    if "publish" in steps and not (outcome.build and outcome.build.failures):
        outcome.publish = publish(lake, journal, outcome.run_id, progress)
    outcome.footprint = meter.read()
    return outcome


def land(lake: Lake, journal: Journal, brick: Brick, run_id: str, progress: Progress | None = None) -> LandStep:
    """Land one brick; what goes wrong is told in the step, never raised."""
    from ingestion.brick import BrickError
    from ingestion.connectors import SourceError
    from ingestion.landing import land_brick

    def judge(*arguments: Any) -> list[str]:
        from expectations.gate import judge_load

        return judge_load(*arguments)

    _tell(progress, f"land {brick.name}", "")
    try:
        endpoint_of(brick)
    except BrickError as error:
        return LandStep(brick.name, skipped=str(error))
    try:
        landed = land_brick(
            lake,
            journal,
            brick,
            run_id,
            judge,
            lambda table, count: _tell(progress, f"land {brick.name}", f"{table} {count:,} bytes"),
            WAIT,
        )
    except (BrickError, SourceError, LakeError) as error:
        return LandStep(brick.name, error=str(error))
    except Exception as error:
        log.debug("landing %s", brick.name, exc_info=True)
        return LandStep(brick.name, error=f"{type(error).__name__}: {error}")
    return LandStep(brick.name, landed.entry, None, None, landed.request_count, landed.bytes_read, landed.footprint)


def build(lake: Lake, journal: Journal, *, is_full: bool = False, progress: Progress | None = None) -> BuildStep:
    """Have dbt build the models that are behind the journal; nothing is imported when none is."""
    meter = Footprint()
    with lake.lock("build", wait=WAIT) as held:
        journal.refresh()
        project = project_digest()
        seq, built = reached(lake)
        changed = changed_sources(journal, seq)
        if built == project and not changed and not is_full:
            return BuildStep(footprint=meter.read())
        _tell(progress, "build", "")
        select = [f"source:{brick}.{table}+" for brick, table in sorted(changed)] if built == project and not is_full else []
        step = _dbt_build(lake, select, held)
        if not step.failures:
            _mark_reached(lake, journal.seq, project)
    step.footprint = meter.read()
    return step


def publish(lake: Lake, journal: Journal, run_id: str, progress: Progress | None = None) -> PublishStep:
    """Publish the marts whose content changed; what an earlier run left undone is done first."""
    from redistribution.publish import follow, is_followed, read_marts
    from redistribution.publish import publish as publish_marts

    meter = Footprint()
    journal.refresh()
    state = list(reached(lake))
    marker = lake.state_path("published.json")
    if marker.exists() and json.loads(marker.read_text()) == state:
        if not is_followed(lake, journal):
            with lake.lock("publish", wait=WAIT):
                follow(lake, journal)
        return PublishStep(footprint=meter.read())
    _tell(progress, "publish", "")
    manifest = lake.state_path("target", "manifest.json")
    if state[1] is None or not manifest.exists():
        raise LakeError(f"{lake.state}: nothing was built yet. Mend: orchestra build")

    def judge(*arguments: Any) -> Any:
        from expectations.gate import judge_mart

        return judge_mart(*arguments)

    entry = publish_marts(lake, journal, read_marts(json.loads(manifest.read_text())), run_id, judge)
    marker.write_text(json.dumps(state))
    return PublishStep(entry, meter.read())


def rebuild(lake: Lake, progress: Progress | None = None) -> Run:
    """Throw away the warehouse and the catalogues and catch up from zero: contents and snapshots' dates come back the same."""
    from redistribution.publish import follow

    meter = Footprint()
    journal = Journal(lake)
    outcome = Run(new_run_id())
    with lake.lock("build", wait=WAIT), lake.lock("publish", wait=WAIT):
        for path in (lake.state / "warehouse.duckdb", lake.state / "warehouse.duckdb.wal", lake.state / "published.json"):
            path.unlink(missing_ok=True)
        shutil.rmtree(lake.state / "catalogues", ignore_errors=True)
        shutil.rmtree(lake.state / "target", ignore_errors=True)
        follow(lake, journal, is_rebuild=True)
    outcome.build = build(lake, journal, is_full=True, progress=progress)
    if not outcome.build.failures:
        outcome.publish = publish(lake, journal, outcome.run_id, progress)
    outcome.footprint = meter.read()
    return outcome


def reached(lake: Lake) -> tuple[int, str | None]:
    """Read how far the warehouse has followed: seq of the journal, digest of the dbt project; (0, None) for no warehouse."""
    path = lake.state / "warehouse.duckdb"
    if not path.exists():
        return 0, None
    import duckdb

    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            rows = connection.execute("select seq, project from meta.reached").fetchall()
    except (duckdb.CatalogException, duckdb.InvalidInputException):  # the name of a missing table may be a variable here
        return 0, None
    return rows[0] if rows else (0, None)


def changed_sources(journal: Journal, seq: int) -> set[tuple[str, str]]:
    """Name the (brick, table) whose accepted rows changed after a seq of the journal."""
    visible = {load["load_id"] for load in journal.accepted()}
    changed: set[tuple[str, str]] = set()
    for entry in journal.entries[seq:]:
        if entry["kind"] == "load" and entry["load_id"] in visible:
            changed |= {(entry["brick"], table) for table in entry["tables"]}
        elif entry["kind"] in ("drop", "erase", "expire", "compact"):
            load = next((e for e in journal.of("load", entry["brick"]) if e["load_id"] == entry.get("load_id")), None)
            tables = [entry["table"]] if "table" in entry else list(load["tables"]) if load else []
            changed |= {(entry["brick"], table) for table in tables}
    return changed


def project_digest() -> str:
    """Sum up what dbt builds from: the project, the bricks, the territory."""
    from ingestion.brick import BRICKS

    digest = hashlib.sha256()
    folders = (DBT_PROJECT, Path(os.environ.get("ORCHESTRA_BRICKS", BRICKS)))
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in (".sql", ".yml", ".csv")]
    for path in [*files, Path(os.environ.get("ORCHESTRA_TERRITORY", PROJECT / "territory.yml"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def dbt_environment(lake: Lake) -> dict[str, str]:
    """Give the environment in which dbt finds the lake, its state and the project's modules, and phones nobody."""
    paths = [str(PROJECT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "ORCHESTRA_LAKE": lake.root,
        "ORCHESTRA_STATE": str(lake.state),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "DBT_PROFILES_DIR": str(DBT_PROJECT),
        "DO_NOT_TRACK": "1",
        "DBT_TARGET_PATH": str(lake.state_path("target")),
        "DBT_LOG_PATH": str(lake.state_path("logs")),
    }


def _dbt_build(lake: Lake, select: list[str], held: int) -> BuildStep:
    """Run `dbt build` in a process of its own, which gives its memory back; it inherits the lock of the build.

    So when this process is killed, the next build waits for what dbt still writes.
    """
    results_file = lake.state_path("target", "run_results.json")
    results_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "dbt.cli.main", "--quiet", "build", "--target", "prod"]
    territory = read_territory().model_dump(mode="json", exclude={"name", "crs", "languages", "zones"})
    command += ["--vars", json.dumps(territory)]
    command += ["--project-dir", str(DBT_PROJECT), *(["--select", *select] if select else [])]
    process = subprocess.run(
        command, cwd=DBT_PROJECT, env=dbt_environment(lake), capture_output=True, text=True, check=False, pass_fds=[held]
    )
    if not results_file.exists():
        return BuildStep(failures=[f"dbt ended with status {process.returncode}: {(process.stdout + process.stderr).strip()[-2000:]}"])
    results = json.loads(results_file.read_text())["results"]
    nodes = [
        {
            "name": result["unique_id"].split(".", 2)[2],
            "kind": result["unique_id"].split(".", 1)[0],
            "status": result["status"],
            "seconds": round(result["execution_time"], 3),
            "message": result["message"],
        }
        for result in results
    ]
    failures = [f"{n['kind']} {n['name']}: {n['message']}" for n in nodes if n["status"] in ("error", "fail", "runtime error")]
    if process.returncode and not failures:
        failures = [f"dbt ended with status {process.returncode}: {process.stdout.strip()[-2000:]}"]
    return BuildStep(nodes, failures)


def _mark_reached(lake: Lake, seq: int, project: str) -> None:
    connection = lake.connect(str(lake.state / "warehouse.duckdb"))
    connection.execute("begin")
    connection.execute("delete from meta.reached")
    connection.execute(f"insert into meta.reached values ({seq}, {literal(project)})")
    connection.execute("commit")
    connection.close()


def _tell(progress: Progress | None, step: str, detail: str) -> None:
    if progress:
        progress(step, detail)
