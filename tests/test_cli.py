"""The commands as they are typed: exit statuses, JSON, help in a blink, what a run with nothing new imports."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingestion.sandbox.files import write_drops


def orchestra(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    write_drops(tmp_path / "insee_cog", "insee_cog", until=dt.date(2024, 1, 5))
    return {"ORCHESTRA_LAKE": str(tmp_path / "lake"), "ORCHESTRA_ENDPOINT_INSEE_COG": str(tmp_path / "insee_cog")}


def test_help_takes_less_than_half_a_second() -> None:
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        assert "exit status" in orchestra("--help").stdout
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["land", "--brick", "nope"], "no brick 'nope'"),
        (["run", "--use-case", "love"], "no brick serves"),
        (["loads", "show", "nope"], "no load 'nope'"),
        (["bricks", "show", "nope"], "no brick 'nope'"),
        (["sandbox", "serve", "--port", "1", "--until", "soon"], "--until soon"),
        (["dance"], "invalid choice"),
    ],
)
def test_misuse_has_status_2_and_says_what(arguments: list[str], told: str, place: dict[str, str]) -> None:
    done = orchestra(*arguments, **place)
    assert done.returncode == 2 and told in done.stderr, done


def test_land_list_show_and_status_speak_json(place: dict[str, str]) -> None:
    done = orchestra("land", "--brick", "insee_cog", "--json", **place)
    assert done.returncode == 0, done.stderr
    load = json.loads(done.stdout)["lands"][0]["entry"]
    assert load["verdict"] == "accepted" and load["tables"]["communes"]["kept"] == 43
    assert [found["load_id"] for found in json.loads(orchestra("loads", "list", "--json", **place).stdout)] == [load["load_id"]]
    shown = json.loads(orchestra("loads", "show", load["load_id"], "--json", **place).stdout)
    assert shown["refused_rows"] == {"communes": [], "epci_members": []}
    status = json.loads(orchestra("status", "--json", **place).stdout)
    assert status["is_synthetic"] and status["bricks"]["insee_cog"]["kept"] == 86
    assert "insee_cog" in {brick["name"] for brick in json.loads(orchestra("bricks", "list", "--json", **place).stdout)}


def test_a_refused_load_has_status_1_and_says_which(place: dict[str, str]) -> None:
    folder = Path(place["ORCHESTRA_ENDPOINT_INSEE_COG"])
    assert orchestra("land", "--brick", "insee_cog", **place).returncode == 0
    path = folder / "perimetre-epci-a-fp.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]))
    done = orchestra("land", "--brick", "insee_cog", **place)
    assert done.returncode == 1 and "refused: epci_members" in done.stdout, done


def test_a_run_with_nothing_new_imports_no_heavy_library(place: dict[str, str]) -> None:
    orchestra("land", "--brick", "insee_cog", **place)
    script = (
        "import sys; from flows.cli import main; status = main(['land', '--brick', 'insee_cog', '--json']); "
        "heavy = {'dbt', 'dlt', 'great_expectations', 'prefect', 'pandas'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, **place}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lands"][0]["entry"] is None


def test_no_library_is_left_free_to_phone_home() -> None:
    from ingestion.lake import TELEMETRY_OFF

    assert {name: os.environ.get(name) for name in TELEMETRY_OFF} == TELEMETRY_OFF
    import dlt

    assert dlt.config.get("runtime.dlthub_telemetry") in (False, None, "false")
