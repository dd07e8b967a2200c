"""The README's first command, and what it must show: everything, then nothing new, then one more day; and the planted faults found."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ingestion.brick import read_bricks
from ingestion.lake import Lake


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
    again = demo(folder)
    assert again.returncode == 0 and again.stdout.count("nothing new") == len(read_bricks()) + 1, again.stdout
    assert "no model is behind" in again.stdout
    assert "UNTIL=2026-01-01 make demo" in again.stdout
    day = demo(folder, UNTIL="2026-01-01")
    assert day.returncode == 0, day.stdout + day.stderr
    assert "accepted: frames" in day.stdout and "published" in day.stdout
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


def days_of(fault: dict[str, Any], last: dt.date) -> list[dt.date]:
    """Give the days on which a planted fault is there, up to the last one that is known."""
    first = dt.date.fromisoformat(fault["from"][:10])
    end = dt.date.fromisoformat(fault["to"][:10]) if fault["to"] else last + dt.timedelta(days=1)
    return [first + dt.timedelta(days=n) for n in range((min(end, last + dt.timedelta(days=1)) - first).days)]


@pytest.mark.parametrize("mart", ["energy_by_building_month", "public_buildings_energy_by_commune_month"])
@pytest.mark.parametrize(("energy", "is_known"), [("propane", True), ("peat", False)])
def test_a_bill_without_factor_flags_its_row_and_withholds_nothing(
    ran: tuple[Path, str], tmp_path: Path, mart: str, energy: str, is_known: bool
) -> None:
    from expectations.gate import judge_mart

    folder, _ = ran
    good = next((folder / "files").glob(f"*/{mart}.parquet"))
    columns = [row[0] for row in duckdb.sql(f"describe from '{good}'").fetchall()]
    bill = f"'{energy}' as energy, {is_known} as is_energy_known, null as emissions_kgco2e, false as is_factor_verified"
    bill += "" if is_known else ", null as consumption_kwh_pci, null as consumption_kwh_pci_per_m2"
    rows = f"from '{good}' union all by name (select * replace ({bill}) from '{good}' where energy = 'electricity' limit 5)"
    duckdb.sql(f"copy ({rows}) to '{tmp_path / 'more.parquet'}'")
    key = ["building_id" if mart.startswith("energy") else "commune_code", "month_date", "energy"]
    assert judge_mart(Lake(str(folder)), mart, [str(tmp_path / "more.parquet")], columns, key, None)[0] == []


@pytest.mark.parametrize(
    ("mart", "fault", "told"),
    [
        ("energy_by_building_month", "consumption_kwh_pci_per_m2 * 1000 as consumption_kwh_pci_per_m2", "kWh PCI per m2"),
        ("energy_by_building_month", "completeness_share / 4 as completeness_share", "less than half of their month"),
        ("energy_by_building_month", "10.0 as change_share", "fourfold"),
        ("energy_by_building_month", "null::double as emissions_kgco2e", "lacks its factor"),
        ("energy_anomalies_by_building_day", "'odd' as anomaly_kind", "no name that readers know"),
        ("energy_anomalies_by_building_day", "null::double as observed_value", "no evidence"),
        ("public_buildings_energy_by_commune_month", "consumption_kwh_pci_per_m2 * 1000 as consumption_kwh_pci_per_m2", "kWh PCI per m2"),
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
