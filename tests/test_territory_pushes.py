"""The territory's bricks of mobility, sensors, databases and jobs land from the sandbox, each in its own protocol, row by row."""

from __future__ import annotations

import base64
import csv
import datetime as dt
import gzip
import io
import itertools
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.servers import free_port, plug_in, receive_all, secrets_of
from ingestion.census import read_bricks
from ingestion.connectors import SourceError
from ingestion.inbox import append, inbox_of, line_of
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError
from ingestion.landing import land_brick
from ingestion.sandbox.files import WeatherTree
from ingestion.sandbox.server import Sandbox, start
from ingestion.sandbox.world import World, read_communes
from ingestion.warehouse import catch_up
from tests.conftest import House, Site, accept, column, source, table
from tests.fixtures.listening import pushed

UNTIL, DAY = dt.date(2025, 7, 14), dt.timedelta(days=1)
PLAYED = ("star_velos", "star_horaires", "star_retards", "capteurs_oasc", "bruit_urbain", "hydrometrie", "catnat", "points_fraicheur",
          "canopee_communes", "sols_des_arbres", "air_des_ecoles")  # fmt: skip
Landed = dict[str, dict[str, int] | None]


class Town:
    """A lake that lands these bricks from a sandbox, which is started anew for each day, as `make demo` does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lake, self.bricks = folder, Lake(str(folder / "lake")), read_bricks()

    def run(self, until: dt.date) -> tuple[Sandbox, Landed]:
        """Have all of them land; give the sandbox, still there, and the rows kept by table, None where nothing was new."""
        address = f"127.0.0.1:{free_port()}"
        own = {name: f"secret-of-{name}" for name in secrets_of(self.bricks.values())}
        os.environ.update({**own, "ORCHESTRA_LAKE": self.lake.root, "ORCHESTRA_LISTEN": address})
        sandbox = start(until=until, key_file=self.folder / "planted.json", push_to=f"http://{address}")
        plug_in(sandbox.url)
        receive_all(sandbox.url, self.folder / "listen.log")
        return sandbox, {name: self.land(name) for name in PLAYED}

    def land(self, name: str) -> dict[str, int] | None:
        entry = land_brick(self.lake, Journal(self.lake), self.bricks[name], "run", accept).entry
        assert entry is None or {record["refused"] for record in entry["tables"].values()} == {0}, name
        return entry and {table: record["kept"] for table, record in entry["tables"].items()}

    def rows(self, brick: str, table: str, columns: str) -> list[tuple[Any, ...]]:
        with self.lake.connect() as connection:
            catch_up(connection, self.lake, Journal(self.lake), {brick: self.bricks[brick]})
            return connection.execute(f"select {columns} from {brick}.{table} order by all").fetchall()


@pytest.fixture(scope="module", autouse=True)
def _environment() -> Iterator[None]:
    """Put back what a sandbox plugs in."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Town, list[Landed], Sandbox]]:
    """Give a town after three runs: a day, the same day again, and the next one; what each has landed; and the last sandbox."""
    town, told, sandboxes = Town(tmp_path_factory.mktemp("town")), list[Landed](), list[Sandbox]()
    for until in (UNTIL, UNTIL, UNTIL + DAY):
        if sandboxes:
            sandboxes[-1].stop()
        sandbox, landed = town.run(until)
        sandboxes.append(sandbox)
        told.append(landed)
    yield town, told, sandboxes[-1]
    sandboxes[-1].stop()


def fetch(sandbox: Sandbox, path: str) -> bytes:
    with urllib.request.urlopen(f"{sandbox.url}/{path}", timeout=10) as answer:
        return bytes(answer.read())


def instants(first: dt.datetime, count: int) -> list[str]:
    return [f"{first + dt.timedelta(hours=n):%Y-%m-%d %H:%M:%S}" for n in range(count)]


def test_all_lands_once_then_nothing_then_what_is_new_alone(days: tuple[Town, list[Landed], Sandbox]) -> None:
    _, (first, again, after), _ = days
    assert {name for name, landed in first.items() if landed} == set(PLAYED)
    assert [name for name, landed in again.items() if landed] == []
    # Of servers that keep two days, one day is new, with the rows that stand at the cursor; of a database, two rows of sixty.
    assert after == {
        "star_velos": {"states": 24}, "star_horaires": None, "star_retards": first["star_retards"],
        "capteurs_oasc": {"observations": (24 + 1) * 6}, "bruit_urbain": {"levels": 8}, "hydrometrie": {"observations": (24 + 1) * 4},
        "catnat": None, "points_fraicheur": {"places": 2}, "canopee_communes": None,
        "sols_des_arbres": {"uplinks": 6 * 8}, "air_des_ecoles": {"uplinks": 4 * 12},
    }  # fmt: skip


def test_stations_hold_no_more_bicycles_than_docks_and_no_bicycle_is_known(days: tuple[Town, list[Landed], Sandbox]) -> None:
    town, _, sandbox = days
    told = json.loads(fetch(sandbox, "star_velos/station_information.json"))["data"]["stations"]
    docks = {each["station_id"]: each["capacity"] for each in told}
    assert dict(town.rows("star_velos", "stations", "station_id, capacity")) == docks
    states = town.rows("star_velos", "states", "station_id, num_bikes_available, num_docks_available, feed_last_updated at time zone 'UTC'")
    assert len(states) == 2 * len(docks) and {bikes + free - docks[station] for station, bikes, free, _ in states} == {0}
    assert {str(at) for *_, at in states} == {f"{day} 23:00:00" for day in (UNTIL, UNTIL + DAY)}


def test_timetables_are_those_of_the_archive_and_delays_are_of_their_trips(days: tuple[Town, list[Landed], Sandbox]) -> None:
    from google.transit.gtfs_realtime_pb2 import FeedMessage

    town, _, sandbox = days
    archive = zipfile.ZipFile(io.BytesIO(fetch(sandbox, "star_horaires/GTFS_STAR_BUS_METRO_EN_COURS.zip")))
    for name, key in (("stops", "stop_id"), ("routes", "route_id"), ("trips", "trip_id")):
        planned = [row[key] for row in csv.DictReader(io.StringIO(archive.read(f"{name}.txt").decode()))]
        assert [row[0] for row in town.rows("star_horaires", name, key)] == sorted(planned)
    feed = FeedMessage.FromString(fetch(sandbox, "star_retards/star-rennes-integration-gtfs-rt-trip-update"))
    landed = town.rows("star_retards", "updates", "trip_id, start_date, stop_id, arrival_delay, epoch(arrival_time)::bigint")
    ours = {(trip, stop, late, at) for trip, day, stop, late, at in landed if day == UNTIL + DAY}
    *running, cancelled = feed.entity
    assert (cancelled.trip_update.trip.trip_id, UNTIL + 2 * DAY, None, None, None) in landed
    theirs = {
        (entity.trip_update.trip.trip_id, call.stop_id, call.arrival.delay, call.arrival.time)
        for entity in running for call in entity.trip_update.stop_time_update
    }  # fmt: skip
    assert ours - {(cancelled.trip_update.trip.trip_id, None, None, None)} == theirs and theirs
    assert all(entity.trip_update.vehicle.id for entity in running), "the feed tells vehicles"
    assert {trip for trip, *_ in landed} <= {row[0] for row in town.rows("star_horaires", "trips", "trip_id")}
    # A trip leaves at the minute that the archive says, and comes as late as the feed says.
    leaves = {
        (row["trip_id"], row["stop_id"]): row["arrival_time"]
        for row in csv.DictReader(io.StringIO(archive.read("stop_times.txt").decode()))
    }
    midnight = dt.datetime.combine(UNTIL + DAY, dt.time(), dt.timezone(dt.timedelta(hours=2))).timestamp()
    for trip, stop, late, at in theirs:
        hour, minute, second = map(int, leaves[trip, stop].split(":"))
        assert at == midnight + hour * 3600 + minute * 60 + second + late
    with town.lake.connect() as connection:
        for file in town.lake.names("landed/star_retards"):
            if file.endswith(".parquet"):
                told = connection.execute(f"select string_agg(r::text) from read_parquet('{town.lake.path(file)}') as r").fetchall()
                assert "vehicle" not in told[0][0]


def test_sensors_observe_the_weather_that_the_weather_files_tell(days: tuple[Town, list[Landed], Sandbox]) -> None:
    town, _, _ = days
    content = WeatherTree(World(until=UNTIL + DAY)).read(("HOR", "H_35_latest-2025-2026.csv.gz"))
    assert content
    hourly = {
        (row["NUM_POSTE"], name.casefold(), f"{dt.datetime.strptime(row['AAAAMMJJHH'], '%Y%m%d%H'):%Y-%m-%d %H:%M:%S}"): float(row[name])
        for row in csv.DictReader(io.StringIO(gzip.decompress(content[0]).decode()), delimiter=";") for name in ("T", "U")
    }  # fmt: skip
    names = {key: (name.split()[0], name.split()[1]) for key, name in town.rows("capteurs_oasc", "streams", '"@iot.id", name')}
    assert len(names) == 6
    rows = town.rows("capteurs_oasc", "observations", "distinct stream_id, phenomenonTime at time zone 'UTC', result")
    assert len(rows) == 6 * 72
    for stream, at, value in rows:
        assert value == hourly[(*names[stream], str(at))]


def test_what_is_measured_each_hour_has_no_hole(days: tuple[Town, list[Landed], Sandbox]) -> None:
    town, _, sandbox = days
    rows = town.rows("hydrometrie", "observations", "distinct code_station, grandeur_hydro, date_obs at time zone 'UTC', resultat_obs")
    hours = instants(dt.datetime.combine(UNTIL - DAY, dt.time()), 72)
    found: dict[tuple[str, str], list[str]] = {}
    for station, kind, at, value in rows:
        found.setdefault((station, kind), []).append(str(at))
        assert 300 < value < 2_000 if kind == "H" else 3_000 < value < 15_000
    assert len(found) == 4 and all(each == hours for each in found.values())
    entities = {each["id"]: each for each in json.loads(fetch(sandbox, "bruit_urbain/entities?type=NoiseLevelObserved"))}
    levels = town.rows("bruit_urbain", "levels", "id, LAeq, \"LAeq.observedAt\" at time zone 'UTC', location::text")
    assert len(levels) == 16
    for name, level, at, place in levels:
        if str(at) == f"{UNTIL + DAY} 23:00:00":
            assert level == entities[name]["LAeq"]["value"] and json.loads(place) == entities[name]["location"]["value"]


def test_decrees_and_canopy_are_of_communes_of_the_territory(days: tuple[Town, list[Landed], Sandbox]) -> None:
    town, _, _ = days
    communes = {row["commune_code"]: int(row["municipal_population"]) for row in read_communes()}
    decrees = town.rows("catnat", "decrees", "code_insee, date_debut_evt, date_fin_evt, date_publication_arrete, date_publication_jo")
    largest = sorted(communes, key=lambda code: -communes[code])[:10]
    assert len(decrees) >= 35 and {code for code, *_ in decrees} <= set(largest)
    for _, *dates in decrees:
        assert dates == sorted(dates) and dates[-1] <= UNTIL
    canopy = town.rows("canopee_communes", "communes", "code_insee, arbres, part_canopee, calcule_le")
    assert [code for code, *_ in canopy] == sorted(communes)
    assert all(trees >= communes[code] // 8 and 0 < share < 1 and day == dt.date(2025, 7, 1) for code, trees, share, day in canopy)


def test_a_database_lands_as_its_own_client_reads_it(days: tuple[Town, list[Landed], Sandbox]) -> None:
    town, _, sandbox = days
    held = sqlite3.connect(sandbox.endpoints["points_fraicheur"].removeprefix("sqlite://"))
    theirs = {row[0]: row[1:] for row in held.execute("select id, nom, commune_insee, est_ouvert, geom, maj_le from points_fraicheur")}
    held.close()
    columns = "id, nom, commune_insee, est_ouvert, geom::text, maj_le at time zone 'UTC'"
    ours = {row[0]: row[1:] for row in sorted(town.rows("points_fraicheur", "places", columns), key=lambda row: row[-1])}
    assert ours.keys() == theirs.keys() and len(ours) == 60
    for key, (name, commune, is_open, place, at) in ours.items():
        there = theirs[key]
        assert (name, commune, int(is_open), json.loads(place)) == (*there[:3], json.loads(there[3]))
        assert f"{at:%Y-%m-%dT%H:%M:%SZ}" == there[4]


def test_each_uplink_holds_what_its_bytes_say(days: tuple[Town, list[Landed], Sandbox]) -> None:
    town, _, sandbox = days
    assert sandbox.about()["waiting"] == {}
    for brick, devices, hours in (("sols_des_arbres", 6, 3), ("air_des_ecoles", 4, 2)):
        rows = town.rows(brick, "uplinks", "deveui, received_at at time zone 'UTC', payload::text, raw, f_cnt")
        assert len({row[0] for row in rows}) == devices and len(rows) == devices * 72 // hours
        assert len({row[:2] for row in rows}) == len(rows), "none came twice"
        for _, _, payload, raw, _ in rows:
            assert json.loads(payload) == json.loads(base64.b64decode(raw))
        for device in {row[0] for row in rows}:
            at = [row[1] for row in rows if row[0] == device]
            assert {later - earlier for earlier, later in itertools.pairwise(at)} == {dt.timedelta(hours=hours)}
    journal = Journal(town.lake)
    assert journal.is_synthetic and all(load["read_at"][:10] in (str(UNTIL), str(UNTIL + DAY)) for load in journal.of("load"))


def test_who_has_not_the_key_receives_nothing_and_reads_nothing(tmp_path: Path) -> None:
    bricks, lake, address = read_bricks(), Lake(str(tmp_path / "lake")), f"127.0.0.1:{free_port()}"
    secrets = secrets_of(bricks.values())
    assert {"ORCHESTRA_FME_AUTHORIZATION", "ORCHESTRA_AIR_DES_ECOLES_TOKEN", "ORCHESTRA_SOLS_DES_ARBRES_PASSWORD"} <= secrets
    os.environ.update({**dict.fromkeys(secrets, "theirs"), "ORCHESTRA_LAKE": lake.root, "ORCHESTRA_LISTEN": address})
    with start(until=UNTIL, key_file=tmp_path / "planted.json", push_to=f"http://{address}") as sandbox:
        plug_in(sandbox.url)
        waiting = sandbox.about()["waiting"]
        os.environ.update(dict.fromkeys(secrets, "ours"))
        with (tmp_path / "log").open("wb") as log:
            listener = subprocess.Popen([sys.executable, "-m", "flows.cli", "listen"], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while "Not authorized" not in (said := (tmp_path / "log").read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        listener.terminate()
        listener.wait(30)
        assert sandbox.about()["waiting"] == waiting and sum(waiting.values()) > 100, said
        with pytest.raises(SourceError, match="401"):
            land_brick(lake, Journal(lake), bricks["canopee_communes"], "run", accept)


def test_messages_of_a_sandbox_and_real_ones_never_mix(house: House) -> None:
    brick, now = pushed(house), dt.datetime(2026, 11, 27, 10, tzinfo=dt.UTC)
    folder = inbox_of(house.lake, "hooks") / "readings"
    append(folder, [line_of("/hooks", b'{"sensor": "a", "n": 1}', now)])
    assert house.land(brick)
    append(folder, [line_of("/hooks", b'{"sensor": "a", "n": 2}', now, is_synthetic=True)])
    with pytest.raises(LakeError, match="never mix"):
        house.land(brick)
    append(folder, [line_of("/hooks", b'{"sensor": "a", "n": 3}', now)])
    with pytest.raises(SourceError, match="wait beside real ones"):
        house.land(brick)


def brick_at(folder: Path, name: str, endpoint: str, **meta: Any) -> None:
    told = {"connector": "rest", "endpoint": endpoint, "access_class": "open", **meta}
    document = source(name, [table("t", [column("id")], ["id"], {})], **told)
    if told["endpoint"]:
        del document["sources"][0]["config"]["meta"]["endpoint_reason"]
    (folder / f"{name}.yml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def test_the_live_demo_says_in_a_line_who_did_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import demo

    site, folder = Site(), tmp_path / "bricks"
    folder.mkdir()
    site.pages["/good"] = lambda _: (200, {"Content-Type": "application/json"}, b'[{"id": "a"}, {"id": "b"}]')
    site.pages["/ill"] = lambda _: (503, {}, b"down")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and says nothing
        brick_at(folder, "good", f"{site.url}/good")
        brick_at(folder, "ill", f"{site.url}/ill")
        brick_at(folder, "refuses", f"http://127.0.0.1:{free_port()}")
        brick_at(folder, "silent", f"http://127.0.0.1:{silent.getsockname()[1]}")
        brick_at(folder, "not_public", f"{site.url}/good", access_class="internal")
        brick_at(folder, "with_a_key", f"{site.url}/good", options={"auth": {"type": "bearer", "token_env": "A_TOKEN"}})
        monkeypatch.setenv("ORCHESTRA_BRICKS", str(folder))
        monkeypatch.setenv("ORCHESTRA_ENDPOINT_GOOD", "none")  # what a real lake reads counts for nothing
        monkeypatch.setattr(sys, "argv", ["demo", str(tmp_path / "lake"), "--live"])
        monkeypatch.setattr(demo, "ASKED_SECONDS", 2.0)
        output, begun = io.StringIO(), time.monotonic()
        monkeypatch.setattr(sys, "stdout", output)
        assert demo.main() == 1 and time.monotonic() - begun < 30
        told = [line for line in output.getvalue().splitlines() if line]
        assert told[0].startswith("4 public bricks") and told[-1].startswith("1 of 4 bricks")
        lines = {line.split()[0]: line for line in told[1:-1]}
        assert lines.keys() == {"good", "ill", "refuses", "silent"} and "2 rows kept, 0 refused" in lines["good"]
        for name, why in (("ill", "503"), ("refuses", "cannot be reached"), ("silent", "nothing came in 2 s")):
            assert "did not answer" in lines[name] and why in lines[name] and "Mend" in lines[name]
        assert demo.landed("silent", 1.0)[0] == "did not land in 1 s"
        monkeypatch.setattr(demo, "landed", lambda *_: ("", "nothing new"))
        for name in ("ill", "refuses", "silent"):
            (folder / f"{name}.yml").unlink()
        assert demo.main() == 0
    site.stop()
