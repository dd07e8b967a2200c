"""GTFS Realtime: feeds that the protocol's own bindings write (no recorded one is to be had), and the real GTFS of STAR by `files`."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import House, Site, column, table
from google.transit import gtfs_realtime_pb2 as gtfs

from ingestion.connectors import SourceError
from ingestion.declaration import BrickError

STAR = Path(__file__).resolve().parents[2] / "shared" / "data" / "mobility" / "gtfs" / "star_gtfs_a.zip"
AT = 1767225600  # 2026-01-01T00:00:00Z
STOPS = ["id", "trip_id", "stop_number", "stop_sequence", "stop_id", "arrival_delay", "arrival_time", "stop_schedule_relationship",
         "trip_schedule_relationship", "start_time", "direction_id"]  # fmt: skip


def feed(at: int = AT, version: str = "2.0") -> Any:
    message = gtfs.FeedMessage()
    message.header.gtfs_realtime_version, message.header.timestamp = version, at
    return message


def brick_of(house: House, site: Site, columns: list[str], entities: str = "trip_updates", **more: Any) -> Any:
    tables = [table(entities, [column(name) for name in columns], columns[:1], {"path": "feed.pb", "entities": entities})]
    return house.brick("bus", [*tables, *more.pop("tables", [])], site.url, connector="gtfs_rt")


def put(site: Site, message: Any, **headers: str) -> None:
    body = message if isinstance(message, bytes) else message.SerializeToString()
    site.pages["/feed.pb"] = (200, {"Content-Type": "application/x-protobuf", **headers}, body)


def test_each_stop_of_a_trip_is_a_row(house: House, site: Site) -> None:
    message = feed()
    update = message.entity.add(id="e1").trip_update
    update.trip.trip_id, update.trip.start_time, update.trip.direction_id = "0042", "25:10:00", 0
    update.vehicle.id, update.vehicle.license_plate = "hidden-bus", "hidden-plate"
    first = update.stop_time_update.add(stop_sequence=1, stop_id="001")
    first.arrival.delay, first.arrival.time = 0, AT + 60
    update.stop_time_update.add(stop_id="002", schedule_relationship=gtfs.TripUpdate.StopTimeUpdate.SKIPPED)
    cancelled = message.entity.add(id="e2").trip_update
    cancelled.trip.trip_id, cancelled.trip.schedule_relationship = "0043", gtfs.TripDescriptor.CANCELED
    place = message.entity.add(id="e3").vehicle.position
    place.latitude, place.longitude = 48.1, -1.6
    message.entity.add(id="e4").alert.cause = gtfs.Alert.STRIKE
    put(site, message)
    brick = brick_of(house, site, STOPS)
    entry = house.land(brick)
    assert entry and entry["available_at"] == "2026-01-01T00:00:00+00:00"
    assert house.rows(brick, "trip_updates", ", ".join(STOPS), "id, stop_number") == [
        ("e1", "0042", "1", "1", "001", "0", "2026-01-01T00:01:00Z", None, None, "25:10:00", "0"),
        ("e1", "0042", "2", None, "002", None, None, "SKIPPED", None, "25:10:00", "0"),
        ("e2", "0043", "0", None, None, None, None, None, "CANCELED", None, None),
    ]
    assert "hidden" not in str(house.rows(brick, "trip_updates", "*"))
    assert house.land(brick) is None


def test_an_alert_is_a_row_with_its_lists(house: House, site: Site) -> None:
    message = feed()
    alert = message.entity.add(id="a1").alert
    alert.cause, alert.effect = gtfs.Alert.STRIKE, gtfs.Alert.DETOUR
    alert.active_period.add(start=AT, end=AT + 3600)
    alert.active_period.add(start=AT + 7200)
    alert.informed_entity.add(route_id="0001")
    alert.informed_entity.add().trip.trip_id = "0042"
    alert.header_text.translation.add(text="Grève", language="fr")
    alert.header_text.translation.add(text="Strike", language="en")
    put(site, message)
    names = ["id", "cause", "effect", "active_period", "informed_entity", "header_text", "feed_timestamp"]
    brick = brick_of(house, site, names, "alerts")
    assert house.land(brick)
    ((id_, cause, effect, active, informed, header, at),) = house.rows(brick, "alerts", ", ".join(names))
    assert (id_, cause, effect, at) == ("a1", "STRIKE", "DETOUR", "2026-01-01T00:00:00Z")
    assert json.loads(active) == [
        {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:00Z"},
        {"start": "2026-01-01T02:00:00Z"},
    ]
    assert json.loads(informed) == [{"route_id": "0001"}, {"trip": {"trip_id": "0042"}}]
    assert json.loads(header) == [{"text": "Grève", "language": "fr"}, {"text": "Strike", "language": "en"}]


def test_a_word_that_is_newer_than_the_bindings_is_no_silence(house: House, site: Site) -> None:
    message = feed()
    update = message.entity.add(id="e1").trip_update
    update.trip.trip_id = "1"
    # Field 4 of a trip, which holds 77.
    raw = update.trip.SerializeToString() + b"\x20\x4d"
    update.trip.ParseFromString(raw)
    put(site, message)
    brick = brick_of(house, site, ["id", "trip_schedule_relationship"])
    assert house.land(brick)
    assert house.rows(brick, "trip_updates", "trip_schedule_relationship") == [("77",)]


def test_a_text_that_is_none_is_a_refused_row(house: House, site: Site) -> None:
    message = feed()
    for name in ("Grave", "Grève"):
        message.entity.add(id=name).alert.header_text.translation.add(text="x")
    # As a producer writes it that knows of no UTF-8; as long as it was.
    put(site, message.SerializeToString().replace("Grève".encode(), b"Gr\xe8ve."))
    entry = house.land(brick_of(house, site, ["id"], "alerts"))
    assert entry
    assert (entry["tables"]["alerts"]["kept"], entry["tables"]["alerts"]["refused"]) == (1, 1)


def test_tables_of_one_feed_see_the_same_of_it(house: House, site: Site) -> None:
    message = feed()
    message.entity.add(id="e1").trip_update.trip.trip_id = "1"
    message.entity.add(id="a1").alert.cause = gtfs.Alert.STRIKE
    put(site, message)
    alerts = table("alerts", [column("id")], ["id"], {"path": "feed.pb", "entities": "alerts"})
    brick = brick_of(house, site, ["id"], tables=[alerts])
    assert house.land(brick)
    assert len(site.asked) == 1
    assert (house.rows(brick, "alerts", "id"), house.rows(brick, "trip_updates", "id")) == ([("a1",)], [("e1",)])


def test_every_cut_is_an_error_or_is_seen_by_its_length(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connectors.web.BACKOFF_SECONDS", 0.0001)
    message = feed()
    for number in range(3):
        message.entity.add(id=f"e{number}").trip_update.trip.trip_id = str(number)
    whole = message.SerializeToString()
    brick = brick_of(house, site, ["id"])
    cut = [({"Content-Length": str(len(whole))}, end) for end in (0, len(whole) - 1)]
    # A file that was cut is known by an entity that is; nothing else tells.
    for headers, end in [*cut, ({}, len(whole) - 1), ({"Content-Encoding": "gzip"}, 30)]:
        site.pages["/feed.pb"] = (200, headers, (gzip.compress(whole) if "Content-Encoding" in headers else whole)[:end])
        with pytest.raises(SourceError, match=r"bus.*cut"):
            house.land(brick)
    assert not house.journal.entries


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<!DOCTYPE html><html></html>", "is no feed of GTFS Realtime, or was cut (a page of HTML, or XML)"),
        (b"PK\x03\x04 a zip", "is no feed of GTFS Realtime, or was cut"),
        (b"", "is no feed of GTFS Realtime 1 or 2 (0 bytes"),
        (feed().SerializeToString() + b"\x12\x00", "lacks what a feed must hold (entity[0].id)"),
        (feed(version="3.0").SerializeToString(), "is no feed of GTFS Realtime 1 or 2"),
    ],
)
def test_what_is_no_feed_is_told(house: House, site: Site, monkeypatch: pytest.MonkeyPatch, body: bytes, told: str) -> None:
    monkeypatch.setattr("ingestion.connectors.web.BACKOFF_SECONDS", 0.0001)
    put(site, body)
    with pytest.raises(SourceError) as error:
        house.land(brick_of(house, site, ["id"]))
    assert told in str(error.value)


def test_differences_are_refused_and_so_are_positions(house: House, site: Site) -> None:
    message = feed()
    message.header.incrementality = gtfs.FeedHeader.DIFFERENTIAL
    put(site, message)
    with pytest.raises(SourceError, match=r"tells differences only \(incrementality DIFFERENTIAL\)"):
        house.land(brick_of(house, site, ["id"]))
    with pytest.raises(BrickError, match="positions of vehicles are never read: they follow a driver"):
        brick_of(house, site, ["id"], "vehicle_positions")


def test_an_empty_feed_and_one_that_is_behind(house: House, site: Site) -> None:
    now = int(time.time())
    message = feed(now)
    message.entity.add(id="e1").trip_update.trip.trip_id = "1"
    put(site, message)
    brick = brick_of(house, site, ["id"])
    assert house.land(brick)
    put(site, feed(now - 30))
    assert house.land(brick) is None
    put(site, feed(now + 1))
    assert house.land(brick) is None  # nothing is told of any trip


def test_the_gtfs_of_star_is_read_by_files(house: House) -> None:
    if not STAR.exists():
        pytest.skip("the GTFS of ../shared/data is not there")
    tables = {"stops": ["stop_id", "stop_name"], "stop_times": ["trip_id", "stop_sequence", "arrival_time"], "routes": ["route_id"]}
    declared = [
        table(name, [column(each) for each in columns], columns[:2] if name == "stop_times" else columns[:1],
              {"format": "csv", "path": f"{STAR.name}/{name}.txt"}, delivers="whole")
        for name, columns in tables.items()
    ]  # fmt: skip
    brick = house.brick("star", declared, STAR.parent)
    entry = house.land(brick)
    assert entry
    kept = {name: (told["kept"], told["refused"]) for name, told in entry["tables"].items()}
    assert kept["stop_times"] == (182666, 0)
    assert house.rows(brick, "routes", "route_id", "1")[0] == ("0001",)
    # The night after midnight is of the day before it: an hour beyond 24 stays what the producer wrote.
    ((last,),) = house.rows(brick, "stop_times", "max(arrival_time)")
    assert last > "24:00:00"
