"""udata: a stub that answers as the documentation of API 1 says (simulated)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import House, Site, column, table

from ingestion.connectors import SourceError
from ingestion.connectors.catalog import offers

DATASET = {
    "id": "5f", "title": "Arbres", "description": "Arbres.", "license": "fr-lo", "organization": {"name": "Ville"}, "slug": "arbres",
    "owner": {"first_name": "Jeanne", "last_name": "Doe"}, "contact_points": [{"name": "Jeanne Doe", "email": "j@example.org"}],
    "created_at": "2020-01-01T00:00:00.000000", "last_update": "2026-01-01T00:00:00+00:00", "frequency": "annual", "tags": ["vert"],
    "spatial": {"zones": ["fr:commune:35238"]}, "page": "https://h/datasets/arbres/",
    "resources": [
        {"id": "r1", "url": "http://h/a.csv", "latest": "http://h/r/1", "title": "A", "format": "csv", "mime": "text/csv", "filesize": 12,
         "checksum": {"type": "sha1", "value": "ab"}, "created_at": "2020-01-01", "last_modified": "2026-01-01"},
        {"id": "r2", "url": "http://h/a.shp.zip", "title": "B", "format": "shp", "filesize": None, "checksum": None},
    ],
}  # fmt: skip


def play(site: Site, found: list[Any], total: int | None = None) -> None:
    """Have a portal hold datasets, one a page; its links are those of the address that it knows itself by."""

    def answer(asked: Any) -> Any:
        number = int(asked["url"].partition("page=")[2].partition("&")[0])
        following = f"https://www.example.org/api/1/datasets/?page={number + 1}&page_size=1" if number < len(found) else None
        told = {"data": found[number - 1 : number], "page": number, "next_page": following, "total": total or len(found)}
        return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()

    site.pages["/api/1/datasets/"] = answer


def test_a_portal_is_two_tables_without_its_owners(house: House, site: Site) -> None:
    play(site, [DATASET, {**DATASET, "id": "6f", "resources": [], "organization": None}])
    of_resource = ("dataset_id", "number", "url", "media_type", "byte_size", "checksum", "licence", "protocol")
    kinds = {"number": "bigint", "byte_size": "bigint", "keywords": "json", "spatial": "json"}
    of_dataset = ("id", "licence", "producer", "modified", "frequency", "keywords", "spatial")
    tables = [
        table(
            "datasets",
            [column(name, kinds.get(name, "string")) for name in of_dataset],
            ["id"],
            {"catalog": "datasets", "search": {"tag": "vert"}},
        ),
        table(
            "files", [column(name, kinds.get(name, "string")) for name in of_resource], ["dataset_id", "number"], {"catalog": "resources"}
        ),
    ]
    brick = house.brick("portal", tables, site.url, connector="udata")
    assert house.land(brick)
    told = ("fr-lo", "Ville", "2026-01-01T00:00:00+00:00", "annual", '["vert"]', '["fr:commune:35238"]')
    assert house.rows(brick, "datasets", ", ".join(of_dataset), "1") == [("5f", *told), ("6f", told[0], None, *told[2:])]
    assert house.rows(brick, "files", ", ".join(of_resource), "2") == [
        ("5f", 1, "http://h/a.csv", "text/csv", 12, "sha1:ab", "fr-lo", "files"),
        ("5f", 2, "http://h/a.shp.zip", None, None, None, "fr-lo", None),
    ]
    assert not [row for row in house.rows(brick, "datasets") + house.rows(brick, "files") if "Jeanne" in str(row) or "j@" in str(row)]
    assert {each.query["sort"][0] for each in site.asked} == {"created"}
    assert all(each.query.get("tag") == ["vert"] for each in site.asked[: len(site.asked) // 2] if "tag" in each.query)


@pytest.mark.parametrize(
    ("found", "total", "told"),
    [([DATASET], 2, "announces 2 rows and gives 1"), ([{"title": "x"}], None, "holds a dataset without `id`"), ([3], None, "no objects")],
)
def test_what_is_not_whole_fails(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Any, total: int | None, told: str
) -> None:
    monkeypatch.setattr("ingestion.connectors.pages.PAUSE_SECONDS", 0.001)
    play(site, found, total)
    with pytest.raises(SourceError, match=told):
        list(offers("udata", site.url, tmp_path))
