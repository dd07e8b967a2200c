"""The README's first command, and what it must show: everything, then nothing new, then one more day; and the planted faults found."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ingestion.brick import read_bricks
from ingestion.lake import Lake
from redistribution.site.receipt import Prover
from tests.fixtures.chromium import opened


def demo(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRA_")}
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "flows.demo", str(folder)]
    return subprocess.run(command, env={**clean, "HOME": str(home), **environment}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo") / "lake"
    done = demo(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.mark.chain
def test_a_first_run_tells_all_a_second_finds_nothing_new_and_one_more_day_is_a_command(ran: tuple[Path, str]) -> None:
    folder, told = ran
    for word in ("lora_batiments", "patrimoine_bati", "energy_by_building_month", "published", "CPU seconds", "Wh", "synthetic", "Next:"):
        assert word in told
    planted = json.loads((folder / "planted.json").read_text())
    assert planted
    entries = [json.loads(path.read_bytes()) for path in sorted((folder / "journal").glob("*.json"))]
    loads = [entry for entry in entries if entry["kind"] == "load"]
    assert {load["verdict"] for load in loads} == {"accepted"} and len(loads) == len(read_bricks())
    for load in loads:
        for record in load["tables"].values():
            assert record["source_count"] == record["kept"] + record["refused"]
    assert f"The site, for everybody: file://{folder}/site/open/index.html" in told
    pages = sorted(path.name for path in (folder / "site/open/fr").glob("*.html"))
    assert pages == ["bricks.html", "index.html", "public_buildings_energy_by_commune_month.html", "runs.html"]
    again = demo(folder)
    assert again.returncode == 0 and again.stdout.count("nothing new") == len(read_bricks()) + 1, again.stdout
    assert "no model is behind" in again.stdout
    assert "UNTIL=2026-01-01 make demo" in again.stdout
    day = demo(folder, UNTIL="2026-01-01")
    assert day.returncode == 0, day.stdout + day.stderr
    assert "accepted: frames" in day.stdout and "published" in day.stdout
    for access_class in ("open", "internal"):
        reached = json.loads((folder / "site" / access_class / ".seq").read_text())["seq"]
        assert reached == len(list((folder / "journal").glob("*.json"))), "a run brings the sites with it"
    left = subprocess.run(["pgrep", "-af", str(folder)], capture_output=True, text=True, check=False).stdout
    assert left == "", "something is left running"


def test_planted_faults_are_found_on_their_days_and_false_alarms_counted(ran: tuple[Path, str], record_property: Any) -> None:
    folder, _ = ran
    with duckdb.connect(str(folder / "state" / "warehouse.duckdb"), read_only=True) as connection:
        told = "select anomaly_kind, building_id, day_date from marts.energy_anomalies_by_building_day"
        alarms = set(connection.execute(told).fetchall())
        told = "select count(*), max(day_date) from intermediate.int_loads_by_building_day"
        ((count, last),) = connection.execute(told).fetchall()
    kinds = {"night_leak": "night_base_load", "drift": "drift", "gap": "missing_meter"}
    planted = {
        (kinds[fault["kind"]], fault["building_id"], day)
        for fault in json.loads((folder / "planted.json").read_text())["planted"]
        if fault["kind"] in kinds
        for day in days_of(fault, last)
    }
    recall, precision = {}, {}
    for kind in kinds.values():
        there, said = ({each for each in found if each[0] == kind} for found in (planted, alarms))
        recall[kind], precision[kind] = len(there & said) / len(there), len(there & said) / len(said)
        record_property(
            "shown", f"detection of {kind}: {len(there & said)} of {len(there)} planted building-days, {len(said - there)} false"
        )
    wrong = len({each[1:] for each in alarms - planted})
    right = len(alarms & planted) / len(alarms)
    record_property("shown", f"detection: {right:.1%} of alarms are right; {wrong} of {count} building-days have a false one")
    # A drift of 2 % a month is above its ratio after half a year, and is told a month later.
    least = {"night_base_load": 0.95, "drift": 0.45, "missing_meter": 0.8}
    assert {kind: share for kind, share in recall.items() if share < least[kind]} == {}
    least = {"night_base_load": 0.85, "drift": 0.9, "missing_meter": 0.8}
    assert {kind: share for kind, share in precision.items() if share < least[kind]} == {}
    assert wrong / count < 0.01


def test_the_site_of_a_demo_shows_in_a_browser_what_its_files_say(ran: tuple[Path, str], browser: Any) -> None:
    folder, _ = ran
    for access_class in ("open", "internal"):
        site = folder / "site" / access_class
        for file in sorted((site / "data").glob("*.parquet")):
            tab = opened(browser, str(site / "fr" / f"{file.stem}.html"))
            assert [url for url in tab.asked if not url.startswith("data:")] == [tab.url] and tab.told == []
            assert tab.locator(".synth").first.is_visible()
            ((count,),) = duckdb.sql(f"select count(*) from '{file}'").fetchall()
            told = tab.locator("#rows caption").inner_text().replace("\u202f", "")
            shown = tab.locator("#rows tbody tr").count()
            assert told.startswith(f"{shown} lignes sur {count}" if shown < count else f"Les {count} lignes")
            figures = tab.locator("dl.kpi")
            first, last = (figures.get_attribute(f"data-{name}") for name in ("from", "to"))
            for figure in figures.locator("data").all():
                column, value = figure.get_attribute("data-column"), figure.get_attribute("value")
                total = "count(*)" if column == "rows" else f"sum({column})"
                if column == "rows" or column.endswith(("_kwh", "_kgco2e")):
                    sql = f"select {total} from '{file}' where month_date between date '{first}' and date '{last}'"
                    assert float(value) == pytest.approx(float(duckdb.sql(sql).fetchall()[0][0]), rel=1e-9), column
            tab.close()


def test_200_random_cells_are_made_again_equal_from_their_receipts_alone(ran: tuple[Path, str]) -> None:
    folder, _ = ran
    draw, cells = random.Random(1848), 0
    for file in sorted((folder / "site/internal/receipts").glob("*.json")):
        prover = Prover(Lake(str(folder)), file.stem)
        assert prover.faults == []
        begun = time.process_time()  # other tests run beside
        for key in draw.sample(prover.keys(), 12):
            proof = prover.prove(key)
            assert proof.faults == [], f"{file.stem} {key}"
            cells += len(proof.row)
        assert time.process_time() - begun < 30
        prover.close()
    assert cells >= 200


def days_of(fault: dict[str, Any], last: dt.date) -> list[dt.date]:
    """Give the days on which a planted fault is there, up to the last one that is known."""
    first = dt.date.fromisoformat(fault["from"][:10])
    end = dt.date.fromisoformat(fault["to"][:10]) if fault["to"] else last + dt.timedelta(days=1)
    return [first + dt.timedelta(days=n) for n in range((min(end, last + dt.timedelta(days=1)) - first).days)]


@pytest.mark.parametrize(
    ("mart", "fault", "told"),
    [
        ("energy_by_building_month", "consumption_kwh_per_m2 * 1000 as consumption_kwh_per_m2", "kWh per m2"),
        ("energy_by_building_month", "completeness_share / 4 as completeness_share", "less than half of their month"),
        ("energy_by_building_month", "10.0 as change_share", "fourfold"),
        ("energy_by_building_month", "null::double as emissions_kgco2e", "lacks its factor"),
        ("energy_anomalies_by_building_day", "'odd' as anomaly_kind", "no name that readers know"),
        ("energy_anomalies_by_building_day", "null::double as observed_value", "no evidence"),
        ("public_buildings_energy_by_commune_month", "consumption_kwh * 1.0 as consumption_kwh_per_inhabitant", "per inhabitant"),
        ("public_buildings_energy_by_commune_month", "'Rennes' as commune_code", "no INSEE code"),
    ],
)  # fmt: skip
def test_a_mart_that_makes_no_sense_is_withheld(ran: tuple[Path, str], tmp_path: Path, mart: str, fault: str, told: str) -> None:
    from expectations.gate import judge_mart

    folder, _ = ran
    good = next((folder / "files").glob(f"*/{mart}.parquet"))
    columns = [row[0] for row in duckdb.sql(f"describe from '{good}'").fetchall()]
    keys = {"energy_anomalies_by_building_day": ["building_id", "day_date", "anomaly_kind"]}
    key = keys.get(mart, [columns[0], "month_date", "energy"])
    lake = Lake(str(folder))
    assert judge_mart(lake, mart, [str(good)], columns, key, None)[0] == []
    duckdb.sql(f"copy (select * replace ({fault}) from '{good}') to '{tmp_path / 'bad.parquet'}'")
    reasons, _ = judge_mart(lake, mart, [str(tmp_path / "bad.parquet")], columns, key, None)
    assert [reason for reason in reasons if told in reason], reasons
