"""Schedules and the operator's eye: Prefect deployments drawn from the cadences of the bricks; Prefect stands only here.

Each due brick is a subflow, then one build and one publish follow, in one process; each leaves an artifact.
"""

from __future__ import annotations

from typing import Any

import prefect
from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.schedules import Cron

from flows import report, steps
from ingestion.brick import Brick, read_bricks, read_territory
from ingestion.footprint import METHOD, Footprint
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.steward import refused_rows

# Minutes past the hour are spread so that two cadences never start together.
CRONS = {"hourly": "7 * * * *", "daily": "22 5 * * *", "weekly": "37 4 * * 1", "monthly": "52 3 2 * *"}
WIDEST_REASON = 120  # characters, so that file and row stay in sight
RETRIES: dict[str, Any] = {"retries": 2, "retry_delay_seconds": 30}


class NotDone(Exception):
    """A step that failed, a load that was refused or a mart that was withheld; the message says which."""


@task(task_run_name="land-{brick}", **RETRIES)
def land(brick: str, run_id: str) -> steps.LandStep:
    """Land a brick; what fails is tried again, what is refused is not."""
    lake = Lake()
    step = steps.land(lake, Journal(lake), read_bricks()[brick], run_id)
    if step.error:
        raise NotDone(*step.failures)
    return step


@task(task_run_name="build", **RETRIES)
def build() -> steps.BuildStep:
    """Build the models that are behind, and show dbt's nodes, those of a build that fails too."""
    lake = Lake()
    step = steps.build(lake, Journal(lake))
    nodes = sorted(step.nodes, key=lambda node: (node["status"] in ("success", "pass"), -node["seconds"]))
    told = f"{len(nodes)} dbt nodes: those that fail or warn, then the slowest first; none when no model is behind"
    _show("dbt-nodes", told, nodes, step.warnings)
    if step.failures:
        raise NotDone("\n".join(step.failures))
    return step


@task(task_run_name="publish", **RETRIES)
def publish(run_id: str) -> steps.PublishStep:
    """Publish the marts whose content changed, and show them."""
    lake = Lake()
    step = steps.publish(lake, Journal(lake), run_id)
    marts = report.mart_rows(step)
    _show("marts", f"{len(marts)} marts of run {run_id}; none when nothing changed", marts, step.warnings)
    return step


@flow(name="land-brick", flow_run_name="land-{brick}")
def land_brick(brick: str, run_id: str) -> steps.LandStep:
    """Land a brick, and show the rows of its tables and those refused."""
    step = land(brick, run_id)
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
    if step.failures:
        raise NotDone(*step.failures)
    return step


@flow(name="city-orchestra", flow_run_name=lambda: ", ".join(prefect.runtime.flow_run.parameters["bricks"]))
def run(bricks: list[str]) -> None:
    """Land the bricks, one broken one never stopping the others, then build and publish."""
    meter, run_id = Footprint(), steps.new_run_id()
    states = {f"land {brick}": land_brick(brick, run_id, return_state=True) for brick in bricks}
    states["build"] = build(return_state=True)
    lake = Lake()
    if steps.is_built(lake, Journal(lake)):
        states["publish"] = publish(run_id, return_state=True)
    done = {name: state.result() for name, state in states.items() if state.is_completed()}
    spent = {name: step.footprint for name, step in done.items()} | {"all": meter.read()}
    _show("footprint", f"What run {run_id} cost; energy: {METHOD}", [{"step": name, **cost} for name, cost in spent.items()])
    failures = [str(state.message) for state in states.values() if not state.is_completed()]
    failures += [failure for step in done.values() for failure in step.failures]
    if failures:
        raise NotDone("\n".join(failures))


def deployments() -> list[Any]:
    """Give one deployment per cadence, tagged with its bricks and their use cases; those retired are left out."""
    due: dict[str, list[Brick]] = {}
    for brick in read_bricks().values():
        if brick.meta.status != "retired":
            due.setdefault(brick.meta.cadence, []).append(brick)
    found = []
    for cadence, bricks in due.items():
        names = [brick.name for brick in bricks]
        found.append(
            run.to_deployment(
                name=cadence if cadence in CRONS else "-".join(names),
                schedules=[Cron(CRONS.get(cadence, cadence), timezone=read_territory().time_zone)],
                parameters={"bricks": names},
                tags=sorted({*names, *(case for brick in bricks for case in brick.meta.use_cases)}),
                description=f"Lands {', '.join(names)} ({cadence}), builds the models that are behind, publishes the marts.",
            )
        )
    return found


def serve_deployments() -> None:
    """Serve every schedule until it is interrupted, one run at a time."""
    prefect.serve(*deployments(), pause_on_shutdown=False, limit=1)


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
