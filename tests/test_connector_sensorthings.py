"""SensorThings: recorded pages, a stub (simulated), and django-ogc-sensorthings (real, by `make conformance`)."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import House, Site, column, table

from ingestion.connectors import SourceError
from tests.fixtures.installed import environment, free_port, running

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "protocols" / "sensorthings"
BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def brick_of(house: House, endpoint: str, declared: list[Any], **options: Any) -> Any:
    """Write a brick of one kind of entities."""
    meta = {name: options.pop(name) for name in ("cursor",) if name in options}
    key = [declared[0]["name"]]
    return house.brick("sta", [table("entities", declared, key, options, **meta)], endpoint, connector="sensorthings")


def test_recorded_pages_whose_link_is_relative(house: House, site: Site) -> None:
    if not REAL.is_dir():
        pytest.skip("the recorded pages of ../shared/data are not there")
    pages = [(REAL / f"qgis_test_things_page{number}.json").read_bytes() for number in (1, 2)]
    # The link was recorded under a name of the test that it comes from.
    pages[0] = pages[0].replace(b"endpoint/Things?", b"Things?")
    site.pages["/v1.1/Things"] = lambda asked: (200, {}, pages["skip=2" in asked["url"]])
    brick = brick_of(
        house,
        f"{site.url}/v1.1",
        [column("@iot.id"), column("name"), column("owner")],
        entities="Things",
        columns={"owner": "properties/owner"},
    )
    assert house.land(brick)
    rows = house.rows(brick, "entities", '"@iot.id", name, owner', "1")
    assert rows == [(str(n), f"Thing {n}", f"owner {n}") for n in range(1, len(rows) + 1)]
    assert len(rows) > 2


def test_what_is_no_json_fails(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connectors.web.BACKOFF_SECONDS", 0.001)
    site.pages["/v1.1/Things"] = (200, {}, b'{"value": [{"@iot.id": 1, "name": }]}')
    with pytest.raises(SourceError, match=r"sta.entities: .* answers what is no JSON"):
        house.land(brick_of(house, f"{site.url}/v1.1", [column("@iot.id")], entities="Things"))


def test_observations_as_arrays_are_those_as_objects(house: House, site: Site) -> None:
    stream = {"Datastream@iot.navigationLink": "http://h/v1.1/Datastreams(1)", "components": ["@iot.id", "result"]}
    group = {**stream, "dataArray@iot.count": 3, "dataArray": [["a", 1.50], ["b", None], ["c", "n/a"]]}
    site.pages["/v1.1/Observations"] = (200, {}, json.dumps({"@iot.count": 3, "value": [group]}).replace("1.5", "1.50").encode())
    columns = [column("@iot.id"), column("result"), column("Datastream@iot.navigationLink")]
    brick = brick_of(house, f"{site.url}/v1.1", columns, entities="Observations", data_array=True)
    assert house.land(brick)
    assert site.asked[-1].query["$resultFormat"] == ["dataArray"]
    rows = house.rows(brick, "entities", '"@iot.id", result, "Datastream@iot.navigationLink"', "1")
    assert rows == [(name, value, "http://h/v1.1/Datastreams(1)") for name, value in (("a", "1.50"), ("b", None), ("c", "n/a"))]
    group["dataArray"].append(["d"])
    site.pages["/v1.1/Observations"] = (200, {}, json.dumps({"value": [group]}).encode())
    with pytest.raises(SourceError, match="an array of 1 values under 2 components"):
        house.land(brick)


APP = """
import os
from uuid import UUID
from django.conf import settings
url = os.environ["STA_URL"]
apps = ["sensorthings.versions.v1_1", "sensorthings.versions.v1_1.backends.django", "sensorthings.versions.v1_1.extensions.dataarray"]
settings.configure(DEBUG=False, SECRET_KEY="x", ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF="app", USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", INSTALLED_APPS=apps,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    SENSORTHINGS_V1_1_SERVICE_URL=url,
    SENSORTHINGS_V1_1_BACKEND_ADAPTER="sensorthings.versions.v1_1.backends.django.adapter.DjangoBackendAdapter",
    SENSORTHINGS_V1_1_ID_TYPE=UUID, SENSORTHINGS_V1_1_ID_DELIMITER="'")
import django
django.setup()
from django.urls import include, path
urlpatterns = [path("sensorthings/", include("sensorthings.versions.v1_1.urls"))]
from django.core.asgi import get_asgi_application
application = get_asgi_application()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve three things, each with a datastream of forty observations."""
    programs = environment("sensorthings", "django-ogc-sensorthings==1.2.0", "uvicorn")
    folder, port = tmp_path_factory.mktemp("sensorthings"), free_port()
    (folder / "app.py").write_text(APP)
    root = f"http://127.0.0.1:{port}/sensorthings"
    migrate = "import app; from django.core.management import call_command; call_command('migrate', verbosity=0)"
    told = subprocess.run(
        [programs / "python", "-c", migrate], cwd=folder, env={"STA_URL": root}, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    serve = [programs / "uvicorn", "--host", "127.0.0.1", "--port", str(port), "app:application"]
    with running(serve, f"{root}/v1.1", folder, STA_URL=root):
        for number in range(3):
            body = json.dumps(_thing(number)).encode()
            urllib.request.urlopen(urllib.request.Request(f"{root}/v1.1/Things", body, {"Content-Type": "application/json"})).close()
        yield f"{root}/v1.1"


def _thing(number: int) -> dict[str, Any]:
    times = [(BEGIN + dt.timedelta(hours=hour)).isoformat().replace("+00:00", "Z") for hour in range(40)]
    observations = [{"phenomenonTime": time, "resultTime": time, "result": hour + 0.5} for hour, time in enumerate(times)]
    unit = {"name": "microgram", "symbol": "ug/m3", "definition": "x"}
    sensor = {"name": f"s{number}", "description": "d", "encodingType": "application/pdf", "metadata": "http://x"}
    stream = {
        "name": f"PM2.5 {number}", "description": "d", "unitOfMeasurement": unit, "Sensor": sensor,
        "observationType": "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement",
        "ObservedProperty": {"name": f"pm25-{number}", "definition": "http://pm25", "description": "d"}, "Observations": observations,
    }  # fmt: skip
    place = {"type": "Point", "coordinates": [-1.6, 48.1]}
    location = {"name": f"l{number}", "description": "d", "encodingType": "application/geo+json", "location": place}
    told = {"name": f"Rué {number}", "description": "air", "properties": {"code": f"0{number}"}}
    return {**told, "Locations": [location], "Datastreams": [stream]}


@pytest.mark.conformance
@pytest.mark.parametrize("top", [7, 100])
def test_a_real_server_gives_every_entity(house: House, server: str, top: int) -> None:
    things = brick_of(
        house, server, [column("@iot.id"), column("name"), column("code")], entities="Things", top=top, columns={"code": "properties/code"}
    )
    assert house.land(things)
    assert house.rows(things, "entities", "name, code", "1") == [(f"Rué {n}", f"0{n}") for n in range(3)]


@pytest.mark.conformance
@pytest.mark.parametrize("top", [7, 100])
def test_a_real_server_gives_every_observation_and_then_those_that_are_new(house: House, server: str, top: int) -> None:
    columns = [column("@iot.id"), column("resultTime", "timestamptz"), column("result", "double")]
    told = {"entities": "Observations", "top": top, "order_by": "resultTime", "since": {"parameter": "resultTime"}, "cursor": "resultTime"}
    brick = brick_of(house, server, columns, **told)
    entry = house.land(brick)
    assert entry and entry["tables"]["entities"]["kept"] == 120
    assert house.rows(brick, "entities", 'count(distinct "@iot.id"), sum(result), min(resultTime)::varchar') == [
        (120, 2400.0, "2026-01-01 00:00:00+00")
    ]
    again = house.land(brick)
    assert again and again["tables"]["entities"]["kept"] == 3  # those of the last hour, which is asked again
