"""Schedules and the operator's eye: Prefect deployments drawn from the cadences of the bricks; Prefect stands only here."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingestion.brick import Brick, read_bricks, read_territory
from ingestion.footprint import Footprint
from ingestion.journal import Journal
from ingestion.lake import PROJECT, Lake

# Minutes past the hour are spread so that two cadences never start together.
CRONS = {"hourly": "7 * * * *", "daily": "22 5 * * *", "weekly": "37 4 * * 1", "monthly": "52 3 2 * *"}
PORT = 4200
RETRIES = {"retries": 2, "retry_delay_seconds": 30}


class NotDone(Exception):
    """A step that failed, a load that was refused or a mart that was withheld; the message says which."""


def cadences(bricks: dict[str, Brick]) -> dict[str, list[str]]:
    """Give the names of the bricks to run by cadence, those retired left out."""
    found: dict[str, list[str]] = {}
    for brick in bricks.values():
        if brick.meta.status != "retired":
            found.setdefault(brick.meta.cadence, []).append(brick.name)
    return found


def deployments() -> list[Any]:
    """Give one deployment per cadence, tagged with its bricks and their use cases."""
    from prefect.schedules import Cron

    flow = _run_flow()
    bricks, time_zone = read_bricks(), read_territory().time_zone
    made = []
    for cadence, names in cadences(bricks).items():
        tags = sorted({*names, *(case for name in names for case in bricks[name].meta.use_cases)})
        made.append(
            flow.to_deployment(
                name=cadence if cadence in CRONS else "-".join(names),
                schedules=[Cron(CRONS.get(cadence, cadence), timezone=time_zone)],
                parameters={"bricks": names},
                tags=tags,
                description=f"Lands {', '.join(names)} ({cadence}), builds the models that are behind, publishes the marts.",
            )
        )
    return made


def _run_flow() -> Any:
    """Make the flow of a cadence: each brick a subflow, then one build and one publish, and an artifact for each."""
    from prefect import flow, task
    from prefect.artifacts import create_table_artifact

    from flows import steps

    @task(name="land", **RETRIES)
    def land(brick: str, run_id: str) -> dict[str, Any]:
        lake = Lake()
        step = steps.land(lake, Journal(lake), read_bricks()[brick], run_id)
        if step.error:
            raise NotDone(f"landing {brick}: {step.error}")
        return {"entry": step.entry, "skipped": step.skipped, "footprint": step.footprint, "bytes_read": step.bytes_read}

    @flow(name="land-brick", flow_run_name="land-{brick}")
    def land_brick(brick: str, run_id: str) -> None:
        step = land(brick, run_id)
        entry = step["entry"]
        rows: list[dict[str, Any]] = [
            {"table": name, "kept": r["kept"], "refused": r["refused"], "at the source": r["source_count"], "count": r["count_method"]}
            for name, r in (entry["tables"] if entry else {}).items()
        ]
        told = f"load {entry['load_id']}: {entry['verdict']}" if entry else step["skipped"] or "nothing new"
        create_table_artifact(table=rows or [{"load": told}], key=f"rows-{_key(brick)}", description=f"{brick}: {told}")
        if entry and sum(r["refused"] for r in entry["tables"].values()):
            from ingestion.steward import refused_rows

            refused = [{"table": name, **row} for name, found in refused_rows(Lake(), entry, 20).items() for row in found]
            create_table_artifact(table=refused, key=f"refused-{_key(brick)}", description=f"{brick}: refused rows, first 20 by table")
        if entry and entry["verdict"] == "refused":
            raise NotDone(f"load {entry['load_id']} refused: {'; '.join(entry['reasons'])}")

    @task(name="build", **RETRIES)
    def build() -> list[dict[str, Any]]:
        lake = Lake()
        step = steps.build(lake, Journal(lake))
        if step.failures:
            raise NotDone("; ".join(step.failures))
        return step.nodes

    @task(name="publish", **RETRIES)
    def publish(run_id: str) -> dict[str, Any] | None:
        lake = Lake()
        return steps.publish(lake, Journal(lake), run_id).entry

    @flow(name="city-orchestra", flow_run_name="{bricks}", log_prints=True)
    def run(bricks: list[str]) -> None:
        meter = Footprint()
        run_id = steps.new_run_id()
        failures = []
        for brick in bricks:  # one broken brick never stops the others
            state = land_brick(brick, run_id, return_state=True)
            if state.is_failed():
                failures.append(str(state.message))
        nodes = build()
        create_table_artifact(table=nodes or [{"dbt": "no model is behind"}], key="dbt-nodes", description="dbt nodes and their time")
        entry = publish(run_id)
        marts = [
            {"mart": name, "class": r["class"], "rows": r["row_count"], "verdict": verdict, "why": "; ".join(r.get("reasons", []))}
            for verdict, group in (("published", "marts"), ("withheld", "withheld"))
            for name, r in (entry[group] if entry else {}).items()
        ]
        create_table_artifact(table=marts or [{"marts": "nothing new"}], key="marts", description="Marts of this run")
        create_table_artifact(table=[meter.read()], key="footprint", description="Time, CPU and estimated energy of this run")
        failures += [f"mart {row['mart']} withheld: {row['why']}" for row in marts if row["verdict"] == "withheld"]
        if failures:
            raise NotDone("\n".join(failures))

    return run


def serve() -> None:
    """Start the Prefect server on 127.0.0.1 and serve every schedule until Ctrl-C, which stops all of it.

    Without any ORCHESTRA_ENDPOINT in the environment, the sandbox is served too, over the lake of the demo.
    """
    from flows.demo import sandbox

    with contextlib.ExitStack() as stack:
        if not any(name.startswith("ORCHESTRA_ENDPOINT") for name in os.environ):
            folder = PROJECT / "lake" / "demo"
            url = stack.enter_context(sandbox(os.environ.get("UNTIL", "2025-12-31"), folder / "planted.json"))
            os.environ["ORCHESTRA_ENDPOINT"] = url + "/{brick}"
            os.environ.setdefault("ORCHESTRA_LAKE", str(folder))
            print(f"No ORCHESTRA_ENDPOINT is set: a synthetic territory is served on {url}, its lake is {os.environ['ORCHESTRA_LAKE']}.")
        api = stack.enter_context(_server(Lake()))
        import prefect

        print(f"{read_territory().name}: Prefect UI on {api.removesuffix('/api')}; Ctrl-C stops all of it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            prefect.serve(*deployments(), pause_on_shutdown=False, limit=1)


@contextlib.contextmanager
def _server(lake: Lake) -> Iterator[str]:
    """Run a Prefect server of this lake's own; give the address of its API."""
    port = int(os.environ.get("ORCHESTRA_PREFECT_PORT", PORT))
    api = f"http://127.0.0.1:{port}/api"
    home = lake.state_path("prefect", "x").parent
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    }
    os.environ.update(settings)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    log = lake.state_path("logs", "prefect-server.log")
    with Path(log).open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            _wait_for(f"{api}/health", process, log)
            yield api
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if process.poll() is not None:
            raise NotDone(f"the Prefect server ended with status {process.returncode}: see {log}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.5)
    raise NotDone(f"the Prefect server did not answer on {url}: see {log}")


def _key(brick: str) -> str:
    """Write a brick's name as Prefect wants the keys of artifacts: dashes only."""
    return brick.replace("_", "-")
