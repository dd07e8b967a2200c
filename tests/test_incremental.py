"""What changes moves what it should and nothing else, and the whole equals a rebuild: real dbt over a small lake."""

from __future__ import annotations

import csv
import datetime as dt
import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
import yaml

from flows import steps
from ingestion.brick import PROJECT, read_bricks
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.sandbox import files as drops
from ingestion.sandbox.server import start

UNTIL = dt.date(2024, 10, 12)  # after the declared swap of a meter
MART = "marts.energy_by_building_month"
DATASETS = {
    "buildings": "batiments-publics",
    "meters": "compteurs-batiments-publics",
    "declared_indexes": "index-releves-compteurs",
    "bills": "factures-energie-batiments-publics",
}


class Chain:
    """A lake, its drops and a dbt project of its own, that a test may edit."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.project = folder, folder / "dbt_project"
        self.lake = Lake(str(folder / "lake"), str(folder / "state"))

    def run(self) -> dict[str, set[str]]:
        """Land and build; give the partitions that each model touched."""
        journal = Journal(self.lake)
        for brick in read_bricks().values():
            step = steps.land(self.lake, journal, brick, "r")
            assert not step.is_failed, (step.error, step.entry and step.entry["reasons"])
        self.build()
        sql = (
            "select split_part(model, '.', 3), partition from meta.touched where run = (select run from meta.journal) "
            "union all select split_part(model, '.', 3), 'whole' from meta.built where content_run = (select run from meta.journal)"
        )
        touched: dict[str, set[str]] = {}
        for model, partition in self.read(sql):
            touched.setdefault(model, set()).add(partition)
        return touched

    def build(self) -> None:
        built = steps.build(self.lake, Journal(self.lake))
        assert built.failures == []
        self.warnings = built.warnings

    def read(self, sql: str) -> list[tuple]:
        with duckdb.connect(str(self.lake.state / "warehouse.duckdb"), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def contents(self) -> dict[str, tuple]:
        """Sum up every model, doubles to 6 decimals: sums may differ in the last bit with the order of rows."""
        rooms = "('staging', 'intermediate', 'marts')"
        tables = self.read(f"select table_schema, table_name from information_schema.tables where table_schema in {rooms}")
        found = {}
        for schema, table in sorted(tables):
            columns = self.read(f"select column_name, column_type from (describe {schema}.{table})")
            shown = ", ".join(f'round("{name}", 6) + 0.0' if kind == "DOUBLE" else f'"{name}"' for name, kind in columns)
            found[table] = self.read(f"select count(*), sum(hash({shown})::hugeint) from {schema}.{table}")[0]
        return found


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("chain")
    shutil.copytree(PROJECT / "dbt_project", folder / "dbt_project", ignore=shutil.ignore_patterns("target", "logs"))
    shutil.copytree(PROJECT / "ingestion" / "bricks", folder / "ingestion" / "bricks")
    _as_files(folder / "ingestion" / "bricks" / "patrimoine_bati.yml")
    for brick in ("lora_batiments", "meteo_stations", "insee_cog"):
        drops.write_drops(folder / "drops" / brick, brick, until=UNTIL)
    (folder / "drops" / "patrimoine_bati").mkdir()
    shutil.copy(folder / "drops" / "insee_cog" / "SANDBOX.json", folder / "drops" / "patrimoine_bati" / "SANDBOX.json")
    with start(until=UNTIL) as sandbox:
        for table, dataset in DATASETS.items():
            url = f"{sandbox.url}/patrimoine_bati/api/explore/v2.1/catalog/datasets/{dataset}/exports/jsonl"
            with urllib.request.urlopen(url) as answer:
                content = answer.read()
            (folder / "drops" / "patrimoine_bati" / f"{table}.ndjson").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "DBT_PROJECT", folder / "dbt_project")
        patch.setenv("ORCHESTRA_BRICKS", str(folder / "ingestion" / "bricks"))
        patch.setenv("ORCHESTRA_ENDPOINT", str(folder / "drops" / "{brick}"))
        yield Chain(folder)


def _as_files(path: Path) -> None:
    """Have the brick read from files that a test can edit, its contract being the same."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    brick = document["sources"][0]
    brick["config"]["meta"] |= {"connector": "files", "options": {}}
    for table in brick["tables"]:
        table["config"]["meta"]["options"] = {"format": "ndjson", "path": f"{table['name']}.ndjson"}
        for field in ("cursor", "lookback"):
            table["config"]["meta"].pop(field, None)
        for column in table["columns"]:
            if column["name"] == "from_date":
                column.pop("config")
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")


def differing(one: dict[str, tuple], other: dict[str, tuple]) -> list[str]:
    return [name for name in one if one[name] != other.get(name)]


@pytest.mark.chain
def test_each_change_moves_what_it_should_and_all_equals_a_rebuild(chain: Chain) -> None:
    # Everything, from nothing; a bill may lack its first day here, and dbt only warns of it.
    lenient = chain.project / "models/staging/patrimoine_bati/_patrimoine_bati.yml"
    text = lenient.read_text(encoding="utf-8")
    told = 'description: "First day billed."\n        data_tests: [not_null'
    assert told in text
    lenient.write_text(text.replace(told, told + ": {config: {severity: warn}}"), encoding="utf-8")
    touched = chain.run()
    assert chain.read(f"select count(*) from {MART}")[0][0] > 30
    before = chain.contents()

    # A late frame of January: the index of a meter is read once more, lower than what followed by half a kWh.
    deveui = "70b3d5e75e001000"
    frame = next((chain.folder / "drops/lora_batiments").glob(f"year=2024/month=01/day=15/{deveui}/*.json"), None)
    assert frame is not None, "the sandbox gives this meter a frame that day"
    late = json.loads(frame.read_text())
    moment = dt.datetime.fromisoformat(late["timestamp"]) + dt.timedelta(minutes=17)
    late["timestamp"] = moment.isoformat()
    target = chain.folder / f"drops/lora_batiments/year=2024/month=10/day=12/{deveui}/late.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(late))
    touched = chain.run()
    assert touched["stg_lora_batiments__frames"] == {"2024-01-01", "whole"}
    assert "2024-06-01" not in touched.get("energy_by_building_month", set())
    assert chain.contents()["stg_lora_batiments__frames"][0] == before["stg_lora_batiments__frames"][0] + 1

    # A key corrected into another month: a bill of January was February's.
    bills = chain.folder / "drops/patrimoine_bati/bills.ndjson"
    lines = [json.loads(line) for line in bills.read_text().splitlines()]
    bill = next(b for b in lines if b["from_date"] == "2024-01-01")
    bill |= {"from_date": "2024-02-01", "to_date": "2024-03-01", "updated_at": "2024-10-12T10:00:00+00:00"}
    bills.write_text("".join(json.dumps(line) + "\n" for line in lines))
    touched = chain.run()
    assert {"2024-01-01", "2024-02-01"} <= touched["stg_patrimoine_bati__bills"]
    month = chain.read(f"select from_date from staging.stg_patrimoine_bati__bills where bill_id = '{bill['bill_id']}'")
    assert month == [(dt.date(2024, 2, 1),)]
    assert "stg_lora_batiments__frames" not in touched

    # A bill that lacks its first day, thus its month: it is there, and dbt says so.
    lines.append(bill | {"bill_id": "FAC-WITHOUT-MONTH", "from_date": None, "updated_at": "2024-10-12T11:00:00+00:00"})
    bills.write_text("".join(json.dumps(line) + "\n" for line in lines))
    chain.run()
    assert chain.read("select count(*) from staging.stg_patrimoine_bati__bills where month_date is null") == [(1,)]
    assert [warning.split(".")[0] for warning in chain.warnings] == ["test not_null_stg_patrimoine_bati__bills_from_date"]

    # An edited referential row: a building is twice as large, its ratio is half.
    ratio = f"select building_id, month_date, consumption_kwh_per_m2 from {MART} where building_id = 'BAT-00001' order by all"
    old = chain.read(ratio)
    path = chain.folder / "drops/patrimoine_bati/buildings.ndjson"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    next(b for b in lines if b["building_id"] == "BAT-00001")["floor_area_m2"] *= 2
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    chain.run()
    assert [round(new[2] * 2, 4) for new in chain.read(ratio)] == pytest.approx([round(row[2], 4) for row in old], abs=1e-3)

    # An edited factor: emissions follow, consumptions do not move.
    asked = f"select sum(emissions_kgco2e), sum(consumption_kwh) from {MART} where energy = 'electricity'"
    (emissions, kwh), seed = chain.read(asked)[0], chain.project / "seeds/energy/emission_factors.csv"
    rows = list(csv.DictReader(seed.read_text(encoding="utf-8").splitlines()))
    for row in rows:
        if row["energy"] == "electricity":
            row["kgco2e_per_kwh"] = str(float(row["kgco2e_per_kwh"]) * 2)
    with seed.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    touched = chain.run()
    assert chain.read(asked)[0] == (pytest.approx(emissions * 2), pytest.approx(kwh))
    assert not [name for name in touched if name.startswith("stg_")]

    # Changed SQL: a model and what stands on it, nothing before it.
    model = chain.project / "models/marts/energy/energy_by_building_month.sql"
    text = model.read_text(encoding="utf-8")
    model.write_text(text + "\n-- the same, said otherwise\n", encoding="utf-8")
    assert not [name for name in chain.run() if name.startswith("stg_")]

    # All of it equals a rebuild, and nothing is left to do.
    after = chain.contents()
    rebuilt = steps.rebuild(chain.lake)
    assert rebuilt.failures == []
    assert differing(chain.contents(), after) == []
    assert steps.build(chain.lake, Journal(chain.lake)).nodes == []


@pytest.mark.chain
def test_an_erased_row_is_gone_from_staging_marts_and_a_rebuild(chain: Chain) -> None:
    if not chain.lake.state.joinpath("warehouse.duckdb").exists():
        chain.run()
    # A building, with all that names it: erasing it alone would leave meters of no building, which dbt's tests refuse.
    journal = Journal(chain.lake)
    for table, key in (("meters", "meter_id"), ("bills", "bill_id"), ("buildings", "building_id")):
        found = chain.read(f"select {key} from staging.stg_patrimoine_bati__{table} where building_id = 'BAT-00002'")
        assert found
        journal.append("erase", brick="patrimoine_bati", table=table, keys=[{key: value} for (value,) in found])
    asked = [
        "select count(*) from staging.stg_patrimoine_bati__buildings where building_id = 'BAT-00002'",
        f"select count(*) from {MART} where building_id = 'BAT-00002'",
        "select count(*) from marts.energy_anomalies_by_building_day where building_id = 'BAT-00002'",
    ]
    chain.build()
    assert [chain.read(sql) for sql in asked] == [[(0,)]] * 3
    after = chain.contents()
    assert steps.rebuild(chain.lake).failures == []
    assert [chain.read(sql) for sql in asked] == [[(0,)]] * 3
    assert differing(chain.contents(), after) == []
