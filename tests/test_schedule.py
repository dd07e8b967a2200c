"""Schedules drawn from the bricks, and a real Prefect server that runs one of them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flows import steps
from flows.cadence import CRONS, next_run
from flows.dbt_process import dbt_environment
from ingestion.census import read_bricks
from ingestion.connectors import SourceError
from ingestion.declaration import BrickError
from ingestion.lake import Busy, Lake, LakeError
from ingestion.territory import read_territory
from tests.fixtures.prefect_api import asked_of_prefect

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
    assert set(found) == {brick.meta.cadence for brick in bricks.values() if brick.meta.status != "retired"} | {"expire"}
    flow, parameters, tags, schedule = found["daily"]
    assert flow == "city-orchestra"
    assert parameters == {"cadence": "daily"}
    assert {name for name, brick in bricks.items() if brick.meta.cadence == "daily"} <= set(tags)
    assert {"energy", "meteo_stations", "patrimoine_bati"} <= set(tags)
    assert "22 5 * * *" in schedule and "Europe/Paris" in schedule


RUNS = """
import json
from flows import report, schedule, steps
from flows.outcome import BuildStep, LandStep, MaskStep
from ingestion.journal import Journal
from ingestion.lake import Lake
import prefect
tries, shown, waits = [], {}, []
nodes = [{"status": status, "seconds": seconds, "kind": "model", "name": status, "message": "told"}
         for status, seconds in (("success", 2.0), ("success", 9.0), ("error", 1.0))]
record = {"kept": 40, "refused": 2, "source_count": 42, "count_method": "counted", "refused_files": []}
loads = {
    "insee_cog": LandStep("insee_cog", {"load_id": "l1", "verdict": "refused", "reasons": ["half a file"], "tables": {}}),
    "lora_batiments": LandStep("lora_batiments", {"load_id": "l2", "verdict": "accepted", "tables": {"frames": record}}),
    "meteo_stations": LandStep("meteo_stations", late="nothing new since May"),
    "patrimoine_bati": LandStep("patrimoine_bati", skipped="no endpoint"),
    "reseaux_chaleur": LandStep("reseaux_chaleur", error="declared wrong"),
    "emissions_territoire": LandStep("emissions_territoire", error="no network", may_pass=True),
}
def land(lake, journal, brick, run_id):
    tries.append(brick.name)
    return loads[brick.name]
steps.land = land
steps.build = lambda lake, journal: BuildStep(build[0], build[1], {"wall_s": 1.0, "cpu_s": 2.0, "energy_wh": 3.0})
schedule.refused_rows = lambda lake, load, limit: {"frames": [{"file": "a", "row": 1, "reason": "r" * 500}]}
schedule._show = lambda key, told, rows, warnings=(): shown.update({key: rows})
schedule.land = schedule.land.with_options(retry_delay_seconds=0)
def run(*bricks):
    state = schedule.run(bricks=list(bricks), return_state=True)
    return [state.type.value, state.name, state.message]
told = {}
build = [nodes, ["build: model error: told"]]
told["broken"] = run("insee_cog", "reseaux_chaleur", "emissions_territoire")
told["nodes"], told["costs"] = shown["dbt-nodes"], shown["footprint"]
build = [[], []]
told["refused"] = run("insee_cog", "lora_batiments")
told["rows"], told["bricks"] = shown["refused-lora_batiments"], shown["bricks"]
told["refusals"] = run("meteo_stations", "patrimoine_bati", "lora_batiments")
told["late"] = run("meteo_stations", "patrimoine_bati")
told["unplugged"] = run("patrimoine_bati")
steps.is_to_mask, steps.mask = lambda *_: True, lambda *_: mask
mask = MaskStep({"insee_cog": ["l0"]}, taken_away=["a mart"])
told["masked"] = run("patrimoine_bati")
mask = MaskStep(errors={"masking insee_cog": "no key"})
told["unmasked"] = run("patrimoine_bati")
steps.is_to_mask = lambda *_: False
try:
    schedule.run(bricks=["no_such_brick"])
except Exception as error:
    told["unknown"] = str(error)
with prefect.get_client(sync_client=True) as client:
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.states import Running
    runs = client.read_flow_runs(limit=200, sort=FlowRunSort.ID_DESC)
    told["states"] = [[run.name, run.state.name] for run in runs]
    ours = runs[0]
    client.set_flow_run_state(ours.id, Running(), force=True)
    with Lake().lock("run"):
        told["held"] = schedule.crash_interrupted(Lake())
    told["crashed"] = [schedule.crash_interrupted(Lake()) == [ours.name], client.read_flow_run(ours.id).state.name]
    told["twice"] = schedule.crash_interrupted(Lake())
print(json.dumps({**told, "tries": tries, "published": "marts" in shown, "parameters": schedule.run.parameters.model_dump()}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what Prefect told of runs whose steps are made up."""
    folder = tmp_path_factory.mktemp("runs")
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": "",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "ORCHESTRA_LAKE": str(folder / "lake"),
    }
    done = subprocess.run([sys.executable, "-c", RUNS], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return found


def test_a_build_that_fails_is_shown_with_its_nodes_and_every_failure_is_told(told: dict[str, Any]) -> None:
    kind, name, message = told["broken"]
    assert (kind, name) == ("FAILED", "Failed")
    for failure in ("landing reseaux_chaleur: declared wrong", "load l1 refused: half a file", "build: model error: told"):
        assert failure in message
    assert [(node["name"], node["seconds"]) for node in told["nodes"]] == [("error", 1.0), ("success", 9.0), ("success", 2.0)]
    assert not told["published"], "what failed to build is published"


def test_the_footprint_has_all_its_columns_whatever_its_first_step_cost(told: dict[str, Any]) -> None:
    costs = {row["step"]: row for row in told["costs"]}
    assert {tuple(row) for row in told["costs"]} == {("step", "wall_s", "cpu_s", "energy_wh")}
    assert costs["build"]["energy_wh"] == 3.0 and costs["land insee_cog"]["cpu_s"] is None and costs["all"]["cpu_s"] > 0


def test_a_run_says_by_its_state_what_was_refused_is_late_or_is_not_plugged_in(told: dict[str, Any]) -> None:
    assert told["refused"][:2] == ["FAILED", "Load refused"] and "orchestra loads show l1" in told["refused"][2]
    assert told["refusals"][:2] == ["COMPLETED", "With refusals"]
    assert told["refusals"][2].splitlines()[:3] == [
        "lora_batiments: 2 rows refused, 40 kept: orchestra loads show l2", "meteo_stations: nothing new since May", "no endpoint",
    ]  # fmt: skip
    assert told["late"][:2] == ["COMPLETED", "Brick late"] and told["unplugged"][:2] == ["COMPLETED", "Not plugged in"]
    # The task and the subflow of a brick are of the colour of the run that they make fail.
    assert ["land-insee_cog", "Load refused"] in told["states"] and ["land-lora_batiments", "With refusals"] in told["states"]
    assert [len(row["reason"]) for row in told["rows"]] == [120]
    assert {row["brick"] for row in told["bricks"]} == {"insee_cog", "lora_batiments"} and "next run" in told["bricks"][0]


def test_a_run_says_what_it_masked_and_fails_where_it_could_not(told: dict[str, Any]) -> None:
    kind, name, message = told["masked"]
    assert (kind, name) == ("COMPLETED", "Not plugged in") and "masked: 1 loads of insee_cog" in message
    assert told["unmasked"][:2] == ["FAILED", "Failed"] and "masking insee_cog: no key" in told["unmasked"][2]


def test_only_what_may_pass_is_tried_again(told: dict[str, Any]) -> None:
    tries = Counter(told["tries"])
    assert tries["emissions_territoire"] == 3, "a network"
    assert tries["reseaux_chaleur"] == 1, "a bad declaration"
    assert tries["insee_cog"] == 2, "a refused load, once in each of its two runs"


def test_the_parameters_of_a_run_are_a_choice_among_the_bricks_that_exist(told: dict[str, Any]) -> None:
    fields = told["parameters"]["properties"]
    assert fields["bricks"]["items"]["enum"] == list(read_bricks())
    assert {"hourly", "daily", "monthly"} <= set(json.dumps(fields["cadence"]).replace('"', " ").replace(",", " ").split())
    assert f"bricks.0: Input should be '{min(read_bricks())}'" in told["unknown"]


def test_what_was_interrupted_is_told_as_crashed_unless_it_still_goes_on(told: dict[str, Any]) -> None:
    assert told["held"] == [] and told["crashed"] == [True, "Crashed"] and told["twice"] == []


def test_a_run_waits_its_turn_and_says_so(tmp_path: Path) -> None:
    lake, said = Lake(str(tmp_path)), []
    with contextlib.ExitStack() as held:
        held.enter_context(lake.lock("run"))

        def tell(told: str) -> None:
            said.append(told)
            held.close()

        with steps.turn(lake, tell):
            assert said == [f"waits its turn: another run holds the lake, process {os.getpid()}"]
            with pytest.raises(Busy), lake.lock("run"):
                pass
    with steps.turn(lake, said.append):
        assert len(said) == 1, "nobody holds the lake"


def test_up_refuses_a_port_and_a_lake_that_are_taken(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    up = [sys.executable, "-m", "flows.cli", "up"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environment = {**os.environ, "ORCHESTRA_ENDPOINT": "none", "ORCHESTRA_LAKE": lake.root, "ORCHESTRA_PREFECT_PORT": port}
        done = subprocess.run(up, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1 and f"port {port} of 127.0.0.1 is taken" in done.stderr, done
        with lake.lock("up"):
            done = subprocess.run(up, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1 and f"the schedules of {lake.root} are served already" in done.stderr, done
    environment["ORCHESTRA_PREFECT_PORT"] = "many"
    done = subprocess.run(up, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "ORCHESTRA_PREFECT_PORT is 'many'" in done.stderr, done


@pytest.mark.parametrize("cadence", ["hourly", "daily", "weekly", "monthly", "*/15 6-20 * * MON-FRI"])
def test_the_next_run_that_is_told_is_the_one_of_prefect(cadence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.server.schemas.schedules import CronSchedule

    monkeypatch.setenv("ORCHESTRA_ENDPOINT_INSEE_COG", "x")
    brick = read_bricks()["insee_cog"]
    brick = brick.model_copy(
        update={"config": brick.config.model_copy(update={"meta": brick.meta.model_copy(update={"cadence": cadence})})}
    )
    zone = read_territory().time_zone
    for now in ("2026-06-30T00:30:00+00:00", "2026-10-24T22:10:00+00:00", "2026-12-31T23:59:00+00:00"):
        start = dt.datetime.fromisoformat(now)
        (due,) = asyncio.run(CronSchedule(cron=CRONS.get(cadence, cadence), timezone=zone).get_dates(1, start=start))
        assert dt.datetime.fromisoformat(next_run(brick, start) or "") == due
    monkeypatch.setenv("ORCHESTRA_ENDPOINT_INSEE_COG", "none")
    assert next_run(brick) is None, "it is not plugged in"


def test_what_dbt_says_of_a_failure_has_no_colours(tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: trial\nprofile: none\n", encoding="utf-8")
    command = [sys.executable, "-m", "dbt.cli.main", "parse", "--project-dir", str(tmp_path), "--profiles-dir", str(tmp_path)]
    for environment, is_coloured in ((dict(os.environ), True), (dbt_environment(Lake(str(tmp_path / "lake"))), False)):
        environment.pop("DBT_PROFILES_DIR", None)
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode and ("\x1b[" in done.stdout + done.stderr) is is_coloured, done.stdout + done.stderr


def test_a_network_may_pass_and_a_declaration_may_not() -> None:
    assert steps.may_pass(SourceError("cannot be reached", may_pass=True)) and steps.may_pass(ConnectionResetError())
    assert not any(map(steps.may_pass, (SourceError("no file is a*.csv"), LakeError("two kinds of data"), BrickError("x"), ValueError())))


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
        return asked_of_prefect(f"http://127.0.0.1:{port}/api", path, body)

    try:
        found: list[Any] = []
        for _ in range(180):
            with contextlib.suppress(OSError):
                found = ask("deployments/filter")
            if len(found) == 8 or up.poll() is not None:
                break
            time.sleep(1)
        assert len(found) == 8, (tmp_path / "log").read_text()
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
        assert rows | {"bricks", "data-docs", "dbt-nodes", "marts", "footprint"} <= set(shown)
        assert {row["verdict"] for row in json.loads(shown["marts"]["data"])} == {"published"}
        assert {row["step"] for row in json.loads(shown["footprint"]["data"])} >= {"land meteo_stations", "build", "publish", "all"}
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(port)))
