"""A made-up territory stands up from a fresh clone by replacing `territory.yml`, bricks and their staging: nothing else is Rennes'."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from ingestion.census import read_bricks
from ingestion.journal import Journal
from ingestion.lake import PROJECT, Lake
from ingestion.territory import read_territory
from ingestion.tool import is_tool
from ingestion.warehouse import catch_up

UNTIL = dt.date(2024, 10, 12)  # after the declared swap of a meter
EPCI, STATION = "249700139", "97281001"
# The project's own codes, wherever they stand in a value: communes, EPCI, station of the weather.
MADE_UP = (("243500139", EPCI), ("35281001", STATION), (r'"35(\d{3})"', r'"97\1"'))
TERRITORY = {
    "name": "Inselwelt", "epci_code": EPCI, "crs": "EPSG:2975", "time_zone": "Indian/Reunion", "languages": ["de", "en"],
    "use_cases": {
        "energy": {"de": "Energie sparen", "en": "Save energy"},
        "mobility": {"de": "Besser unterwegs", "en": "Move better"},
    },
    "reference_year": 2023, "reference_station": STATION, "reference_degree_days": [5, 4, 3, 2, 10, 20, 30, 30, 20, 10, 5, 5],
    "zones": None,
}  # fmt: skip
OF_RENNES = r"Rennes|Bretagne|Breizh|\b243500139\b|\b35281001\b|EPSG:3948|Europe/Paris|[\"']35\d{3}[\"']"


def run(clone: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the clone as it is typed there."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRA_", "DBT_"))}
    told = {**clean, "PYTHONPATH": str(clone), **environment}
    return subprocess.run([sys.executable, "-m", *command], cwd=clone, env=told, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone, of which what belongs to the territory is replaced; each brick delivers NDJSON of the shape of its tables."""
    folder = tmp_path_factory.mktemp("another") / "clone"
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (PROJECT / name).exists() and not name.startswith("tests/test_"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name, follow_symlinks=False)
    (folder / "territory.yml").write_text(yaml.safe_dump(TERRITORY, allow_unicode=True, sort_keys=False), encoding="utf-8")
    for path in (folder / "ingestion" / "bricks").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        if is_tool(yaml.safe_load(text)["sources"][0]):
            path.unlink()  # another territory has tools of its own
            continue
        modeline, told = text.splitlines(keepends=True)[0], replaced(yaml.safe_load(text))
        path.write_text(modeline + yaml.safe_dump(told, allow_unicode=True, sort_keys=False), encoding="utf-8")
    # Its register says the year in a column, not in the name of a file.
    staging = folder / "dbt_project/models/staging/production_renouvelable/stg_production_renouvelable__installations.sql"
    text = staging.read_text(encoding="utf-8")
    told_by_file = text[text.index("    -- The register is as of") : text.index("    trim(installations.codeinseecommune)")]
    staging.write_text(
        text.replace(told_by_file, "    installations.jahr as year,\n").replace("installations._file,", "installations.jahr,")
    )
    return folder


def replaced(document: dict[str, Any]) -> dict[str, Any]:
    brick = document["sources"][0]
    meta = brick["config"]["meta"]
    for field in ("title_fr", "reads_from"):  # another territory has tools of its own
        meta.pop(field, None)
    if brick["name"] == "census":  # which is of the lake itself, wherever it is
        meta["steward"] = "Amt"
        return document
    meta |= {"connector": "files", "options": {}, "endpoint": None, "endpoint_reason": "Dropped by hand.", "steward": "Amt",
             "producer": "Amt", "use_cases": ["energy", "mobility"]}  # fmt: skip
    for table in brick["tables"]:
        own = table["config"]["meta"]
        own |= {"options": {"format": "ndjson", "path": f"{table['name']}.ndjson"}, "delivers": own["delivers"]}
        for field in ("cursor", "lookback", "time_zone", "time_fold"):
            own.pop(field, None)
        for column in table["columns"]:
            for field in ("format", "years_from"):
                column.get("config", {}).get("meta", {}).pop(field, None)
        if brick["name"] == "production_renouvelable":
            own["key"] = ["jahr", *own["key"]]
            table["columns"].append({"name": "jahr", "data_type": "bigint", "description": "Year of the register."})
    return document


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the sandbox delivers, as each brick of the made-up territory does: other codes, other files."""
    from flows import steps
    from flows.servers import free_port, plug_in, receive_all, sandbox

    folder, before = tmp_path_factory.mktemp("drops"), dict(os.environ)
    lake = Lake(str(folder / "of_the_sandbox"))
    os.environ.update({"ORCHESTRA_LAKE": lake.root, "ORCHESTRA_LISTEN": (listened := f"127.0.0.1:{free_port()}")})
    try:
        with sandbox(str(UNTIL), folder / "planted.json", push_to=listened) as url:
            plug_in(url)
            receive_all(url, folder / "listen.log")
            for brick in read_bricks().values():
                steps.land(lake, Journal(lake), brick, "r")
    finally:
        os.environ.clear()
        os.environ.update(before)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        catch_up(connection, lake, Journal(lake), read_bricks())
        for brick in read_bricks().values():
            (folder / brick.name).mkdir()
            marker = {"synthetic": True, "now": dt.datetime.combine(UNTIL, dt.time(20), dt.UTC).isoformat()}
            (folder / brick.name / "SANDBOX.json").write_text(json.dumps(marker))
            for table in brick.tables:
                columns = "* exclude (_file, _row, _read_at, _load_id)"
                if brick.name == "production_renouvelable":
                    columns += ", 2000 + regexp_extract(_file, '-3112([0-9][0-9])', 1)::int as jahr"
                path = folder / brick.name / f"{table.name}.ndjson"
                connection.execute(f"copy (select {columns} from {brick.name}.{table.name}) to '{path}' (format json)")
                text = path.read_text(encoding="utf-8")
                for ours, theirs in MADE_UP:
                    text = re.sub(ours, theirs, text)
                path.write_text(text, encoding="utf-8")
    yield folder


def test_nothing_of_the_territory_stands_in_the_engine_and_its_models() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.splitlines()
    rooms = ("dbt_project", "expectations", "flows", "ingestion", "redistribution", "benchmarks", "pyproject.toml", "dbt_project.yml")
    its_own = ("ingestion/bricks/", "ingestion/sandbox/", "dbt_project/models/staging/", "dbt_project/seeds/")
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name in listed
        if name.startswith(rooms) and not name.startswith(its_own) and (PROJECT / name).suffix in (".py", ".sql", ".yml", ".toml", ".html")
        for number, line in enumerate((PROJECT / name).read_text(encoding="utf-8").splitlines(), 1)
        if re.search(OF_RENNES, line)
    ]
    assert found == []


def test_the_checks_of_another_territory_are_green_and_name_what_a_language_lacks(clone: Path) -> None:
    done = run(clone, "flows.cli", "bricks", "check")
    assert done.returncode == 0, done.stderr
    done = run(clone, "tests.check_dbt")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "RuntimeWarning" not in done.stderr
    assert "warning: territory.yml: languages: the house has no words in 'de'" in done.stderr and "energy_by_building_month" in done.stderr


def test_a_mart_and_a_brick_of_a_use_case_that_is_not_declared_are_named(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.check_dbt import faults_of_use_cases

    node = {"name": "m", "resource_type": "model", "fqn": ["p", "marts", "energy", "m"], "original_file_path": "marts/energy/m.sql"}
    assert faults_of_use_cases({"nodes": {"m": node}}, {"energy": {}}) == []
    (told,) = faults_of_use_cases({"nodes": {"m": node}}, {"love": {}, "work": {}})
    assert told.startswith("mart m: marts/energy/m.sql is in the folder of no use case that territory.yml declares (love, work). Mend:")
    path = clone / "ingestion" / "bricks" / "insee_cog.yml"
    other = clone.parent / "bricks"
    other.mkdir()
    (other / path.name).write_text(path.read_text(encoding="utf-8").replace("- mobility", "- health"), encoding="utf-8")
    done = run(clone, "flows.cli", "bricks", "check", ORCHESTRA_BRICKS=str(other))
    assert done.returncode == 1
    assert re.search(
        r"insee_cog.yml:\d+: .*use_cases.1: 'health' is no use case that territory.yml declares \(energy, mobility\)", done.stderr
    )
    assert read_territory().use_cases.keys() >= {"energy"}


@pytest.mark.soak
def test_a_run_of_another_territory_is_green_and_its_site_speaks_its_languages(clone: Path, drops: Path, tmp_path: Path) -> None:
    place = {"ORCHESTRA_LAKE": str(tmp_path / "lake"), "ORCHESTRA_ENDPOINT": f"{drops}/{{brick}}"}
    place |= {"ORCHESTRA_ENDPOINT_REPONSES_ALERTES": "none"}  # no alert was answered yet
    done = run(clone, "flows.cli", "run", "--json", **place)
    told = json.loads(done.stdout)
    assert done.returncode == 0, (told.get("failures", told), done.stderr[-2000:])
    assert run(clone, "flows.cli", "site", **place).returncode == 0
    with duckdb.connect(str(tmp_path / "lake/state/warehouse.duckdb"), read_only=True) as connection:
        (hours,) = connection.execute("select count(*) from intermediate.int_calendar_days where day_hours <> 24").fetchall()[0]
        assert hours == 0, "no clock is moved on the island"
        codes = {
            code[:2] for (code,) in connection.execute("select commune_code from marts.public_buildings_energy_by_commune_month").fetchall()
        }
        assert codes == {"97"}
    for code in ("de", "en"):
        page = (tmp_path / f"lake/site/open/{code}/index.html").read_text(encoding="utf-8")
        assert '<html lang="en"' in page and "Inselwelt" in page
        assert ("the house has no words in “de” yet" in page, "Energie sparen" in page) == ((code == "de"),) * 2
    # A rule is one of every territory: its unit tests hold here as well.
    done = run(clone, "dbt.cli.main", "test", "--target", "prod", "--select", "test_type:unit", "--profiles-dir", str(clone), **place)
    assert done.returncode == 0, done.stdout[-3000:]
