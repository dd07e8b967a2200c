"""What is erased, or has expired, is nowhere any more: loads, warehouse, catalogues, files, pages, Data Docs; and does not come back."""

from __future__ import annotations

import datetime as dt
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import House, column, table
from test_masked_history import PSEUDONYM, Homes
from test_privacy import KEY, MASTER, NAMES, PERSONAL, PHONES, found_in_clear, pseudonym

from flows import cli, steps
from flows.places import PLACES
from ingestion import expiry
from ingestion.declaration import BrickError
from ingestion.erasing import erase_rows
from ingestion.expiry import expire_loads, expired_tables
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.verify import landed_faults
from redistribution.remains import compared_with, share_left

NOW = dt.datetime.now(dt.UTC)
LATER = dt.timedelta(days=400)


@pytest.fixture
def homes(house: House, monkeypatch: pytest.MonkeyPatch) -> Homes:
    monkeypatch.delenv(KEY, raising=False)
    return Homes(house, monkeypatch)


def of(value: str, homes: Homes) -> set[str]:
    """Give the rooms of the lake that hold a value in clear."""
    root = Path(homes.house.lake.root)
    return {Path(told.partition(" in ")[2]).relative_to(root).parts[0] for told in found_in_clear(root) if told.startswith(value)}


def test_what_is_erased_is_nowhere_and_does_not_come_back(homes: Homes) -> None:
    house = homes.house
    house.drop("people2.csv", f"id,phone\ne,{PHONES[0]}\nf,{PHONES[1]}\nc,{PHONES[0]}\n,{PHONES[0]}\n")
    house.land(homes.brick)
    assert homes.run("build", "publish").failures == []
    steps.follow_sites(house.lake, house.journal)
    assert of(PHONES[0], homes) >= {"landed", "marts", "files", "site", "state"}

    erased, outcome = steps.erase(house.lake, homes.brick, {"phone": PHONES[0]}, "asked for on 3 May")
    assert [each.row_count for each in erased] == [4] and outcome.failures == []
    assert of(PHONES[0], homes) == set()
    assert homes.snapshots(house.lake) == [[("b", PHONES[1]), ("f", PHONES[1])]], "its past is gone with it"
    assert of(PHONES[1], homes) >= {"landed", "marts", "files", "site", "state"}, "who was not erased is there as before"
    assert list(landed_faults(house.lake, house.journal, is_deep=True)) == []

    house.drop("people3.csv", f"id,phone\nz,{PHONES[0]}\nd,{PHONES[2]}\n")
    outcome = steps.run_chain(house.lake, {"homes": homes.brick})
    assert outcome.failures == [] and of(PHONES[0], homes) == set()
    assert [row[0] for row in house.rows(homes.brick, "people", "id")] == ["b", "d", "f"]
    assert steps.rebuild(house.lake).failures == [] and of(PHONES[0], homes) == set()


def test_an_erasure_holds_once_the_column_is_a_pseudonym_and_of_one_that_was(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    house = homes.house
    steps.erase(house.lake, homes.brick, {"phone": PHONES[0]}, "asked for")
    monkeypatch.setenv(KEY, MASTER)
    homes.declare(column("phone", **PSEUDONYM), **PERSONAL)
    assert homes.run().failures == []
    house.drop("people2.csv", f"id,phone\na,{PHONES[0]}\nc,{PHONES[2]}\n")
    entry = house.land(homes.brick)
    assert entry and entry["tables"]["people"]["erased"] == 1
    assert house.rows(homes.brick, "people", "id, phone") == [("b", pseudonym(PHONES[1])), ("c", pseudonym(PHONES[2]))]
    # By the value of a pseudonym, however it is written, as by the pseudonym itself.
    assert house.erase(homes.brick, {"phone": f" {PHONES[1]} "}) == 1
    assert house.erase(homes.brick, {"phone": pseudonym(PHONES[2])}) == 1
    house.drop("people3.csv", f"id,phone\nb,{PHONES[1]}\nc,{PHONES[2]}\nd,{PHONES[3]}\n")
    house.land(homes.brick)
    assert house.rows(homes.brick, "people", "id") == [("d",)]


class _Died(BaseException):
    """A process that ends where it stands."""


@pytest.mark.parametrize("step", [2, 4, 5, 6])
def test_an_erasure_that_dies_is_ended_by_the_next_run(homes: Homes, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    house, count = homes.house, 0
    house.drop("people2.csv", f"id,phone\ne,{PHONES[0]}\nf,{PHONES[1]}\n")
    house.land(homes.brick)

    def dying(method: Any) -> Any:
        def call(self: Lake, *arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                raise _Died
            return method(self, *arguments, **named)

        return call

    has_died = False
    with monkeypatch.context() as patch:
        for name in ("create", "delete", "upload"):
            patch.setattr(Lake, name, dying(getattr(Lake, name)))
        try:
            erase_rows(house.lake, house.journal, homes.brick, [{"phone": PHONES[0]}], "asked for")
        except _Died:
            has_died = True
    assert has_died
    is_asked = any(True for _ in house.journal.of("erase"))
    outcome = homes.run("build", "publish")
    assert outcome.failures == []
    if not is_asked:  # the steward asks again
        assert house.journal.accepted() and of(PHONES[0], homes)
        steps.erase(house.lake, homes.brick, {"phone": PHONES[0]}, "asked for")
    assert of(PHONES[0], homes) == set() and not house.journal.to_erase("homes")
    assert house.rows(homes.brick, "people", "id") == [("b",), ("f",)]
    assert homes.snapshots(house.lake)[-1] == [("b", PHONES[1]), ("f", PHONES[1])]
    assert list(landed_faults(house.lake, house.journal, is_deep=True)) == []


def test_every_place_where_the_house_writes_is_on_the_list(homes: Homes) -> None:
    homes.house.drop("people2.csv", "id,phone\nz,1\n,2\n")
    steps.run_chain(homes.house.lake, {"homes": homes.brick})
    lake, listed = homes.house.lake, {name for place in PLACES for name in place.where}
    rooms = {path.name for path in Path(lake.root).iterdir()} - {"state"} | {path.name for path in lake.state.iterdir()} - {"dbt.out"}
    assert rooms <= listed, f"{sorted(rooms - listed)}: on no list of places"


def aged(journal: Journal) -> dt.datetime:
    return NOW + LATER


def test_what_has_expired_is_nowhere_and_is_not_read_again(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    house = homes.house
    assert steps.expire(house.lake, {"homes": homes.brick})[0] == [], "its retention is of a year"
    monkeypatch.setattr(steps, "clock_of", aged)
    expired, outcome = steps.expire(house.lake, {"homes": homes.brick})
    assert [(each.load_count, each.row_count) for each in expired] == [(1, 2)] and outcome.failures == []
    assert house.journal.accepted() == [] and house.rows(homes.brick, "people") == []
    rooms = of(PHONES[0], homes)
    assert rooms <= {"marts", "state"}, "snapshots alone hold it, for thirty days"
    assert house.land(homes.brick) is None, "what the source still gives of it is not read again"
    house.drop("people2.csv", f"id,phone\nc,{PHONES[2]}\n")
    monkeypatch.undo()
    assert house.land(homes.brick) and house.rows(homes.brick, "people", "id") == [("c",)]


def test_of_a_brick_with_personal_columns_readers_lose_the_past_of_what_has_expired(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    house = homes.house
    monkeypatch.setenv(KEY, MASTER)
    homes.declare(column("phone", **PSEUDONYM), **PERSONAL)
    assert homes.run("land", "build", "publish").failures == []
    mask = pseudonym(PHONES[0]).encode()
    lake = Path(house.lake.root)

    def held() -> set[str]:
        files = [path for path in lake.rglob("*") if path.is_file()]
        return {path.relative_to(lake).parts[0] for path in files if mask in path.read_bytes() or _in_parquet(path, mask)}

    assert held() >= {"landed", "marts", "files", "state"}
    with monkeypatch.context() as patch:
        patch.setattr(steps, "clock_of", aged)
        expired, outcome = steps.expire(house.lake, {"homes": homes.brick})
    assert expired and outcome.failures == [] and held() == set()
    assert homes.snapshots(house.lake) == []


def _in_parquet(path: Path, value: bytes) -> bool:
    import pyarrow.parquet as pq

    return path.read_bytes()[:4] == b"PAR1" and value in repr(pq.read_table(path, partitioning=None).to_pylist()).encode()


def test_the_newest_photo_never_expires_nor_do_the_places_that_were_read(house: House) -> None:
    options = {"format": "csv"}
    changes = table("events", [column("id"), column("day", "date")], ["id"], {**options, "path": "events*.csv"}, cursor="day")
    photo = table("places", [column("id")], ["id"], {**options, "path": "places.csv"}, delivers="whole")
    brick = house.brick("town", [changes, photo])
    for n in (1, 2):
        house.drop(f"events{n}.csv", f"id,day\ne{n},2025-01-0{n}\n")
        house.drop("places.csv", "id\n" + "".join(f"p{i}\n" for i in range(n)))
        assert house.land(brick)
    house.drop("events3.csv", "id,day\ne3,2025-01-03\n")
    assert house.land(brick, lambda *_: ["no"])
    house.drop("places.csv", "id\np0\np1\np2\n")
    position = {name: house.journal.position("town", name) for name in ("events", "places")}
    expired = expire_loads(house.lake, house.journal, brick, NOW + LATER)
    assert expired and (expired.load_count, expired.row_count) == (3, 3)
    assert house.rows(brick, "events") == [] and house.rows(brick, "places", "id") == [("p0",), ("p1",)]
    assert {name: house.journal.position("town", name) for name in position} == position
    assert expire_loads(house.lake, house.journal, brick, NOW + LATER) is None
    assert house.landed_files("town") == house.journal.named_files("town")
    assert list(landed_faults(house.lake, house.journal, is_deep=True)) == []
    [entry] = house.journal.of("expire")
    assert sorted(told["tables"] for told in entry["loads"].values()) == [["events"], ["events"], ["events", "places"]]
    assert "2025-01-01" not in json.dumps(list(house.journal.entries)), "the journal holds no value"
    assert house.land(brick), "the photo of today lands"
    assert not expired_tables(house.journal, brick, NOW)


def test_a_mart_is_compared_with_what_remains(house: House) -> None:
    brick = house.brick("town", [table("t", [column("id"), column("n", "bigint")], ["id"], {"format": "csv", "path": "t*.csv"})])
    for part in range(4):
        house.drop(f"t{part}.csv", "id,n\n" + "".join(f"{part}-{row},{row}\n" for row in range(50)))
        house.land(brick)
    profile = {"row_count": 200, "filled": {}, "settled": {"until": None, "sums": {"n": 1000.0}}}
    house.journal.append(
        "publication",
        run_id="r",
        as_of=None,
        withheld={},
        withdrawn={},
        marts={"m": {"class": "open", "row_count": 200, "profile": profile}},
    )
    seq = house.journal.seq
    assert compared_with(house.journal, "m", ["town"]) == profile and share_left(house.journal, ["town"], seq) == 1
    house.erase(brick, *({"id": f"0-{row}"} for row in range(50)))
    assert share_left(house.journal, ["town", "other"], seq) == 0.75
    assert compared_with(house.journal, "m", ["town"]) == {**profile, "row_count": 150, "settled": {"until": None, "sums": {"n": 750.0}}}
    expire_loads(house.lake, house.journal, brick, NOW + LATER)
    assert share_left(house.journal, ["town"], seq) == 0
    taken = {"m": {"class": "open", "row_count": 0, "is_retracted": True}}
    house.journal.append("publication", run_id="r", as_of=None, withheld={}, withdrawn=taken, marts={})
    assert (compared_with(house.journal, "m", []) or {})["row_count"] == 200
    house.journal.append("publication", run_id="r", as_of=None, withheld={}, withdrawn={"m": {"class": "open", "row_count": 0}}, marts={})
    assert compared_with(house.journal, "m", []) is None, "it has left the project"


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_the_commands_ask_for_what_is_personal_and_propose_the_erasure(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KEY, MASTER)
    columns = [column("id"), column("who", formerly=["name"], personal=True, mask="pseudonym"), column("n", "bigint")]
    brick = house.brick("homes", [table("people", columns, ["id"], {"format": "csv", "path": "people*.csv"})], **PERSONAL)
    house.drop("people1.csv", f"id,name,n\na,{NAMES[0]},1\nb,{NAMES[1]},2\n")
    house.land(brick)
    house.drop("people2.csv", f"id,who,n\nc,{NAMES[0].upper()},3\n")
    house.land(brick, lambda *_: ["no"])
    for name, value in (("LAKE", house.lake.root), ("BRICKS", str(house.folder / "bricks"))):
        monkeypatch.setenv(f"ORCHESTRA_{name}", value)
    typed(monkeypatch, f"{NAMES[0]}\n")
    assert cli.main(["person", "--domain", "homes"]) == 0
    told = capsys.readouterr().out
    assert (
        "2 rows of homes.people, by who" in told and 'orchestra erase --brick homes --key who --why "..."' in told and NAMES[0] not in told
    )
    typed(monkeypatch, "Somebody Else\n")
    assert cli.main(["person", "--domain", "homes"]) == 0 and "holds nothing of that person" in capsys.readouterr().out
    typed(monkeypatch, f"{NAMES[0]}\n")
    assert cli.main(["person", "--domain", "homes", "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)[0]["rows"]] == ["a", "c"]
    assert (
        cli.main(["person", "--domain", "nowhere"]) == 2 and "no brick has the pseudonym_domain 'nowhere': homes" in capsys.readouterr().err
    )
    assert cli.main(["erase", "--brick", "homes", "--key", f"who={NAMES[0]}", "--why", "asked"]) == 2
    assert "--key who asks for it" in capsys.readouterr().err
    with pytest.raises(BrickError, match=r"no table has nothing\. Mend: --key <column>=<value>, of people: id, who, n"):
        house.erase(brick, {"nothing": "x"})


def test_expiry_counts_from_today_and_of_a_sandbox_from_its_last_reading(house: House) -> None:
    brick = house.brick("town", [table("t", [column("id")], ["id"], {"format": "csv", "path": "t*.csv"})])
    house.drop("t1.csv", "id\na\n")
    house.land(brick)
    journal = house.journal
    assert abs(expiry.clock_of(journal) - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
    journal.entries[0]["is_synthetic"] = True
    assert expiry.clock_of(journal).isoformat() == journal.as_of()
