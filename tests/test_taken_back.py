"""What is erased, or has expired, is nowhere any more: loads, warehouse, catalogues, files, pages, Data Docs; and does not come back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import House, column, table
from test_masked_history import PSEUDONYM, Homes
from test_privacy import KEY, MASTER, NAMES, PERSONAL, PHONES, found_in_clear, pseudonym
from test_publish import fill

from expectations.gate import MartFigures
from flows import cli, steps, taking_back
from flows.places import PLACES
from ingestion import expiry
from ingestion.declaration import BrickError
from ingestion.erasing import erase_rows
from ingestion.expiry import expire_loads, expired_tables
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.steward import drop_load
from ingestion.territory import read_territory
from ingestion.verify import landed_faults
from redistribution.mart import Mart
from redistribution.publications import last_published
from redistribution.publish import publish_marts
from redistribution.remains import compared_with, share_left
from redistribution.withheld import still_withheld

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

    erased, outcome = taking_back.erase(house.lake, homes.brick, {"phone": PHONES[0]}, "asked for on 3 May")
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
    taking_back.erase(house.lake, homes.brick, {"phone": PHONES[0]}, "asked for")
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


def test_what_dbt_says_of_what_is_made_of_a_private_brick_is_told_without_its_words(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, MASTER)
    homes.declare(column("phone", **PSEUDONYM), **PERSONAL)
    staging = homes.house.folder / "dbt_project" / "models" / "staging" / "stg_people.sql"
    staging.write_text("select id, phone from {{ source('homes', 'people') }} where cast(id as integer) > 0")
    outcome = homes.run("land", "build", "publish")
    [failure] = [each for each in outcome.failures if each.startswith("build: ")]
    assert "in words that may hold values of a brick with personal columns" in failure and "'a'" not in failure
    assert "Could not convert" in (homes.house.lake.state / "logs" / "dbt.log").read_text()


@pytest.mark.parametrize(
    ("asked", "goes"),
    [({"d": "2025-02-03 10:00:00"}, "a"), ({"d": "2025-02-03T10:00:00Z"}, "b"), ({"day": "03/02/2025"}, "a"), ({"day": "2025-02-04"}, "b"),
     ({"v": "1,5"}, "a"), ({"v": "2.5"}, "b"), ({"v": "1.500"}, "c")],
)  # fmt: skip
def test_a_value_is_told_as_its_source_writes_it_or_as_iso_does(house: House, asked: dict[str, str], goes: str) -> None:
    columns = [column("id"), column("d", "timestamptz"), column("day", "date", format="%d/%m/%Y"), column("v", "double")]
    options = {"format": "csv", "path": "*.csv", "separator": ";", "decimal": ",", "thousands": ".", "null_values": ["NC"]}
    brick = house.brick("shop", [table("items", columns, ["id"], options, time_zone="Europe/Paris")])
    rows = "a;2025-02-03 10:00:00;03/02/2025;1,5\nb;2025-02-03 11:00:00;04/02/2025;2,5\nc;2025-02-03 12:00:00;05/02/2025;1.500\n"
    house.drop("1.csv", f"id;d;day;v\n{rows}")
    house.land(brick)
    assert house.erase(brick, asked) == 1 and goes not in [row[0] for row in house.rows(brick, "items", "id")]
    house.drop("2.csv", f"id;d;day;v\n{rows}")
    entry = house.land(brick)
    assert entry and entry["tables"]["items"]["erased"] == 1
    assert [row[0] for row in house.rows(brick, "items", "id")] == sorted([*({"a", "b", "c"} - {goes})] * 2)
    with pytest.raises(BrickError, match=r"'NC' is how its source writes no value\. Mend: --key v="):
        house.erase(brick, {"v": "NC"})


def test_what_cannot_be_erased_takes_nothing_from_readers(homes: Homes, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    lake, before = homes.house.lake, homes.snapshots(homes.house.lake)
    for key, why in (({"phnoe": "x"}, "asked"), ({"phone": PHONES[0]}, f"asked by {PHONES[0]}")):
        with pytest.raises(BrickError):
            taking_back.erase(lake, homes.brick, key, why)
        assert homes.snapshots(lake) == before and not homes.house.lake.begun("taking-back")
    erased, outcome = taking_back.erase(lake, homes.brick, {"phone": "07 00 00 00 00"}, "asked")
    assert [each.row_count for each in erased] == [0] and outcome.failures == []
    assert not any(entry["withdrawn"] for entry in homes.house.journal.of("publication")), "nothing was taken from readers"
    assert homes.snapshots(lake) == before and lake.names("files/internal")
    for name, value in (("LAKE", lake.root), ("BRICKS", str(homes.house.folder / "bricks"))):
        monkeypatch.setenv(f"ORCHESTRA_{name}", value)
    typed(monkeypatch, "")
    erase = ["erase", "--brick", "homes", "--why", "asked"]
    assert cli.main([*erase, "--key", "phone"]) == 2 and "--key phone=" in capsys.readouterr().err
    assert cli.main([*erase, "--key", "id=a", "--key", "id=b"]) == 2 and "one key at a time" in capsys.readouterr().err
    assert len(homes.house.rows(homes.brick, "people")) == 2


def test_a_column_that_was_erased_by_and_that_is_dropped_now_is_still_held_against(homes: Homes) -> None:
    house = homes.house
    house.erase(homes.brick, {"phone": PHONES[0]})
    homes.declare(column("phone", personal=True, mask="drop"), **PERSONAL)
    house.drop("people2.csv", f"id,phone\na,{PHONES[0]}\nc,{PHONES[2]}\n")
    entry = house.land(homes.brick)
    assert entry and entry["tables"]["people"]["erased"] == 1 and house.rows(homes.brick, "people", "id") == [("b",), ("c",)]


def test_a_header_that_is_somebody_is_in_no_entry_and_goes(house: House) -> None:
    options = {"format": "csv", "path": "*.csv"}
    house.drop("1.csv", f"id,n,{PHONES[0]}\na,1,x\n")
    brick = house.brick("homes", [table("people", [column("id"), column("n")], ["id"], options)])
    entry = house.land(brick)
    assert entry and entry["tables"]["people"]["new_columns"] == [PHONES[0]] and PHONES[0] in entry["tables"]["people"]["columns"]
    assert not any(PHONES[0].encode() in (house.lake.read(name) or b"") for name in house.lake.names("journal"))
    told = {name: value for name, value in PERSONAL.items() if name != "pseudonym_domain"}
    private = house.brick("homes", [table("people", [column("id"), column("n", personal=True, mask="drop")], ["id"], options)], **told)
    house.land(private)
    assert found_in_clear(Path(house.lake.root)) == [] and house.rows(private, "people", "id") == [("a",)]


def test_a_file_of_which_all_was_erased_lands_empty(homes: Homes) -> None:
    house = homes.house
    house.erase(homes.brick, {"phone": PHONES[0]})
    house.drop("people2.csv", f"id,phone\nz,{PHONES[0]}\n")
    [step] = steps.run_chain(house.lake, {"homes": homes.brick}, steps=("land",)).lands
    assert step.failures == [] and step.entry and step.entry["tables"]["people"]["erased"] == 1
    assert steps.run_chain(house.lake, {"homes": homes.brick}, steps=("land",)).lands[0].entry is None


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
        taking_back.erase(house.lake, homes.brick, {"phone": PHONES[0]}, "asked for")
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
    assert taking_back.expire(house.lake, {"homes": homes.brick})[0] == [], "its retention is of a year"
    with monkeypatch.context() as patch:
        patch.setattr(taking_back, "clock_of", aged)
        expired, outcome = taking_back.expire(house.lake, {"homes": homes.brick})
    assert [(each.load_count, each.row_count) for each in expired] == [(1, 2)] and outcome.failures == []
    assert house.journal.accepted() == [] and house.rows(homes.brick, "people") == []
    rooms = of(PHONES[0], homes)
    assert rooms <= {"marts", "state"}, "snapshots alone hold it, for thirty days"
    assert house.land(homes.brick) is None, "what the source still gives of it is not read again"
    house.drop("people2.csv", f"id,phone\nc,{PHONES[2]}\n")
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
        patch.setattr(taking_back, "clock_of", aged)
        expired, outcome = taking_back.expire(house.lake, {"homes": homes.brick})
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
    position["events"].known |= house.journal.position("town", "events").known
    after = {name: house.journal.position("town", name) for name in position}
    assert after["places"] == position["places"] and after["events"].known.keys() == {"events1.csv", "events2.csv", "events3.csv"}
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


def months(*kwh: int) -> str:
    """Write a mart by month of 2025: a figure a month, 0 for a month without rows."""
    rows = ", ".join(f"(date '2025-{n:02d}-01', {value})" for n, value in enumerate(kwh, 1) if value)
    return f"select * from (values {rows}) as t (month_date, kwh)"


def test_a_mart_that_keeps_outlives_its_sources_and_only_that_one(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    journal = Journal(lake)
    journal.found_lake(read_territory().name, is_synthetic=False)
    figures = MartFigures("month_date", None, ("kwh",))
    keeping = Mart("kept", "marts.kept", "open", {"b": "open"}, ("month_date",), figures=figures, keeps=True)
    other = dataclasses.replace(keeping, name="other", relation="marts.other", keeps=False)

    def published(run_id: str, *kwh: int) -> list[list[Any]]:
        for mart in ("kept", "other"):
            fill(lake, months(*kwh), mart)
        publish_marts(lake, Journal(lake), [keeping, other], run_id, lambda *_: ([], {}))
        with lake.connect() as connection:
            asked = "select kwh from read_parquet(?) order by month_date"
            return [connection.execute(asked, [lake.path(f"files/open/{name}.parquet")]).fetchall() for name in ("kept", "other")]

    assert published("r1", 1, 2, 3, 4) == [[(1,), (2,), (3,), (4,)]] * 2
    assert published("r2", 1, 5, 3, 4)[0] == [(1,), (5,), (3,), (4,)], "while nothing has expired, it is what is built"
    journal.append("expire", brick="b", loads={}, until="2025-03-15T00:00:00+00:00", rows=0)
    # January and February have gone, of March a part is left.
    assert published("r3", 0, 0, 2, 6) == [[(1,), (5,), (3,), (6,)], [(2,), (6,)]]
    assert published("r4", 0, 0, 0, 6, 7) == [[(1,), (5,), (3,), (6,), (7,)], [(6,), (7,)]]
    journal.append("expire", brick="b", loads={}, until="2025-05-02T00:00:00+00:00", rows=0)
    assert published("r5", 0, 0, 0, 0, 0, 8) == [[(1,), (5,), (3,), (6,), (7,), (8,)], [(8,)]]
    Path(lake.path(last_published(Journal(lake))["kept"]["files"]["whole"])).unlink()
    published("r6", 0, 0, 0, 0, 0, 9)
    [reason] = still_withheld(Journal(lake))["kept"]["reasons"]
    assert "a file that holds rows it keeps is gone. Mend: put it back from a backup" in reason
    undated = dataclasses.replace(keeping, figures=MartFigures())
    assert "`keeps` goes with a `partition`" in str(undated.fault(["whole"], {"month_date": "DATE", "kwh": "INTEGER"}))


def test_what_remains_is_what_readers_see(house: House) -> None:
    options = {"format": "csv", "path": "places.csv"}
    brick = house.brick("town", [table("places", [column("id")], ["id"], options, delivers="whole")])

    def photo(count: int) -> int:
        house.drop("places.csv", "id\n" + "".join(f"p{i}\n" for i in range(count)))
        assert house.land(brick)
        return house.journal.seq

    for count in (10, 20, 40):
        seq = photo(count)
    expire_loads(house.lake, house.journal, brick, NOW + LATER)
    assert share_left(house.journal, ["town"], seq) == 1, "older photos were seen by nobody"
    house.erase(brick, *({"id": f"p{i}"} for i in range(10)))
    assert share_left(house.journal, ["town"], seq) == 0.75
    photo(50)
    assert share_left(house.journal, ["town"], seq) == 1, "another photo has taken its place"
    dropped = house.journal.accepted()[-1]
    drop_load(house.lake, house.journal, dropped, refetch=False)
    assert share_left(house.journal, ["town"], seq) == 0.75, "what a steward drops is not taken back"


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


PROOF = """
import datetime as dt, json, os, sys
from pathlib import Path
from flows import dbt_process, schedule, taking_back
from ingestion.census import read_bricks
from ingestion.journal import Journal
from ingestion.lake import Lake
dbt_process.DBT_PROJECT = Path(sys.argv[1])
lake = Lake()
if sys.argv[2] == "expire":
    now = taking_back.clock_of(Journal(lake)) + dt.timedelta(days=400)
    taking_back.clock_of = lambda journal: now
    state = schedule.expire(return_state=True)
elif sys.argv[2] == "erase":
    erased, outcome = taking_back.erase(lake, read_bricks()["homes"], {"phone": sys.argv[3]}, "asked for")
    print(json.dumps([sum(each.row_count for each in erased), "", outcome.failures]))
    sys.exit()
else:
    state = schedule.run(bricks=["homes"], return_state=True)
print(json.dumps([state.type.value, state.name, state.message]))
"""


@pytest.mark.soak
def test_under_prefect_nothing_personal_is_left_anywhere_after_masking_erasing_and_expiring(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = homes.house
    root, project = Path(house.lake.root), house.folder / "dbt_project"
    environment = {
        **os.environ, "ORCHESTRA_LAKE": house.lake.root, "ORCHESTRA_BRICKS": str(house.folder / "bricks"),
        "PREFECT_HOME": str(house.lake.state_path("prefect")), "PREFECT_API_URL": "", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180", "PREFECT_LOGGING_LEVEL": "INFO",
    }  # fmt: skip

    def run(*asked: str, **more: str) -> Any:
        command = [sys.executable, "-c", PROOF, str(project), *asked]
        done = subprocess.run(command, env=environment | more, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    def holding(value: str) -> set[str]:
        needle, found = value.encode(), set()
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink() and (needle in path.read_bytes() or _in_parquet(path, needle)):
                parts = path.relative_to(root).parts
                found.add(parts[1] if parts[0] == "state" else parts[0])
        return found

    def declare(phone: dict[str, Any], **meta: Any) -> None:
        columns = [column("id"), phone, column("n", "bigint"), column("d", "date", optional=True)]
        house.brick("homes", [table("people", columns, ["id"], {"format": "csv", "path": "*.csv"})], **meta)

    # In clear: it lands, refuses a row by its value, warns, publishes; a file fails.
    (house.drops / "people.csv").unlink()
    declare(column("phone"))
    rows = [f"r{i},{PHONES[i % 4]},{i},2025-01-01\n" for i in range(16)]
    house.drop("clear.csv", "id,phone,n,d\n" + "".join(rows) + f"bad,x,{PHONES[0]},\n")
    house.drop("broken.csv", f"{NAMES[0]}\n")
    kind, name, message = run("run")
    assert (kind, name) == ("FAILED", "Load refused") and "broken.csv" in message
    assert holding(PHONES[0]) >= {"landed", "marts", "files", "prefect", "warehouse.duckdb"}, "the search finds it"
    # It becomes personal: masked by the run that begins with it, everywhere.
    declare(column("phone", **PSEUDONYM), **PERSONAL)
    environment |= {KEY: MASTER}
    house.drop(
        "more.csv",
        "id,phone,n,d\n"
        + "".join(f"x{i},{PHONES[4]},1,1700-01-01\n" for i in range(16))
        + f"y,{PHONES[5]},{PHONES[5]},\n,{PHONES[5]},3,\n",
    )
    told = run("run")
    assert told[1] == "Load refused", told[2]
    assert {value: rooms for value in PHONES if (rooms := holding(value))} == {}
    masks = [pseudonym(value) for value in PHONES]
    assert holding(masks[1]) >= {"landed", "marts", "files", "warehouse.duckdb"}, told[2]
    assert run("erase", PHONES[1])[0] == 5
    assert holding(masks[1]) == set() and holding(masks[2])
    house.drop("again.csv", f"id,phone,n,d\ny1,{PHONES[1]},1,\ny2,{PHONES[2]},1,\n")
    assert run("run")[1] == "Load refused" and holding(masks[1]) == set()
    assert run("expire")[:2] == ["COMPLETED", "Completed"]
    assert {value: rooms for value in [*PHONES, *masks] if (rooms := holding(value))} == {}
    assert house.journal.accepted() == [] and list(landed_faults(house.lake, house.journal)) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from flows import dbt_process, steps, taking_back
from ingestion.census import read_bricks
from ingestion.lake import Lake
dbt_process.DBT_PROJECT = Path(sys.argv[1])
count = 0
def dying(method):
    def call(self, *arguments, **named):
        global count
        count += 1
        if count == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return method(self, *arguments, **named)
    return call
for name in ("create", "delete", "upload", "replace", "end", "begin", "link"):
    setattr(Lake, name, dying(getattr(Lake, name)))
lake = Lake()
if sys.argv[2] == "erase":
    taking_back.erase(lake, read_bricks()["homes"], {"phone": sys.argv[4]}, "asked for")
elif sys.argv[2] == "expire":
    import datetime as dt
    now = taking_back.clock_of(None)
    taking_back.clock_of = lambda journal: now + dt.timedelta(days=400)
    taking_back.expire(lake, read_bricks())
else:
    steps.run_chain(lake, {}, steps=("build", "publish"))
"""


@pytest.mark.soak
@pytest.mark.parametrize("what", ["erase", "expire", "mask"])
@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 26, 32, 40])
def test_killed_at_any_step_and_run_again_nothing_is_left(homes: Homes, monkeypatch: pytest.MonkeyPatch, what: str, step: int) -> None:
    house = homes.house
    house.drop("people2.csv", f"id,phone\ne,{PHONES[0]}\nf,{PHONES[1]}\n")
    house.land(homes.brick)
    if what == "mask":
        monkeypatch.setenv(KEY, MASTER)
        homes.declare(column("phone", **PSEUDONYM), **PERSONAL)
    environment = {**os.environ, "ORCHESTRA_LAKE": house.lake.root, "ORCHESTRA_BRICKS": str(house.folder / "bricks")}
    code = KILLED.replace("taking_back.clock_of(None)", "dt.datetime.now(dt.UTC)")
    command = [sys.executable, "-c", code, str(house.folder / "dbt_project"), what, str(step), PHONES[0]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (-9, 0), done.stderr[-2000:]
    assert homes.run("build", "publish").failures == []
    if what == "erase" and not any(True for _ in house.journal.of("erase")):
        taking_back.erase(house.lake, homes.brick, {"phone": PHONES[0]}, "asked for")
    if what == "expire":
        with monkeypatch.context() as patch:
            patch.setattr(taking_back, "clock_of", aged)
            taking_back.expire(house.lake, {"homes": homes.brick})
        assert house.rows(homes.brick, "people") == [] and of(PHONES[0], homes) <= {"marts", "state"}
    else:
        assert of(PHONES[0], homes) == set()
        kept = [("b",), ("f",)] if what == "erase" else [("a",), ("b",), ("e",), ("f",)]
        assert house.rows(homes.brick, "people", "id") == kept
    assert list(landed_faults(house.lake, house.journal, is_deep=True)) == []
    assert not house.lake.begun("taking-back")
