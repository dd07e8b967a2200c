"""WFS: a stub (simulated) for what servers say, recorded answers, and MapServer (real, by `make conformance`)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import House, Site, column, table

from ingestion.connectors import SourceError
from ingestion.connectors.wfs import _of_gml
from ingestion.declaration import BrickError
from tests.fixtures.cgi import Cgi

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "protocols" / "wfs"
COLUMNS = [column("station_id"), column("name"), column("level"), column("seen_at", "timestamptz"), column("geometry", "json")]
EXCEPTION = b"""<ows:ExceptionReport xmlns:ows="http://www.opengis.net/ows/1.1"><ows:Exception exceptionCode="InvalidParameterValue">
<ows:ExceptionText>no such type</ows:ExceptionText></ows:Exception></ows:ExceptionReport>"""
CAPABILITIES = b"""<WFS_Capabilities xmlns="http://www.opengis.net/wfs/2.0" xmlns:ows="http://www.opengis.net/ows/1.1">
<ows:OperationsMetadata><ows:Operation name="GetFeature"><ows:Parameter name="outputFormat"><ows:AllowedValues>
<ows:Value>application/gml+xml; version=3.2</ows:Value><ows:Value>application/json</ows:Value></ows:AllowedValues></ows:Parameter>
</ows:Operation></ows:OperationsMetadata><FeatureTypeList><FeatureType><Name>city:stations</Name><Title>Stations</Title>
<DefaultCRS>urn:ogc:def:crs:EPSG::2154</DefaultCRS><ows:WGS84BoundingBox><ows:LowerCorner>-2 47</ows:LowerCorner>
<ows:UpperCorner>-1 49</ows:UpperCorner></ows:WGS84BoundingBox></FeatureType></FeatureTypeList></WFS_Capabilities>"""


def features(count: int, begin: int = 0) -> list[dict[str, Any]]:
    """Make features whose codes begin with a zero."""
    return [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [round(-1.5 - number / 10000, 4), 48.1]},
            "properties": {
                "station_id": f"{number:05d}",
                "name": f"Rué {number % 3}",
                "level": f"{number % 7}.50",
                "seen_at": f"2026-01-01T{number % 24:02d}:00:00Z",
            },
        }
        for number in range(begin, begin + count)
    ]


def brick_of(house: House, endpoint: str, **options: Any) -> Any:
    """Write a brick of one feature type."""
    meta = {name: options.pop(name) for name in ("cursor",) if name in options}
    told = {"type_name": "city:stations", "count": 10, **options}
    return house.brick("wfs", [table("stations", COLUMNS, ["station_id"], told, **meta)], endpoint, connector="wfs")


@pytest.fixture
def stub(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Serve 23 stations as GeoServer does; `site.stations` may be changed."""
    monkeypatch.setattr("ingestion.connectors.web.BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("ingestion.connectors.pages.PAUSE_SECONDS", 0.001)
    held: Any = site
    held.stations, held.matched, held.cap = features(23), None, 1000

    def answer(asked: Any) -> Any:
        told = dict(re.findall("([A-Z]+)=([^&]*)", asked["url"]))
        if told["REQUEST"] == "GetCapabilities":
            return 200, {}, CAPABILITIES
        if told["TYPENAMES"] != "city%3Astations":
            return 200, {"Content-Type": "text/xml"}, EXCEPTION
        start, count = int(told["STARTINDEX"]), min(int(told["COUNT"]), held.cap)
        found = held.stations[start : start + count]
        matched = len(held.stations) if held.matched is None else held.matched
        body = {"type": "FeatureCollection", "features": found, "numberMatched": matched, "totalFeatures": matched}
        return 200, {}, json.dumps(body).encode()

    site.pages["/ows"] = answer
    return site


def test_every_page_is_read_and_what_the_server_says_of_it_is_kept(house: House, stub: Any) -> None:
    stub.cap = 4
    brick = brick_of(house, f"{stub.url}/ows")
    entry = house.land(brick)
    assert entry and entry["tables"]["stations"]["kept"] == 23
    assert entry["metadata"]["stations"] == {"title": "Stations", "crs": "urn:ogc:def:crs:EPSG::2154"}
    assert [row[0] for row in house.rows(brick, "stations", "station_id", "1")] == [f"{number:05d}" for number in range(23)]
    assert house.land(brick) is None


def test_what_is_fewer_than_announced_fails(house: House, stub: Any) -> None:
    stub.matched = 40
    with pytest.raises(SourceError, match=r"wfs.stations: .* announces 40 rows and gives 23"):
        house.land(brick_of(house, f"{stub.url}/ows"))


def test_an_exception_is_told_with_what_the_server_offers(house: House, stub: Any) -> None:
    with pytest.raises(SourceError, match=r"refuses: no such type\. Mend: `type_name` is one of city:stations"):
        house.land(brick_of(house, f"{stub.url}/ows", type_name="streets"))


def test_features_that_stand_at_latitude_and_longitude_are_refused(house: House, stub: Any) -> None:
    for feature in stub.stations:
        feature["geometry"]["coordinates"].reverse()
    with pytest.raises(SourceError, match=r"features stand at latitude and longitude.*Mend: another `version` or `output_format`"):
        house.land(brick_of(house, f"{stub.url}/ows"))


def test_a_cursor_is_a_filter_and_a_name_in_it_is_escaped(house: House, stub: Any) -> None:
    brick = brick_of(house, f"{stub.url}/ows", cursor="seen_at", since={"parameter": "seen_at"}, properties={"name": "A & <B>"})
    house.land(brick)
    stub.stations = features(24)
    house.land(brick)
    (told,) = stub.asked[-1].query["FILTER"]
    assert "<fes:Literal>A &amp; &lt;B&gt;</fes:Literal>" in told
    assert "<fes:ValueReference>seen_at</fes:ValueReference><fes:Literal>2026-01-01T22:00:00Z</fes:Literal>" in told


def test_a_box_and_a_filter_are_not_asked_together(house: House) -> None:
    with pytest.raises(BrickError, match="`bbox` or a filter"):
        brick_of(house, "http://127.0.0.1:9", bbox=[-2, 47, -1, 49], properties={"name": "x"})


@pytest.mark.parametrize("name", ["wfs__getfeature-props-cities-2-0-0.xml", "wfs__getfeature-props-states-1-1-0.xml"])
def test_recorded_gml(name: str) -> None:
    if not REAL.is_dir():
        pytest.skip("the recorded answers of ../shared/data are not there")
    found, _ = _of_gml((REAL / name).read_bytes())
    assert len(found) == 10 if "cities" in name else len(found) > 1
    assert all(isinstance(value, str | None) for feature in found for value in feature["properties"].values())
    if "cities" in name:
        assert found[0]["properties"] == {"POPULATION": "12116379", "NAME": "Buenos Aires"}
        assert found[0]["id"] == "cities.8338"


MAP = """MAP
  NAME "city"
  EXTENT -2 47 -1 49
  PROJECTION "init=epsg:4326" END
  WEB METADATA
    "ows_title" "Stations" "ows_onlineresource" "http://127.0.0.1/server?" "ows_srs" "EPSG:4326 EPSG:2154" "ows_enable_request" "*"
    "wfs_getfeature_formatlist" "gml,geojson" CAP
  END END
  OUTPUTFORMAT
    NAME "geojson" DRIVER "OGR/GEOJSON" MIMETYPE "application/json; subtype=geojson; charset=utf-8"
    FORMATOPTION "STORAGE=stream" FORMATOPTION "FORM=SIMPLE" FORMATOPTION "LCO:NATIVE_DATA=NO" FORMATOPTION "FILENAME=out.json"
  END
  LAYER
    NAME "stations" TYPE POINT STATUS ON
    CONNECTIONTYPE OGR CONNECTION "FOLDER/stations.geojson" DATA "stations"
    PROJECTION "init=epsg:4326" END
    METADATA "ows_title" "Stations" "gml_include_items" "all" "gml_featureid" "station_id" "wfs_enable_request" "*"
      "ows_include_items" "all" "wfs_use_default_extent_for_getfeature" "false" END
    TEMPLATE "none.html"
  END
END
"""


@pytest.fixture(params=["", '"wfs_maxfeatures" "10"'], ids=["no cap", "cap of 10"])
def mapserver(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Serve 25 stations by MapServer; Debian's package is installed where it is not there."""
    program = Path("/usr/lib/cgi-bin/mapserv")
    if not program.exists():
        install = ["apt-get", "install", "-qy", "--no-install-recommends", "cgi-mapserver"]
        if subprocess.run(install, capture_output=True, check=False).returncode:
            pytest.skip("MapServer cannot be installed: apt-get install cgi-mapserver")
    (tmp_path / "stations.geojson").write_text(json.dumps({"type": "FeatureCollection", "name": "stations", "features": features(25)}))
    (tmp_path / "city.map").write_text(MAP.replace("FOLDER", str(tmp_path)).replace("CAP", request.param))
    (tmp_path / "mapserver.conf").write_text(f'CONFIG ENV MS_MAP_PATTERN "^{tmp_path}/.*map$" END END')
    served = Cgi(program, MAPSERVER_CONFIG_FILE=str(tmp_path / "mapserver.conf"))
    yield f"{served.url}?map={tmp_path}/city.map"
    served.stop()


@pytest.mark.conformance
@pytest.mark.parametrize("version", ["2.0.0", "1.1.0"])
@pytest.mark.parametrize("form", ["geojson", "text/xml; subtype=gml/3.1.1", "application/gml+xml; version=3.2"])
def test_mapserver_gives_every_feature(house: House, mapserver: str, version: str, form: str) -> None:
    if version == "1.1.0" and "3.2" in form:
        pytest.skip("WFS 1.1 knows no GML 3.2")
    brick = brick_of(house, mapserver, type_name="stations", version=version, output_format=form, count=7)
    entry = house.land(brick)
    assert entry and entry["tables"]["stations"]["kept"] == 25
    asked = "station_id, name, level, seen_at::varchar, geometry->>'$.coordinates[0]', geometry->>'$.coordinates[1]'"
    rows = house.rows(brick, "stations", asked, "station_id")
    told = [(f"{n:05d}", f"Rué {n % 3}", f"2026-01-01 {n % 24:02d}:00:00+00", round(-1.5 - n / 10000, 4), 48.1) for n in range(25)]
    assert [(i, name, at, float(x), float(y)) for i, name, _, at, x, y in rows] == told
    assert [float(row[2]) for row in rows] == [n % 7 + 0.5 for n in range(25)]


@pytest.mark.conformance
def test_mapserver_keeps_a_filter(house: House, mapserver: str) -> None:
    brick = brick_of(house, mapserver, type_name="stations", output_format="geojson", properties={"name": "Rué 1"})
    entry = house.land(brick)
    assert entry and entry["tables"]["stations"]["kept"] == 8
    with pytest.raises(SourceError, match=r"refuses: .*`type_name` is one of ms:stations"):
        house.land(brick_of(house, mapserver, type_name="streets"))


@pytest.mark.conformance
@pytest.mark.parametrize("version", ["2.0.0", "1.1.0"])
def test_mapserver_gives_what_stands_at_the_cursor(house: House, mapserver: str, tmp_path: Path, version: str) -> None:
    since = {"parameter": "seen_at"}
    brick = brick_of(house, mapserver, type_name="stations", version=version, output_format="geojson", cursor="seen_at", since=since)
    house.land(brick)
    more = features(26)
    more[25]["properties"]["seen_at"] = "2026-01-01T23:30:00Z"
    (tmp_path / "stations.geojson").write_text(json.dumps({"type": "FeatureCollection", "name": "stations", "features": more}))
    entry = house.land(brick)
    assert entry and entry["tables"]["stations"]["kept"] == 2, "the one that was last, and the new one"
    assert house.rows(brick, "stations", "distinct station_id", "station_id")[-1] == ("00025",)
