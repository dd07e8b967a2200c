"""The materialization `partitioned` on a small project with the real macros: what it writes is what a build from nothing would."""

from __future__ import annotations

import datetime as dt
import shutil
from typing import Any

import duckdb
import pytest
import yaml
from conftest import Document, House, column, table

from flows import steps
from ingestion.lake import PROJECT

DATED = "cast(date_trunc('month', {0}.d) as date) as month_date"
LATEST = "qualify row_number() over (partition by t.id order by t._read_at desc, t._load_id desc, t._file desc, t._row desc) = 1"
MODELS = {
    "changes": f"select t.id, t.v, t.place, {DATED.format('t')} from {{{{ source('town', 't') }}}} as t {LATEST}",
    "positive": f"select * from (select t.id, t.v, {DATED.format('t')} from {{{{ source('town', 't') }}}} as t {LATEST}) where v::int > 0",
    "by_place": f"select t.id, t.place from {{{{ source('town', 't') }}}} as t {LATEST}",
    "child": "select id, place from {{ ref('by_place') }}",
    "photo": f"select w.id, {DATED.format('w')} from {{{{ source('town', 'w') }}}} as w qualify w._read_at = max(w._read_at) over ()",
}
PLACES = {"by_place", "child"}
JANUARY, FEBRUARY, MARCH = "2024-01-01", "2024-02-01", "2024-03-01"


class Town:
    """A lake, one brick and a dbt project of five models, that a test may edit."""

    def __init__(self, house: House, patch: pytest.MonkeyPatch) -> None:
        self.house, self.project = house, house.folder / "dbt_project"
        shutil.copytree(PROJECT / "dbt_project", self.project, ignore=shutil.ignore_patterns("models", "seeds", "tests"))
        told = (PROJECT / "dbt_project.yml").read_text(encoding="utf-8").replace("ingestion/bricks", "bricks")
        (house.folder / "dbt_project.yml").write_text(told, encoding="utf-8")
        models = self.project / "models" / "staging"
        models.mkdir(parents=True)
        for name, sql in MODELS.items():
            (models / f"{name}.sql").write_text(sql, encoding="utf-8")
        told = [
            {"name": name, "config": {"partition": "place" if name in PLACES else "month_date", "unique_key": ["id"]}} for name in MODELS
        ]
        groups = [{"name": "bricks", "owner": {"name": "Nobody"}}]
        (models / "_models.yml").write_text(yaml.safe_dump({"version": 2, "groups": groups, "models": told}), encoding="utf-8")
        patch.setattr("flows.dbt_process.DBT_PROJECT", self.project)
        patch.setenv("ORCHESTRA_BRICKS", str(house.folder / "bricks"))

    def edit(self, model: str, old: str, new: str) -> None:
        path = self.project / "models" / "staging" / f"{model}.sql"
        assert old in path.read_text(encoding="utf-8")
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    def declare(self, value: Document) -> None:
        """Write the brick: its table `t` has a key, a value, a day and a place; its table `w` is a photo."""
        columns = [column("id"), value, column("d", "date"), column("place")]
        photo = table("w", [column("id"), column("d", "date")], ["id"], {"format": "csv", "path": "w.csv"}, delivers="whole")
        self.brick = self.house.brick("town", [table("t", columns, ["id"], {"format": "csv", "path": "t*.csv"}), photo])

    def land(self, files: dict[str, str]) -> None:
        for name, content in files.items():
            self.house.drop(name, content)
        assert self.house.land(self.brick)

    def build(self) -> dict[str, set[str]]:
        """Build; give the partitions that each model touched."""
        assert steps.build(self.house.lake, self.house.journal).failures == []
        rows = self.read("select split_part(model, '.', 3), partition from meta.touched where run = (select run from meta.journal)")
        return {name: {partition for model, partition in rows if model == name} for name, _ in rows}

    def connect(self, read_only: bool = True) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self.house.lake.state / "warehouse.duckdb"), read_only=read_only)

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(sql).fetchall()

    def rows(self, model: str, columns: str) -> list[tuple[Any, ...]]:
        return self.read(f"select {columns} from staging.{model} order by all")


@pytest.fixture
def town(house: House, monkeypatch: pytest.MonkeyPatch) -> Town:
    """Give a town whose first rows are landed and built."""
    made = Town(house, monkeypatch)
    made.declare(column("v"))
    first = "id,v,d,place\nA,1,2024-01-05,L'Hermitage\nB,2,2024-02-05,01\nC,3,2024-03-05,1\n"
    made.land({"t1.csv": first, "w.csv": "id,d\nA,2024-01-05\nB,2024-02-05\n"})
    made.build()
    return made


def test_rows_that_are_left_out_or_end_are_gone_and_a_place_may_hold_an_apostrophe(town: Town) -> None:
    corrected = "id,v,d,place\nA,-1,2024-01-05,L'Hermitage\nD,4,2024-02-07,L'Hermitage\n"
    town.land({"t2.csv": corrected, "w.csv": "id,d\nB,2024-02-05\n"})
    touched = town.build()
    assert touched["changes"] == {JANUARY, FEBRUARY}
    # A is left out since it is negative, and stood alone in its month.
    assert town.rows("positive", "id, v") == [("B", "2"), ("C", "3"), ("D", "4")]
    assert touched["positive"] == {JANUARY, FEBRUARY}
    # The photo lacks A, of which its new rows say nothing.
    assert town.rows("photo", "id") == [("B",)]
    assert touched["photo"] == {JANUARY}
    assert touched["by_place"] == touched["child"] == {"L'Hermitage"}
    assert town.rows("child", "id, place") == [("A", "L'Hermitage"), ("B", "01"), ("C", "1"), ("D", "L'Hermitage")]
    # Its place is corrected: the one it leaves and the one it comes to are written.
    town.land({"t3.csv": "id,v,d,place\nB,2,2024-02-05,L'Hermitage\n"})
    assert town.build()["child"] == {"01", "L'Hermitage"}
    assert town.rows("child", "id, place") == [("A", "L'Hermitage"), ("B", "L'Hermitage"), ("C", "1"), ("D", "L'Hermitage")]


def test_a_table_of_another_shape_is_made_anew_from_all_of_its_rows(town: Town) -> None:
    with town.connect(read_only=False) as connection:
        connection.execute("alter table staging.changes alter v type bigint")
    town.land({"t2.csv": "id,v,d,place\nD,4,2024-02-07,1\n"})
    assert town.build()["changes"] == {"*"}
    assert town.rows("changes", "id, v") == [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")]


def test_what_a_brick_declares_otherwise_is_read_again_and_what_it_describes_is_not(town: Town) -> None:
    town.declare(column("v", "bigint"))
    assert town.build()["changes"] == {"*"}
    assert town.rows("changes", "id, v") == [("A", 1), ("B", 2), ("C", 3)]
    # Renamed, without its older name: nothing is read of older loads.
    town.declare(column("size", "bigint"))
    for model in ("changes", "positive"):
        town.edit(model, "t.v,", "t.size as v,")
    town.land({"t2.csv": "id,size,d,place\nD,4,2024-02-07,1\n"})
    town.build()
    assert town.rows("changes", "id, v") == [("A", None), ("B", None), ("C", None), ("D", 4)]
    town.declare(column("size", "bigint", formerly=["v"]))
    assert town.build()["changes"] == {JANUARY, FEBRUARY, MARCH}
    assert town.rows("changes", "id, v") == [("A", 1), ("B", 2), ("C", 3), ("D", 4)]
    town.declare(column("size", "bigint", formerly=["v"]) | {"description": "Said otherwise."})
    assert town.build() == {}
    assert town.rows("changes", "month_date")[0] == (dt.date(2024, 1, 1),)
