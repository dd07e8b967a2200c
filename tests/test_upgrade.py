"""A lake of the format before is upgraded and equals what it was: its rows, its places, its publications; killed, it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import House, column, table

from flows import cli
from ingestion.entries import entry_name, list_entries
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError
from ingestion.steward import accept_load, drop_load
from ingestion.upgrade import upgrade
from ingestion.verify import landed_faults

ITEMS = table("items", [column("id"), column("n", "bigint")], ["id"], {"format": "csv", "path": "items*.csv"})
DROPPED = ("format", "before", "particulars")
COUNTS = ("refused_file_count", "new_column_count", "rows")


def downgraded(lake: Lake, *, erased: dict[str, Any] | None = None) -> None:
    """Write the journal of a lake as the version before did: each entry holds its values, and none says its format but the first."""
    journal = Journal(lake)
    said = journal.said()
    contents = []
    for entry in journal.entries:
        last = said[entry["load_id"]] if entry["kind"] == "load" else entry
        whole = journal.whole({**last, "seq": entry["seq"], **({"verdict": entry["verdict"]} if entry["kind"] == "load" else {})})
        told = {name: value for name, value in whole.items() if name not in DROPPED} | ({"format": 1} if entry["kind"] == "lake" else {})
        if entry["kind"] == "load":
            told["declarations"] = entry["declarations"]
            tables = told["tables"].items()
            told["tables"] = {name: {key: each for key, each in record.items() if key not in COUNTS} for name, record in tables}
        contents.append(told)
    if erased:
        contents.append({"seq": len(contents) + 1, "kind": "erase", "at": "2025-01-01T00:00:00+00:00", "nonce": "0", **erased})
    for told in contents:
        lake.replace(entry_name(told["seq"]), json.dumps(told, ensure_ascii=False, sort_keys=True).encode())
    own = [name for name in lake.names("") if name.endswith(".json") and "/load_id=" in name]
    lake.delete([*own, *lake.names("particulars"), *lake.names("keys")])


def history(house: House) -> Any:
    """Land, refuse, accept, drop, and land again."""
    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "id,n\na,1\nb,not a number\nc,3\n")
    house.land(brick)
    house.drop("items2.csv", "id,n,extra\nd,4,x\n")
    house.land(brick, lambda *_: ["Dupont said no"])
    accept_load(house.lake, house.journal, house.journal.refused()[0], "right")
    house.drop("items3.csv", "id,n\ne,5\n")
    dropped = house.land(brick)
    assert dropped
    drop_load(house.lake, house.journal, dropped, refetch=False)
    house.drop("items4.csv", "id,n\nf,6\n")
    house.land(brick)
    return brick


def told(house: House, brick: Any) -> list[Any]:
    """Give all that a lake says: rows, places, what stands refused."""
    journal = house.journal
    loads = [(load["load_id"], load["verdict"], journal.whole(load)["reasons"]) for load in journal.loads().values()]
    return [house.rows(brick, "items"), journal.position("shop", "items"), loads, journal.as_of(), house.journal.unread("shop")]


def test_an_upgraded_lake_says_what_it_said_and_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    brick = history(house)
    before = told(house, brick)
    downgraded(house.lake)
    with pytest.raises(LakeError, match=r"has format 1, and this version reads 2\. Mend: back it up, then orchestra upgrade"):
        Journal(house.lake)
    for name, value in (("LAKE", house.lake.root), ("BRICKS", str(house.folder / "bricks"))):
        monkeypatch.setenv(f"ORCHESTRA_{name}", value)
    assert cli.main(["status"]) == 1 and "orchestra upgrade" in capsys.readouterr().err
    assert cli.main(["upgrade"]) == 0 and "entries of format 1 written anew" in capsys.readouterr().out
    assert told(house, brick) == before and list(landed_faults(house.lake, house.journal, is_deep=True)) == []
    assert cli.main(["upgrade"]) == 0 and "of the format of this version already" in capsys.readouterr().out
    assert not any(b"Dupont" in (house.lake.read(name) or b"") for name in house.lake.names("journal")), "no value stays in the journal"
    house.drop("items5.csv", "id,n\ng,7\n")
    assert house.land(brick) and house.rows(brick, "items", "count(*)") == [(5,)]


def test_rows_erased_before_the_upgrade_are_gone_after_it(house: House) -> None:
    brick = history(house)
    downgraded(house.lake, erased={"brick": "shop", "table": "items", "keys": [{"id": "a"}, {"n": 6}]})
    upgrade(house.lake, [brick])
    assert house.journal.to_erase("shop")
    house.drop("items6.csv", "id,n\na,9\nh,8\n")
    entry = house.land(brick)
    assert entry and entry["tables"]["items"]["erased"] == 1
    assert house.rows(brick, "items", "id") == [("c",), ("d",), ("h",)]


KILLED = """
import os, signal, sys
from pathlib import Path
from ingestion.census import read_brick
from ingestion.lake import Lake
from ingestion.upgrade import upgrade
count = 0
def dying(method):
    def call(self, *arguments):
        global count
        count += 1
        if count == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return method(self, *arguments)
    return call
Lake.replace, Lake.delete = dying(Lake.replace), dying(Lake.delete)
upgrade(Lake(sys.argv[1]), [read_brick(Path(sys.argv[2]))])
"""


def test_an_upgrade_killed_at_any_step_goes_on(house: House, tmp_path: Path) -> None:
    brick = history(house)
    before = told(house, brick)
    downgraded(house.lake)
    count = max(list_entries(house.lake))
    old = {name: house.lake.read(name) or b"" for name in house.lake.names("journal")}
    for step in (1, count, count + 1, count + 2, count + 3, 2 * count, 2 * count + 1, 2 * count + 2):
        for name, content in old.items():
            house.lake.replace(name, content)
        house.lake.delete(house.lake.names("upgrade"))
        command = [sys.executable, "-c", KILLED, house.lake.root, str(house.folder / "bricks" / "shop.yml"), str(step)]
        killed = subprocess.run(command, check=False, env={**os.environ})
        assert killed.returncode == -signal.SIGKILL, step
        if step <= 2 * count:
            with pytest.raises(LakeError, match="orchestra upgrade"):
                Journal(house.lake)
        upgrade(house.lake, [brick])
        assert told(house, brick) == before and not house.lake.names("upgrade"), step


def test_an_upgrade_of_a_broken_journal_says_so_and_changes_nothing(house: House) -> None:
    brick = history(house)
    downgraded(house.lake)
    lost = house.lake.read(entry_name(3)) or b""
    house.lake.delete([entry_name(3)])
    before = {name: house.lake.read(name) for name in house.lake.names("journal")}
    with pytest.raises(LakeError, match=r"000000000003\.json is missing or broken\. Mend: put it back from a backup"):
        upgrade(house.lake, [brick])
    assert {name: house.lake.read(name) for name in house.lake.names("journal")} == before
    house.lake.replace(entry_name(3), lost)
    upgrade(house.lake, [brick])
