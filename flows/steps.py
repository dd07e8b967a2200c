"""The steps of a run as plain functions, without a scheduler: a broken brick never stops the others, nor does a model that fails."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence

from expectations import docs, gate
from expectations.suite import files_of_marts, judged_by
from flows.cadence import lateness
from flows.dbt_process import dbt_build, digest_of, project_digest, run_dbt, selector, written_by_dbt
from flows.outcome import BuildStep, LandStep, MaskStep, Outcome, PublishStep
from flows.places import begin, clean, clean_warehouses, is_begun
from flows.reached import changed_sources, is_built, reached
from ingestion.brick import Brick, endpoint_of
from ingestion.census import read_bricks
from ingestion.clear import hidden_because
from ingestion.connectors import SourceError
from ingestion.declaration import BrickError
from ingestion.erasing import is_behind, take_back_of
from ingestion.footprint import Footprint
from ingestion.journal import Journal
from ingestion.lake import Busy, Lake, LakeError
from ingestion.landing import land_brick
from ingestion.masking import throw_warehouses
from ingestion.own_census import last_of_all
from ingestion.steward import standing_refusals
from ingestion.territory import read_territory
from ingestion.verify import landed_faults
from ingestion.warehouse import warehouse_fault
from redistribution.catalogue import followed
from redistribution.followers import follow, is_followed, is_past_due
from redistribution.mart import CLASSES, read_marts
from redistribution.publish import publish_marts
from redistribution.retraction import retract
from redistribution.site import Site, standing_sites
from redistribution.withheld import still_withheld, why_withheld

log = logging.getLogger("orchestra")

STEPS = ("land", "build", "publish")
WAIT = 600  # seconds that a step waits for the same step of another run
LONGEST_RUN = 24 * 3600  # seconds that a run waits for another one
# Of these libraries, what fails may go well the next minute: a network, a disk.
PASSING = ("botocore", "urllib3")
# Called with (step, "") when a step begins, then with (step, what is done of it).
Progress = Callable[[str, str], None]


def silent(step: str, detail: str) -> None:
    """Tell nobody how a run goes on."""


def new_run_id() -> str:
    """Name a run: its instant (UTC) and four hexadecimal digits."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def run_chain(lake: Lake, bricks: dict[str, Brick], progress: Progress = silent, steps: Sequence[str] = STEPS) -> Outcome:
    """Land, build and publish, or some of these; one broken brick never stops the others, nor does a model that fails.

    Before any of them, what older loads hold in clear of what is personal today is taken from readers, and masked.
    """
    with turn(lake, lambda told: progress(told, "")):
        meter = Footprint()
        docs.begin(lake)
        journal = Journal(lake)
        outcome = Outcome(new_run_id())
        outcome.mask = mask(lake, journal, outcome.run_id, progress)
        if "land" in steps:
            outcome.lands = [land(lake, journal, brick, outcome.run_id, progress) for brick in last_of_all(bricks).values()]
        if "build" in steps:
            outcome.build = build(lake, journal, progress)
        if "publish" in steps and not (outcome.build and outcome.build.failures and not is_built(lake, journal)):
            outcome.publish = publish(lake, journal, outcome.run_id, progress)
        outcome.data_docs = docs.render(lake, outcome.run_id)
        outcome.footprint = meter.read()
    return outcome


def rebuild(lake: Lake, progress: Progress = silent) -> Outcome:
    """Throw away the warehouse and the catalogues and catch up from zero: contents and snapshots' dates come back the same."""
    meter = Footprint()
    with lake.lock("build", wait=WAIT), lake.lock("publish", wait=WAIT):
        journal = Journal(lake)  # nothing is thrown away when it cannot be read
        clean_warehouses(lake)
        for name in ("catalogues", "target"):
            shutil.rmtree(lake.state / name, ignore_errors=True)
        follow(lake, journal, is_rebuild=True)
    outcome = run_chain(lake, {}, progress, ("build", "publish"))
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


def is_to_mask(lake: Lake, journal: Journal) -> bool:
    """Say whether a load holds in clear what is personal today, or a killed run may have left it."""
    try:
        return is_begun(lake) or any(is_behind(lake, journal, brick) for brick in read_bricks().values())
    except LakeError:  # the step tells it
        return True


def mask(lake: Lake, journal: Journal, run_id: str, progress: Progress = silent) -> MaskStep | None:
    """Mask what older loads hold in clear of columns that are personal today; None where there is nothing to mask. No source is asked.

    What was published of it is taken away first, and the warehouses that hold it are thrown away, even where masking fails then.
    """
    meter, step = Footprint(), MaskStep()
    journal.refresh()
    behind, bricks = [], read_bricks()
    is_erasing = any(map(journal.to_erase, bricks))
    for brick in bricks.values():
        with told_in(step, f"masking {brick.name}"):
            # What a killed expiry has given up of a brick may stand, whether its columns are personal or not.
            behind += [brick] if is_begun(lake) or is_behind(lake, journal, brick) else []
    if not behind and not step.errors and not is_begun(lake):
        return None
    progress("mask", "")
    if hidden_because(journal, behind):
        with told_in(step, "taking away what was published"), lake.lock("build", wait=WAIT) as held:
            if reached(lake, journal).project != project_digest():  # what today's bricks built shows none of it
                throw_warehouses(lake)
            step.taken_away = take_away(lake, journal, run_id, held, is_parsed=False)
    for brick in behind:
        with told_in(step, f"masking {brick.name}"):
            step.masked[brick.name] = take_back_of(lake, journal, brick, WAIT)
    if is_begun(lake) or is_erasing or any(step.masked.values()):
        with told_in(step, "emptying the places of what is taken back"):
            begin(lake)
            clean(lake)
    step.footprint = meter.read()
    return step


def land(lake: Lake, journal: Journal, brick: Brick, run_id: str, progress: Progress = silent) -> LandStep:
    """Land one brick; what goes wrong is told in the step, never raised."""
    name = f"land {brick.name}"
    progress(name, "")
    try:
        endpoint_of(brick)
    except BrickError as error:
        return LandStep(brick.name, skipped=str(error), refused=standing_refusals(journal, brick.name))

    def tell(table: str, byte_count: int) -> None:
        progress(name, f"{table} {byte_count:,} bytes")

    try:
        landed = land_brick(lake, journal, brick, run_id, gate.judge_load, tell, WAIT, judged_by(f"landed/{brick.name}.yml"))
        new = landed.entry["load_id"] if landed.entry and landed.entry["verdict"] == "refused" else None
        refused = {load_id: why for load_id, why in standing_refusals(journal, brick.name).items() if load_id != new}
        return LandStep(**vars(landed), late=None if landed.entry else lateness(journal, brick), refused=refused)
    except (BrickError, SourceError, LakeError) as error:
        return LandStep(brick.name, error=str(error), may_pass=may_pass(error))
    except Exception as error:
        log.debug("landing %s", brick.name, exc_info=True)
        return LandStep(brick.name, error=f"{type(error).__name__}: {error}", may_pass=may_pass(error))


@contextlib.contextmanager
def told_in(step: MaskStep, what: str) -> Iterator[None]:
    """Have a step tell what goes wrong, and go on; of what a library says, which may hold values, the kind alone."""
    try:
        yield
    except Exception as error:
        log.debug(what, exc_info=True)
        step.errors[what] = str(error) if isinstance(error, BrickError | LakeError) else type(error).__name__
        step.may_pass = may_pass(error)


def may_pass(error: BaseException) -> bool:
    """Say whether what failed may go well the next minute, as a network or a lock does; a bad declaration does not."""
    if isinstance(error, SourceError):
        return error.may_pass
    return isinstance(error, Busy | OSError) or type(error).__module__.partition(".")[0] in PASSING


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
            take_away(lake, journal, new_run_id(), held)
        select = sorted({f"source:{brick}.{table}+" for brick, table in changed} | {selector(node) for node in unreached})
        lake.state_path("built.json").unlink(missing_ok=True)  # what a killed build leaves is not published
        private = [name for name, brick in read_bricks().items() if brick.has_personal]
        step = dbt_build(lake, select if built == project else [], held, private)
        ran = {node["id"] for node in step.nodes}
        step.unreached |= {node: why for node, why in unreached.items() if built == project and node not in ran and step.nodes}
        if step.nodes or not step.failures:
            cost = _cost(lake, step, meter.read(), untold)
            journal.note("built.json", project=project, unreached=step.unreached, cost=cost)
        if step.failures and (lost := [f"build: {fault}" for fault in landed_faults(lake, journal)]):
            step.failures = lost  # every model that reads them has failed, for that one reason
    step.footprint = meter.read()
    return step


def _of_today(journal: Journal) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Give, by brick as its YAML says it now, its class, why what is made of it is hidden, if it is; name those with personal columns."""
    bricks = read_bricks()
    private = sorted(name for name, brick in bricks.items() if brick.has_personal)
    return {name: brick.meta.access_class for name, brick in bricks.items()}, hidden_because(journal, bricks.values()), private


def take_away(
    lake: Lake,
    journal: Journal,
    run_id: str,
    held: int,
    *,
    is_parsed: bool = True,
    why: dict[str, str] | None = None,
    spares: Sequence[str] = (),
) -> list[str]:
    """Take marts away from the classes that may not see them any more, by what the project says now, or said when it was last read.

    So are those of the bricks of which something is taken back, which `why` says.
    """
    if not any(True for _ in journal.of("publication")):
        return []
    classes, hidden, _ = _of_today(journal)
    hidden |= why or {}
    # A project that does not parse will be told by the build: what it was made of before is told by its last manifest.
    if is_parsed or not written_by_dbt(lake, "manifest.json"):
        run_dbt(lake, ["parse"], held)
    # Where there is none (a rebuild throws it away), what was published is held to its sources alone.
    manifest = written_by_dbt(lake, "manifest.json")
    gone = retract(lake, journal, read_marts(manifest, classes) if manifest else [], classes, run_id, hidden, spares=spares)
    if gone and manifest:
        follow_sites(lake, journal)
    elif gone and (pages := lake.names("site")):
        log.warning("%s: the sites are taken away, for nothing says what they show. Mend: orchestra site", lake.path("site"))
        lake.delete(pages)
    return gone


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
    """Publish the marts whose content changed; what an earlier run left undone is done first, and what readers kept long enough goes.

    So it does of a class that publishes nothing any more.
    """
    step, meter = PublishStep(), Footprint()
    # A warehouse that is written to cannot be read.
    with lake.lock("build", wait=WAIT):
        journal.refresh()
        if is_past_due(journal):
            with lake.lock("publish", wait=WAIT):
                follow(lake, journal)
        seq, project, unreached = reached(lake, journal)
        accepted = max((entry["seq"] for entry in journal.of("accept")), default=0)
        classes, hidden, private = _of_today(journal)
        state = [seq, project, unreached, digest_of(files_of_marts()), accepted, classes, hidden, private]
        published = journal.noted("published.json")
        if not published or published["state"] != state or not is_followed(lake, journal):
            progress("publish", "")
            manifest = written_by_dbt(lake, "manifest.json")
            if project is None or manifest is None:
                mend = "orchestra build" if project is None else "orchestra rebuild"
                raise LakeError(f"{lake.state}: nothing was built yet, or the last build failed. Mend: {mend}")
            of_project = read_marts(manifest, classes)
            retract(lake, journal, of_project, classes, run_id, hidden)
            cost = (journal.noted("built.json") or {}).get("cost")
            how = (gate.judge_mart, _expected, unreached, cost, hidden, private)
            step.entry = publish_marts(lake, journal, of_project, run_id, *how)
            journal.note("published.json", state=state)
        step.sites = follow_sites(lake, journal, progress)
    if step.entry:
        step.snapshots = {
            name: numbers[seq][0] for name in CLASSES if (seq := step.entry["seq"]) in (numbers := followed(lake, name).snapshots)
        }
    told = step.entry["withheld"] if step.entry else {}
    step.withheld = {name: why_withheld(name, r) for name, r in still_withheld(journal).items() if name not in told}
    step.footprint = meter.read()
    return step


def _expected(mart: str) -> str:
    return judged_by(f"marts/{mart}.yml")


def follow_sites(lake: Lake, journal: Journal, progress: Progress = silent, asked: str | None = None) -> list[Site]:
    """Bring each site that stands to the journal, and the one of the class that is asked for; give those that were written to.

    Nothing of it is imported where no site stands.
    """
    if not asked and not standing_sites(lake):
        return []
    from redistribution.site.follow import follow_site

    manifest = written_by_dbt(lake, "manifest.json")
    if manifest is None:
        raise LakeError(f"{lake.state}: nothing was built yet. Mend: orchestra run")
    found = []
    for access_class in sorted({*standing_sites(lake), *([asked] if asked else [])}, key=CLASSES.index):

        def tell(name: str, access_class: str = access_class) -> None:
            progress(f"site {access_class}", name)

        is_asked = access_class == asked
        site = follow_site(lake, journal, access_class, manifest, read_bricks(), read_territory(), tell, is_thorough=is_asked)
        if is_asked or site.written or site.taken_away or site.failures:
            found.append(site)
    return found
