"""GBFS: recorded feeds of versions 2.2, 2.3 and 3.0, played by a web server of the tests."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import House, Site, column, table

from ingestion.connectors import SourceError, gbfs

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "protocols" / "gbfs"
STATIONS = [{"station_id": "a", "name": "A", "lat": 48.11, "lon": -1.680000000000001}]


def feed(data: Any, ttl: float = 0, updated: Any = 1609866247, version: str = "2.3") -> Any:
    return 200, {}, json.dumps({"last_updated": updated, "ttl": ttl, "version": version, "data": data}).encode()


def play(site: Site, **feeds: Any) -> None:
    """Serve feeds, and the index that names them."""
    site.pages["/gbfs.json"] = feed({"fr": {"feeds": [{"name": name, "url": f"{site.url}/{name}.json"} for name in feeds]}}, 60)
    for name, told in feeds.items():
        site.pages[f"/{name}.json"] = told


def brick_of(house: House, site: Site, feeds: dict[str, list[str]], **brick: Any) -> Any:
    tables = [table(name, [column(each) for each in columns], columns[:1], {"feed": name}) for name, columns in feeds.items()]
    return house.brick("velos", tables, f"{site.url}/gbfs.json", connector="gbfs", **({"options": brick} if brick else {}))


def asked(site: Site) -> list[str]:
    return [each.path for each in site.asked]


@pytest.mark.parametrize(
    ("prefix", "suffix", "expected"),
    [
        (
            "lamassu_v3__", ".json",
            {
                "station_information": (2, "name", '[{"text":"Parking garage A","language":"en"}]'),
                "system_regions": (4, "region_id", None),
                "station_status": (2, "station_id", None), "vehicle_types": (4, "vehicle_type_id", None),
                "system_alerts": (1, "alert_id", None),
                "system_information": (1, "timezone", None), "system_pricing_plans": (2, "plan_id", None),
                "gbfs_versions": (1, "version", None),
                "geofencing_zones": (1, "geometry", None), "vehicle_status": (4, "vehicle_number", None),
            },
        ),
        (
            "v2.3__", ".json",
            {
                "station_information": (2, "name", None), "station_status": (2, "last_reported", "1751437263"),
                "system_hours": (3, "start_time", None),
                "system_calendar": (1, "start_month", None), "free_bike_status": (1, "vehicle_number", "1"),
                "geofencing_zones": (1, "geometry", None), "vehicle_types": (2, "vehicle_type_id", None),
                "system_information": (1, "timezone", None),
            },
        ),
        ("transport-site_", ".2.2.json", {"station_information": (1, "name", None), "station_status": (3, "station_id", None)}),
        ("transport-site_", ".3.0.json", {"station_information": (2, "name", None), "station_status": (2, "station_id", None)}),
    ],
    ids=["3.0 lamassu", "2.3", "2.2 transport", "3.0 transport"],
)  # fmt: skip
def test_recorded_feeds(house: House, site: Site, prefix: str, suffix: str, expected: dict[str, tuple[int, str, str | None]]) -> None:
    if not REAL.is_dir():
        pytest.skip("the recorded feeds of ../shared/data are not there")
    index = json.loads((REAL / f"{prefix}gbfs{suffix}").read_text())
    holders = [index["data"]] if "feeds" in index["data"] else list(index["data"].values())
    for holder in holders:
        for each in holder["feeds"]:
            each["url"] = f"{site.url}/{each['name']}"
    site.pages["/gbfs.json"] = (200, {}, json.dumps(index).encode())
    for name in expected:
        site.pages[f"/{name}"] = (200, {}, (REAL / f"{prefix}{name}{suffix}").read_bytes())
    brick = brick_of(house, site, {name: [shown] for name, (_, shown, _) in expected.items()})
    entry = house.land(brick)
    assert entry
    for name, (count, shown, value) in expected.items():
        assert (entry["tables"][name]["kept"], entry["tables"][name]["refused"]) == (count, 0), name
        rows = house.rows(brick, name, shown, "1")
        assert all(row[0] is not None for row in rows)
        if value:
            assert "".join(str(rows[0][0]).split()) == "".join(value.split())
    assert asked(site).count("/gbfs.json") == 1  # once for all tables


def test_a_feed_is_not_asked_for_before_it_is_made_anew(house: House, site: Site) -> None:
    now = int(time.time())
    play(site, station_information=feed({"stations": STATIONS}, 300, now), station_status=feed({"stations": STATIONS}, 0, now))
    brick = brick_of(house, site, {"station_information": ["station_id", "lon"], "station_status": ["station_id"]})
    assert house.land(brick)
    assert house.rows(brick, "station_information", "lon") == [("-1.680000000000001",)]
    assert house.land(brick) is None
    assert asked(site).count("/station_information.json") == 1
    assert asked(site).count("/station_status.json") == 2
    # One that should have been made anew already is asked for at any time, and says when its rows were made.
    play(site, station_information=feed({"stations": STATIONS}, 300, now - 400))
    alone = brick_of(house, site, {"station_information": ["station_id"]}, language="fr")
    entry = house.land(alone)
    for _ in range(2):
        house.land(alone)
    assert asked(site).count("/station_information.json") >= 3
    assert entry is None  # what one of several servers gives, which is behind


def test_a_feed_that_is_the_same_is_not_sent(house: House, site: Site) -> None:
    play(site, station_information=None)
    site.put("/station_information.json", feed({"stations": STATIONS})[2])
    brick = brick_of(house, site, {"station_information": ["station_id"]})
    assert house.land(brick)
    assert house.land(brick) is None
    assert [each.status for each in site.asked if each.path == "/station_information.json"] == [200, 304]


def test_a_ttl_in_milliseconds_does_not_stop_a_feed() -> None:
    now = datetime.now(UTC)
    held = gbfs._holding(gbfs.Told(now, "", 10**15, "2.3"), now)
    assert datetime.fromisoformat(str(held["due"])) - now == timedelta(days=1)
    assert gbfs._holding(gbfs.Told(None, "", 0), now) == {"due": None, "updated": None}


def test_an_instant_that_is_none_is_told(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [gbfs._moment(each) for each in (1609866247000, "2024-01-01 10:00", "yesterday", None, -1, True, 10**30)] == [None] * 7
    play(site, station_information=feed({"stations": STATIONS}, 0, 1609866247000))
    told: list[str] = []
    read = gbfs.read
    monkeypatch.setattr(gbfs, "read", lambda request: told.extend((reading := read(request)).warnings) or reading)
    assert house.land(brick_of(house, site, {"station_information": ["station_id"]}))
    assert told[0].startswith("velos.station_information: the feed says '1609866247000' for `last_updated`")


def test_when_rows_were_made_is_told_where_it_is_declared(house: House, site: Site) -> None:
    play(site, station_status=feed({"stations": [*STATIONS, {}]}, 0, "2024-01-01T10:00:00+02:00", "3.0"))
    brick = brick_of(house, site, {"station_status": ["feed_last_updated", "station_id"]})
    assert house.land(brick)
    assert house.rows(brick, "station_status", "feed_last_updated, station_id") == [
        ("2024-01-01T08:00:00Z", "a"),
        ("2024-01-01T08:00:00Z", None),
    ]


def test_no_vehicle_is_followed(house: House, site: Site) -> None:
    bikes = [{"bike_id": f"secret-{n}", "lat": 48.1, "lon": -1.6, "rental_uris": {"web": f"https://h/secret-{n}"}} for n in range(3)]
    play(site, free_bike_status=feed({"bikes": bikes}))
    with pytest.raises(SourceError, match=r"bike_id follows a vehicle from trip to trip, and never lands. Mend: leave it out"):
        house.land(brick_of(house, site, {"free_bike_status": ["bike_id"]}))
    brick = brick_of(house, site, {"free_bike_status": ["vehicle_number", "lat"]})
    entry = house.land(brick)
    assert entry and entry["tables"]["free_bike_status"]["kept"] == 3
    assert house.rows(brick, "free_bike_status", "vehicle_number", "1") == [("1",), ("2",), ("3",)]
    assert "secret" not in str(house.rows(brick, "free_bike_status", "*"))


def test_what_the_index_does_not_lead_to_is_told(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "k-hidden")
    play(site, station_status=feed({"stations": STATIONS}))
    with pytest.raises(SourceError, match="names no feed station_information; it names station_status"):
        house.land(brick_of(house, site, {"station_information": ["station_id"]}))
    with pytest.raises(SourceError, match="is written in fr, not in en"):
        house.land(brick_of(house, site, {"station_status": ["station_id"]}, language="en"))
    elsewhere = {"feeds": [{"name": "station_status", "url": "http://127.0.0.9:9/station_status"}]}
    site.pages["/gbfs.json"] = feed({"fr": elsewhere, "en": elsewhere})
    with pytest.raises(SourceError, match=r"is written in en, fr\. Mend: say in the brick's options which `language`"):
        house.land(brick_of(house, site, {"station_status": ["station_id"]}))
    with pytest.raises(SourceError, match=r"leads to another host for station_status .* no key is sent elsewhere") as error:
        house.land(brick_of(house, site, {"station_status": ["station_id"]}, language="fr", headers_env={"X-Key": "A_KEY"}))
    assert "hidden" not in str(error.value)
    site.pages["/gbfs.json"] = feed({"stations": []})
    with pytest.raises(SourceError, match=r"is no index of GBFS: it names no feeds. Mend: the endpoint is the URL of gbfs.json"):
        house.land(brick_of(house, site, {"station_status": ["station_id"]}))
