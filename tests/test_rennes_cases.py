"""The cases of Rennes Métropole's own chain, end to end: their files are the brick's input, the real chain runs over them."""

from __future__ import annotations

import csv
import datetime as dt
import json
import shutil
from pathlib import Path

import duckdb
import pytest

from flows import steps
from ingestion.census import read_bricks
from ingestion.journal import Journal
from ingestion.lake import Lake

CASES = Path(__file__).resolve().parents[2] / "shared" / "data" / "rennes" / "lora"
NKE, ADEUNIS, REPLAYED = "70b3d5e75e003dcd", "0018b21000002f1e", "0018b22000003e90"
# Their parameters are not published; these are the ones that their expected outputs tell.
TEMPERATURES = {"unique_value_paths": ["temperatures_name"], "data_value_paths": ["temperatures_values"]}
PARAMETERS = [
    {
        "deveui": NKE,
        "global_key_names": ["PTCOUR1"],
        "global_value_paths": ["PTCOUR1"],
        "unique_key_names": ["EAP_s", "EAP_i"],
        "data_value_paths": ["EAP_s", "EAP_i"],
    },
    {"deveui": ADEUNIS, **TEMPERATURES},
    {"deveui": REPLAYED, **TEMPERATURES},
]
COLUMNS = (
    "global_key_names",
    "global_value_paths",
    "unique_key_names",
    "unique_value_paths",
    "data_keys",
    "data_value_paths",
    "user_prefix",
)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    if not CASES.exists():
        pytest.skip(f"the sample files of Rennes Métropole are not there: {CASES}")
    folder = tmp_path_factory.mktemp("rennes")
    drop = folder / "lora_batiments"
    shutil.copytree(CASES / "replay", drop)
    for name, day, deveui in (
        ("nke_meter", "year=2021/month=08/day=06", NKE),
        ("adeunis_temperature", "year=2021/month=07/day=16", ADEUNIS),
    ):
        (drop / day / deveui).mkdir(parents=True)
        shutil.copy(CASES / f"{name}.json", drop / day / deveui)
    shutil.copy(CASES / "measure_information.csv", drop)
    shutil.copy(CASES / "sensors_to_replay.csv", drop / "sensors.csv")
    lines = [json.dumps({name: row.get(name, []) for name in ("deveui", *COLUMNS)}) for row in PARAMETERS]
    (drop / "parameters.ndjson").write_text("\n".join(lines))
    # The day at which their replay runs; a marker is the only way to tell a folder's clock.
    (drop / "SANDBOX.json").write_text(json.dumps({"synthetic": True, "now": "2022-09-03T00:00:00+02:00"}))
    lake = Lake(str(folder / "lake"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCHESTRA_ENDPOINT_LORA_BATIMENTS", str(drop))
        journal = Journal(lake)
        step = steps.land(lake, journal, read_bricks()["lora_batiments"], "r")
        assert not step.failures, step
        assert steps.build(lake, journal).failures == []
    return duckdb.connect(str(lake.state / "warehouse.duckdb"), read_only=True)


def expected(name: str) -> list[tuple[str, dt.datetime, str, float]]:
    with (CASES / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return sorted((r["deveui"], dt.datetime.fromisoformat(r["timestamp"]), r["name"], float(r["value"])) for r in rows)


def measures(warehouse: duckdb.DuckDBPyConnection, where: str) -> list[tuple]:
    columns, relation = "deveui, measured_at, measure_name, measured_value", "intermediate.int_measures_judged"
    sql = f"select {columns} from {relation} where set_aside_reason is null and {where} order by all"
    return warehouse.execute(sql).fetchall()


@pytest.mark.chain
def test_names_are_built_from_the_tariff_period(warehouse: duckdb.DuckDBPyConnection) -> None:
    assert measures(warehouse, f"deveui = '{NKE}'") == expected("nke_meter_expected.csv")


def test_arrays_of_names_and_values_join_by_validity(warehouse: duckdb.DuckDBPyConnection) -> None:
    assert (
        measures(warehouse, f"deveui = '{ADEUNIS}'") == expected("adeunis_temperature_expected.csv") == expected("full_chain_expected.csv")
    )
    relation = "intermediate.int_measures_judged inner join intermediate.int_channels_with_quantity using (deveui, measure_name, quantity)"
    sql = f"select enabled_date, measure_nature_id, unit_id from {relation} where deveui = '{ADEUNIS}' order by all"
    assert warehouse.execute(sql).fetchall() == [(dt.date(2021, 7, 1), "1", "1"), (dt.date(2021, 7, 1), "2", "1")]


def test_replay_gives_its_eight_values_and_its_two_sensors(warehouse: duckdb.DuckDBPyConnection) -> None:
    wanted = [
        (f"2022-09-{day} {time}", name, value)
        for day, time, values in (
            ("01", "02:16:41", (17.3, 17.0)),
            ("01", "04:17:30", (16.0, 15.5)),
            ("02", "02:16:35", (15.6, 15.6)),
            ("02", "03:17:22", (14.9, 14.4)),
        )
        for name, value in zip(("temperature 1", "temperature 2"), values, strict=True)
    ]
    found = measures(warehouse, f"deveui = '{REPLAYED}'")
    paris = dt.timezone(dt.timedelta(hours=2))
    assert sorted((f"{at.astimezone(paris):%Y-%m-%d %H:%M:%S}", name, value) for _, at, name, value in found) == sorted(wanted)
    # The chain keeps what says which sensors to replay, over which days: those whose settings changed since their last replay.
    to_date = "coalesce(disabled_date, cast(read_at at time zone 'Europe/Paris' as date))"
    replayed = warehouse.execute(f"""
        select deveui, enabled_date, {to_date} from staging.stg_lora_batiments__sensors
        where updated_date >= replayed_date or (updated_date is not null and replayed_date is null) order by all
    """).fetchall()
    assert replayed == [
        (REPLAYED, dt.date(2022, 9, 1), dt.date(2022, 9, 3)),
        (NKE, dt.date(2022, 9, 1), dt.date(2022, 9, 2)),
    ]
