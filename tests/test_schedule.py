"""Schedules drawn from the bricks, and a real Prefect server that runs one of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ingestion.brick import read_bricks

CHECK = """
import json
from flows.schedule import deployments
from prefect.flows import load_flow_from_entrypoint
print(json.dumps([[d.name, load_flow_from_entrypoint(d.entrypoint).name, d.parameters, d.tags, str(d.schedules[0].schedule)]
                  for d in deployments()]))
"""


def test_each_cadence_is_a_deployment_whose_flow_can_be_loaded(tmp_path: Path) -> None:
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path), "PREFECT_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {name: told for name, *told in json.loads(done.stdout.splitlines()[-1])}
    bricks = read_bricks()
    assert set(found) == {brick.meta.cadence for brick in bricks.values() if brick.meta.status != "retired"}
    flow, parameters, tags, schedule = found["daily"]
    assert flow == "city-orchestra"
    assert parameters == {"bricks": [name for name, brick in bricks.items() if brick.meta.cadence == "daily"]}
    assert {"energy", "meteo_stations", "patrimoine_bati"} <= set(tags)
    assert "22 5 * * *" in schedule and "Europe/Paris" in schedule


FAILING = """
import json
from flows import schedule, steps
nodes = [{"status": status, "seconds": seconds, "kind": "model", "name": status, "message": "told"}
         for status, seconds in (("success", 2.0), ("success", 9.0), ("error", 1.0))]
refused = {"load_id": "l1", "verdict": "refused", "reasons": ["half a file"], "tables": {}}
steps.land = lambda lake, journal, brick, run_id: steps.LandStep(brick.name, refused if brick.name == "insee_cog" else None)
steps.build = lambda lake, journal: steps.BuildStep(nodes, ["build: model error: told"], {"wall_s": 1.0})
shown = {}
schedule._show = lambda key, told, rows, warnings=(): shown.update({key: rows})
schedule.build = schedule.build.with_options(retries=0)
try:
    schedule.run(["insee_cog", "lora_batiments"])
except schedule.NotDone as error:
    shown["told"] = str(error)
print(json.dumps(shown))
"""


def test_a_build_that_fails_is_shown_with_its_nodes_and_every_failure_is_told(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_API_URL": "",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "ORCHESTRA_LAKE": str(tmp_path / "lake"),
    }
    done = subprocess.run([sys.executable, "-c", FAILING], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert [(node["name"], node["seconds"]) for node in shown["dbt-nodes"]] == [("error", 1.0), ("success", 9.0), ("success", 2.0)]
    assert {row["step"] for row in shown["footprint"]} == {"land lora_batiments", "all"}
    assert "load l1 refused: half a file" in shown["told"] and "build: model error: told" in shown["told"]
    assert "marts" not in shown, "what failed to build is published"


@pytest.mark.soak
def test_prefect_runs_a_schedule_and_shows_what_it_did(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRA_", "PREFECT_"))}
    environment = {**clean, "HOME": str(tmp_path), "ORCHESTRA_LAKE": str(tmp_path / "lake"), "ORCHESTRA_PREFECT_PORT": port}
    log = (tmp_path / "log").open("w")
    # What a shell starts in the background ignores it, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    up = subprocess.Popen([sys.executable, "-m", "flows.cli", "up"], env=environment, stdout=log, stderr=log)

    def ask(path: str, **body: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    try:
        found: list[Any] = []
        for _ in range(180):
            with contextlib.suppress(OSError):
                found = ask("deployments/filter")
            if len(found) == 3 or up.poll() is not None:
                break
            time.sleep(1)
        assert len(found) == 3, (tmp_path / "log").read_text()
        # Readings come before the meters that they are expected of: without them, the gate withholds the marts of energy, rightly.
        for name in ("monthly", "hourly", "daily"):
            run = ask(f"deployments/{next(d['id'] for d in found if d['name'] == name)}/create_flow_run")
            state = "SCHEDULED"
            for _ in range(600):
                state = ask("flow_runs/filter", flow_runs={"id": {"any_": [run["id"]]}})[0]["state"]["type"]
                if state in ("COMPLETED", "FAILED", "CRASHED"):
                    break
                time.sleep(1)
            assert state == "COMPLETED", (tmp_path / "log").read_text()[-3000:]
        shown = {artifact["key"]: artifact for artifact in ask("artifacts/latest/filter")}
        rows = {f"rows-{brick}" for brick in ("insee-cog", "lora-batiments", "meteo-stations", "patrimoine-bati")}
        assert rows | {"dbt-nodes", "marts", "footprint"} <= set(shown)
        assert {row["verdict"] for row in json.loads(shown["marts"]["data"])} == {"published"}
        assert {row["step"] for row in json.loads(shown["footprint"]["data"])} >= {"land meteo_stations", "build", "publish", "all"}
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(port)))
