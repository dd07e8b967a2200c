"""Schedules and the operator's eye: Prefect deployments drawn from the cadences of the bricks; Prefect stands only here.

Each due brick is a subflow, then one build and one publish follow, in one process; each leaves an artifact.
"""

from __future__ import annotations

from typing import Any

import prefect
from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.schedules import Cron

from flows import steps
from ingestion.brick import Brick, read_bricks, read_territory
from ingestion.footprint import METHOD, Footprint
from ingestion.journal import Journal
from ingestion.lake import Lake

# Minutes past the hour are spread so that two cadences never start together.
CRONS = {"hourly": "7 * * * *", "daily": "22 5 * * *", "weekly": "37 4 * * 1", "monthly": "52 3 2 * *"}
NODE = ("status", "seconds", "kind", "name", "message")
RETRIES: dict[str, Any] = {"retries": 2, "retry_delay_seconds": 30}


class NotDone(Exception):
    """A step that failed, a load that was refused or a mart that was withheld; the message says which."""


@task(name="land", task_run_name="land-{brick}", **RETRIES)
def land(brick: str, run_id: str) -> steps.LandStep:
    """Land a brick; what fails is tried again, what is refused is not."""
    lake = Lake()
    step = steps.land(lake, Journal(lake), read_bricks()[brick], run_id)
    if step.error:
        raise NotDone(f"landing {brick}: {step.error}")
    return step


@task(name="build", task_run_name="build", **RETRIES)
def build() -> steps.BuildStep:
    """Build the models that are behind."""
    lake = Lake()
    step = steps.build(lake, Journal(lake))
    if step.failures:
        raise NotDone("; ".join(step.failures))
    return step


@task(name="publish", task_run_name="publish", **RETRIES)
def publish(run_id: str) -> steps.PublishStep:
    """Publish the marts whose content changed."""
    lake = Lake()
    return steps.publish(lake, Journal(lake), run_id)


@flow(name="land-brick", flow_run_name="land-{brick}")
def land_brick(brick: str, run_id: str) -> dict[str, float]:
    """Land a brick, and show the rows of its tables and those refused; give what it cost."""
    step = land(brick, run_id)
    entry = step.entry
    _warn(step.warnings)
    told = f"load {entry['load_id']}: {entry['verdict']}" if entry else step.skipped or "nothing new"
    tables = entry["tables"] if entry else {}
    rows = [
        {"table": name, "kept": r["kept"], "refused": r["refused"], "at the source": r["source_count"], "count": r["count_method"]}
        for name, r in tables.items()
    ]
    _show(f"rows-{brick}", f"{brick}: {told}", rows)
    if entry and any(r["refused"] for r in tables.values()):
        from ingestion.steward import refused_rows

        refused = [
            {"table": name, "reason": row["reason"], "row": row["row"], "file": row["file"]}
            for name, found in refused_rows(Lake(), entry, 20).items()
            for row in found
        ]
        _show(f"refused-{brick}", f"{brick}: refused rows, first 20 by table", refused)
    if entry and entry["verdict"] == "refused":
        raise NotDone(f"load {entry['load_id']} refused: {'; '.join(entry['reasons'])}")
    return step.footprint


@flow(name="city-orchestra", flow_run_name=lambda: ", ".join(prefect.runtime.flow_run.parameters["bricks"]))
def run(bricks: list[str]) -> None:
    """Land the bricks, one broken one never stopping the others, then build and publish."""
    meter, run_id = Footprint(), steps.new_run_id()
    states = {brick: land_brick(brick, run_id, return_state=True) for brick in bricks}
    failures = [str(state.message) for state in states.values() if state.is_failed()]
    built = build()
    _warn(built.warnings)
    nodes = [{name: node[name] for name in NODE} for node in built.nodes]
    nodes.sort(key=lambda node: (node["status"] != "warn", -node["seconds"]))
    _show("dbt-nodes", f"{len(nodes)} dbt nodes: those that warn, then the slowest first; none when no model is behind", nodes)
    published = publish(run_id)
    _warn(published.warnings)
    entry = published.entry
    marts = [
        {"mart": name, "class": r["class"], "rows": r["row_count"], "verdict": verdict, "why": "; ".join(r.get("reasons", []))}
        for verdict, group in (("published", "marts"), ("withheld", "withheld"))
        for name, r in (entry[group] if entry else {}).items()
    ]
    _show("marts", f"{len(marts)} marts of run {run_id}; none when nothing changed", marts)
    spent = {f"land {brick}": state.result() for brick, state in states.items() if state.is_completed()}
    spent |= {"build": built.footprint, "publish": published.footprint, "all": meter.read()}
    _show("footprint", f"What run {run_id} cost; energy: {METHOD}", [{"step": step, **cost} for step, cost in spent.items()])
    failures += [f"mart {row['mart']} withheld: {row['why']}" for row in marts if row["verdict"] == "withheld"]
    if failures:
        raise NotDone("\n".join(failures))


def cadences(bricks: dict[str, Brick]) -> dict[str, list[str]]:
    """Give the names of the bricks to run by cadence, those retired left out."""
    found: dict[str, list[str]] = {}
    for brick in bricks.values():
        if brick.meta.status != "retired":
            found.setdefault(brick.meta.cadence, []).append(brick.name)
    return found


def deployments() -> list[Any]:
    """Give one deployment per cadence, tagged with its bricks and their use cases."""
    bricks, time_zone = read_bricks(), read_territory().time_zone
    return [
        run.to_deployment(
            name=cadence if cadence in CRONS else "-".join(names),
            schedules=[Cron(CRONS.get(cadence, cadence), timezone=time_zone)],
            parameters={"bricks": names},
            tags=sorted({*names, *(case for name in names for case in bricks[name].meta.use_cases)}),
            description=f"Lands {', '.join(names)} ({cadence}), builds the models that are behind, publishes the marts.",
        )
        for cadence, names in cadences(bricks).items()
    ]


def serve_deployments() -> None:
    """Serve every schedule until it is interrupted, one run at a time."""
    prefect.serve(*deployments(), pause_on_shutdown=False, limit=1)


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        prefect.get_run_logger().warning(warning)


def _show(key: str, description: str, rows: list[dict[str, Any]]) -> None:
    """Leave a table for the operator, and a line in the log; keys of artifacts hold no underscore."""
    prefect.get_run_logger().info(description)
    create_table_artifact(table=rows, key=key.replace("_", "-"), description=description)
