"""docs/leave.md, as whoever leaves would follow it: its script alone, by a Python that cannot see ours, over a lake that has lived."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import yaml

from ingestion.brick import Brick
from ingestion.lake import PROJECT
from ingestion.steward import accept_load, drop_load
from tests.conftest import House, column, table

CSV = {"format": "csv", "path": "*.csv"}
KEY = ("id", "day")


def left(lake: str, folder: Path, *told: str, warned: list[str] | None = None) -> Path:
    """Run the script of the page in a folder; give the database that it made, and lay what it warned of in `warned`."""
    (folder / "leave.py").write_text(of_the_page("python"), encoding="utf-8")
    # -S and -I: of Python's packages only those that the script needs are seen, none of ours.
    packages = {str(Path(package.__file__).parents[1]) for package in (duckdb, yaml)}
    run = f"import runpy, sys; sys.path += {sorted(packages)}; runpy.run_path('leave.py', run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", run, lake, "left.duckdb", *told]
    done = subprocess.run(command, check=True, capture_output=True, cwd=folder, text=True)
    if warned is not None:
        warned += done.stderr.splitlines()
    return folder / "left.duckdb"


def of_the_page(language: str) -> str:
    (told,) = re.findall(rf"```{language}\n(.*?)```", (PROJECT / "docs" / "leave.md").read_text(encoding="utf-8"), re.DOTALL)
    return str(told)


def rows_left(database: Path, columns: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(f"select {columns} from town.t order by all").fetchall()


def test_all_accepted_rows_are_read_by_the_script_of_the_page_alone(house: House) -> None:
    def declared(*columns: Any) -> Brick:
        told = [table("t", [column("id"), column("day", "date"), *columns], list(KEY), CSV)]
        return house.brick("town", told, legal_basis="public task", purpose="To call back.")

    first = declared(column("v", "bigint"), column("phone"), column("told", "json", personal_paths=[]))
    head = "id,day,v,phone,told\n"
    house.drop("1.csv", head + 'A,2025-01-01,1,06,"{""a"": 1}"\nB,2025-01-02,2,07,\nC,not a day,3,08,\n')
    house.land(first)
    house.drop("2.csv", head + "D,2025-02-01,4,09,\n")
    house.land(first, lambda *_: ["refused by hand"])
    house.drop("3.csv", head + "E,2025-03-01,5,10,\n")
    again = house.land(first)
    assert again is not None and again["replaces"], "a load that reads again what was refused takes its place"
    house.drop("4.csv", head + "G,2025-03-02,7,10,\n")
    dropped = house.land(first)
    assert dropped is not None
    drop_load(house.lake, house.journal, dropped, refetch=False)
    # A column has another name and type, another one is personal, a third is new: three shapes in one table.
    personal = column("phone", personal=True, mask="drop")
    today = declared(column("value", "double", formerly=["v"]), personal, column("place"), column("told", "json", personal_paths=[]))
    head = "id,day,value,phone,place,told\n"
    house.drop("5.csv", head + "A,2025-01-01,1.5,06,north,\nF,2025-04-01,6.5,11,south,[]\n")
    house.land(today)
    house.drop("6.csv", head + "H,2025-05-01,8,12,west,\n")
    house.land(today, lambda *_: ["refused by hand"])
    accept_load(house.lake, house.journal, house.journal.refused()[0], "It is right.")
    house.erase(today, {"id": "B", "day": "2025-01-02"})

    columns = "id, day, value, place, told, _file, _row, _read_at, _load_id"
    kept = house.rows(today, "t", columns)
    assert [(row[0], *row[2:4]) for row in kept] == [
        ("A", 1.0, None), ("A", 1.5, "north"), ("D", 4.0, None), ("E", 5.0, None),
        ("F", 6.5, "south"), ("H", 8.0, "west"),
    ]  # fmt: skip
    assert rows_left(left(house.lake.root, house.folder), columns) == kept


def test_rows_that_are_deleted_say_so(house: House) -> None:
    columns = [column("id"), column("v", "bigint"), column("is_gone", "boolean", optional=True)]
    tables = [table("t", columns, ["id"], CSV, deleted_when={"column": "is_gone", "values": [True]})]
    house.drop("1.csv", "id,v\nA,1\nB,2\n")
    house.land(house.brick("town", tables))
    house.drop("2.csv", "id,v,is_gone\nA,,true\nB,3,false\n")
    brick = house.brick("town", tables)
    house.land(brick)
    kept = house.rows(brick, "t", "id, v, is_gone, _deleted")
    assert [row[-1] for row in kept] == [False, True, False, False]
    assert rows_left(left(house.lake.root, house.folder), "id, v, is_gone, _deleted") == kept


def test_a_table_without_rows_keeps_its_columns_and_types(house: House) -> None:
    brick = house.brick("town", [table("t", [column("id"), column("v", "bigint")], ["id"], CSV)])
    house.drop("1.csv", "id,v\nA,1\n")
    house.land(brick)
    house.erase(brick, {"id": "A"})
    database = left(house.lake.root, house.folder)
    assert rows_left(database, "id, v") == []
    with duckdb.connect(str(database), read_only=True) as connection:
        assert connection.execute("select column_name, column_type from (describe town.t) limit 2").fetchall() == [
            ("id", "VARCHAR"), ("v", "BIGINT"),
        ]  # fmt: skip


def test_loads_of_an_older_declaration_are_read_whatever_they_hold_and_what_is_not_applied_is_told(house: House) -> None:
    first = house.brick("town", [table("t", [column("id"), column("V"), column("n", "bigint"), column("code"), column("at")], ["id"], CSV)])
    house.drop("1.csv", "id,v,n,code,at\nA,oui,900,x,2024-01-05 10:00\nB,2,9,00001,\n")
    older = house.land(first)
    columns = [column("ID"), column("v", "bigint"), column("n", "bigint", between=[0, 100]), column("code", pattern="[0-9]{5}")]
    columns += [column("at", "timestamptz"), column("part", optional=True)]
    today = house.brick("town", [table("t", columns, ["ID"], CSV, time_zone="Europe/Paris")])
    house.drop("2.csv", "id,v,n,code,at,part\nC,3,1,00002,2024-01-05 11:00,p\nD,4,2,00003,,q\n")
    house.land(today)
    house.erase(today, {"id": "D", "part": "q"})
    warned: list[str] = []
    rows = rows_left(left(house.lake.root, house.folder, warned=warned), "id, v, n, code, strftime(\"at\", '%H:%M')")
    # Ten in the morning of Paris is nine: rather than ten, none is told.
    assert rows == [("A", None, 900, "x", None), ("B", 2, 9, "00001", None), ("C", 3, 1, "00002", "10:00")]
    assert older is not None
    assert [line.split(": its values")[0] for line in warned] == [
        f"town.t.{told}: load {older['load_id']} landed before its {rule} of today"
        for told, rule in (("v", "data_type"), ("n", "between"), ("code", "pattern"), ("at", "data_type"))
    ]
    assert [row[:2] for row in house.rows(today, "t")] == [row[:2] for row in rows]
