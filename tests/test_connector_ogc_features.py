"""OGC API Features: a stub (simulated) for what servers say, and pygeoapi (real, by `make conformance`)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import House, Site, column, table

from ingestion.connectors import SourceError
from tests.fixtures.installed import environment, free_port, running

COLUMNS = [column("station_id"), column("name"), column("level", "double"), column("seen_at", "timestamptz"), column("geometry", "json")]
ITEMS = "/collections/stations/items"


def features(count: int, begin: int = 0) -> list[dict[str, Any]]:
    """Make features whose codes begin with a zero."""
    return [
        {
            "type": "Feature",
            "id": f"{number:05d}",
            "geometry": {"type": "Point", "coordinates": [-1.5 - number / 1000, 48.1]},
            "properties": {
                "station_id": f"{number:05d}",
                "name": f"Rué {number % 3}",
                "level": 1.5,
                "seen_at": f"2026-01-01T{number % 24:02d}:00:00Z",
            },
        }
        for number in range(begin, begin + count)
    ]


def brick_of(house: House, endpoint: str, **options: Any) -> Any:
    """Write a brick of one collection."""
    meta = {name: options.pop(name) for name in ("cursor", "delivers") if name in options}
    told = {"collection": "stations", "limit": 10, **options}
    return house.brick("ogc", [table("stations", COLUMNS, ["station_id"], told, **meta)], endpoint, connector="ogc_features")


def collection(found: list[Any], **told: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/geo+json"}, json.dumps({"type": "FeatureCollection", "features": found, **told}).encode()


def answer(body: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


@pytest.fixture
def stub(site: Site) -> Site:
    site.pages["/collections/stations"] = answer({"id": "stations", "title": "Stations", "storageCrs": "EPSG/0/2154"})
    site.pages["/collections"] = answer({"collections": [{"id": "stations"}, {"id": "trees"}]})
    site.pages["/conformance"] = answer({"conformsTo": ["http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core"]})
    site.pages[ITEMS] = collection(features(3), numberMatched=3, numberReturned=3)
    return site


def test_a_filter_that_the_server_does_not_say_it_knows_is_refused(house: House, stub: Site) -> None:
    with pytest.raises(SourceError, match=r"ogc.stations: .* does not say that it filters .*it would leave `filter` aside.*Mend: "):
        house.land(brick_of(house, stub.url, filter="level > 3"))
    stub.pages["/conformance"] = answer({"conformsTo": ["http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter"]})
    assert house.land(brick_of(house, stub.url, filter="level > 3"))
    assert stub.asked[-1].query["filter"] == ["level > 3"]


def test_a_collection_that_is_not_there_is_told_with_those_that_are(house: House, stub: Site) -> None:
    with pytest.raises(SourceError, match=r"knows no collection streets; it has stations, trees\. Mend: `collection`"):
        house.land(brick_of(house, stub.url, collection="streets"))


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (collection(features(3), numberMatched=100000), "announces 100000 rows and gives 3"),
        (collection([], numberMatched=100000, links=[{"rel": "next", "href": f"{ITEMS}?offset=10"}]), "gives|follow itself|empty pages"),
        (collection(features(3), numberReturned=9), "says that it returns 9 features, and gives 3"),
        (
            (200, {"Content-Crs": "<http://www.opengis.net/def/crs/EPSG/0/2154>"}, collection(features(3))[2]),
            "not in longitude and latitude",
        ),
        ((200, {"Content-Type": "text/html"}, b"<html>items</html>"), "a page of HTML"),
    ],
    ids=["fewer than matched", "empty pages that lead on", "fewer than returned", "another CRS", "HTML"],
)
def test_what_is_not_all_of_a_collection_fails(
    house: House, stub: Site, monkeypatch: pytest.MonkeyPatch, page: tuple[int, dict[str, str], bytes], told: str
) -> None:
    monkeypatch.setattr("ingestion.connectors.web.BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("ingestion.connectors.pages.PAUSE_SECONDS", 0.001)
    stub.pages[ITEMS] = page
    with pytest.raises(SourceError, match=told):
        house.land(brick_of(house, stub.url))


def test_a_property_that_the_server_leaves_aside_fails(house: House, stub: Site) -> None:
    with pytest.raises(SourceError, match=r"whose `name` is not the one .*leaves `properties` aside.*Mend: "):
        house.land(brick_of(house, stub.url, properties={"name": "Rué 1"}))
    assert house.land(brick_of(house, stub.url, properties={"level": "1.50"}))


def test_a_box_is_asked_to_the_last_digit_and_another_crs_is_refused(house: House, stub: Site) -> None:
    house.land(brick_of(house, stub.url, bbox=[-1.6777779, 48.1111119, -1.5, 48.2]))
    assert stub.asked[-1].query["bbox"] == ["-1.6777779,48.1111119,-1.5,48.2"]
    stub.pages[ITEMS] = collection(features(3), crs={"properties": {"name": "urn:ogc:def:crs:EPSG::2154"}})
    with pytest.raises(SourceError, match="EPSG::2154, and not in longitude and latitude"):
        house.land(brick_of(house, stub.url))


def test_the_next_page_is_the_one_in_json(house: House, stub: Site) -> None:
    links = [{"rel": "next", "type": kind, "href": f"{ITEMS}?offset=3&as={kind[:3]}"} for kind in ("text/html", "application/geo+json")]
    first, last = collection(features(3), links=links, numberMatched="5"), collection(features(2, 3), numberMatched="5")
    stub.pages[ITEMS] = lambda asked: last if "as=app" in asked["url"] else first
    entry = house.land(brick_of(house, stub.url))
    assert entry and (entry["tables"]["stations"]["kept"], entry["tables"]["stations"]["count_method"]) == (5, "announced")


@pytest.fixture(scope="module")
def pygeoapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve 250 stations by pygeoapi."""
    programs, folder, port = environment("pygeoapi", "pygeoapi==0.21.0", "waitress"), tmp_path_factory.mktemp("pygeoapi"), free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "stations.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features(250)}))
    (folder / "config.yml").write_text(yaml.safe_dump(_config(url, folder), allow_unicode=True))
    variables = {"PYGEOAPI_CONFIG": str(folder / "config.yml"), "PYGEOAPI_OPENAPI": str(folder / "openapi.yml")}
    generate = [str(programs / "pygeoapi"), "openapi", "generate", "config.yml", "--output-file", "openapi.yml"]
    subprocess.run(generate, cwd=folder, check=True, capture_output=True, env={**os.environ, **variables})
    serve = [str(programs / "waitress-serve"), f"--listen=127.0.0.1:{port}", "pygeoapi.flask_app:APP"]
    with running(serve, f"{url}/conformance?f=json", folder, **variables):
        yield url


def _config(url: str, folder: Path) -> dict[str, Any]:
    here = "http://127.0.0.1"
    crs84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    person = {"name": "n", "position": "p", "address": "a", "city": "c", "stateorprovince": "s", "postalcode": "0", "country": "c"}
    contact = {
        **person,
        "phone": "0",
        "fax": "0",
        "email": "a@b.c",
        "url": here,
        "hours": "h",
        "instructions": "i",
        "role": "pointOfContact",
    }
    about = {"title": {"en": "t"}, "description": {"en": "d"}, "keywords": {"en": ["k"]}, "keywords_type": "theme", "terms_of_service": "x"}
    provider = {"type": "feature", "name": "GeoJSON", "data": str(folder / "stations.geojson"), "id_field": "station_id"}
    return {
        "server": {
            "bind": {"host": "127.0.0.1", "port": 0}, "url": url, "mimetype": "application/json; charset=UTF-8", "encoding": "utf-8",
            "languages": ["en-US"], "limits": {"default_items": 10, "max_items": 40}, "map": {"url": here, "attribution": "none"},
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {**about, "url": here}, "license": {"name": "CC0", "url": here}, "provider": {"name": "n", "url": here},
            "contact": contact,
        },
        "resources": {
            "stations": {
                "type": "collection", "title": {"en": "Stations"}, "description": {"en": "Sample"}, "keywords": {"en": ["air"]},
                "links": [],
                "extents": {"spatial": {"bbox": [-180, -90, 180, 90], "crs": crs84}},
                "providers": [{**provider, "crs": [crs84, "http://www.opengis.net/def/crs/EPSG/0/25832"], "storage_crs": crs84}],
            }
        },
    }  # fmt: skip


@pytest.mark.conformance
@pytest.mark.parametrize("limit", [7, 40, 1000])
def test_pygeoapi_gives_every_feature_whatever_the_limit(house: House, pygeoapi: str, limit: int) -> None:
    brick = brick_of(house, pygeoapi, limit=limit)
    entry = house.land(brick)
    assert entry and entry["tables"]["stations"]["kept"] == 250
    rows = house.rows(brick, "stations", "station_id, name, geometry->>'$.coordinates[0]'", "station_id")
    assert rows == [(f"{number:05d}", f"Rué {number % 3}", str(-1.5 - number / 1000)) for number in range(250)]
    assert house.land(brick) is None


@pytest.mark.conformance
def test_pygeoapi_keeps_a_filter_from_page_to_page(house: House, pygeoapi: str) -> None:
    brick = brick_of(house, pygeoapi, limit=10, properties={"name": "Rué 1"})
    entry = house.land(brick)
    assert entry and entry["tables"]["stations"]["kept"] == 83
    assert house.rows(brick, "stations", "distinct name") == [("Rué 1",)]
    with pytest.raises(SourceError, match="does not say that it filters"):  # it would give everything
        house.land(brick_of(house, pygeoapi, filter="level > 3"))
