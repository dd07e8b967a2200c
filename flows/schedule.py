"""Schedules and the operator's eye: Prefect deployments drawn from the cadences of the bricks.

Each due brick is a subflow, then one build and one publish follow, in one process. Each tells by the name and the message of
its state what it did, and leaves an artifact. Of the house, this module and `desk.py` alone know Prefect.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import prefect
from prefect import flow, get_client, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.schedules import Cron
from prefect.states import Completed, Failed, Running

from expectations import docs
from flows import desk, report, steps, taking_back
from flows.cadence import CRONS, next_run, scheduled
from flows.outcome import BuildStep, LandStep, MaskStep, PublishStep
from flows.reached import is_built
from ingestion.census import read_bricks
from ingestion.footprint import METHOD, Footprint
from ingestion.journal import Journal
from ingestion.lake import Busy, Lake, LakeError
from ingestion.own_census import last_of_all
from ingestion.steward import refused_rows
from ingestion.territory import read_territory

WIDEST_REASON = 120  # characters, so that file and row stay in sight
WAITING = "Waiting its turn"
RUNS_AT_ONCE = 4  # processes that `orchestra up` keeps: one holds the lake, the others wait for it or answer a form

# What a form lets choose among: the bricks that there are, and their cadences.
if TYPE_CHECKING:
    from typing import TypeAlias

    BrickName: TypeAlias = str
    Cadence: TypeAlias = str
else:
    BrickName = Literal[tuple(read_bricks())]
    Cadence = Literal[tuple({**CRONS, **scheduled()})]


def _may_pass(_task: Any, _run: Any, state: Any) -> bool:
    """Say whether a step is tried again: what failed may go well the next minute, as a network does."""
    failed = state.data
    return steps.may_pass(failed) if isinstance(failed, BaseException) else getattr(failed, "may_pass", False)


RETRIES: dict[str, Any] = {"retries": 2, "retry_delay_seconds": 30, "retry_condition_fn": _may_pass}


@task(task_run_name="mask", **RETRIES)
def mask(run_id: str) -> Any:
    """Mask what older loads hold in clear of columns that are personal today."""
    lake = Lake()
    step = steps.mask(lake, Journal(lake), run_id) or MaskStep()
    for warning in step.warnings:
        prefect.get_run_logger().warning(warning)
    return _state(step)


@task(task_run_name="land-{brick}", **RETRIES)
def land(brick: BrickName, run_id: str) -> Any:
    """Land a brick."""
    lake = Lake()
    return _state(steps.land(lake, Journal(lake), read_bricks()[brick], run_id))


@task(task_run_name="build", **RETRIES)
def build() -> Any:
    """Build the models that are behind, and show dbt's nodes, those of a build that fails too."""
    lake = Lake()
    step = steps.build(lake, Journal(lake))
    nodes = sorted(step.nodes, key=lambda node: (node["status"] in ("success", "pass"), -node["seconds"]))
    told = f"{len(nodes)} dbt nodes: those that fail or warn, then the slowest first; none when no model is behind"
    _show("dbt-nodes", told, nodes, step.warnings)
    return _state(step)


@task(task_run_name="publish", **RETRIES)
def publish(run_id: str) -> Any:
    """Publish the marts whose content changed, and show them."""
    lake = Lake()
    step = steps.publish(lake, Journal(lake), run_id)
    marts = report.mart_rows(step)
    _show("marts", f"{len(marts)} marts of run {run_id}; none when nothing changed", marts, step.warnings)
    return _state(step)


@flow(name="land-brick", flow_run_name="land-{brick}")
def land_brick(brick: BrickName, run_id: str) -> Any:
    """Land a brick, and show the rows of its tables and those refused."""
    state = land(brick, run_id, return_state=True)
    step = state.result(raise_on_failure=False)
    if not isinstance(step, LandStep):  # it could not even be tried
        return state
    tables = step.entry["tables"] if step.entry else {}
    told = f"load {step.entry['load_id']}: {step.entry['verdict']}" if step.entry else step.skipped or "nothing new"
    rows = [
        {"table": name, "kept": r["kept"], "refused": r["refused"], "at the source": r["source_count"], "count": r["count_method"]}
        for name, r in tables.items()
    ]
    _show(f"rows-{brick}", f"{brick}: {told}", rows, step.warnings)
    if step.entry and any(record["refused"] for record in tables.values()):
        refused = [
            {"table": name, **row, "reason": row["reason"][:WIDEST_REASON]}
            for name, found in refused_rows(Lake(), step.entry, 20).items()
            for row in found
        ]
        _show(f"refused-{brick}", f"{brick}: refused rows of load {step.entry['load_id']}, first 20 by table", refused)
    return _state(step)


@flow(
    name="city-orchestra",
    flow_run_name=lambda: ", ".join(prefect.runtime.flow_run.parameters["bricks"]) or prefect.runtime.flow_run.parameters["cadence"],
)
def run(cadence: Cadence | None = None, bricks: list[BrickName] = []) -> Any:  # noqa: B006  (a form shows it)
    """Land bricks, one broken one never stopping the others, then build and publish.

    Args:
        cadence: the bricks of this cadence; of none, all bricks
        bricks: only these bricks, whatever their cadence
    """
    due = scheduled()
    chosen = bricks or [brick.name for group in ([due.get(cadence, [])] if cadence else due.values()) for brick in group]
    if not chosen:
        raise LakeError(f"no brick is read {cadence}. Mend: choose one of {', '.join(due)}, or bricks")
    known = read_bricks()
    chosen = [*last_of_all({name: known[name] for name in chosen})]
    lake = Lake()
    with _turn(lake):
        meter, run_id = Footprint(), steps.new_run_id()
        docs.begin(lake)
        states = {"mask": mask(run_id, return_state=True)} if steps.is_to_mask(lake, Journal(lake)) else {}
        states |= {f"land {brick}": land_brick(brick, run_id, return_state=True) for brick in chosen}
        states["build"] = build(return_state=True)
        if is_built(lake, Journal(lake)):
            states["publish"] = publish(run_id, return_state=True)
        if page := docs.render(lake, run_id):
            shown = f"{os.environ['ORCHESTRA_DOCS_URL']}/{page.name}" if "ORCHESTRA_DOCS_URL" in os.environ else f"file://{page}"
            create_link_artifact(link=shown, key="data-docs", description=f"Data Docs of run {run_id}: what its gates judged")
    done = {name: state.result(raise_on_failure=False) for name, state in states.items()}
    spent = {name: getattr(step, "footprint", {}) for name, step in done.items()} | {"all": meter.read()}
    costs = list(spent["all"])  # a table has the columns of its first row
    rows = [{"step": name, **{cost: told.get(cost) for cost in costs}} for name, told in spent.items()]
    _show("footprint", f"What run {run_id} cost; energy: {METHOD}", rows)
    now = {name: next_run(brick) for name, brick in read_bricks().items()}
    lands = [{**report.land_row(step), "late": step.late, "next run": now[step.brick]} for step in done.values() if _is_land(step)]
    _show("bricks", f"Bricks of run {run_id}: what happened, and when each is read again", lands)
    verdict = report.overall(_verdict(step, states[name]) for name, step in done.items())
    return (Failed if verdict.is_failed else Completed)(name=verdict.name, message=verdict.told)


@flow(name="expire", flow_run_name="expire")
def expire() -> Any:
    """Let the loads go that are older than the retention of their brick, build and publish what remains."""
    lake = Lake()
    expired, outcome = taking_back.expire(lake, read_bricks())
    told = [f"{each.load_count} loads of {each.brick}" for each in expired]
    verdict = report.overall(map(report.verdict_of, outcome.steps()))
    return (Failed if verdict.is_failed else Completed)(name=verdict.name, message=", ".join([*told, verdict.told]) if told else "nothing")


def deployments() -> list[Any]:
    """Give one deployment per cadence, tagged with its bricks and their use cases, and the weekly one by which loads expire."""
    found = []
    for cadence, bricks in scheduled().items():
        names = [brick.name for brick in bricks]
        found.append(
            run.to_deployment(
                name=cadence if cadence in CRONS else "-".join(names),
                schedules=[Cron(CRONS.get(cadence, cadence), timezone=read_territory().time_zone)],
                parameters={"cadence": cadence},
                tags=sorted({*names, *(case for brick in bricks for case in brick.meta.use_cases)}),
                description=f"Lands {', '.join(names)} ({cadence}), builds the models that are behind, publishes the marts.",
            )
        )
    weekly, told = Cron(CRONS["weekly"], timezone=read_territory().time_zone), "Lets the loads go that are older than their brick says."
    return [*found, expire.to_deployment(name="expire", schedules=[weekly], description=told)]


def serve_deployments() -> None:
    """Serve every schedule until it is interrupted; runs take the lake one after the other."""
    prefect.serve(*deployments(), *desk.deployments(), pause_on_shutdown=False, limit=RUNS_AT_ONCE)


def crash_interrupted(lake: Lake) -> list[str]:
    """Set the runs that nobody runs any more to Crashed, and give their names; none while another process holds the lake."""
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.states import Crashed

    ours = FlowRunFilter.model_validate({"state": {"type": {"any_": [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]}}})
    # Alerts and forms are not of a run that holds the lake.
    flows = FlowFilter.model_validate({"name": {"any_": [run.name, land_brick.name]}})
    told = "It was interrupted: what ran it has ended. Nothing is to be cleaned. Mend: run it again, or leave it to its schedule."
    crashed = []
    with contextlib.suppress(Busy), lake.lock("run"), get_client(sync_client=True) as client:
        while found := client.read_flow_runs(flow_filter=flows, flow_run_filter=ours, limit=200, sort=FlowRunSort.ID_DESC):
            for each in found:
                client.set_flow_run_state(each.id, Crashed(message=told), force=True)
            crashed += [each.name for each in found]
    return crashed


@contextlib.contextmanager
def _turn(lake: Lake) -> Iterator[None]:
    """Hold the lake; while another run does, the state of this one says so."""
    run_id, waited = prefect.runtime.flow_run.id, []

    def become(state: Any) -> None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run_id, state, force=True)

    def tell(told: str) -> None:
        prefect.get_run_logger().info(told)
        waited.append(told)
        become(Running(name=WAITING, message=told))

    with steps.turn(lake, tell):
        if waited:
            become(Running())
        yield


def _is_land(step: Any) -> bool:
    return isinstance(step, LandStep)


def _verdict(step: Any, state: Any) -> report.Verdict:
    """Sum up a step, or the error that it ended in."""
    return report.Verdict(report.FAILED, str(state.message)) if isinstance(step, BaseException) else report.verdict_of(step)


def _state(step: MaskStep | LandStep | BuildStep | PublishStep) -> Any:
    """Tell a step by the state of what ran it, which holds the step: its name and colour are those of the run that it makes fail."""
    verdict = report.verdict_of(step)
    return (Failed if verdict.is_failed else Completed)(data=step, name=verdict.name, message=verdict.told)


def _show(key: str, description: str, rows: list[dict[str, Any]], warnings: list[str] | None = None) -> None:
    """Leave a table for the operator, and lines in the log; one without rows would hide the last that had some.

    Keys of artifacts hold no underscore.
    """
    logger = prefect.get_run_logger()
    logger.info(description)
    for warning in warnings or []:
        logger.warning(warning)
    if rows:
        create_table_artifact(table=rows, key=key.replace("_", "-"), description=description)
