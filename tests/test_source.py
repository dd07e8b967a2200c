"""A brick through dlt alone: any pipeline of dlt takes it, to a real DuckDB, and dlt itself stays as it is for others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest

from ingestion.source import brick as source
from tests.conftest import House, column, table

OPTIONS = {"format": "csv", "path": "*.csv"}
COLUMNS = [column("id"), column("Énergie", "double"), column("at", "timestamptz", optional=True)]


class Alone:
    """A pipeline of dlt to a DuckDB of the test's own, made anew for each run, as a script makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "dlt"
        self.database = folder / "any.duckdb"

    def run(self, name: str) -> Any:
        """Run a brick to its end."""
        target = dlt.destinations.duckdb(str(self.database))
        pipeline = dlt.pipeline("alone", pipelines_dir=str(self.folder), dataset_name="raw", destination=target)
        return pipeline.run(source(name))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask DuckDB."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture
def alone(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Alone]:
    """Give a pipeline that finds the bricks of the house, and no lake."""
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(house.folder / "bricks"))
    monkeypatch.setenv("ORCHESTRA_LAKE", str(tmp_path / "no lake"))
    yield Alone(tmp_path)
    assert not (tmp_path / "no lake").exists()


@pytest.mark.parametrize("began", ["normal", "as they stood"])
def test_a_pipeline_keeps_the_form_in_which_it_began_to_hash_texts(
    house: House, alone: Alone, monkeypatch: pytest.MonkeyPatch, began: str
) -> None:
    monkeypatch.setenv("ORCHESTRA_PSEUDONYM_KEY", "une clé de test assez longue")
    told = {"legal_basis": "law", "purpose": "heat", "pseudonym_domain": "homes"}
    columns = [column("id"), column("name", personal=True, mask="pseudonym")]
    house.brick("homes", [table("people", columns, ["id"], OPTIONS)], **told)
    house.drop("a.csv", "id,name\na,le goff\n")
    alone.run("homes")
    if began == "as they stood":
        pipeline = dlt.attach("alone", pipelines_dir=str(alone.folder))
        with pipeline.managed_state() as state:
            del state["sources"]["homes"]["resources"]["people"]["form"]
    house.drop("b.csv", "id,name\nb,LE GOFF\nc,le goff\n")
    alone.run("homes")
    names = [name for (name,) in alone.rows("select name from raw.people order by id")]
    assert names[0] == names[2] and (names[1] == names[0]) == (began == "normal")


def test_a_brick_goes_to_any_destination_and_a_second_run_brings_nothing(house: House, alone: Alone) -> None:
    house.brick("shop", [table("items", COLUMNS, ["id"], OPTIONS), table("others", [column("id")], ["id"], {**OPTIONS, "path": "*.txt"})])
    house.drop("a.csv", "id,Énergie,more\na,1.5,x\nb,none,y\n")
    house.drop("b.csv", "id,Énergie\nc,2\n")
    house.drop("c.txt", "id\nz\n")
    alone.run("shop")
    # Under the names that dlt makes of those of any source (it drops É); what is refused comes too, and says why.
    sql = "select id, _nergie, more, _file, _refused ->> 'rule' from raw.items order by id"
    assert alone.rows(sql) == [
        ("a", 1.5, "x", "a.csv", None), ("b", None, "y", "a.csv", "is not a number"), ("c", 2.0, None, "b.csv", None),
    ]  # fmt: skip
    assert alone.rows("select id from raw.others") == [("z",)]
    alone.run("shop")
    assert alone.rows("select count(*) from raw.items") == [(3,)]
    house.drop("b.csv", "id,Énergie\nc,3\nd,4\n")
    alone.run("shop")
    assert alone.rows("select id, _nergie from raw.items where _file = 'b.csv' order by all") == [("c", 2), ("c", 3), ("d", 4)]
    assert alone.rows("select count(*) from raw.others") == [(1,)]


def test_the_cursor_is_in_the_state_of_the_pipeline(house: House, alone: Alone) -> None:
    house.brick("shop", [table("items", [column("id"), column("n", "bigint")], ["id"], OPTIONS, cursor="n")])
    house.drop("a.csv", "id,n\na,1\nb,2\n")
    alone.run("shop")
    house.drop("a.csv", "id,n\na,1\nb,2\nc,3\n")
    alone.run("shop")
    assert alone.rows("select id, n from raw.items order by all") == [("a", 1), ("b", 2), ("b", 2), ("c", 3)]


def test_what_the_house_would_refuse_is_said(house: House, alone: Alone, caplog: pytest.LogCaptureFixture) -> None:
    house.brick("shop", [table("items", [column("id"), column("n", "bigint")], ["id"], OPTIONS)])
    house.drop("a.csv", "id,n\na,1\n")
    house.drop("b.csv", "id\na\n")
    with caplog.at_level(logging.WARNING, "orchestra"):
        alone.run("shop")
    assert "shop.items: b.csv: lacks the declared columns n" in caplog.text
    assert alone.rows("select id from raw.items") == [("a",)]
    # Nothing has mended it: it is not read again, and brings nothing.
    alone.run("shop")
    assert alone.rows("select id from raw.items") == [("a",)]
    house.drop("b.csv", "id,n\nb,2\n")
    alone.run("shop")
    assert alone.rows("select id from raw.items order by id") == [("a",), ("b",)]
    with pytest.raises(Exception, match="holds no brick 'shops': shop"):
        alone.run("shops")


def test_another_source_of_the_process_is_as_without_us(house: House, tmp_path: Path) -> None:
    def others(name: str) -> tuple[Any, ...]:
        @dlt.source
        def theirs(schema: str | None = None, runtime: str | None = None) -> Any:
            rows = [{"Énergie Totale": 1, "schema": schema, "inner": [{"aB": 2}]}]
            return dlt.resource(rows, name="TheirRows")

        source, database = theirs(), tmp_path / f"{name}.duckdb"
        target = dlt.destinations.duckdb(str(database))
        pipeline = dlt.pipeline(name, pipelines_dir=str(tmp_path / name), dataset_name="raw", destination=target)
        pipeline.run(source)
        with duckdb.connect(str(database), read_only=True) as connection:
            told = connection.execute(
                "select table_name, column_name from information_schema.columns where table_schema = 'raw' order by all"
            ).fetchall()
        completed = sorted(path.suffix for path in (tmp_path / name).rglob("completed_jobs/*"))
        return told, completed, list(source.resources["TheirRows"]), logging.getLogger("dlt").level, dlt.config.get("schema.naming")

    before = others("before")
    only = house.brick("shop", [table("items", COLUMNS, ["id"], OPTIONS)])
    house.drop("a.csv", "id,Énergie\na,1.5\n")
    assert house.land(only)
    assert others("after") == before
