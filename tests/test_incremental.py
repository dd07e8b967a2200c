"""What changes moves what it should and nothing else, and the whole equals a rebuild: real dbt over a small lake."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import json
import shutil
import urllib.request
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from flows import steps
from ingestion.census import read_bricks
from ingestion.erasing import erase_rows
from ingestion.journal import Journal
from ingestion.sandbox import files as drops
from ingestion.sandbox.server import start
from tests.fixtures.chain import Chain, chain_in
from tests.fixtures.compiled import Compiled

UNTIL = dt.date(2024, 10, 12)  # after the declared swap of a meter
MART = "marts.energy_by_building_month"
PARIS = ZoneInfo("Europe/Paris")
DATASETS = {
    "buildings": "batiments-publics",
    "meters": "compteurs-batiments-publics",
    "declared_indexes": "index-releves-compteurs",
    "contracts": "contrats-energie-batiments-publics",
    "bills": "factures-energie-batiments-publics",
    "tertiary_entries": "saisies-operat-batiments-publics",
}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, compiled: Compiled) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("chain")
    for brick in ("lora_batiments", "meteo_stations", "insee_cog", "reponses_alertes"):
        drops.write_drops(folder / "drops" / brick, brick, until=UNTIL)
    (folder / "drops" / "patrimoine_bati").mkdir()
    shutil.copy(folder / "drops" / "insee_cog" / "SANDBOX.json", folder / "drops" / "patrimoine_bati" / "SANDBOX.json")
    with start(until=UNTIL) as sandbox:
        for table, dataset in DATASETS.items():
            url = f"{sandbox.url}/patrimoine_bati/api/explore/v2.1/catalog/datasets/{dataset}/exports/jsonl"
            with urllib.request.urlopen(url) as answer:
                content = answer.read()
            if table == "bills":  # of electricity, meters alone give the fit, which a late frame is to move
                content = b"".join(line for line in content.splitlines(keepends=True) if json.loads(line)["energy"] != "electricity")
            (folder / "drops" / "patrimoine_bati" / f"{table}.ndjson").write_bytes(content)
    with chain_in(folder, compiled.parsed) as made:
        yield made


def moved(chain: Chain, instants: tuple[dt.datetime, dt.datetime, dt.datetime], midnight: dt.datetime) -> tuple[float, float]:
    """Send a late frame between two of the meter that sends one index at a time, all at instants of local clocks.

    Gives the consumption of the interval that falls before that midnight, without the late frame and with it.
    """
    folder, deveui = chain.folder / "drops/lora_batiments", "70b3d5e75e00100a"
    found = {}
    for path in folder.glob(f"year=*/month=*/day=*/{deveui}/*.json"):
        with contextlib.suppress(ValueError):
            frame = json.loads(path.read_text())
            found[dt.datetime.fromisoformat(frame["timestamp"]).replace(tzinfo=None)] = frame
    near, late, far = instants
    # No device keeps to the second.
    start, end = (next(each for each in sorted(found) if abs(each - moment) < dt.timedelta(minutes=1)) for moment in (near, far))
    frame = found[start]
    assert not [moment for moment in found if start < moment < end and found[moment]["data"]["PTCOUR1"] == frame["data"]["PTCOUR1"]]
    low, high = (float(found[moment]["data"]["EAP_s"].removesuffix("kWh")) for moment in (start, end))
    index = round(low + 0.8 * (high - low))
    sent = frame | {"data": frame["data"] | {"EAP_s": f"{index}kWh"}, "timestamp": late.replace(tzinfo=PARIS).isoformat()}
    target = folder / f"year=2024/month=10/day=12/{deveui}/{late:%m%d}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(sent))
    cut = (low, start, index, late) if midnight < late else (index, late, high, end)
    share = (cut[2] - cut[0]) * ((midnight - cut[1]) / (cut[3] - cut[1]))
    return (high - low) * ((midnight - start) / (end - start)), share + (index - low) * (late < midnight)


def differing(one: dict[str, tuple], other: dict[str, tuple]) -> list[str]:
    return [name for name in one if one[name] != other.get(name)]


@pytest.mark.chain
def test_each_change_moves_what_it_should_and_nothing_else(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    # Everything, from nothing; a bill may lack its first day here, and dbt only warns of it.
    lenient = chain.project / "models/staging/patrimoine_bati/_patrimoine_bati.yml"
    text = lenient.read_text(encoding="utf-8")
    told = 'description: "First day billed."\n        data_tests: [not_null'
    assert told in text
    lenient.write_text(text.replace(told, told + ": {config: {severity: warn}}"), encoding="utf-8")
    chain.run(is_tested=False)  # the rebuild at the end runs every test
    assert chain.read(f"select count(*) from {MART}")[0][0] > 30
    count = "select count(*) from staging.stg_lora_batiments__frames"
    ((frames,),) = chain.read(count)

    # Two late frames of a meter: after the last of January, ten kWh above what is expected; before the first of May.
    asked = f"select month_date::varchar, consumption_kwh from {MART} where building_id = 'BAT-00011' and energy = 'electricity'"
    old = dict(chain.read(asked))
    last, late, first = dt.datetime(2024, 1, 31, 20, 19, 30), dt.datetime(2024, 1, 31, 22), dt.datetime(2024, 2, 1, 9, 19, 30)
    january, risen = moved(chain, (last, late, first), dt.datetime(2024, 2, 1))
    last, late, first = dt.datetime(2024, 4, 30, 21, 19, 30), dt.datetime(2024, 5, 1, 7), dt.datetime(2024, 5, 1, 10, 19, 30)
    april, risen_too = moved(chain, (last, late, first), dt.datetime(2024, 5, 1))
    touched = chain.run(is_tested=False)
    new = dict(chain.read(asked))
    assert touched["stg_lora_batiments__frames"] == {"2024-01-01", "2024-05-01"}
    assert touched["int_measures_judged"] == {"2024-01-01", "2024-05-01"}
    # The last reading of a month opens the next one; the first one ends an interval that began in the month before.
    crossed = {"2024-01-01", "2024-02-01", "2024-04-01", "2024-05-01"}
    assert touched["int_intervals_by_month"] == touched["int_consumptions_by_building_month"] == crossed
    assert {month for month in new if new[month] != old[month]} == crossed
    assert new["2024-01-01"] - old["2024-01-01"] == pytest.approx(risen - january, abs=0.11)
    assert new["2024-02-01"] - old["2024-02-01"] == pytest.approx(january - risen, abs=0.11)
    assert new["2024-04-01"] - old["2024-04-01"] == pytest.approx(risen_too - april, abs=0.11)
    assert new["2024-05-01"] - old["2024-05-01"] == pytest.approx(april - risen_too, abs=0.11)
    # The fit of the year moves, which stands in all of its months.
    assert touched["energy_by_building_month"] == {*new}
    assert chain.read(count) == [(frames + 2,)]

    # A key corrected into another month: a bill of January was February's. A bill that lacks its first day, thus its month, and
    # an answer to an alert that does not exist: both are there, and dbt says so.
    bills = chain.folder / "drops/patrimoine_bati/bills.ndjson"
    lines = [json.loads(line) for line in bills.read_text().splitlines()]
    bill = next(b for b in lines if b["from_date"] == "2024-01-01")
    bill |= {"from_date": "2024-02-01", "to_date": "2024-03-01", "updated_at": "2024-10-12T10:00:00+00:00"}
    lines.append(bill | {"bill_id": "FAC-WITHOUT-MONTH", "from_date": None, "updated_at": "2024-10-12T11:00:00+00:00"})
    bills.write_text("".join(json.dumps(line) + "\n" for line in lines))
    answers = chain.folder / "drops/reponses_alertes"
    (answers / "reponses_alertes.csv").write_text(
        "batiment;energie;nature;debut;vu_le;action;action_le;responsable;effet_attendu_kwh;clos_le\n"
        "BAT-00001;gas;heating_excess;01/02/2024;01/03/2024;Réglage;02/03/2024;Exploitation;1,5;\n", encoding="utf-8"
    )  # fmt: skip
    monkeypatch.setenv("ORCHESTRA_ENDPOINT_REPONSES_ALERTES", str(answers))
    touched = chain.run()
    assert {"2024-01-01", "2024-02-01"} <= touched["stg_patrimoine_bati__bills"]
    month = chain.read(f"select from_date from staging.stg_patrimoine_bati__bills where bill_id = '{bill['bill_id']}'")
    assert month == [(dt.date(2024, 2, 1),)]
    assert "stg_lora_batiments__frames" not in touched
    assert chain.read("select count(*) from staging.stg_patrimoine_bati__bills where month_date is null") == [(1,)]
    told = ["test answers_find_their_alert", "test not_null_stg_patrimoine_bati__bills_from_date"]
    assert sorted(warning.split(".")[0] for warning in chain.warnings) == told
    asked = "select action, event_start_date, effect_expected_kwh from intermediate.int_answers_by_event"
    assert chain.read(asked) == [("Réglage", None, 1.5)]
    # Before anything makes a model anew as a whole: what is written by partitions is what a build from nothing writes.
    assert differing(chain.rebuilt(), chain.contents()) == []

    # An edited referential row: a building is twice as large, its ratio is half. And an edited factor: emissions follow,
    # consumptions do not move.
    ratio = f"select building_id, month_date, consumption_kwh_pci_per_m2 from {MART} where consumption_kwh_pci_per_m2 > 0"
    ratio += " and building_id = 'BAT-00001' order by all"
    old = chain.read(ratio)
    path = chain.folder / "drops/patrimoine_bati/buildings.ndjson"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    next(b for b in lines if b["building_id"] == "BAT-00001")["floor_area_m2"] *= 2
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
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
    touched = chain.run(is_tested=False)
    assert chain.read(asked)[0] == (pytest.approx(emissions * 2, rel=1e-4), pytest.approx(kwh))
    assert [new[2] * 2 for new in chain.read(ratio)] == pytest.approx([row[2] for row in old], abs=0.016)
    assert [name for name in touched if name.startswith("stg_")] == ["stg_patrimoine_bati__buildings"]

    # Changed SQL: a model and what stands on it, nothing before it.
    asked = f"select building_id, month_date, energy, consumption_kwh_pci_per_m2 from {MART} order by all"
    old, model = chain.read(asked), chain.project / "models/marts/energy/energy_by_building_month.sql"
    text, told = model.read_text(encoding="utf-8"), "/ nullif(emissions.floor_area_m2, 0)"
    assert told in text
    model.write_text(text.replace(told, "/ nullif(2 * emissions.floor_area_m2, 0)"), encoding="utf-8")
    assert set(chain.run(is_tested=False)) == {"energy_by_building_month"}
    assert [row[3] for row in chain.read(asked)] == pytest.approx([row[3] and row[3] / 2 for row in old], abs=0.011)
    assert steps.build(chain.lake, Journal(chain.lake)).nodes == []


@pytest.mark.chain
@pytest.mark.soak
def test_an_erased_row_is_gone_and_a_rebuild_equals_what_changes_have_built(chain: Chain) -> None:
    if not chain.lake.state.joinpath("warehouse.duckdb").exists():
        chain.run(is_tested=False)
    # A building, with all that names it: erasing it alone would leave meters of no building, which dbt's tests refuse.
    journal = Journal(chain.lake)
    keys = (("meters", "meter_id"), ("contracts", "contract_id"), ("bills", "bill_id"), ("buildings", "building_id"))
    of_building = [
        (table, [{key: value} for (value,) in chain.read(f"select {key} from staging.stg_patrimoine_bati__{table} {where}")])
        for where in ["where building_id = 'BAT-00002'"]
        for table, key in keys
    ]
    brick = read_bricks()["patrimoine_bati"]
    for table, found in of_building:
        assert found and sum(each.row_count for each in erase_rows(chain.lake, journal, brick, found, "asked for", table=table))
    asked = [
        "select count(*) from staging.stg_patrimoine_bati__buildings where building_id = 'BAT-00002'",
        f"select count(*) from {MART} where building_id = 'BAT-00002'",
        "select count(*) from marts.energy_anomalies_by_building_day where building_id = 'BAT-00002'",
    ]
    chain.build(is_tested=False)
    assert [chain.read(sql) for sql in asked] == [[(0,)]] * 3
    after = chain.contents()
    assert steps.rebuild(chain.lake).failures == []
    assert [chain.read(sql) for sql in asked] == [[(0,)]] * 3
    assert differing(chain.contents(), after) == []
