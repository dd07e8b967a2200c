"""ArcGIS layers: a server of the tests that answers as theirs document (simulated); geometries are held against GDAL's reader of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import pytest
from conftest import House, Site, column, table
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.connectors import Request, SourceError, arcgis
from ingestion.formats.esri_geometry import NoGeometry, geojson_of, polygons_of

SERVICE = "/arcgis/rest/services/Voirie/FeatureServer"
FIELDS = {
    "OBJECTID": "OID", "code": "String", "seen": "Date", "on_day": "DateOnly", "heard": "TimestampOffset",
    "big": "BigInteger", "value": "Double",
}  # fmt: skip
ROW = {
    "code": "01001",
    "seen": 1704067200123,
    "on_day": "2024-01-01",
    "heard": "2024-01-01T02:00:00+02:00",
    "big": 9007199254740993,
    "value": 0.1,
}


class Server:
    """A layer, as ArcGIS Server 11 answers of it."""

    def __init__(self, site: Site, rows: list[dict[str, Any]], **own: Any) -> None:
        self.rows, self.site, self.token = rows, site, ""
        self.own = {
            "id": 0, "name": "Rues", "type": "Feature Layer", "geometryType": "esriGeometryPoint", "objectIdField": "OBJECTID",
            "capabilities": "Query", "maxRecordCount": 2, "fields": [{"name": n, "type": f"esriFieldType{k}"} for n, k in FIELDS.items()],
            "advancedQueryCapabilities": {"supportsPagination": True, "supportsOrderBy": True},
        } | own  # fmt: skip
        self.more: dict[str, Any] = {"spatialReference": {"wkid": 4326, "latestWkid": 4326}}
        site.pages[SERVICE] = lambda _: self.told({"layers": [{"id": 0, "name": "Rues"}], "tables": [{"id": 1, "name": "Agents"}]})
        site.pages[f"{SERVICE}/0"] = lambda asked: self.told(self.own, asked)
        site.pages[f"{SERVICE}/9"] = (
            200,
            {},
            b'{"error": {"code": 400, "message": "Invalid or missing input parameters.", "details": []}}',
        )
        site.pages[f"{SERVICE}/0/query"] = self.query

    def told(self, body: Any, asked: Any = None) -> Any:
        if self.token and asked and parse_qs(urlsplit(asked["url"]).query).get("token") != [self.token]:
            body = {"error": {"code": 498, "message": "Invalid token.", "details": []}}
        return 200, {}, (body if isinstance(body, str) else json.dumps(body)).encode()

    def query(self, asked: Any) -> Any:
        query = {name: each[0] for name, each in parse_qs(urlsplit(asked["url"]).query).items()}
        assert query["f"] == "json"
        if "'" in query["where"] and not re.search("(TIMESTAMP|DATE) '|code >= '", query["where"]):
            return self.told({"error": {"code": 400, "message": "Unable to complete operation.", "details": ["'where' clause is invalid"]}})
        if "resultRecordCount" in query and not self.own["advancedQueryCapabilities"].get("supportsPagination"):
            return self.told({"error": {"code": 400, "message": "Pagination is not supported.", "details": []}})
        bounds = re.findall(r"OBJECTID ([<>]=?) (-?\d+)", query["where"])
        rows = [row for row in self.rows if all(_holds(row["attributes"]["OBJECTID"], mark, int(value)) for mark, value in bounds)]
        if "returnCountOnly" in query:
            return self.told({"count": len(rows)}, asked)
        if "returnIdsOnly" in query:
            return self.told({"objectIdFieldName": "OBJECTID", "objectIds": [row["attributes"]["OBJECTID"] for row in rows] or None}, asked)
        most = min(self.own["maxRecordCount"], int(query.get("resultRecordCount", 10**9)))
        told = {"objectIdFieldName": "OBJECTID", **self.more, "features": rows[:most]}
        return self.told(told | ({"exceededTransferLimit": True} if len(rows) > most else {}), asked)

    def wheres(self) -> list[str]:
        return [asked.query["where"][0] for asked in self.site.asked if "outFields" in asked.query]


def _holds(value: int, mark: str, bound: int) -> bool:
    return {">": value > bound, ">=": value >= bound, "<=": value <= bound}[mark]


def rows(count: int, geometry: Any = None, **more: Any) -> list[dict[str, Any]]:
    return [
        {"attributes": {"OBJECTID": 10 * n, **ROW, **more}, "geometry": geometry or {"x": -1.68, "y": 48.11}} for n in range(1, count + 1)
    ]


def brick_of(house: House, site: Site, options: dict[str, Any] | None = None, **meta: Any) -> Any:
    told = [column(name) for name in meta.pop("columns", [*FIELDS, "geometry"])]
    brick = {"options": meta.pop("brick")} if "brick" in meta else {}
    return house.brick(
        "sig", [table("rues", told, ["OBJECTID"], {"layer": 0, **(options or {})}, **meta)], site.url + SERVICE, connector="arcgis", **brick
    )


@pytest.mark.parametrize("capable", [{}, {"supportsAdvancedQueries": True}])
def test_each_value_lands_as_it_is_written(house: House, site: Site, capable: dict[str, bool]) -> None:
    server = Server(site, rows(5), advancedQueryCapabilities=capable)
    entry = house.land(brick := brick_of(house, site))
    assert entry and entry["tables"]["rues"]["kept"] == 5
    expected = (
        "01001", "2024-01-01T00:00:00.123Z", "2024-01-01", "2024-01-01T02:00:00+02:00", "9007199254740993", "0.1",
        '{"type":"Point","coordinates":[-1.68,48.11]}',
    )  # fmt: skip
    told = house.rows(brick, "rues", "OBJECTID, code, seen, on_day, heard, big, value, geometry", "OBJECTID")
    assert told == [(str(10 * n), *expected) for n in range(1, 6)]
    assert all("outSR" in asked.query for asked in site.asked if "outFields" in asked.query)
    assert len(server.wheres()) == (3 if capable else 4)  # without an order, a first answer is asked for in parts


def test_a_layer_that_was_not_edited_moves_almost_nothing(house: House, site: Site) -> None:
    server = Server(site, rows(4), editingInfo={"lastEditDate": 1704067200000})
    brick = brick_of(house, site)
    entry = house.land(brick)
    assert entry
    asked = len(server.wheres())
    assert house.land(brick) is None
    assert len(server.wheres()) == asked
    server.own["editingInfo"]["lastEditDate"] += 1
    server.rows[0]["attributes"]["code"] = "01002"
    assert house.land(brick)
    # Rows that were written past the service change no date: their number may tell.
    server.rows += rows(5)[4:]
    assert house.land(brick)
    server.rows[0]["attributes"]["code"] = "01003"
    assert house.land(brick_of(house, site, {"edit_date": False}))


def test_records_are_asked_for_from_the_cursor_on(house: House, site: Site) -> None:
    server = Server(site, rows(2), advancedQueryCapabilities={"supportsOrderBy": True})
    with pytest.raises(SourceError, match=r"Unable to complete operation\. 'where' clause is invalid"):
        house.land(brick_of(house, site, {"where": "code <> ''"}))
    brick = brick_of(house, site, {"since": {"parameter": "seen"}}, cursor="seen")
    assert house.land(brick)
    house.land(brick)
    assert server.wheres()[-1] == "(1=1) AND (seen >= TIMESTAMP '2024-01-01 00:00:00' OR seen IS NULL)"
    server.own["dateFieldsTimeReference"] = {"timeZone": "Romance Standard Time", "respectsDaylightSaving": True}
    house.land(brick)
    assert server.wheres()[-1] == "(1=1) AND (seen >= TIMESTAMP '2023-12-31 00:00:00' OR seen IS NULL)"


@pytest.mark.parametrize(("kind", "since"), [("timestamptz", "2023-12-30 00:00:00"), ("date", "2023-12-29 00:00:00")])
def test_the_lookback_is_before_the_cursor(house: House, site: Site, kind: str, since: str) -> None:
    server = Server(site, rows(2))
    declared = [column("OBJECTID"), column("seen", kind)]
    meta = {"cursor": "seen", "lookback": {"count": 2, "period": "day"}, "time_zone": "UTC"}
    brick = house.brick("sig", [table("rues", declared, ["OBJECTID"], {"layer": 0, "since": {"parameter": "seen"}}, **meta)],
                        site.url + SERVICE, connector="arcgis")  # fmt: skip
    assert house.land(brick)
    house.land(brick)
    assert server.wheres()[-1] == f"(1=1) AND (seen >= TIMESTAMP '{since}' OR seen IS NULL)"


def test_who_edited_a_record_lands_where_it_is_declared_alone(house: House, site: Site) -> None:
    Server(site, rows(1, creator="hidden-a", editor="hidden-b"), editFieldsInfo={"creatorField": "creator", "editorField": "editor"})
    brick = brick_of(house, site)
    assert house.land(brick)
    assert "hidden" not in str(house.rows(brick, "rues", "*"))
    declared = brick_of(house, site, columns=["OBJECTID", "editor"])
    assert house.land(declared)
    assert ("hidden-b",) in house.rows(declared, "rues", "editor")


def test_a_layer_that_grows_while_it_is_read_is_read(house: House, site: Site) -> None:
    server = Server(site, rows(3))

    def query(asked: Any) -> Any:
        if "outFields" in asked["url"] and len(server.rows) < 9:
            server.rows += [{"attributes": {"OBJECTID": 1000 + len(server.rows), **ROW}, "geometry": None}]
        return server.query(asked)

    site.pages[f"{SERVICE}/0/query"] = query
    entry = house.land(brick_of(house, site))
    assert entry and entry["tables"]["rues"]["kept"] == 6  # three, and one for each page
    assert sum("returnCountOnly" in asked.query for asked in site.asked) == 2


@pytest.mark.parametrize("capable", [{}, {"supportsAdvancedQueries": True}])
def test_a_server_that_does_not_say_that_it_has_capped_is_read_whole(house: House, site: Site, capable: dict[str, bool]) -> None:
    server = Server(site, rows(7), advancedQueryCapabilities=capable, maxRecordCount=3)
    told = server.told
    server.told = lambda body, asked=None: told(  # type: ignore[method-assign]
        {name: each for name, each in body.items() if name != "exceededTransferLimit"}, asked
    )
    brick = brick_of(house, site)
    assert house.land(brick)
    assert [each for (each,) in house.rows(brick, "rues", "OBJECTID", "OBJECTID")] == [str(10 * n) for n in range(1, 8)]


def test_a_record_that_goes_once_it_was_listed_is_no_cap(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connectors.pages.PAUSE_SECONDS", 0)
    server, query = Server(site, rows(5), advancedQueryCapabilities={}, maxRecordCount=9), []

    def once(asked: Any) -> Any:
        answer = server.query(asked)
        if "returnIdsOnly" in asked["url"] and not query:
            query.append(server.rows.pop(2))
        return answer

    site.pages[f"{SERVICE}/0/query"] = once
    brick = brick_of(house, site)
    assert house.land(brick)
    assert [each for (each,) in house.rows(brick, "rues", "OBJECTID", "OBJECTID")] == ["10", "20", "40", "50"]


@pytest.mark.parametrize("capable", [{}, {"supportsAdvancedQueries": True}])
def test_a_trial_takes_some_records_and_asks_for_no_more(site: Site, tmp_path: Path, capable: dict[str, bool]) -> None:
    server = Server(site, rows(9), advancedQueryCapabilities=capable)
    request = Request.alone(
        "trial", "rues", site.url + SERVICE, brick_options=arcgis.BrickOptions(), table_options=arcgis.TableOptions(layer=0),
        connection=duckdb.connect(), spool=tmp_path, sample_rows=4,
    )  # fmt: skip
    (part,) = arcgis.read(request).parts
    assert part.counted == 4 and len(server.wheres()) == (2 if capable else 3)


def test_dates_of_an_unknown_zone_say_none(house: House, site: Site) -> None:
    Server(site, rows(1, seen=-1), datesInUnknownTimezone=True)
    assert house.land(brick := brick_of(house, site))
    assert house.rows(brick, "rues", "seen") == [("1969-12-31T23:59:59.999",)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"layer": 9}, "is none; the service has 0 Rues, 1 Agents. Mend: `layer`"),
        ({"fields": ["nom"]}, "has no field nom; it has OBJECTID, code"),
        ({"since": {"parameter": "nom"}}, "the layer has no field nom"),
    ],
)
def test_what_the_layer_has_not_is_told(house: House, site: Site, change: dict[str, Any], told: str) -> None:
    Server(site, rows(1))
    with pytest.raises(SourceError, match=re.escape(told)):
        house.land(brick_of(house, site, change))


@pytest.mark.parametrize(
    ("own", "more", "told"),
    [
        ({}, {"spatialReference": {"wkid": 2154}}, 'in the spatial reference {"wkid": 2154}, and not in longitude and latitude'),
        ({"capabilities": "Map,Data"}, {}, "may not be queried"),
        ({"fields": None, "type": "Group Layer"}, {}, "is a Group Layer without fields"),
        (
            {"objectIdField": None, "fields": [{"name": "code", "type": "esriFieldTypeString"}]},
            {},
            "gives 2 of 3 records, and has no object id",
        ),
    ],
)
def test_what_cannot_be_read_whole_is_told(house: House, site: Site, own: dict[str, Any], more: dict[str, Any], told: str) -> None:
    server = Server(site, rows(3), **own)
    server.more |= more
    with pytest.raises(SourceError, match=re.escape(told)):
        house.land(brick_of(house, site))


def test_coordinates_that_say_nowhere_where_they_are_are_looked_at(house: House, site: Site) -> None:
    server = Server(site, rows(1, {"x": 352000.5, "y": 6789000.5}))
    server.more = {}
    with pytest.raises(SourceError, match="not in longitude and latitude"):
        house.land(brick_of(house, site))


def test_a_field_that_is_told_twice_fails(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connectors.web.BACKOFF_SECONDS", 0.001)
    Server(site, rows(1))
    count = (200, {}, b'{"count": 1}')
    twice = (200, {}, b'{"features": [{"attributes": {"OBJECTID": 1, "code": "a", "code": "b"}, "geometry": null}]}')
    site.pages[f"{SERVICE}/0/query"] = lambda asked: count if "returnCountOnly" in asked["url"] else twice
    with pytest.raises(SourceError, match="tells a member twice"):
        house.land(brick_of(house, site))


def test_a_token_that_expires_is_asked_for_again(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_USER", "hidden-user")
    monkeypatch.setenv("A_PASSWORD", "hidden-password")
    server = Server(site, rows(5))
    given = []

    def generate(_: Any) -> Any:
        given.append(len(given))
        server.token = f"hidden-{len(given)}"
        return server.told({"token": server.token, "expires": 0, "ssl": True})

    def query(asked: Any) -> Any:
        if len(server.wheres()) == 1 and len(given) == 1:
            server.token = "expired"
        return server.query(asked)

    site.pages["/arcgis/tokens/generateToken"] = generate
    site.pages[f"{SERVICE}/0/query"] = query
    auth = {
        "type": "login", "token_url": "/arcgis/tokens/generateToken", "user_env": "A_USER", "password_env": "A_PASSWORD",
        "form": {"client": "requestip", "f": "json"}, "parameter": "token",
    }  # fmt: skip
    brick = brick_of(house, site, brick={"auth": auth})
    entry = house.land(brick)
    assert entry and entry["tables"]["rues"]["kept"] == 5
    assert len(given) == 2
    site.pages["/arcgis/tokens/generateToken"] = lambda _: server.told({"error": {"code": 400, "message": "Unable to generate token."}})
    server.token = "expired"
    with pytest.raises(SourceError, match="gives no token at `token`") as error:
        house.land(brick)
    assert "hidden" not in str(error.value)


SQUARE = [[0, 0], [0, 9], [9, 9], [9, 0], [0, 0]]  # clockwise: an exterior


def _square(x: float, y: float, size: float, *, is_clockwise: bool) -> list[list[float]]:
    ring = [[x, y], [x, y + size], [x + size, y + size], [x + size, y], [x, y]]
    return ring if is_clockwise else ring[::-1]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, None),
        ({"x": "NaN", "y": "NaN"}, None),
        ({"x": None, "y": None}, None),
        ({"x": 1, "y": 2, "z": 3, "m": 4}, {"type": "Point", "coordinates": [1, 2, 3]}),
        ({"x": 1, "y": 2, "z": "NaN"}, {"type": "Point", "coordinates": [1, 2]}),
        ({"hasM": True, "paths": [[[0, 0, 7], [1, 1, 8]]]}, {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}),
        ({"hasZ": True, "points": [[0, 0, 7]]}, {"type": "MultiPoint", "coordinates": [[0, 0, 7]]}),
        ({"paths": [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]}, {"type": "MultiLineString", "coordinates": [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]}),
        ({"rings": []}, None),
        ({"rings": [SQUARE[:-1]]}, {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]}),
    ],
)
def test_a_geometry_of_each_kind(told: Any, expected: Any) -> None:
    assert geojson_of(told) == expected


def test_curves_are_no_geometry() -> None:
    for told in ({"curveRings": [[[0, 0], {"c": [[1, 1], [2, 2]]}]]}, {"rings": [[[0, 0], {"c": [[1, 1], [2, 2]]}, [3, 3]]]}, {"y": 1}):
        with pytest.raises(NoGeometry):
            geojson_of(told)


def test_holes_and_islands_are_those_of_their_polygon() -> None:
    outer, hole = _square(0, 0, 90, is_clockwise=True), _square(10, 10, 50, is_clockwise=False)
    island, other = _square(20, 20, 10, is_clockwise=True), _square(200, 0, 9, is_clockwise=True)
    doubts: list[str] = []
    told = polygons_of([island, hole, other, outer], doubts)
    assert sorted(len(polygon) for polygon in told) == [1, 1, 2]
    assert doubts == []
    # A hole that turns as an exterior does is told.
    assert [len(polygon) for polygon in polygons_of([outer, hole[::-1]], doubts)] == [2]
    assert doubts == ["rings"]
    # One that touches the ring it lies in at a corner.
    touching = [[0, 0], [20, 5], [5, 20], [0, 0]]
    assert [len(polygon) for polygon in polygons_of([outer, touching], [])] == [2]


@st.composite
def nested(draw: st.DrawFn) -> list[list[list[float]]]:
    """Draw squares in squares, side by side, in any order and from any corner on: rings that turn as ArcGIS documents."""
    rings = []
    for place in range(draw(st.integers(1, 3))):
        size, at = 1000.0, place * 2000.0
        for depth in range(draw(st.integers(1, 4))):
            count = draw(st.integers(1, 2)) if depth else 1
            for number in range(count):
                ring = _square(at + number * size * 0.5, at, size * (0.4 if count == 2 else 1), is_clockwise=depth % 2 == 0)[:-1]
                turn = draw(st.integers(0, 3))
                rings.append([*ring[turn:], *ring[:turn], ring[turn]])
            size, at = size * (0.4 if count == 2 else 1) * 0.5, at + size * 0.05
    return draw(st.permutations(rings))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(nested())
def test_polygons_are_those_that_gdal_reads(rings: list[list[list[float]]]) -> None:
    import pyogrio.raw
    import shapely

    collection = {
        "geometryType": "esriGeometryPolygon", "spatialReference": {"wkid": 4326},
        "fields": [{"name": "a", "type": "esriFieldTypeInteger"}],
        "features": [{"attributes": {"a": 1}, "geometry": {"rings": rings}}],
    }  # fmt: skip
    _, _, (wkb,), _ = pyogrio.raw.read(json.dumps(collection).encode())
    ours = shapely.from_geojson(json.dumps(geojson_of({"rings": rings})))
    theirs = shapely.from_wkb(wkb)
    assert shapely.equals(ours, theirs)
    assert ours.area == theirs.area
    assert shapely.is_valid(ours)
    assert all(polygon.exterior.is_ccw and not any(hole.is_ccw for hole in polygon.interiors) for polygon in getattr(ours, "geoms", [ours]))
