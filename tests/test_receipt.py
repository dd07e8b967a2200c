"""The receipt of a mart: its rows are made again from the files that it names, and whatever is not what it was is named."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main as orchestra
from ingestion.brick import Brick
from ingestion.lake import LakeError
from ingestion.territory import read_territory
from ingestion.warehouse import catch_up
from redistribution.publications import last_published
from redistribution.site.follow import follow_site
from redistribution.site.receipt import Prover, is_alike
from tests.conftest import House, column, table
from tests.fixtures.site import Town, node

STAGING = 'select id, day::date as day, kwh from "warehouse"."meters"."readings"'
MART = """
    select readings.id as building_id, date_trunc('month', readings.day)::date as month_date,
        round(sum(readings.kwh * factors.kg_per_kwh), 3) as emissions_kg
    from "warehouse"."staging"."stg_meters__readings" as readings cross join "warehouse"."seeds"."factors" as factors
    group by all
"""
COLUMNS = {
    "building_id": ("string", {}),
    "month_date": ("date", {}),
    "emissions_kg": ("double", {"unit": "kg", "nature": "estimated", "aggregate": "sum"}),
}


class Works:
    """A brick that lands, a seed, a staging model and a mart, built by their own SQL."""

    def __init__(self, house: House) -> None:
        self.house = house
        columns = [column("id"), column("day"), column("kwh", "double")]
        readings = table("readings", columns, ["id", "day"], {"format": "csv", "path": "*.csv"})
        self.brick: Brick = house.brick("meters", [readings], access_class="open")
        (house.folder / "factors.csv").write_text("energy,kg_per_kwh\ngas,0.205\n")
        self.day(1)
        self.town = Town(house.lake)
        self.town.nodes = self.nodes()
        self.build()

    def day(self, number: int) -> None:
        """Land one more file."""
        lines = [f"b{b},2025-0{number}-{d:02d},{b * 10 + d}" for b in range(5) for d in range(1, 29)]
        self.house.drop(f"{number}.csv", "id,day,kwh\n" + "\n".join(lines) + "\n")
        assert self.house.land(self.brick)

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Give the project as dbt's manifest tells it."""
        meta = {"label_fr": "Émissions", "label_en": "Emissions", "access_class": "open", "grain": ["building_id", "month_date"]}
        mart = node("emissions_by_month", meta, COLUMNS)
        mart["depends_on"]["nodes"] = ["model.city_orchestra.stg_meters__readings", "seed.city_orchestra.factors"]
        staging = node("stg_meters__readings", {}, {})
        staging |= {"schema": "staging", "fqn": ["city_orchestra", "staging", "meters", "stg"], "compiled_code": STAGING}
        staging["depends_on"]["nodes"] = ["source.city_orchestra.meters.readings"]
        seed = {
            "unique_id": "seed.city_orchestra.factors", "resource_type": "seed", "name": "factors", "alias": "factors", "schema": "seeds",
            "fqn": ["city_orchestra", "factors"], "root_path": str(self.house.folder), "original_file_path": "factors.csv",
            "config": {"column_types": {"kg_per_kwh": "double"}}, "depends_on": {"nodes": []},
        }  # fmt: skip
        return {"mart": mart | {"compiled_code": MART}, "staging": staging, "seed": seed}

    def build(self) -> None:
        """Build and publish what has landed, and have the site follow."""
        lake, journal = self.house.lake, self.house.journal
        connection = lake.connect(str(lake.state_path("warehouse.duckdb")))
        catch_up(connection, lake, journal, {"meters": self.brick})
        seed = f"select * from read_csv('{self.house.folder / 'factors.csv'}')"
        for schema, name, sql in (
            ("seeds", "factors", seed), ("staging", "stg_meters__readings", STAGING), ("marts", "emissions_by_month", MART),
        ):  # fmt: skip
            connection.execute(f"create schema if not exists {schema}")
            connection.execute(f"create or replace table {schema}.{name} as {sql}")
        connection.close()
        self.town.nodes = {"emissions_by_month": self.nodes()["mart"]}
        self.town.publish()
        frames = {"source_name": "meters", "name": "readings", "source_meta": {"access_class": "open"}}
        self.manifest = {
            "nodes": {each["unique_id"]: each for each in self.nodes().values()},
            "sources": {"source.city_orchestra.meters.readings": frames},
        }
        self.follow("open")

    def follow(self, access_class: str) -> None:
        """Have the site of a class follow."""
        manifest = json.loads(json.dumps(self.manifest))
        follow_site(self.house.lake, self.house.journal, access_class, manifest, {"meters": self.brick}, read_territory())


@pytest.fixture
def works(house: House) -> Works:
    return Works(house)


def proven(works: Works, *key: str) -> list[str]:
    prover = Prover(works.house.lake, "emissions_by_month")
    try:
        return prover.prove(prover.key_of(key)).faults
    finally:
        prover.close()


def test_every_row_is_made_again_equal_also_after_more_has_landed(works: Works) -> None:
    for number in (2, 3):
        works.day(number)
        works.build()
    prover = Prover(works.house.lake, "emissions_by_month")
    keys = prover.keys()
    assert len(keys) == 15
    for key in keys:
        proof = prover.prove(key)
        assert proof.faults == [] and proof.again["emissions_kg"] == proof.row["emissions_kg"]
    assert (proof.loads, proof.models) == (3, 2)
    prover.close()


def test_the_command_says_what_it_made_again_and_the_key_may_be_typed_by_name(
    works: Works, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHESTRA_LAKE", works.house.lake.root)
    assert orchestra(["prove", "emissions", "b1", "2025-01-01"]) == 1
    assert "no site holds a receipt of mart emissions (they hold those of emissions_by_month)" in capsys.readouterr().err
    assert orchestra(["prove", "emissions_by_month", "b1", "2025-01-01"]) == 0
    assert "made again, equal, from 1 loads" in capsys.readouterr().out
    assert orchestra(["prove", "emissions_by_month", "month_date=2025-01-01", "building_id=b1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faults"] == []
    for wrong, told in ((["b1"], "2 values: building_id, month_date"), (["b9", "2025-01-01"], "no row of building_id b9")):
        assert orchestra(["prove", "emissions_by_month", *wrong]) == (2 if len(wrong) == 1 else 1)
        assert told in capsys.readouterr().err
    assert orchestra(["prove", "nothing_by_month", "b1"]) == 1
    assert "orchestra site --class" in capsys.readouterr().err


def test_one_byte_flipped_in_any_file_or_entry_is_named(works: Works) -> None:
    works.day(2)
    works.build()
    draw = random.Random(1848)
    receipt = "site/open/receipts/emissions_by_month.json"
    published = [file for record in last_published(works.house.journal).values() for file in record["files"].values()]
    names = [*works.house.lake.names("journal"), *published, *works.house.parquet_files("meters"), receipt]
    assert len(names) >= 8
    for name in names:
        path = Path(works.house.lake.path(name))
        whole = path.read_bytes()
        place = draw.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            faults = proven(works, "b1", "2025-01-01")
            assert [fault for fault in faults if name in fault], f"{name} at {place}: {faults}"
        except LakeError as error:  # a receipt that no JSON reads
            assert name == receipt and name in str(error)
        path.write_bytes(whole)
    assert proven(works, "b1", "2025-01-01") == []


def test_a_figure_that_the_files_do_not_give_is_told(works: Works) -> None:
    receipt = "site/open/receipts/emissions_by_month.json"
    told = json.loads(works.house.lake.read(receipt) or b"")
    told["models"][-1]["sql"] = told["models"][-1]["sql"].replace("sum(readings.kwh", "sum(2 * readings.kwh")
    works.house.lake.replace(receipt, json.dumps(told).encode())
    faults = proven(works, "b1", "2025-01-01")
    assert [fault for fault in faults if fault.startswith("emissions_kg was published as")], faults


def test_a_lake_that_has_moved_is_proven_where_it_is(works: Works, tmp_path: Path) -> None:
    from ingestion.lake import Lake

    Path(works.house.lake.root).rename(tmp_path / "moved")
    prover = Prover(Lake(str(tmp_path / "moved")), "emissions_by_month")
    assert prover.prove(prover.keys()[0]).faults == []
    prover.close()


def test_what_was_erased_is_named_by_no_receipt(works: Works) -> None:
    works.house.erase(works.brick, {"id": "b3"})
    works.build()
    works.follow("internal")
    for access_class in ("open", "internal"):
        receipt = (works.house.lake.read(f"site/{access_class}/receipts/emissions_by_month.json") or b"").decode()
        assert receipt and not re.search(r"\bb3\b", receipt)
    assert proven(works, "b1", "2025-01-01") == []


def test_a_withheld_mart_keeps_the_receipt_of_what_readers_see(works: Works) -> None:
    before = works.house.lake.read("site/open/receipts/emissions_by_month.json")
    works.day(2)
    judge = lambda *_: (["no"], {})  # noqa: E731
    publish, works.town.publish = works.town.publish, lambda: publish(judge)  # type: ignore[method-assign]
    works.build()
    assert works.house.lake.read("site/open/receipts/emissions_by_month.json") == before
    assert proven(works, "b1", "2025-01-01") == []


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [(1.0, 1.0 + 1e-12, True), (1.0, 1.001, False), (1, 2, False), (None, None, True), ("a", None, False), (math.nan, math.nan, True)],
)  # fmt: skip
def test_doubles_are_alike_but_for_the_order_in_which_they_were_added(one: Any, other: Any, alike: bool) -> None:
    assert is_alike(one, other) is alike
