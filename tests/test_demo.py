"""The README's first command, and what it must show: everything, nothing new, then one more day; and what its replica finds."""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fixtures.replica import MART, Replica

from flows.cadence import lateness
from flows.dbt_process import run_dbt
from ingestion.census import read_bricks
from ingestion.journal import Journal
from ingestion.lake import PROJECT, Lake
from ingestion.sandbox.world import World
from redistribution.site.cards import read_cards
from redistribution.site.figures import Marts
from redistribution.site.receipt import Prover
from tests.fixtures.chromium import opened
from tests.fixtures.compiled import Compiled
from tests.fixtures.metrics import Metrics
from tests.test_leave import left, of_the_page


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


def test_each_rule_of_the_models_holds(ran: tuple[Path, str]) -> None:
    lake = Lake(str(ran[0]))
    with lake.lock("build") as held:
        done = run_dbt(lake, ["test", "--select", "test_type:unit"], held)
    results = json.loads((lake.state / "target" / "run_results.json").read_text(encoding="utf-8"))["results"]
    assert done.returncode == 0 and results, done.stdout
    assert {result["status"] for result in results} == {"pass"}


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
    marts = ("bricks_by_name", "network_energy_by_commune_sector_year", "public_buildings_energy_by_commune_month",
             "renewable_production_by_commune_year", "territory_emissions_by_sector_year")  # fmt: skip
    assert pages == sorted(f"{name}.html" for name in ("bricks", "index", "runs", *marts))
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
    memory = folder / "state/target/compiled/city_orchestra/dbt_project/models/marts/energy/open_figures_by_building_month.sql"
    assert "from published.open_figures_by_building_month" in memory.read_text(), "open sums are compared with what stands published"
    left = subprocess.run(["pgrep", "-af", str(folder)], capture_output=True, text=True, check=False).stdout
    assert left == "", "something is left running"


def test_the_chain_finds_what_the_replica_of_its_seed_finds(ran: tuple[Path, str], compiled: Compiled) -> None:
    """What tests/test_alarms.py scores on many seeds is what a whole chain tells: held on this one, row by row."""
    folder, _ = ran
    key = json.loads((folder / "planted.json").read_text())
    columns = "building_id, energy, day_date, anomaly_kind, value_unit, observed_value, expected_value"
    columns += ", observed_ratio, threshold_ratio, excess_kwh"
    told = f"select {columns} from {{}}.{MART} where day_date < date '{key['until']}' - 35 order by all"
    with duckdb.connect(str(folder / "state" / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.execute(told.format("marts")).fetchall()
    replica = Replica(World(key["scale"], dt.date.fromisoformat(key["until"]), key["seed"]), compiled.models)
    replica.make(MART)
    assert len(found) > 500 and {row[3] for row in found} == {"night_base_load", "drift", "missing_meter", "frozen_index", "heating_excess"}
    assert found == replica.read(told.format("warehouse.marts"))


@functools.cache
def published(folder: Path, mart: str) -> tuple[Path, list[str], list[str]]:
    """Give the file of a mart, its columns and its grain; its gate has nothing to say of it."""
    from expectations.gate import judge_mart

    (file,) = (folder / "files").glob(f"*/{mart}.parquet")
    columns = [row[0] for row in duckdb.sql(f"describe from '{file}'").fetchall()]
    manifest = json.loads((folder / "state" / "target" / "manifest.json").read_bytes())
    grain = manifest["nodes"][f"model.city_orchestra.{mart}"]["config"]["meta"]["grain"]
    assert judge_mart(Lake(str(folder)), mart, [str(file)], columns, grain, None)[0] == []
    return file, columns, grain


@pytest.mark.parametrize("mart", ["energy_by_building_month", "public_buildings_energy_by_commune_month"])
@pytest.mark.parametrize(("energy", "is_known"), [("propane", True), ("peat", False)])
def test_a_bill_without_factor_flags_its_row_and_withholds_nothing(
    ran: tuple[Path, str], tmp_path: Path, mart: str, energy: str, is_known: bool
) -> None:
    from expectations.gate import judge_mart

    good, columns, grain = published(ran[0], mart)
    bill = f"'{energy}' as energy, {is_known} as is_energy_known, null as emissions_kgco2e, false as is_factor_verified"
    bill += "" if is_known else ", null as consumption_kwh_pci, null as consumption_kwh_pci_per_m2"
    rows = f"from '{good}' union all by name (select * replace ({bill}) from '{good}' where energy = 'electricity' limit 5)"
    duckdb.sql(f"copy ({rows}) to '{tmp_path / 'more.parquet'}'")
    assert judge_mart(Lake(str(ran[0])), mart, [str(tmp_path / "more.parquet")], columns, grain, None)[0] == []


def test_the_site_of_a_demo_shows_in_a_browser_what_its_files_say(ran: tuple[Path, str], browser: Any) -> None:
    folder, _ = ran
    assert 'id="builds"' in (folder / "site/open/en/runs.html").read_text(encoding="utf-8"), "what the build cost"
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
            names = duckdb.sql(f"from '{file}' limit 0").columns
            month = "month_date" if "month_date" in names else "date_trunc('month', start_date)"
            figures = tab.locator("dl.kpi")
            first, last = (figures.get_attribute(f"data-{name}") for name in ("from", "to"))
            within = f"{month} between date '{first}' and date '{last}'" if "year" not in names else f"year between {first} and {last}"
            within = within if {"month_date", "start_date", "year"} & {*names} else "true"  # the census has no period
            for figure in figures.locator("data").all():
                column, value = figure.get_attribute("data-column"), figure.get_attribute("value")
                total = "count(*)" if column == "rows" else f"sum({column})"
                if column == "rows" or column.endswith(("_kwh", "_kgco2e")) or column.startswith("billed_cost"):
                    sql = f"select {total} from '{file}' where {within}"
                    assert float(value) == pytest.approx(float(duckdb.sql(sql).fetchall()[0][0]), rel=1e-9), column
            tab.close()


def test_alerts_show_what_was_done_and_what_it_saved(ran: tuple[Path, str]) -> None:
    folder, _ = ran
    (file,) = (folder / "files").glob("*/energy_alerts_by_event.parquet")
    told = {row[0]: row[1:] for row in duckdb.sql(f"""
        select anomaly_kind || ' ' || energy, bool_or(is_seen), bool_or(acted_on is not null), sum(saved_kwh) from '{file}' group by all
    """).fetchall()}  # fmt: skip
    assert told["night_base_load electricity"] == (True, False, None), "seen, and nothing done yet"
    assert told["heating_excess heat_network"] == (True, False, None)
    assert told["heating_excess gas"][:2] == (True, True) and told["heating_excess gas"][2] > 1000
    assert told["drift electricity"][2] < 0, "what was done did not stop it"
    assert told["frozen_index electricity"] == (True, True, None)


def test_the_questions_of_the_policy_are_answered(ran: tuple[Path, str]) -> None:
    folder, _ = ran
    text = (PROJECT / "docs" / "questions.md").read_text(encoding="utf-8")
    queries = re.findall(r"```sql\n(.*?)```", text, flags=re.DOTALL)
    assert len(queries) == text.count("\n## ") - 1 == 8
    with duckdb.connect() as connection:
        for file in (folder / "files").glob("*/*.parquet"):
            connection.execute(f"create view {file.stem} as from '{file}'")
        for query in queries:
            rows = connection.execute(query).fetchall()
            assert rows and all(any(value is not None for value in row[1:]) for row in rows), query


def test_dbt_source_freshness_is_what_status_says_on_the_clock_of_the_lake(ran: tuple[Path, str]) -> None:
    lake = Lake(str(ran[0]))
    with lake.lock("build") as held:
        done = run_dbt(lake, ["source", "freshness"], held)
    assert done.returncode == 0, done.stdout
    journal, bricks = Journal(lake), read_bricks()
    told = json.loads((lake.state / "target" / "sources.json").read_text(encoding="utf-8"))["results"]
    assert len(told) == sum(len(brick.tables) for brick in bricks.values())
    for result in told:
        brick = result["unique_id"].split(".")[2]
        last = max(load["read_at"] for load in journal.accepted(brick))
        at = {field: dt.datetime.fromisoformat(result[field]) for field in ("max_loaded_at", "snapshotted_at")}
        assert abs(at["max_loaded_at"] - dt.datetime.fromisoformat(last)) < dt.timedelta(seconds=1), "a brick is read as one"
        assert at["snapshotted_at"] == dt.datetime.fromisoformat(journal.as_of() or "")
        assert (result["status"], lateness(journal, bricks[brick])) == ("pass", None)


# What each metric is, written here from what the trade calls so, by year of its mart.
MONTHS, EVENTS, OPEN = "energy_by_building_month", "energy_alerts_by_event", "public_buildings_energy_by_commune_month"
INVENTORY = "territory_emissions_by_sector_year"
METRICS = {
    "final_energy_consumption": ("sum(consumption_kwh_pci)", MONTHS, "year(month_date)"),
    "greenhouse_gas_emissions": ("sum(emissions_kgco2e)", MONTHS, "year(month_date)"),
    "final_energy_consumption_with_emissions": (
        "sum(consumption_kwh_pci) filter (where emissions_kgco2e is not null)", MONTHS, "year(month_date)",
    ),
    "carbon_intensity": (
        "sum(emissions_kgco2e) / sum(consumption_kwh_pci) filter (where emissions_kgco2e is not null)", MONTHS, "year(month_date)",
    ),
    "electricity_injected_by_buildings": ("sum(produced_kwh)", MONTHS, "year(month_date)"),
    "energy_cost": ("sum(billed_cost_eur)", MONTHS, "year(month_date)"),
    "energy_cost_excluding_tax": ("sum(billed_cost_excluding_tax_eur)", MONTHS, "year(month_date)"),
    "power_overrun_months": ("sum(overrun_month_count)", "energy_by_building_year", "year"),
    "alerts": ("count(*)", EVENTS, "year(start_date)"),
    "excess_consumption": ("sum(excess_kwh_pci)", EVENTS, "year(start_date)"),
    "excess_emissions": ("sum(excess_emissions_kgco2e)", EVENTS, "year(start_date)"),
    "excess_cost": ("sum(excess_cost_eur)", EVENTS, "year(start_date)"),
    "saved_cost": ("sum(saved_cost_eur)", EVENTS, "year(start_date)"),
    "saved_emissions": ("sum(saved_kgco2e)", EVENTS, "year(start_date)"),
    "open_final_energy_consumption": ("sum(consumption_kwh_pci)", OPEN, "year(month_date)"),
    "open_greenhouse_gas_emissions": ("sum(emissions_kgco2e)", OPEN, "year(month_date)"),
    "covered_buildings": ("sum(building_count) filter (where expected_building_count > 0)", OPEN, "year(month_date)"),
    "expected_buildings": ("sum(expected_building_count) filter (where expected_building_count > 0)", OPEN, "year(month_date)"),
    "covered_building_share": (
        "sum(building_count) filter (where expected_building_count > 0) / sum(expected_building_count)", OPEN, "year(month_date)",
    ),
    "network_energy_delivered": ("sum(delivered_kwh_pci)", "network_energy_by_commune_sector_year", "year"),
    "territorial_emissions": ("sum(emissions_ktco2e)", INVENTORY, "year"),
    "gap_to_climate_plan_target": ("sum(emissions_ktco2e - target_ktco2e)", INVENTORY, "year"),
    "gap_to_climate_plan_path": ("sum(emissions_ktco2e - indicative_path_ktco2e)", INVENTORY, "year"),
    "emissions_change_since_reference": ("sum(emissions_ktco2e - reference_ktco2e)", INVENTORY, "year"),
    "reference_emissions_compared": ("sum(reference_ktco2e) filter (where emissions_ktco2e is not null)", INVENTORY, "year"),
    "emissions_change_share_since_reference": (
        "sum(emissions_ktco2e) / sum(reference_ktco2e) filter (where emissions_ktco2e is not null) - 1", INVENTORY, "year",
    ),
    "renewable_electricity_injected": ("sum(injected_kwh)", "renewable_production_by_commune_year", "year"),
    "tertiary_consumption": ("sum(consumption_kwh_pci)", "tertiary_obligation_by_entity_year", "year"),
    "measures_without_figure": ("sum(measure_count)", "measures_set_aside_by_device_month", "year(month_date)"),
}  # fmt: skip


def test_each_metric_is_what_its_published_mart_says_and_what_its_page_shows(ran: tuple[Path, str]) -> None:
    lake = Lake(str(ran[0]))
    manifest, told = (json.loads((lake.state / "target" / f"{name}manifest.json").read_bytes()) for name in ("", "semantic_"))
    metrics, cards = Metrics(told), read_cards(manifest, read_bricks())
    assert metrics.by_name.keys() == METRICS.keys(), "each metric has its definition here"
    files = {file.stem: [str(file.relative_to(lake.root))] for file in Path(lake.root, "files").glob("*/*.parquet")}
    marts, shown = Marts(lake, files), 0
    for name, (expression, mart, year) in METRICS.items():
        assert metrics.mart(name) == mart
        if mart not in files:  # a mart without any row has no file
            assert name == "measures_without_figure"
            continue
        own = f"select year({metrics.time(name)}), {metrics.select(name)} from {mart} group by 1 order by 1"
        ours = marts.connection.execute(own).fetchall()
        theirs = marts.connection.execute(f"select {year}, {expression} from {mart} group by 1 order by 1").fetchall()
        assert ours and [row[0] for row in ours] == [row[0] for row in theirs]
        # A gap and a share are rounded in the mart, as what they are made of is.
        rounding = {"gap": 0.02, "covered": 1e-3}.get(name.partition("_")[0], 0)
        for (of, value), (_, expected) in zip(ours, theirs, strict=True):
            is_close = value is None or value == pytest.approx(expected, rel=1e-6, abs=rounding)
            assert (value is None) == (expected is None) and is_close, f"{name} {of}: {value}, {expected}"
    for mart in sorted(files.keys() & {metrics.mart(name) for name in METRICS}):
        figures = marts.read(cards[mart])
        for figure in figures.figures:
            for name in (name for name in METRICS if (metrics.mart(name), metrics.column(name)) == (mart, figure.column.name)):
                if figures.window is None:
                    where = "true"
                else:
                    first, last = (f"'{each}-01-01'" if isinstance(each, int) else f"'{each}'" for each in figures.window)
                    where = f"date_trunc('month', {metrics.time(name)}) between {first} and {last}"
                ((value,),) = marts.connection.execute(f"select {metrics.select(name)} from {mart} where {where}").fetchall()
                assert value == pytest.approx(figure.value), f"{name} is not what the page of {mart} shows"
                shown += 1
    marts.close()
    assert shown >= 12, "most metrics are key figures of a page"


@pytest.mark.soak
def test_a_city_that_leaves_builds_the_same_marts_without_the_house(ran: tuple[Path, str], tmp_path: Path) -> None:
    left(str(ran[0]), tmp_path, str(PROJECT / "territory.yml"))
    (tmp_path / "profiles.yml").write_text(of_the_page("yaml").replace("left.duckdb", str(tmp_path / "left.duckdb")), encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRA_", "DBT_"))}
    told = {
        "ORCHESTRA_MATERIALIZED": "table",
        "DBT_PROFILES_DIR": str(tmp_path),
        "DBT_TARGET_PATH": str(tmp_path),
        "DBT_LOG_PATH": str(tmp_path),
    }
    command = [sys.executable, "-m", "dbt.cli.main", "--quiet", "build", "--exclude-resource-type", "unit_test"]
    done = subprocess.run(command, cwd=PROJECT, env=clean | told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    with duckdb.connect(str(tmp_path / "left.duckdb"), read_only=True) as connection:
        connection.execute(f"attach '{ran[0] / 'state' / 'warehouse.duckdb'}' as ours (read_only)")
        marts = [name for (name,) in connection.execute(
            "select table_name from duckdb_tables() where schema_name = 'marts' and database_name = 'ours'"
        ).fetchall()]  # fmt: skip
        assert len(marts) == len(list((PROJECT / "dbt_project/models/marts").rglob("*.sql")))
        for mart in marts:
            for one, other in (("ours", '"left"'), ('"left"', "ours")):
                differ = connection.execute(f"from {one}.marts.{mart} except all from {other}.marts.{mart}").fetchall()
                assert differ == [], f"{mart}: {one} alone: {differ[:3]}"


@pytest.mark.parametrize(
    "marts",
    [
        pytest.param("energy_by_building_month network_energy_by_commune_sector_year", id="of two marts"),
        pytest.param("public_buildings_energy_by_commune_month", id="of one that remembers"),
        pytest.param("*", id="of all marts", marks=pytest.mark.soak),
    ],
)
def test_200_random_cells_are_made_again_equal_from_their_receipts_alone(ran: tuple[Path, str], marts: str) -> None:
    folder, _ = ran
    draw, cells = random.Random(1848), 0
    for file in sorted(file for name in marts.split() for file in (folder / "site/internal/receipts").glob(f"{name}.json")):
        prover = Prover(Lake(str(folder)), file.stem)
        assert prover.faults == []
        begun = time.process_time()  # other tests run beside
        for key in draw.sample(keys := prover.keys(), min(12, len(keys))):
            proof = prover.prove(key)
            assert proof.faults == [], f"{file.stem} {key}"
            cells += len(proof.row)
        assert time.process_time() - begun < 30
        prover.close()
    assert cells >= 200


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
        ("energy_alerts_by_event", "'odd' as anomaly_kind", "no name that readers know"),
        ("energy_by_building_year", "yearly_kwh_pci_per_m2 * 1000 as yearly_kwh_pci_per_m2", "kWh PCI per m2"),
        ("energy_by_building_year", "yearly_cost_eur_per_m2 * 100 as yearly_cost_eur_per_m2", "do not cost"),
        ("tertiary_obligation_by_entity_year", "false as is_estimated", "not to be an estimate"),
        ("tertiary_obligation_by_entity_year", "0.99 as reduction_share", "than in their reference year"),
        ("energy_alerts_by_event", "start_date - 1 as end_date", "ends before it starts"),
        ("public_buildings_energy_by_commune_month", "'Rennes' as commune_code", "no INSEE code"),
        ("network_energy_by_commune_sector_year", "delivered_kwh_per_point / 1000 as delivered_kwh_per_point", "MWh and kWh are mixed"),
        ("network_energy_by_commune_sector_year", "9 as delivery_point_count", "fewer than 10 delivery points"),
        ("network_energy_by_commune_sector_year", "2 as delivery_point_count", "fewer than 3 delivery points"),
        ("network_energy_by_commune_sector_year", "9.0 as delivered_change_share", "by 150 %"),
        ("network_energy_by_commune_sector_year", "'Rennes' as commune_code", "no INSEE code"),
        ("network_energy_by_commune_sector_year", "'unknown' as method_version", "has no method"),
        ("network_energy_by_commune_sector_year", "0.1 as delivered_change_share", "across a break"),
        ("network_energy_by_commune_sector_year", "1.0 as commune_delivered_kwh", "which it would give back"),
        ("territory_emissions_by_sector_year", "false as is_reconciled", "do not sum to what the producer tells"),
        ("territory_emissions_by_sector_year", "'ISEA v' || year % 2 as inventory_version", "two versions of the inventory"),
        ("territory_emissions_by_sector_year", "emissions_ktco2e * 1000 as emissions_ktco2e", "tonnes and kilotonnes"),
        ("renewable_production_by_commune_year", "8.0 as share_of_network_electricity", "five times what it takes"),
        ("renewable_production_by_commune_year", "injected_kwh / 1000 as injected_kwh", "MWh and kWh are mixed"),
    ],
)  # fmt: skip
def test_a_mart_that_makes_no_sense_is_withheld(ran: tuple[Path, str], tmp_path: Path, mart: str, fault: str, told: str) -> None:
    from expectations.gate import judge_mart

    good, columns, grain = published(ran[0], mart)
    duckdb.sql(f"copy (select * replace ({fault}) from '{good}') to '{tmp_path / 'bad.parquet'}'")
    reasons, _ = judge_mart(Lake(str(ran[0])), mart, [str(tmp_path / "bad.parquet")], columns, grain, None)
    assert [reason for reason in reasons if told in reason], reasons
