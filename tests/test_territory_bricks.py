"""The territory's public bricks of features, catalogues and portals land from the sandbox what its world holds, and nobody's name."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import accept

from flows.servers import plug_in
from ingestion.census import read_bricks
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.landing import land_brick
from ingestion.sandbox import catalogues, places
from ingestion.sandbox.server import Sandbox, players, start
from ingestion.sandbox.world import World, read_communes
from ingestion.warehouse import catch_up

UNTIL = dt.date(2025, 12, 31)
SPOKEN = {
    "arbres_rennes": "wfs", "contours_iris": "ogc_features", "eclairage_nocturne": "arcgis", "catalogue_geonetwork": "csw",
    "opendata_megalis": "ckan", "catalogue_datagouv": "udata", "catalogue_rudi": "dcat", "decheteries_rennes": "opendatasoft",
    "parkings_citedia": "opendatasoft",
}  # fmt: skip
CATALOGUES = ("catalogue_geonetwork", "opendata_megalis", "catalogue_datagouv", "catalogue_rudi")
BRICKS = {name: brick for name, brick in read_bricks().items() if name in SPOKEN}
Rows = list[dict[str, Any]]


class Landed:
    """A lake into which the bricks land, time after time, and what their sandboxes were asked for it."""

    def __init__(self, folder: Path) -> None:
        self.lake = Lake(str(folder / "lake"))
        self.asked, self.asked_again = list[tuple[str, int]](), list[tuple[str, int]]()
        self.first, self.again = dict[str, Entry | None](), dict[str, Entry | None]()
        self.warned: list[str] = []

    def land(self, until: dt.date, bricks: Iterable[str] = SPOKEN, times: int = 1) -> list[dict[str, Entry | None]]:
        """Land bricks, so many times, from a sandbox of its own port; give the journal's entry of each, None where it had nothing new."""
        with pytest.MonkeyPatch.context() as patch, start(until=until) as sandbox:
            patch.setattr(os, "environ", os.environ.copy())
            plug_in(sandbox.url)
            self._listen(sandbox)
            return [self._land(bricks) for _ in range(times)]

    def _land(self, bricks: Iterable[str]) -> dict[str, Entry | None]:
        self.asked = []
        done = {name: land_brick(self.lake, Journal(self.lake), BRICKS[name], "r", accept) for name in bricks}
        self.warned += [each for landed in done.values() for each in landed.warned]
        return {name: landed.entry for name, landed in done.items()}

    def _listen(self, sandbox: Sandbox) -> None:
        answer = sandbox.answer

        def noted(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Any:
            told = answer(method, target, headers, body)
            self.asked.append((target, len(told[1])))
            return told

        sandbox.answer = noted  # type: ignore[method-assign]

    def rows(self, brick: str, table: str) -> Rows:
        """Give the rows of a table as dbt reads them."""
        connection = self.lake.connect()
        catch_up(connection, self.lake, Journal(self.lake), {brick: BRICKS[brick]})
        found = connection.execute(f"select * exclude (_file, _row, _read_at, _load_id) from {brick}.{table}")
        names = [each[0] for each in found.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        connection.close()
        return rows


def area(ring: Any) -> float:
    """Give the area of a ring, above 0 where it turns counterclockwise."""
    return sum(x * v - u * y for (x, y), (u, v) in itertools.pairwise(ring)) / 2


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Landed:
    landed = Landed(tmp_path_factory.mktemp("territory"))
    landed.first, landed.again = landed.land(UNTIL, times=2)
    landed.asked_again = landed.asked
    return landed


def test_each_lands_whole_by_its_own_protocol_and_is_no_news_the_second_time(lake: Landed) -> None:
    assert {name: brick.meta.connector for name, brick in BRICKS.items()} == SPOKEN
    assert {brick.meta.status for brick in BRICKS.values()} == {"candidate"}
    for name, entry in lake.first.items():
        assert entry, name
        for table, record in entry["tables"].items():
            assert record["refused"] == 0 and record["kept"] == record["source_count"] == len(lake.rows(name, table)) > 0
    assert not lake.warned and lake.again == dict.fromkeys(BRICKS)
    pages = Counter(target.split("/")[1].partition("?")[0] for target, _ in lake.asked_again)
    assert all(pages[name] >= 3 for name in ("arbres_rennes", "contours_iris", *CATALOGUES)), f"capped by their servers: {pages}"
    for name, most in {"decheteries_rennes": 1, "parkings_citedia": 1, "eclairage_nocturne": 2}.items():
        asked = [size for target, size in lake.asked_again if target.startswith(f"/{name}/")]
        assert len(asked) == most and sum(asked) < 2_000, f"{name}: what its server says of its data"


def test_features_are_those_of_the_world_where_they_stand(lake: Landed) -> None:
    expected = {
        row["id"]: (row["code_insee"], row["fonction"], row["date_plantation"], list(row["place"]))
        for row in places.trees(World(until=UNTIL))
    }
    found = {
        row["id"]: (row["code_insee"], row["fonction"], row["date_plantation"] and str(row["date_plantation"]),
                    json.loads(row["geometry"])["coordinates"])
        for row in lake.rows("arbres_rennes", "trees")
    }  # fmt: skip
    assert found == expected and 200 < len(found) < places.TREES
    cut = {row["commune_code"] for row in read_communes() if int(row["municipal_population"]) >= 10_000}
    areas = Counter[str]()
    for row in lake.rows("contours_iris", "outlines"):
        assert row["code_iris"] == row["code_insee"] + row["iris"] and (row["iris"] == "0000") == (row["code_insee"] not in cut)
        areas[row["code_insee"]] += area(json.loads(row["geometry"])["coordinates"][0])
    outlines = {code: area(ring) for code, (_, ring) in places.outlines().items()}
    assert areas == pytest.approx(outlines), "what the box leaves out is elsewhere, and the IRIS of a commune are the commune"
    shapes = {row["code_insee"]: json.loads(row["geometry"])["coordinates"] for row in lake.rows("eclairage_nocturne", "practices")}
    assert shapes.keys() == outlines.keys() | {"35288"}, "of the departement alone"
    assert {code: area(rings[0]) for code, rings in shapes.items() if code != "35288"} == pytest.approx(outlines)
    for row in lake.rows("eclairage_nocturne", "practices"):
        changed = {letter for letter, name in (("E", "d_extinct"), ("R", "d_renov"), ("A", "d_abandon"), ("D", "d_extens")) if row[name]}
        assert changed == set(row["changes_EP"]) - set("XHT")


def test_catalogues_are_those_of_the_world_and_name_nobody(lake: Landed) -> None:
    world, communes = World(until=UNTIL), read_communes()
    titles = sorted(f"{title} (fictif)" for title in catalogues.THEMES.values())
    for brick, table, links in (("catalogue_geonetwork", "records", "links"), ("catalogue_datagouv", "datasets", "resources")):
        rows = lake.rows(brick, table)
        assert sorted(row["title"] for row in rows) == titles, "no service, and nothing of elsewhere"
        assert {row["producer"] for row in rows} == {"Rennes Métropole"} and {row["resource_count"] for row in rows} == {2}
        changed = {each.title: each.modified for each in catalogues.of_metropole(world)}
        assert {row["title"]: row["modified"] if brick.endswith("network") else row["modified"].date() for row in rows} == changed
        assert Counter(row["protocol"] for row in lake.rows(brick, links)) == {"wfs": 12, "files": 12}
    packages = lake.rows("opendata_megalis", "datasets")
    assert sorted(row["producer"] for row in packages) == sorted(2 * [f"Commune de {row['name']}" for row in communes])
    assert {row["landing_page"].partition("/dataset/")[0] for row in packages} == {"https://data.megalis.bretagne.bzh"}
    assert {row["url"].split("/")[-2] for row in lake.rows("opendata_megalis", "resources")} == {row["siren"] for row in communes}
    shared = lake.rows("catalogue_rudi", "datasets")
    assert Counter(row["producer"] for row in shared) == dict.fromkeys(catalogues.PARTNERS, 12)
    assert {row["id"] for row in shared} == {row["dataset_id"] for row in lake.rows("catalogue_rudi", "distributions")}
    files = str(Path(str(lake.lake.root), "landed", "*", "**", "*.parquet"))
    with duckdb.connect() as connection:
        told = (
            f"select filename from read_parquet('{files}', union_by_name = true, filename = true) as row where row::varchar ilike '%{{}}%'"
        )
        assert connection.execute(told.format("Arbres de l%")).fetchall()
        for secret in (catalogues.PERSON, catalogues.MAIL, "camille"):
            assert connection.execute(told.format(secret)).fetchall() == []


def test_open_datasets_are_those_of_the_world(lake: Landed) -> None:
    world = World(until=UNTIL)
    for brick, table, expected in (
        ("decheteries_rennes", "centres", places.drop_off_centres(world)), ("parkings_citedia", "car_parks", places.car_parks(world)),
    ):  # fmt: skip
        found = [
            {name: json.loads(value) if name.startswith("geo") else value for name, value in row.items()} for row in lake.rows(brick, table)
        ]
        told = [{name: float(value) if name.startswith("tarif") else value for name, value in row.items()} for row in expected]
        assert sorted(map(str, found)) == sorted(str({name: row[name] for name in found[0]}) for row in told)


def test_another_port_is_no_news_and_another_day_is(lake: Landed) -> None:
    assert lake.land(UNTIL) == [dict.fromkeys(BRICKS)]
    (later,) = lake.land(UNTIL + dt.timedelta(days=1), ("decheteries_rennes", "parkings_citedia"))
    assert later["parkings_citedia"] and not later["decheteries_rennes"]
    free = {row["key"]: row["free"] for row in places.car_parks(World(until=UNTIL + dt.timedelta(days=1)))}
    assert {row["key"]: row["free"] for row in lake.rows("parkings_citedia", "car_parks")} == free


@pytest.mark.parametrize(
    ("brick", "path", "query", "status", "told"),
    [
        ("arbres_rennes", "", "SERVICE=WFS&REQUEST=GetFeature&TYPENAMES=espub_esv:fleur", 400, "Feature type espub_esv:fleur unknown"),
        ("arbres_rennes", "", "SERVICE=WFS&REQUEST=GetFeature&TYPENAMES=espub_esv:arbre&FILTER=x", 400, "reads no FILTER"),
        ("contours_iris", "collections/none", "f=json", 404, "is not here"),
        ("contours_iris", f"collections/{'STATISTICALUNITS.IRIS:contours_iris'}/items", "code=1", 400, "unknown query parameter code"),
        ("eclairage_nocturne", "1/query", "f=json&where=nothing", 200, "'where' clause is invalid"),
        ("catalogue_geonetwork", "", "request=GetRecords&outputSchema=x", 400, "ExceptionText"),
        ("opendata_megalis", "api/3/action/package_search", "fq=what", 409, "Search Query Error"),
        ("catalogue_datagouv", "api/1/datasets", "organization=rennes", 400, "Input payload validation failed"),
        ("catalogue_rudi", "konsult/v1/datasets/metadatas/dcat", "page=two", 400, "page=two is no whole number"),
    ],
)
def test_what_is_asked_wrong_is_refused_in_the_words_of_the_protocol(brick: str, path: str, query: str, status: int, told: str) -> None:
    given, body, _ = players()[brick](World()).respond(tuple(filter(None, path.split("/"))), query, {})
    assert (given, told in body.decode()) == (status, True), body
