"""dbt as its users know it: from the root or from dbt_project/, over a lake named from where they stand, or a line that says why."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import House

from flows.dbt_process import dbt_environment
from ingestion.journal import Journal
from ingestion.lake import PROJECT, Lake
from ingestion.territory import read_territory
from tests.fixtures.town import Town


def dbt(folder: Path, state: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run dbt as it is typed in a folder, with nothing of ours in the environment but what is told; its own files go aside."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRA_", "DBT_", "AWS_"))}
    aside = {"DBT_TARGET_PATH": str(state / "target"), "DBT_LOG_PATH": str(state / "logs"), "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-m", "dbt.cli.main", "--no-use-colors", *arguments]
    return subprocess.run(command, cwd=folder, env={**clean, **aside, **environment}, capture_output=True, text=True, check=False)


def other_territory(folder: Path, **changes: Any) -> str:
    """Write the file of a territory that differs from the project's by some values."""
    told = yaml.safe_load((PROJECT / "territory.yml").read_text(encoding="utf-8")) | changes
    (folder / "territory.yml").write_text(yaml.safe_dump(told, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return str(folder / "territory.yml")


@pytest.fixture(scope="module")
def aside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder for dbt's own files: the first command parses the project, the others what has changed of it."""
    return tmp_path_factory.mktemp("dbt")


def test_without_a_lake_parsing_works_and_building_says_what_is_missing_in_a_line(tmp_path: Path, aside: Path) -> None:
    assert dbt(PROJECT, aside, "parse").returncode == 0
    done = dbt(PROJECT, aside, "build", "--select", "load_windows", ORCHESTRA_LAKE=str(tmp_path / "nowhere"))
    assert done.returncode != 0 and "Traceback" not in done.stdout + done.stderr
    assert f"{tmp_path / 'nowhere'} holds no lake. Mend: set ORCHESTRA_LAKE to one" in done.stdout


def test_values_of_the_territory_reach_dbt_from_both_folders_and_the_lake_is_named_from_there(tmp_path: Path, aside: Path) -> None:
    Journal(Lake(str(tmp_path / "lake"))).found_lake("Elsewhere", is_synthetic=True)
    place = {"ORCHESTRA_TERRITORY": other_territory(tmp_path, name="Elsewhere", time_zone="Indian/Reunion", reference_year=2019)}
    asked = "select '{{ time_zone() }}' as zone, {{ reference_year() }} as year, {{ epci_code() }} as epci"
    for folder in (PROJECT, PROJECT / "dbt_project"):
        place["ORCHESTRA_LAKE"] = os.path.relpath(tmp_path / "lake", folder)
        done = dbt(folder, aside, "--quiet", "show", "--output", "json", "--inline", asked, **place)
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout[done.stdout.index("{") :])["show"]
        assert told == [{"zone": "Indian/Reunion", "year": 2019, "epci": read_territory().epci_code}]
    assert (tmp_path / "lake/state/dev.duckdb").exists()
    assert not (PROJECT / "dev.duckdb").exists() and not (PROJECT / "dbt_project/dev.duckdb").exists()


def test_a_mart_built_by_hand_is_not_held_against_tables_that_were_never_built_and_one_built_by_a_run_is(aside: Path) -> None:
    asked = ("--quiet", "ls", "--resource-type", "test", "--select", "+energy_by_building_month")
    by_hand = dbt(PROJECT, aside, *asked).stdout
    by_a_run = dbt(PROJECT, aside, *asked, DBT_INDIRECT_SELECTION=dbt_environment(Lake())["DBT_INDIRECT_SELECTION"]).stdout
    beside = "years_are_the_sums_of_their_months"  # needs the mart of the years too
    assert "unique_rows_energy_by_building_month" in by_hand and beside not in by_hand
    assert beside in by_a_run and set(by_hand.split()) < set(by_a_run.split())


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("unset", "ORCHESTRA_LAKE is not set, and .* holds no lake. Mend: export ORCHESTRA_LAKE="),
        ("relative", r"not/here \(ORCHESTRA_LAKE=not/here, from where you stand\) holds no lake"),
        ("version", "has format 9, and this version reads 2. Mend: read it with the version that wrote it"),
        ("s3", "the lake s3://b/p is on S3: set ORCHESTRA_STATE to a local folder"),
        (
            "other",
            "is the lake of Elsewhere, not of .*. Mend: set ORCHESTRA_LAKE .*, or `name` of territory.yml back to Elsewhere",
        ),
        ("file", "NotADirectoryError: .* Mend: check ORCHESTRA_LAKE"),
        ("territory", r"territory.yml: time_zone: .*'Mars/Base' is no time zone"),
        ("busy", r"dev.duckdb cannot be opened \(.*lock.*Mend: close who has it open"),
        ("broken", r"dev.duckdb cannot be opened \(.*Mend: rm .*dev.duckdb, and build"),
    ],
)
def test_what_keeps_dbt_from_a_lake_is_told_in_words(house: House, monkeypatch: pytest.MonkeyPatch, fault: str, told: str) -> None:
    from dbt.adapters.duckdb.credentials import DuckDBCredentials
    from dbt_common.exceptions import DbtRuntimeError

    from ingestion.dbt_plugin import Plugin

    root, name = house.lake.root, "Elsewhere" if fault == "other" else read_territory().name
    monkeypatch.setenv("ORCHESTRA_LAKE", {"relative": "not/here", "s3": "s3://b/p", "file": f"{house.folder}/f"}.get(fault, root))
    monkeypatch.delenv("ORCHESTRA_STATE", raising=False)
    if fault == "unset":
        monkeypatch.delenv("ORCHESTRA_LAKE")
        monkeypatch.setattr("ingestion.lake.PROJECT", house.folder)
    elif fault == "file":
        (house.folder / "f").write_text("no folder")
    elif fault == "territory":
        monkeypatch.setenv("ORCHESTRA_TERRITORY", other_territory(house.folder, time_zone="Mars/Base"))
        read_territory.cache_clear()
    else:
        house.journal.found_lake(name, is_synthetic=True)
    if fault == "version":
        entry = next((Path(root) / "journal").iterdir())
        entry.write_text(json.dumps(json.loads(entry.read_text()) | {"format": 9}))
    path = house.lake.state_path("dev.duckdb")
    with contextlib.ExitStack() as held:
        if fault == "broken":
            path.write_bytes(b"no warehouse" * 1000)
        elif fault == "busy":
            script = f"import duckdb, sys; held = duckdb.connect({str(path)!r}); print('held', flush=True); sys.stdin.read()"
            other = held.enter_context(
                subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            assert other.stdout and other.stdout.readline() == "held\n"
        with pytest.raises(DbtRuntimeError, match=told):
            creds = DuckDBCredentials(path="dev.duckdb")
            Plugin("dbt_plugin", {"by_hand": True}, creds).update_connection_config(creds, {})


def test_a_value_of_the_territory_that_changes_has_what_reads_it_computed_again(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.edit("child", "select id, place", "select id, place, {{ reference_year() }} as reference_year")
    town.build()
    assert {year for (year,) in town.rows("child", "reference_year")} == {read_territory().reference_year}
    monkeypatch.setenv("ORCHESTRA_TERRITORY", other_territory(town.house.folder, reference_year=2019))
    read_territory.cache_clear()
    assert set(town.build()) == {"child"}
    assert {year for (year,) in town.rows("child", "reference_year")} == {2019}


def test_no_value_of_the_territory_is_told_to_dbt_a_second_time() -> None:
    assert "vars" not in yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))


def test_the_link_of_the_profile_is_one(tmp_path: Path) -> None:
    assert (PROJECT / "dbt_project/profiles.yml").resolve() == PROJECT / "profiles.yml"


def test_connecting_to_a_lake_imports_no_pandas(house: House) -> None:
    """A parameter of DuckDB, whatever it is, imports it: a third of a second of each command of dbt."""
    house.journal.found_lake(read_territory().name, is_synthetic=True)
    script = (
        "import sys, duckdb; from ingestion.census import read_bricks; from ingestion.territory import read_territory\n"
        "from ingestion.journal import Journal; from ingestion.lake import Lake\n"
        "from ingestion.warehouse import catch_up, say_territory; lake = Lake(sys.argv[1]); connection = duckdb.connect()\n"
        "catch_up(connection, lake, Journal(lake), read_bricks()); say_territory(connection, read_territory())\n"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script, house.lake.root], cwd=PROJECT, check=False).returncode == 0


def test_a_project_that_has_moved_is_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import dbt_process

    lake, run = Lake(str(tmp_path / "lake")), []
    monkeypatch.setattr(dbt_process.subprocess, "run", lambda *_, **__: run.append(parsed.exists()))
    parsed = lake.state_path("target", "partial_parse.msgpack")
    for folder, is_kept in (("one", False), ("one", True), ("two", False), ("two", True)):
        parsed.write_bytes(b"x")
        monkeypatch.setattr(dbt_process, "DBT_PROJECT", tmp_path / folder / "dbt_project")
        dbt_process.run_dbt(lake, ["parse"], 0)
        assert run.pop() is is_kept, folder
