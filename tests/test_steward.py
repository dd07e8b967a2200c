"""What a steward does with a load from the command line: see what was refused and where, accept it, drop it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import House, column, table

from flows import cli
from ingestion.brick import Brick
from ingestion.lake import LakeError
from ingestion.steward import accept_load, drop_load, refused_rows

CSV = {"format": "csv", "path": "items*.csv", "separator": ","}


def refuse(*_: Any) -> list[str]:
    """Refuse whatever comes."""
    return ["items: rows of the fullest day: 3, 90 to 110 before"]


def places(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Give the file and the row of what was refused."""
    return [(row["file"], row["row"]) for row in rows]


def test_refused_rows_are_told_by_file_row_and_reason(shop: tuple[House, Brick]) -> None:
    house, brick = shop
    house.drop("items1.csv", "id,n\n" + "".join(f"i{n},{'x' if n in (3, 700) else n}\n" for n in range(1, 1000)))
    house.drop("items2.csv", 'id,n\n"two\nlines",1\nb,2.5\n,3\n')
    entry = house.land(brick)
    assert entry
    assert refused_rows(house.lake, entry, 99)["items"] == [
        {"file": "items1.csv", "row": 3, "line": 4, "reason": "n is not a whole number: x"},
        {"file": "items1.csv", "row": 700, "line": 701, "reason": "n is not a whole number: x"},
        {"file": "items2.csv", "row": 2, "line": 4, "reason": "n is not a whole number: 2.5"},
        {"file": "items2.csv", "row": 3, "line": 5, "reason": "id is missing, and is in the key"},
    ]
    assert len(refused_rows(house.lake, entry, 3)["items"]) == 3


def test_unreadable_lines_do_not_shift_the_rows_that_follow(shop: tuple[House, Brick]) -> None:
    house, brick = shop
    house.drop("items1.csv", b"id,n\na,1\ncaf\xe9,2\nb,x\nalone\nc,y\nd,4\none,two,three\ne,z\n")
    entry = house.land(brick)
    assert entry
    told = refused_rows(house.lake, entry, 99)["items"]
    assert places(told) == [("items1.csv", row) for row in (2, 3, 4, 5, 7, 8)]
    assert [row["reason"].split(":")[0] for row in told if row["row"] in (3, 5, 8)] == ["n is not a whole number"] * 3
    assert [row["reason"].partition(" (")[0] for row in told if row["row"] in (2, 4, 7)] == [f"line {n} is unreadable" for n in (3, 5, 8)]


def test_rows_before_the_cursor_do_not_shift_those_that_follow(house: House) -> None:
    dated = table("items", [column("id"), column("day", "date"), column("n", "bigint")], ["id"], CSV, cursor="day")
    brick = house.brick("shop", [dated])
    lines = [f"i{d},2025-01-{d:02},{d}\n" for d in range(1, 20)]
    house.drop("items1.csv", "id,day,n\n" + "".join(lines))
    house.land(brick)
    house.drop("items1.csv", "id,day,n\n" + "".join(lines) + "j,2025-01-20,x\nk,2025-01-21,4\nl,2025-01-21,y\n")
    house.drop("items2.csv", "id,day,n\n" + "".join(lines[:5]) + "m,2025-01-22,z\n")
    entry = house.land(brick)
    assert entry and entry["tables"]["items"]["before_cursor"] == 18, "items2.csv was never read: none of its rows is left out"
    assert places(refused_rows(house.lake, entry, 99)["items"]) == [("items1.csv", 20), ("items1.csv", 22), ("items2.csv", 6)]


@pytest.mark.parametrize("name", ["line", "first"])
def test_a_column_of_any_name_does_not_hide_the_place_of_a_row(house: House, name: str) -> None:
    brick = house.brick("shop", [table("items", [column("id"), column(name, "bigint")], ["id"], CSV)])
    house.drop("items1.csv", f"id,{name}\n".encode() + b"a,x\ncaf\xe9,2\nb,y\n")
    entry = house.land(brick)
    assert entry
    assert places(refused_rows(house.lake, entry, 99)["items"]) == [("items1.csv", row) for row in (1, 2, 3)]


def test_lines_that_are_no_document_are_told_by_row(house: House) -> None:
    brick = house.brick(
        "shop", [table("items", [column("id"), column("n", "bigint")], ["id"], {"format": "ndjson", "path": "items.ndjson"})]
    )
    house.drop("items.ndjson", b'{"id": "a"}\n{"id": \n{"id": "b", "n": "x"}\n{"id": "caf\xe9"}\n[1]\n')
    entry = house.land(brick)
    assert entry
    told = refused_rows(house.lake, entry, 99)["items"]
    assert places(told) == [("items.ndjson", row) for row in (2, 3, 4, 5)]
    assert [row["reason"] for row in told][:2] == ['not a JSON object: {"id": ', "n is not a whole number: x"]
    assert told[3]["reason"] == "a JSON array where an object is awaited: [1]"


def test_loads_show_tells_a_steward_what_was_refused(shop: tuple[House, Brick], capsys: pytest.CaptureFixture[str]) -> None:
    house, brick = shop
    house.drop("items1.csv", "id,n,colour\na,1,red\nb,x,red\n")
    house.drop("items2.csv", "id;m\nb;1\n")
    entry = house.land(brick, refuse)
    assert entry
    assert cli.main(["loads", "show", entry["load_id"]]) == 0
    shown = capsys.readouterr().out
    for told in (
        f"load {entry['load_id']}: refused", "why: items: rows of the fullest day: 3, 90 to 110 before",
        "items: 2 rows at the source (counted) = 1 kept + 1 refused", "columns that the brick does not declare: colour",
        "file items2.csv refused: lacks the declared columns id, n", "n is not a whole number: x",
    ):  # fmt: skip
        assert told in shown
    assert cli.main(["loads", "show", entry["load_id"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["refused_rows"]["items"] == [
        {"file": "items1.csv", "row": 2, "line": 3, "reason": "n is not a whole number: x"}
    ]
    assert cli.main(["loads", "show", "nothing"]) == 2
    assert "no load 'nothing'" in capsys.readouterr().err


def test_the_name_of_a_file_that_is_a_long_query_does_not_hide_why(shop: tuple[House, Brick], capsys: pytest.CaptureFixture[str]) -> None:
    house, brick = shop
    name = f"items{'x' * 200}.csv"
    house.drop(name, "id,n\na,x\n")
    entry = house.land(brick)
    assert entry and cli.main(["loads", "show", entry["load_id"]]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "not a whole number" in line]
    assert line.startswith("itemsx") and line.index("n is not a whole number") < 110
    assert cli.main(["loads", "show", entry["load_id"], "--json"]) == 0 and name in capsys.readouterr().out


def test_loads_accept_makes_a_load_visible_once(shop: tuple[House, Brick], capsys: pytest.CaptureFixture[str]) -> None:
    house, brick = shop
    house.drop("items1.csv", "id,n\na,1\n")
    entry = house.land(brick, refuse)
    assert entry and house.rows(brick, "items") == []
    assert cli.main(["loads", "accept", entry["load_id"], "--why", "seen with the producer"]) == 0
    assert house.rows(brick, "items", "id, n") == [("a", 1)]
    accepted = house.journal.entries[-1]
    assert (accepted["verdict"], accepted["accepted_because"], accepted["read_at"]) == (
        "accepted",
        "seen with the producer",
        entry["read_at"],
    )
    assert [each["verdict"] for each in house.journal.of("load")] == ["refused", "accepted"], "an entry was edited"
    assert cli.main(["loads", "accept", entry["load_id"], "--why", "again"]) == 2
    assert house.land(brick) is None


@pytest.mark.parametrize(("way", "again"), [("--refetch", True), ("--forget", False)])
def test_loads_drop_takes_a_load_away(shop: tuple[House, Brick], way: str, again: bool) -> None:
    house, brick = shop
    house.drop("items1.csv", "id,n\na,1\n")
    kept = house.land(brick)
    house.drop("items2.csv", "id,n\nb,2\n")
    dropped = house.land(brick)
    assert kept and dropped
    files = dropped["tables"]["items"]["files"]
    assert Path(house.lake.path(files[0])).exists()
    assert cli.main(["loads", "drop", dropped["load_id"], way]) == 0
    assert house.rows(brick, "items", "id") == [("a",)]
    assert not Path(house.lake.path(files[0])).exists()
    entry = house.land(brick)
    assert (entry is not None) == again
    assert house.rows(brick, "items", "id") == ([("a",), ("b",)] if again else [("a",)])
    assert house.land(brick) is None
    assert cli.main(["loads", "drop", dropped["load_id"], way]) == 2, "what is gone is dropped again"


def test_two_stewards_do_not_undo_each_other(shop: tuple[House, Brick]) -> None:
    house, brick = shop
    house.drop("items1.csv", "id,n\na,1\n")
    entry = house.land(brick, refuse)
    assert entry
    first, second, third = house.journal, house.journal, house.journal
    accept_load(house.lake, first, entry, "seen")
    with pytest.raises(LakeError, match=f"load {entry['load_id']} of shop is accepted already"):
        accept_load(house.lake, second, entry, "seen as well")
    drop_load(house.lake, first, entry, refetch=False)
    for act in (
        lambda: accept_load(house.lake, third, entry, "why"),
        lambda: drop_load(house.lake, third, entry, refetch=True),
    ):
        with pytest.raises(LakeError, match=f"load {entry['load_id']} of shop was dropped"):
            act()
    assert [e["kind"] for e in house.journal.entries] == ["lake", "load", "load", "drop"]
    assert house.land(brick) is None, "it was to be forgotten, not read again"


def test_a_steward_waits_for_a_landing_that_goes_on(shop: tuple[House, Brick], monkeypatch: pytest.MonkeyPatch) -> None:
    from ingestion.lake import Busy, Lake

    house, brick = shop
    house.drop("items1.csv", "id,n\na,1\n")
    entry = house.land(brick, refuse)
    assert entry
    lock = Lake.lock
    monkeypatch.setattr(Lake, "lock", lambda self, name, wait=0: lock(self, name, min(wait, 0.3)))
    with house.lake.lock("landing-shop"):
        for act in (
            lambda: accept_load(house.lake, house.journal, entry, "why"),
            lambda: drop_load(house.lake, house.journal, entry, refetch=True),
        ):
            with pytest.raises(Busy):
                act()
    assert house.journal.entries[-1]["verdict"] == "refused"
