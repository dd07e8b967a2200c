"""Work pools as Prefect's users know them: a real server, `prefect deploy --all`, a process worker, an alert after a run."""

from __future__ import annotations

import datetime as dt
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_alerts import Hook

from flows.cadence import CRONS
from flows.desk import ENDS
from ingestion.lake import PROJECT
from ingestion.sandbox.files import write_drops
from ingestion.territory import read_territory
from tests.check_deploy import faults_of_deployments, faults_of_template
from tests.fixtures.prefect_api import asked_of_prefect


def test_prefect_yaml_has_the_crons_of_the_cadences_and_the_ends_of_a_run() -> None:
    told = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))
    runs = [each for each in told["deployments"] if each["entrypoint"] == "flows/schedule.py:run"]
    assert {each["parameters"]["cadence"]: each["schedules"][0]["cron"] for each in runs}.items() <= CRONS.items()
    (alert,) = [each for each in told["deployments"] if "triggers" in each]
    assert alert["triggers"][0]["expect"] == ENDS


def test_a_cadence_that_no_deployment_reads_is_named_with_its_mend() -> None:
    assert faults_of_deployments({"hourly", "daily", "monthly"}) == []
    (fault,) = faults_of_deployments({"hourly", "daily", "monthly", "*/10 * * * *"})
    assert "*/10 * * * *" in fault and "Mend: add" in fault


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("ExecStart=prefect server start --host 0.0.0.0", True),
        ("PREFECT_SERVER_API_HOST=192.168.1.2", True),
        ("ExecStart=prefect server start --host 127.0.0.1", False),
        ("PREFECT_SERVER_API_AUTH_STRING=${SECRET}\nExecStart=prefect server start --host 0.0.0.0", False),
        ('CMD ["prefect", "server", "start", "--host", "0.0.0.0"]', True),
        ('CMD ["prefect", "server", "start", "--host", "127.0.0.1"]', False),
        ('- name: PREFECT_SERVER_API_HOST\n  value: "0.0.0.0"', True),
        ('- name: PREFECT_SERVER_API_HOST\n  value: "127.0.0.1"', False),
        ("PREFECT_SERVER_API_AUTH_STRING=\nPREFECT_SERVER_API_HOST=0.0.0.0", True),
        ("# PREFECT_SERVER_API_AUTH_STRING\nExecStart=prefect server start --host 0.0.0.0", True),
    ],
)
def test_a_template_that_opens_prefect_beyond_this_machine_without_a_password_is_refused(text: str, is_told: bool) -> None:
    assert bool(faults_of_template("unit", text)) is is_told


@pytest.mark.soak
def test_prefect_deploys_all_a_worker_takes_a_run_and_an_alert_follows_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    api, hook = f"http://127.0.0.1:{port}/api", Hook()
    drops = tmp_path / "insee_cog"
    write_drops(drops, "insee_cog", until=dt.date(2024, 1, 5))
    (drops / "perimetre-epci-a-fp.csv").write_text("half a file", encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRA_", "PREFECT_"))}
    environment = {
        **clean, "PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": api, "ORCHESTRA_LAKE": str(tmp_path / "lake"),
        "ORCHESTRA_ENDPOINT": "none", "ORCHESTRA_ENDPOINT_INSEE_COG": str(drops), "PYTHONPATH": str(PROJECT),
        "ORCHESTRA_ALERT_WEBHOOK": f"http://127.0.0.1:{hook.server_port}", "PATH": f"{Path(sys.executable).parent}:{clean['PATH']}",
    }  # fmt: skip

    def ask(path: str, **body: Any) -> Any:
        return asked_of_prefect(api, path, body)

    def prefect(*arguments: str) -> str:
        command = [sys.executable, "-m", "prefect", *arguments]
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    log = (tmp_path / "log").open("w")
    serve = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    started = [subprocess.Popen(serve, env=environment, stdout=log, stderr=log)]
    try:
        for _ in range(240):
            try:
                ask("deployments/filter")
                break
            except OSError:
                time.sleep(1)
        prefect("work-pool", "create", "city", "--type", "process")
        prefect("--no-prompt", "deploy", "--all")
        assert "city-orchestra/monthly" in prefect("deployment", "ls")
        (monthly,) = [each for each in ask("deployments/filter") if each["name"] == "monthly"]
        assert monthly["schedules"][0]["schedule"]["timezone"] == read_territory().time_zone
        worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "city"]
        started.append(subprocess.Popen(worker, cwd=PROJECT, env=environment, stdout=log, stderr=log))
        run = ask(f"deployments/{monthly['id']}/create_flow_run", parameters={"cadence": "monthly", "bricks": ["insee_cog"]})
        for _ in range(600):
            if hook.told:
                break
            time.sleep(1)
        state = ask("flow_runs/filter", flow_runs={"id": {"any_": [run["id"]]}})[0]["state"]
        assert state["type"] == "FAILED", (tmp_path / "log").read_text()[-3000:]
        assert len({text for text, _ in hook.told}) == len(hook.told) > 0, "told twice"
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(60)
        hook.shutdown()
        hook.server_close()
