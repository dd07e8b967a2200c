"""CKAN: a stub (simulated), a recorded package, and CKAN 2.12 (real, by `make conformance`; its search is a stand-in for Solr)."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import House, Site, column, table

from ingestion.connectors import SourceError
from ingestion.connectors.catalog import offers
from ingestion.declaration import BrickError
from tests.fixtures.ckan_server import Portal, portal

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data" / "protocols" / "ckan"
LONG_AGO, ID = "2025-01-01T00:00:00.000001", "c6ac53b1-c51c-46ad-9de9-92a16291824b"
OF_OFFERS = ("id", "title", "licence", "producer", "modified", "landing_page", "titles", "keywords")
OF_RESOURCES = ("dataset_id", "number", "url", "format", "byte_size", "licence", "protocol", "options")


def brick_of(house: House, endpoint: str, declared: list[Any], key: list[str], **options: Any) -> Any:
    """Write a brick of one table."""
    meta = {name: options.pop(name) for name in ("cursor",) if name in options}
    return house.brick("portal", [table("things", declared, key, options, **meta)], endpoint, connector="ckan")


class Stub:
    """A portal that does what CKAN does with `limit`, `offset` and, from 2.12 on, with bounds; `dates` are what it says of its resource."""

    def __init__(self, site: Site, **dates: Any) -> None:
        self.rows: list[dict[str, Any]] = [{"_id": n, "code": f"{n:04d}", "day": f"2026-01-{n:02d}"} for n in range(1, 8)]
        self.told = {"id": ID, "datastore_active": True, "url": "http://h/a.csv", "url_type": "upload", **dates}
        self.knows_bounds, self.cap, self.before = True, 3, lambda: None
        site.pages["/api/3/action/resource_show"] = lambda _: self._says(self.told)
        site.pages["/api/3/action/datastore_search"] = self._search

    @staticmethod
    def _says(result: Any) -> Any:
        return 200, {"Content-Type": "application/json"}, json.dumps({"success": True, "result": result}).encode()

    def _search(self, told: Any) -> Any:
        asked = {name: value[0] for name, value in urllib.parse.parse_qs(told["url"].partition("?")[2]).items()}
        offset, limit = int(asked["offset"]), min(int(asked["limit"]), self.cap)
        if offset:
            self.before()
        rows = self.rows
        for name, meant in json.loads(asked.get("filters", "{}")).items():
            if isinstance(meant, dict):
                if not self.knows_bounds:
                    rows = []
                ((test, value),) = meant.items()
                rows = [row for row in rows if row[name] is not None and (row[name] >= value) == (test == "gte")]
            else:
                rows = [row for row in rows if row[name] in (meant if isinstance(meant, list) else [meant])]
        return self._says({"records": rows[offset : offset + limit], "total": len(rows), "limit": limit})


def asked_of(site: Site, action: str) -> list[dict[str, list[str]]]:
    """Give what was asked of an action."""
    return [asked.query for asked in site.asked if asked.path.endswith(action)]


def test_a_resource_that_says_that_it_is_the_same_is_not_read_again(house: House, site: Site) -> None:
    stub = Stub(site, last_modified=LONG_AGO)
    brick = brick_of(house, site.url, [column("code"), column("day", "date")], ["code"], resource=ID)
    assert house.land(brick)
    assert house.rows(brick, "things", "code", "1") == [(f"{n:04d}",) for n in range(1, 8)]
    site.asked.clear()
    assert house.land(brick) is None
    assert [query["limit"] for query in asked_of(site, "datastore_search")] == [["0"]]
    # A row more, whatever the dates say; another date.
    stub.rows.append({"_id": 8, "code": "0008", "day": None})
    assert house.land(brick)
    stub.rows[0]["day"] = "2027-01-01"
    assert house.land(brick) is None
    stub.told["last_modified"] = "2025-02-01T00:00:00"
    assert house.land(brick)


@pytest.mark.parametrize("dates", [{"url_type": "datastore", "last_modified": LONG_AGO}, {"last_modified": "2999-01-01"}])
def test_dates_that_do_not_tell_of_rows_are_not_trusted(house: House, site: Site, dates: dict[str, Any]) -> None:
    stub = Stub(site, **dates)
    brick = brick_of(house, site.url, [column("code"), column("day", "date")], ["code"], resource=ID)
    assert house.land(brick)
    stub.rows[0]["day"] = "2027-01-01"
    assert house.land(brick)


def test_a_row_that_goes_while_another_comes_is_seen(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connectors.pages.PAUSE_SECONDS", 0.001)
    stub = Stub(site)

    def change() -> None:
        """Take the first row, put one behind the last: the total stays, and a row would be between two pages."""
        stub.before = lambda: None
        stub.rows = [*stub.rows[1:], {"_id": 8, "code": "0008", "day": None}]

    stub.before = change
    brick = brick_of(house, site.url, [column("code")], ["code"], resource=ID)
    assert house.land(brick)
    assert house.rows(brick, "things", "code", "1") == [(f"{n:04d}",) for n in range(2, 9)]


@pytest.mark.parametrize(("knows_bounds", "has_null", "asked"), [(True, False, 3), (True, True, 7), (False, False, 7)])
def test_what_is_new_is_asked_for_where_the_portal_can_tell(
    house: House, site: Site, knows_bounds: bool, has_null: bool, asked: int
) -> None:
    stub = Stub(site)
    stub.knows_bounds = knows_bounds
    columns = [column("code"), column("day", "date")]
    brick = brick_of(house, site.url, columns, ["code"], resource=ID, since={"parameter": "day"}, cursor="day")
    assert house.land(brick)
    stub.rows += [{"_id": 8, "code": "0008", "day": "2026-01-08"}, {"_id": 9, "code": "0009", "day": "2026-01-09"}]
    if has_null:
        stub.rows[0] = {**stub.rows[0], "day": None}
    entry = house.land(brick)
    assert entry
    assert ("filters" in asked_of(site, "datastore_search")[-1]) == (asked == 3)
    assert house.rows(brick, "things", "count(distinct code)") == [(9,)]


def test_filters_are_asked_for_and_held_to(house: House, site: Site) -> None:
    stub = Stub(site)
    brick = brick_of(house, site.url, [column("code")], ["code"], resource=ID, filters={"code": ["0001", "0003"]})
    assert house.land(brick)
    assert house.rows(brick, "things", "code", "1") == [("0001",), ("0003",)]
    site.pages["/api/3/action/datastore_search"] = lambda _: stub._says({"records": stub.rows, "total": 7})
    with pytest.raises(SourceError, match="gives rows whose `code` is not the one that is asked for"):
        house.land(brick)


def test_a_resource_that_is_not_in_the_datastore_says_who_reads_it(house: House, site: Site) -> None:
    Stub(site, datastore_active=False)
    brick = brick_of(house, site.url, [column("code")], ["code"], resource=ID)
    with pytest.raises(
        SourceError, match=r"is not in the DataStore. Mend: connector `files` reads it at its own address, http://h/a.csv\."
    ):
        house.land(brick)


@pytest.mark.parametrize("status", [200, 409])
def test_a_failure_says_what_ckan_says_and_is_not_asked_again(house: House, site: Site, status: int) -> None:
    Stub(site)
    told = {"success": False, "error": {"filters": ["Unknown field: zz"], "__type": "Validation Error"}}
    site.pages["/api/3/action/datastore_search"] = (status, {}, json.dumps(told).encode())
    brick = brick_of(house, site.url, [column("code")], ["code"], resource=ID, filters={"zz": 1})
    with pytest.raises(SourceError, match=r"portal.things: .*Unknown field: zz.*Mend: check"):
        house.land(brick)
    assert len(asked_of(site, "datastore_search")) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "either `resource`, whose rows are read, or `catalog`"),
        ({"resource": "a", "catalog": "datasets"}, "either `resource`, whose rows are read, or `catalog`"),
        ({"catalog": "datasets", "filters": {"a": 1}}, "of a catalogue, say `search`"),
        ({"resource": "a", "search": {"q": "b"}}, "of the rows of a resource, say `filters`"),
        ({"resource": "a", "filters": {"d": 1}, "since": {"parameter": "d"}}, "both mean d"),
    ],
)
def test_options_that_mean_two_things_are_refused(house: House, options: dict[str, Any], told: str) -> None:
    with pytest.raises(BrickError, match=told):
        brick_of(house, "http://127.0.0.1:9", [column("a")], ["a"], **options)


def test_a_recorded_package_is_an_offer(house: House, site: Site, tmp_path: Path) -> None:
    if not RECORDED.is_dir():
        pytest.skip("the recorded packages of ../shared/data are not there")
    package = json.loads((RECORDED / "dkan-french-w-license.json").read_bytes())["result"][0]
    site.pages["/api/3/action/package_search"] = Stub._says({"count": 1, "results": [package]})
    (offer,) = offers("ckan", site.url, tmp_path)
    assert (offer.title, offer.licence) == (package["title"], package["license_title"])
    assert [resource.url for resource in offer.resources] == [each["url"] for each in package["resources"]]
    people = [package[name] for name in ("author", "author_email", "maintainer", "maintainer_email") if package.get(name)]
    assert not [each for each in people if each in repr(offer)]


def test_a_catalogue_is_two_tables(house: House, site: Site) -> None:
    resources = [
        {"id": "r1", "url": "http://h/a.csv", "format": "CSV", "size": "12", "name": "A"},
        {"id": "r2", "url": "http://h/b", "format": "", "datastore_active": True},
        {"id": "r3", "url": "http://h/wfs?service=WFS", "format": "OGC WFS", "license": "odbl"},
    ]
    package = {
        "id": "p1", "name": "arbres", "title": "Arbres", "license_id": "etalab-2.0", "organization": {"title": "Ville"},
        "author": "Jeanne Doe", "metadata_modified": "2026-01-01T00:00:00", "title_translated": {"fr": "Arbres", "en": "Trees"},
        "tags": [{"name": "vert"}], "resources": resources,
    }  # fmt: skip
    site.pages["/api/3/action/package_search"] = Stub._says({"count": 2, "results": [package, {"id": "p2", "resources": []}]})
    kinds = {"titles": "json", "keywords": "json", "options": "json", "number": "bigint", "byte_size": "bigint"}
    tables = [
        table("datasets", [column(name, kinds.get(name, "string")) for name in OF_OFFERS], ["id"], {"catalog": "datasets"}),
        table(
            "files", [column(name, kinds.get(name, "string")) for name in OF_RESOURCES], ["dataset_id", "number"], {"catalog": "resources"}
        ),
    ]
    brick = house.brick("portal", tables, site.url, connector="ckan")
    assert house.land(brick)
    landed = house.rows(brick, "datasets", ", ".join(OF_OFFERS), "1")
    assert landed[0] == (
        "p1", "Arbres", "etalab-2.0", "Ville", "2026-01-01T00:00:00", f"{site.url}/dataset/arbres",
        '{"fr":"Arbres","en":"Trees"}', '["vert"]'
    )  # fmt: skip
    assert len(landed) == 2
    assert house.rows(brick, "files", ", ".join(OF_RESOURCES), "2") == [
        ("p1", 1, "http://h/a.csv", "CSV", 12, "etalab-2.0", "files", '{"format":"csv"}'),
        ("p1", 2, "http://h/b", None, None, "etalab-2.0", "ckan", '{"resource":"r2"}'),
        ("p1", 3, "http://h/wfs?service=WFS", "OGC WFS", None, "odbl", "wfs", "{}"),
    ]
    assert house.land(brick) is None
    # Pages stand where the portal says that it is, wherever its API is asked.
    site.pages["/api/3/action/status_show"] = Stub._says({"site_url": "https://data.example.org/"})
    assert house.land(brick)
    assert ("https://data.example.org/dataset/arbres",) in house.rows(brick, "datasets", "landing_page", "1")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """Serve a dataset with a link, and a resource of 120 rows in a DataStore that gives 50 at most."""
    with portal(tmp_path_factory.mktemp("ckan")) as served:
        served.act("organization_create", name="ville", title="Ville de Rennes")
        link = {"name": "a", "url": "http://h/a.csv", "format": "CSV"}
        served.act("package_create", name="arbres", title="Arbres", owner_org="ville", license_id="etalab-2.0", resources=[link])
        fields = {"code": "text", "n": "numeric", "at": "timestamp", "f": "float8", "i": "int8"}
        number = "12345678901234567890.123456789012345"
        rows = [
            {"code": f"{n:05d}", "n": number, "at": f"2026-01-{1 + n // 24:02d}T{n % 24:02d}:00:00", "f": n / 10, "i": 2**53 + n}
            for n in range(120)
        ]
        made = served.act(
            "datastore_create", resource={"package_id": "arbres", "name": "rows"}, primary_key="code", records=rows,
            fields=[{"id": name, "type": kind} for name, kind in fields.items()],
        )  # fmt: skip
        served.resource = made["resource_id"]
        yield served


@pytest.mark.conformance
@pytest.mark.parametrize("limit", [7, 1000])
def test_a_real_portal_gives_every_row_to_the_digit(house: House, real: Portal, limit: int) -> None:
    columns = [column("code"), column("n"), column("at", "timestamptz"), column("f", "double"), column("i", "bigint")]
    brick = brick_of(house, real.url, columns, ["code"], resource=real.resource, limit=limit)
    entry = house.land(brick)
    assert entry and entry["tables"]["things"]["kept"] == 120
    told = house.rows(brick, "things", 'count(distinct code), min(n), max(n), round(sum(f), 6), max(i), max("at")::varchar')
    number = "12345678901234567890.123456789012345"
    assert told == [(120, number, number, 714.0, 2**53 + 119, "2026-01-05 23:00:00+00")]
    assert house.land(brick) is None


@pytest.mark.conformance
def test_a_real_portal_gives_what_is_new_and_what_filters_mean(house: House, real: Portal) -> None:
    columns = [column("code"), column("at", "timestamptz")]
    told = {"resource": real.resource, "since": {"parameter": "at", "format": "%Y-%m-%dT%H:%M:%S"}, "cursor": "at", "limit": 20}
    brick = brick_of(house, real.url, columns, ["code"], **told)
    assert house.land(brick)
    real.act(
        "datastore_upsert", resource_id=real.resource, method="upsert", force=True, records=[{"code": "99999", "at": "2026-01-06T00:00:00"}]
    )
    entry = house.land(brick)
    assert entry and entry["tables"]["things"]["kept"] == 26  # those of a day before what was known, and the new one
    real.act("datastore_delete", resource_id=real.resource, force=True, filters={"code": "99999"})
    chosen = brick_of(house, real.url, columns, ["code"], resource=real.resource, filters={"code": ["00007", "00009"]})
    assert house.land(chosen)
    with pytest.raises(SourceError, match=r"Unknown field: zz.*Mend: check"):
        house.land(brick_of(house, real.url, columns, ["code"], resource=real.resource, filters={"zz": "1"}))
    with pytest.raises(SourceError, match="Not found"):
        house.land(brick_of(house, real.url, columns, ["code"], resource="nope"))


@pytest.mark.conformance
def test_a_real_portal_tells_what_it_holds_by_a_search_that_is_none(house: House, real: Portal, tmp_path: Path) -> None:
    (offer,) = offers("ckan", real.url, tmp_path)
    assert (offer.title, offer.licence, offer.producer) == ("Arbres", "etalab-2.0", "Ville de Rennes")
    assert [(each.protocol, each.options) for each in offer.resources] == [
        ("files", {"format": "csv"}),
        ("ckan", {"resource": real.resource}),
    ]
    link = offer.resources[0].id
    with pytest.raises(SourceError, match="is not in the DataStore"):
        house.land(brick_of(house, real.url, [column("a")], ["a"], resource=link))
