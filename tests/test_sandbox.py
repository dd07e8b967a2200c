"""The sandbox speaks its bricks' protocols, is the same every time, and its key tells the truth about its data."""

import csv
import datetime as dt
import gzip
import http.client
import io
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from test_energy_signature import cold_of

from ingestion.sandbox.clock import day_kind
from ingestion.sandbox.files import WeatherTree, write_drops
from ingestion.sandbox.lora import LoraTree
from ingestion.sandbox.server import start
from ingestion.sandbox.world import World

PARIS = ZoneInfo("Europe/Paris")
SAMPLES = Path(__file__).parents[2] / "shared" / "data" / "rennes" / "lora"
EXPLORE = "/patrimoine_bati/api/explore/v2.1/catalog/datasets/"
BILLS = EXPLORE + "factures-energie-batiments-publics"


class Client:
    """One kept-alive connection to a sandbox."""

    def __init__(self, port: int) -> None:
        self.link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body, headers (lower case); underscores of header names stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.link.request(method, path.replace(" ", "%20"), headers=named)
        answer = self.link.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}

    def names(self, path: str) -> list[str]:
        """Names that a listing links to."""
        return [n for n in re.findall(r'href="([^"]+)"', self.get(path)[1].decode()) if n != "../"]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def tree(world: World) -> LoraTree:
    return LoraTree(world)


@pytest.fixture
def client():
    with start(until=dt.date(2025, 6, 30)) as sandbox:
        yield Client(sandbox.port)


def days(first: str, count: int) -> list[dt.date]:
    return [dt.date.fromisoformat(first) + dt.timedelta(days=n) for n in range(count)]


def indexes(tree: LoraTree, deveui: str, over: list[dt.date]) -> dict[str, dict[dt.datetime, float]]:
    """Readings of EAP_s by tariff period and instant, as a reader of the frames would find them."""
    found: dict[str, dict[dt.datetime, float]] = defaultdict(dict)
    for day in over:
        for content in tree.frames(day).get(deveui, {}).values():
            try:
                frame = json.loads(content)
                sent = dt.datetime.fromisoformat(frame["timestamp"])
            except ValueError:
                continue
            texts = frame["data"]["EAP_s"]
            for i, text in enumerate(texts if isinstance(texts, list) else [texts]):
                value = float(text.removesuffix("kWh").replace(",", "."))
                found[frame["data"]["PTCOUR1"]][sent.astimezone(dt.UTC) - dt.timedelta(hours=i)] = value
    return found


def planted(world: World, kind: str) -> dict:
    return next(each for each in world.planted if each["kind"] == kind)


def test_a_world_is_the_same_every_time_and_changes_with_its_seed(tree: LoraTree) -> None:
    day = dt.date(2024, 11, 5)
    assert LoraTree(World()).frames(day) == tree.frames(day)
    assert LoraTree(World(seed=36)).frames(day) != tree.frames(day)
    assert World(seed=36).bills != World().bills


def test_bills_are_of_declared_contracts_and_buildings_say_who_runs_them(world: World) -> None:
    contracts = {row["contract_id"]: row for row in world.contracts}
    for bill in world.bills:
        contract = contracts[bill["contract_id"]]
        assert (contract["building_id"], contract["energy"]) == (bill["building_id"], bill["energy"])
        assert contract["valid_from"] <= bill["from_date"]
    many = World(scale=4)
    assert {row["operator"] for row in many.buildings} == {"commune", "epci", "enterprise"}
    assert {row["is_publishable"] for row in many.buildings} == {True, False}


def test_a_later_until_only_adds(world: World, tree: LoraTree) -> None:
    early = World(until=dt.date(2024, 10, 9))
    before = LoraTree(early)
    for day in days("2024-01-01", 6) + days("2024-10-01", 9):
        assert before.frames(day) == tree.frames(day)
    assert before.roots == tree.roots
    assert before.list_folder(("year=2024", "month=10")) == [f"day={n:02d}/" for n in range(1, 10)]
    assert before.list_folder(("year=2024", "month=10", "day=10")) is None
    for path in (("HOR", "H_35_previous-2020-2024.csv.gz"), ("QUOT", "Q_35_previous-1950-2024_RR-T-Vent.csv.gz")):
        short, long = (gzip.decompress(WeatherTree(w).read(path)[0]).splitlines() for w in (early, world))
        assert len(short) < len(long)
        assert set(short) <= set(long)
    known = {bill["bill_id"]: bill for bill in world.bills}
    for bill in early.bills:
        later = known[bill["bill_id"]]
        assert later == bill or later["updated_at"] > early.now
    assert [m for m in world.meters if m["valid_from"] <= early.now] == early.meters
    assert World(until=dt.date(2024, 10, 7)).declared_indexes == []


def test_files_are_listed_and_fetched_as_nginx_does(client: Client, tree: LoraTree) -> None:
    assert client.names("/lora_batiments/") == [
        "year=2024/", "year=2025/", "sensors.csv", "parameters.ndjson", "measure_information.csv",
    ]  # fmt: skip
    assert len(client.names("/lora_batiments/year=2024/month=02/")) == 29
    folder = "/lora_batiments/year=2024/month=02/day=29/"
    device = client.names(folder)[0]
    name = client.names(folder + device)[0]
    status, body, headers = client.get(folder + device + name)
    assert (status, body) == (200, tree.frames(dt.date(2024, 2, 29))[device[:-1]][name])
    assert headers["x-city-orchestra-sandbox"] == "synthetic"
    assert headers["date"].startswith("Mon, 30 Jun 2025 23:00:")
    assert client.get(folder + device + name, If_None_Match=headers["etag"])[:2] == (304, b"")
    assert client.get(folder + device + name, If_None_Match='"other"')[0] == 200
    assert client.get(folder + device + name, If_Modified_Since=headers["last-modified"])[0] == 304
    status, body, head = client.get(folder + device + name, "HEAD")
    assert (status, body, head["content-length"]) == (200, b"", headers["content-length"])
    assert client.get(folder[:-1])[2]["location"] == folder
    for wrong in ("/nowhere", folder + "x/", "/lora_batiments/year=2025/month=07/", "/lora_batiments/SANDBOX.json"):
        assert client.get(wrong)[0] == 404, wrong
    assert client.get(folder, "POST")[0] == 405
    root = json.loads(client.get("/")[1])
    assert root["synthetic"] is True
    assert root["territory"] == "Rennes Métropole"


def test_weather_files_agree_with_each_other(client: Client) -> None:
    found = []
    for path in ("HOR/H_35_latest-2025-2026.csv.gz", "QUOT/Q_35_latest-2025-2026_RR-T-Vent.csv.gz"):
        status, body, headers = client.get("/meteo_stations/" + path)
        assert status == 200
        assert client.get("/meteo_stations/" + path, If_None_Match=headers["etag"])[0] == 304
        found.append(list(csv.DictReader(io.StringIO(gzip.decompress(body).decode()), delimiter=";")))
    hours = {r["AAAAMMJJHH"]: float(r["T"]) for r in found[0] if r["NUM_POSTE"] == "35281001"}
    assert len(hours) == 181 * 24
    daily = [row for row in found[1] if row["NUM_POSTE"] == "35281001"]
    assert (len(daily), daily[-1]["AAAAMMJJ"]) == (181, "20250630")
    for row in daily:
        # From 06 h to 18 h the two windows, 18 h to 18 h for TN and 06 h to 06 h for TX, overlap.
        seen = [hours[f"{row['AAAAMMJJ']}{hour:02d}"] for hour in range(6, 19)]
        assert float(row["TN"]) <= min(seen) <= max(seen) <= float(row["TX"])


def test_records_stop_at_ten_thousand_and_refusals_have_the_real_body(client: Client) -> None:
    body = json.loads(client.get(BILLS + "/records?limit=3&order_by=bill_id desc&where=energy = 'gas'")[1])
    assert body["total_count"] > 3
    assert [r["energy"] for r in body["results"]] == ["gas"] * 3
    assert client.get(BILLS + "/records?limit=100&offset=9900")[0] == 200
    refusals = {
        "limit=100&offset=9901": "InvalidRESTParameterError", "limit=101": "InvalidRESTParameterError",
        "limit=x": "InvalidRESTParameterError", "where=startswith(energy, 'g')": "ODSQLError",
        "where=energy = 'gas' or": "ODSQLError", "where=price > 3": "ODSQLError", "select=price": "ODSQLError",
        "where=updated_at > 'yesterday'": "ODSQLError",
    }  # fmt: skip
    for query, code in refusals.items():
        status, text, _ = client.get(BILLS + "/records?" + query)
        assert (status, json.loads(text)["error_code"]) == (400, code), query
    assert client.get(EXPLORE + "unknown/records")[0] == 404


def test_exports_hold_every_row_asked_for(client: Client) -> None:
    import pyarrow.parquet as pq

    count = json.loads(client.get(BILLS)[1])["metas"]["default"]["records_count"]
    whole = pq.read_table(io.BytesIO(client.get(BILLS + "/exports/parquet")[1]))
    assert whole.num_rows == count
    assert (str(whole.schema.field("updated_at").type), str(whole.schema.field("from_date").type)) == (
        "timestamp[ms, tz=UTC]", "date32[day]",
    )  # fmt: skip
    cursor = "where=updated_at >= date'2025-01-01T00:00:00Z' and energy != \"wood\""
    part = pq.read_table(io.BytesIO(client.get(f"{BILLS}/exports/parquet?{cursor}&select=bill_id,updated_at")[1]))
    since = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    expected = [r["bill_id"] for r in whole.to_pylist() if r["updated_at"] >= since and r["energy"] != "wood"]
    assert sorted(part["bill_id"].to_pylist()) == sorted(expected)
    assert part.column_names == ["bill_id", "updated_at"]
    lines = client.get(f"{BILLS}/exports/jsonl?limit=5")[1].decode().splitlines()
    assert len([json.loads(line) for line in lines]) == 5
    assert client.get(EXPLORE + "batiments-publics/exports/csv")[1].startswith(b"\xef\xbb\xbfbuilding_id;name;use;")


def test_a_domain_with_a_key_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRA_PATRIMOINE_BATI_KEY", "open-sesame")
    with start(scale=0.1, until=dt.date(2024, 3, 1)) as sandbox:
        client = Client(sandbox.port)
        assert client.get(BILLS)[0] == 401
        assert client.get(BILLS, Authorization="Apikey wrong")[0] == 401
        assert client.get(BILLS, Authorization="Apikey open-sesame")[0] == 200
        assert client.get(BILLS + "?apikey=open-sesame")[0] == 200


def test_frames_have_the_shape_of_the_real_ones(tree: LoraTree) -> None:
    if not SAMPLES.exists():
        pytest.skip(f"the real frames are not at {SAMPLES}")
    day = {device: list(files.values()) for device, files in tree.frames(dt.date(2024, 3, 5)).items()}
    scalar, thermometer = tree.deveuis[tree.kinds.index("scalar")], tree.deveuis[tree.kinds.index("temp_scalar")]
    for device, sample in ((scalar, "nke_meter.json"), (thermometer, "adeunis_temperature.json")):
        real, ours = json.loads((SAMPLES / sample).read_text(encoding="utf-8")), json.loads(day[device][0])
        assert list(ours) == list(real)
        for block in ("data", "lorawan", "lora", "gateway"):
            assert {k: type(v) for k, v in ours[block].items()} == {k: type(v) for k, v in real[block].items()}
    assert re.fullmatch(r"\d+kWh", json.loads(day[scalar][0])["data"]["EAP_s"])
    header = (SAMPLES / "measure_information.csv").read_text(encoding="utf-8").splitlines()[0]
    assert tree.roots["measure_information.csv"].decode().splitlines()[0] == header + ",step"


def test_the_key_counts_what_the_folder_holds(tmp_path: Path, tree: LoraTree) -> None:
    start(until=dt.date(2024, 8, 31), key_file=tmp_path / "key.json").stop()
    key = json.loads((tmp_path / "key.json").read_text())
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for day in days("2024-01-01", 244):
        for files in tree.frames(day).values():
            again = len(files) - len(set(files.values()))
            counts[day.isoformat()]["duplicate"] += again
            for content in set(files.values()):
                try:
                    frame = json.loads(content)
                    sent = dt.datetime.fromisoformat(frame["timestamp"])
                    counts[day.isoformat()]["malformed"] += "deveui" not in frame
                    counts[day.isoformat()]["late"] += sent.astimezone(PARIS).date() < day
                except ValueError:
                    counts[day.isoformat()]["malformed"] += 1
    told = {day: Counter(found) for day, found in key["frames_by_folder_day"].items()}
    for kind in ("duplicate", "malformed"):
        assert {d: c[kind] for d, c in told.items() if c[kind]} == {d: c[kind] for d, c in counts.items() if c[kind]}
    # A late frame that is also unreadable or doubled cannot be told from its content: a few only.
    late = [sum(c["late"] for c in found.values()) for found in (told, counts)]
    assert abs(late[0] - late[1]) <= 2
    assert min(late) > 10


def test_the_leak_doubles_the_base_of_the_night(world: World, tree: LoraTree) -> None:
    leak = planted(world, "night_leak")
    first = dt.date.fromisoformat(leak["from"][:10])
    bases = []
    for over in (days(str(first - dt.timedelta(days=28)), 28), days(str(first + dt.timedelta(days=1)), 28)):
        readings = indexes(tree, leak["deveui"], over)["BASE"]
        rises = [
            readings[at + dt.timedelta(hours=1)] - value
            for at, value in readings.items()
            if at.astimezone(PARIS).hour in (23, 0, 1, 2, 3) and at + dt.timedelta(hours=1) in readings
        ]
        bases.append(sum(rises) / len(rises))
    assert 1.85 < bases[1] / bases[0] < 2.15


def test_the_drift_the_gap_the_swap_and_the_reset_are_where_the_key_says(world: World, tree: LoraTree) -> None:
    gap = planted(world, "gap")
    silent = [d for d in days("2024-11-05", 20) if gap["deveui"] not in tree.frames(d)]
    assert silent == days(gap["from"][:10], gap["params"]["folder_days"])
    for kind in ("meter_swap", "meter_reset"):
        fault = planted(world, kind)
        at = dt.datetime.fromisoformat(fault["from"])
        readings = indexes(tree, fault["deveui"], days(str(at.date()), 3))["BASE"]
        before, after = max(t for t in readings if t < at), min(t for t in readings if t >= at)
        assert 0 <= fault["params"]["index_before_kwh"] - readings[before] < 60
        assert 0 <= readings[after] - fault["params"]["index_after_kwh"] < 60
    swap = planted(world, "meter_swap")
    declared = {row["meter_id"]: row["index_kwh"] for row in world.declared_indexes}
    assert list(declared.values()) == [swap["params"]["index_before_kwh"], swap["params"]["index_after_kwh"]]
    assert [m["meter_id"] for m in world.meters if m["deveui"] == swap["deveui"]] == list(declared)
    reset = planted(world, "meter_reset")
    assert len([m for m in world.meters if m["deveui"] == reset["deveui"]]) == 1
    drift, years = planted(world, "drift"), []
    for over in (days("2024-06-03", 7), days("2025-06-02", 7)):
        readings = indexes(tree, drift["deveui"], over)["BASE"]
        years.append(max(readings.values()) - min(readings.values()))
    assert 1.10 < years[1] / years[0] < 1.30


def test_a_frozen_index_stands_still_from_the_day_to_the_day_that_the_key_says(world: World, tree: LoraTree) -> None:
    frozen = [each for each in world.planted if each["kind"] == "frozen_index"]
    assert len(frozen) == 2
    lost = world.freezes[1:]
    for fault in frozen:
        start, end = (dt.datetime.fromisoformat(fault[name]) for name in ("from", "to"))
        i = tree.deveuis.index(fault["deveui"])
        for register, readings in enumerate(indexes(tree, fault["deveui"], days(str(start.date() - dt.timedelta(days=3)), 27)).values()):
            still = {value for at, value in readings.items() if start <= at < end}
            assert len(still) == 1
            before = max(value for at, value in readings.items() if at < start)
            after = min(value for at, value in readings.items() if at >= end)
            assert 0 <= still.pop() - before <= 60
            counted = 0 if lost[1][register, i] else (end - start).days * 24 * world.area[i] * 0.0015 / 3
            assert after - before >= counted
    worlds = [World(seed=seed) for seed in range(6)]
    assert {bool(other.freezes[2][:, i].any()) for other in worlds for i in (0, 3)} == {True, False}


def test_heating_that_is_no_longer_set_back_takes_what_the_key_says(world: World) -> None:
    faults = [each for each in world.planted if each["kind"] == "heating_not_set_back"]
    assert {fault["params"]["energy"] for fault in faults} == {"gas", "heat_network"}
    cold = cold_of(world)
    for fault in faults:
        i, rise = world.building_ids.index(fault["building_id"]), fault["params"]["heating_rise_share"]
        key, factor = world.signatures[i], {"gas": 1.11, "heat_network": 0.001}[fault["params"]["energy"]]

        def heating(first: str, last: str, i: int = i, key: dict = key, factor: float = factor) -> float:
            """What the bills of whole months say of heating, over what the key's signature makes of their weather."""
            bills = [
                bill for bill in world.all_bills if bill["building_id"] == world.building_ids[i] and first <= str(bill["from_date"]) < last
            ]
            days = [day for bill in bills for day in cold if bill["from_date"] <= day < bill["to_date"]]
            taken = sum(bill["corrected"] for bill in bills) / factor - key["base_kwh_per_day"] * len(days)
            return taken / (key["slope_kwh_per_degree_day"] * sum(cold[day] for day in days))

        assert heating("2024-01-01", "2025-01-01") == pytest.approx(1, abs=0.04)
        assert heating("2025-02-01", "2025-04-01") == pytest.approx(1 + rise, abs=0.07)
        assert heating("2025-10-01", "2025-12-01") == pytest.approx(1 if fault["to"] else 1 + rise, abs=0.07)
        assert fault["to"] in (None, "2025-04-01")


def test_the_manager_answers_once_there_is_something_to_answer() -> None:
    def served(until: dt.date) -> tuple[bool, list[dict[str, str]]]:
        with start(until=until) as sandbox:
            client = Client(sandbox.port)
            text = client.get("/reponses_alertes/reponses_alertes.csv")[1].decode("utf-8-sig")
            return "reponses_alertes" in json.loads(client.get("/")[1])["bricks"], list(csv.DictReader(io.StringIO(text), delimiter=";"))

    assert served(dt.date(2024, 10, 12))[0] is False
    is_played, rows = served(dt.date(2025, 3, 20))
    (mended,) = (row for row in rows if row["batiment"] == "BAT-00011")
    assert is_played and mended["nature"] == "heating_excess" and mended["action"] == "", "it is seen, and not mended yet"
    (mended,) = (row for row in served(dt.date(2025, 12, 31))[1] if row["batiment"] == "BAT-00011")
    assert (mended["action_le"], mended["clos_le"]) == ("01/04/2025", "30/06/2025")


def test_no_device_keeps_to_the_second_and_some_speak_once_a_day(tree: LoraTree) -> None:
    deveui = tree.deveuis[tree.kinds.index("base_scalar")]
    readings = indexes(tree, deveui, days("2024-03-01", 60))
    assert set(readings) == {"BASE"}
    steps = [(b - a).total_seconds() - 86400 for a, b in zip(sorted(readings["BASE"]), sorted(readings["BASE"])[1:], strict=False)]
    assert 50 < len(steps) < 60 and all(abs(step % 86400 - 86400 * (step % 86400 > 43200)) < 41 for step in steps)
    assert max(steps) > 10 and len(set(steps)) > 20


def test_consumptions_are_those_of_such_buildings(world: World) -> None:
    """By m2 and year, in wide limits that a slip of a unit leaves; offices in all 110 to 230, as a survey of real ones."""
    electricity = world.energy(24 * 365 * 54 + 24 * 14, 24 * 366)[:2].sum(axis=(0, 2)) / world.area
    heat = {row["building_id"]: 365 * row["base_kwh_per_day"] + 1950 * row["slope_kwh_per_degree_day"]
            for row in world.signatures if "base_kwh_per_day" in row}  # fmt: skip
    for i, kind in enumerate(world.types):
        low, high = (250, 400) if kind.use == "pool" else (70, 150) if kind.heating == "electricity" else (20, 75)
        assert low < electricity[i] < high, (kind, electricity[i])
        if kind.heating != "electricity":
            low, high = (170, 260) if kind.use == "pool" else (60, 110)
            warmth = heat[world.building_ids[i]] / world.area[i]
            assert low < warmth < high, (kind, warmth)
            assert kind.use != "offices" or 110 < warmth + electricity[i] < 230


def test_registers_move_only_in_their_own_hours_even_when_clocks_change(world: World, tree: LoraTree) -> None:
    device = tree.deveuis[tree.kinds.index("two")]
    for change in ("2024-03-31", "2024-10-27"):
        over = days(str(dt.date.fromisoformat(change) - dt.timedelta(days=1)), 4)
        for period, readings in indexes(tree, device, over).items():
            assert len(readings) > 60
            for at, value in readings.items():
                hours = {(at + dt.timedelta(minutes=m)).astimezone(PARIS).hour for m in (0, 59)}
                off_peak = all(hour >= 22 or hour < 6 for hour in hours)
                peak = all(6 <= hour < 22 for hour in hours)
                rise = readings.get(at + dt.timedelta(hours=1), value) - value
                assert rise >= 0
                assert not (rise and (off_peak if period == "HPE" else peak))
    base = indexes(tree, tree.deveuis[0], days("2024-03-30", 4))["BASE"]
    local = [at for at in base if at.astimezone(PARIS).date() == dt.date(2024, 3, 31)]
    assert len(local) == 23
    local = [
        at for at in indexes(tree, tree.deveuis[0], days("2024-10-26", 4))["BASE"] if at.astimezone(PARIS).date() == dt.date(2024, 10, 27)
    ]
    assert len(local) == 25


def test_days_off_are_those_of_the_french_calendar() -> None:
    kinds = {"2024-04-01": 2, "2024-05-09": 2, "2025-06-09": 2, "2024-07-14": 2, "2024-03-09": 1, "2025-02-10": 3,
             "2024-03-04": 3, "2024-03-12": 0, "2026-04-06": 2, "2027-07-20": 3}  # fmt: skip
    assert {day: day_kind(dt.date.fromisoformat(day)) for day in kinds} == kinds


def test_no_hour_takes_more_than_the_subscribed_power(world: World) -> None:
    power = {row["deveui"]: row["subscribed_power_kva"] for row in world.meters}
    hourly = world.energy(24 * 365 * 54, 24 * 366).sum(axis=0).max(axis=1)
    assert all(most < power[deveui] for most, deveui in zip(hourly.tolist(), world.deveuis, strict=True))


def test_drops_are_the_files_served_beside_a_marker(tmp_path: Path) -> None:
    until = dt.date(2024, 1, 9)
    count = write_drops(tmp_path, "lora_batiments", scale=0.2, until=until)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == count + 1
    marker = json.loads((tmp_path / "SANDBOX.json").read_text())
    assert marker == {"synthetic": True, "now": "2024-01-09T23:00:00+00:00"}
    tree = LoraTree(World(0.2, until))
    for path in tmp_path.rglob("*/[0-9]*.json"):
        found = tree.read(path.relative_to(tmp_path).parts)
        assert found is not None
        assert found[0] == path.read_bytes()
    assert write_drops(tmp_path, "lora_batiments", scale=0.2, until=until + dt.timedelta(days=1)) > count


def test_communes_are_the_43_of_the_metropole(tmp_path: Path) -> None:
    assert write_drops(tmp_path, "insee_cog") == 2
    text = (tmp_path / "perimetre-epci-a-fp.csv").read_bytes().decode("cp1252")
    rows = list(csv.DictReader(io.StringIO(text), delimiter=";"))
    assert sum(int(row["pmun_2025"].replace(" ", "")) for row in rows) == 473_973
    assert rows[0] | {"insee": "35238", "nom_membre": "Rennes", "ptot_2025": "231 985", "nb_membres": "43"} == rows[0]
    communes = list(csv.DictReader((tmp_path / "cog_communes.csv").open(encoding="utf-8")))
    assert {row["COM"] for row in communes} == {row["insee"] for row in rows}
    official = SAMPLES.parents[1] / "referentiels"
    if official.exists():
        for name in ("cog_communes.csv", "perimetre-epci-a-fp.csv"):
            real = (official / name).read_bytes().splitlines()
            assert set((tmp_path / name).read_bytes().splitlines()) <= set(real)
