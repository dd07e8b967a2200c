"""The journal is dense, written once, of one territory and one nature, and says where each reading starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.brick import Brick
from ingestion.journal import Journal, files_of
from ingestion.lake import Lake, LakeError
from ingestion.lost import declare_lost
from ingestion.sweep import sweep
from ingestion.verify import landed_faults
from ingestion.warehouse import catch_up, warehouse_fault
from tests.conftest import House, column, table
from tests.fixtures.losing import Losing

APPEND = """
import sys
from ingestion.journal import Journal
from ingestion.lost import declare_lost
from ingestion.lake import Lake
journal = Journal(Lake(sys.argv[1]))
sys.stdin.readline()
for number in range(50):
    journal.append("publication", author=sys.argv[2], number=number)
"""
KILLED = """
import os, signal, sys
from ingestion import journal, lake
house = lake.Lake(sys.argv[1])
entries = journal.Journal(house)
if sys.argv[2] == "before":
    os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
else:
    lake.sync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
entries.append("publication", who="killed")
"""


def test_eight_processes_append_and_none_is_lost(tmp_path: Path) -> None:
    root = str(tmp_path / "lake")
    Journal(Lake(root)).found_lake("Rennes Métropole", is_synthetic=False)
    processes = [subprocess.Popen([sys.executable, "-c", APPEND, root, str(n)], stdin=subprocess.PIPE) for n in range(8)]
    for process in processes:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0] * 8

    entries = Journal(Lake(root)).entries
    assert [entry["seq"] for entry in entries] == list(range(1, 402))
    assert len(list((tmp_path / "lake" / "journal").iterdir())) == 401
    for author in "01234567":
        assert [entry["number"] for entry in entries[1:] if entry["author"] == author] == list(range(50))


def test_an_entry_is_never_written_over(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    Journal(lake).found_lake("Rennes Métropole", is_synthetic=False)
    late, early = Journal(lake), Journal(lake)
    early.append("publication", who="early")
    assert late.append("publication", who="late") == 3
    assert [entry["who"] for entry in Journal(lake).entries[1:]] == ["early", "late"]
    assert [entry["who"] for entry in late.entries[1:]] == ["early", "late"]
    assert not lake.create("journal/000000000001.json", b"{}")


@pytest.mark.parametrize(("moment", "count"), [("before", 1), ("after", 2)])
def test_a_kill_leaves_a_whole_entry_or_none(tmp_path: Path, moment: str, count: int) -> None:
    Journal(Lake(str(tmp_path))).found_lake("Rennes Métropole", is_synthetic=False)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], check=False)
    assert killed.returncode == -signal.SIGKILL
    journal = Journal(Lake(str(tmp_path)))
    assert journal.seq == count
    assert journal.append("publication", who="next") == count + 1


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'load2' is no kind of entry: lake, load"):
        Journal(Lake(str(tmp_path))).append("load2")


def test_entry_one_says_what_lake_this_is_for_good(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    Journal(lake).found_lake("Rennes Métropole", is_synthetic=True)
    Journal(lake).found_lake("Rennes Métropole", is_synthetic=True)
    journal = Journal(lake)
    assert journal.seq == 1
    assert (journal.entries[0]["kind"], journal.entries[0]["territory"], journal.is_synthetic) == ("lake", "Rennes Métropole", True)
    with pytest.raises(LakeError, match=r"holds synthetic \(sandbox\) data and the source gives real data.*ORCHESTRA_LAKE"):
        journal.found_lake("Rennes Métropole", is_synthetic=False)
    with pytest.raises(LakeError, match="is the lake of Rennes Métropole, not of Brest"):
        journal.found_lake("Brest", is_synthetic=True)
    assert Journal(lake).seq == 1


def test_a_lake_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.create("journal/000000000001.json", b'{"seq": 1, "kind": "lake", "format": 99}')
    with pytest.raises(LakeError, match=r"format 99, and this version reads 2\. Mend: read it with the version that wrote it"):
        Journal(lake)


# Where the next reading starts ---------------------------------------------------------------------------------------


class _Told(Journal):
    """A journal that is told its entries."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries = entries


def _load(load_id: str, cursor: int, verdict: str = "accepted", **opened: str) -> dict[str, Any]:
    table = {"position": {"cursor": cursor}, "opened": opened, "files": [f"{load_id}.parquet"]}
    return {
        "kind": "load",
        "brick": "b",
        "seq": int(load_id[-2:]),
        "load_id": load_id,
        "verdict": verdict,
        "tables": {"t": table},
        "read_at": load_id,
    }


def _drop(load_id: str, *, refetch: bool) -> dict[str, Any]:
    return {"kind": "drop", "brick": "b", "load_id": load_id, "refetch": refetch}


def _at(*entries: dict[str, Any]) -> tuple[int, dict[str, str]]:
    position = _Told(list(entries)).position("b", "t")
    return position.at.get("cursor", 0), position.known


def test_a_refusal_moves_nothing_until_it_is_accepted_or_given_up() -> None:
    assert _at() == (0, {})
    first, refused, again = _load("1", 10, x="a"), _load("2", 20, "refused", y="b"), _load("2", 20, "accepted", y="b")
    assert _at(first, refused) == (10, {"x": "a"})
    assert _at(first, refused, again) == _at(first, refused, _drop("2", refetch=False)) == (20, {"x": "a", "y": "b"})
    assert _at(first, refused, _drop("2", refetch=True)) == (10, {"x": "a"})
    # Accepted later, in a second entry: the cursor stays where Tuesday's load has put it.
    assert _at(first, refused, _load("3", 30, z="c"), again) == (30, {"x": "a", "y": "b", "z": "c"})


def test_what_a_load_accepted_late_was_read_from_may_have_been_put_back() -> None:
    # Read from 10; load 1 is put back: accepting load 2 must not skip what load 1 held.
    loads = [_load("1", 10, x="a"), _load("2", 20, "refused", y="b"), _drop("1", refetch=True), _load("2", 20, "accepted", y="b")]
    assert _at(*loads) == (0, {"y": "b"})


def test_a_later_load_that_has_read_a_refused_one_again_takes_its_place() -> None:
    first, refused = _load("1", 10), _load("2", 20, "refused", y="b")
    again = {**_load("3", 30, y="b2", z="c"), "replaces": ["2"]}
    journal = _Told([first, refused])
    assert [load["load_id"] for load in journal.refused("b")] == ["2"]
    journal = _Told([first, refused, again])
    assert list(journal.loads("b")) == ["1", "3"] and not journal.refused("b") and "2.parquet" not in journal.named_files("b")
    assert _at(first, refused, again) == (30, {"y": "b2", "z": "c"})


def test_the_files_that_an_accepted_load_holds_whole_are_told_from_those_that_failed() -> None:
    def held(*entries: dict[str, Any]) -> tuple[set[str], dict[str, str | None], set[str]]:
        position = _Told(list(entries)).position("b", "t")
        return position.held, position.failed, position.given_up

    def with_files(load: dict[str, Any], **told: Any) -> dict[str, Any]:
        return {**load, "read_by": "r", "tables": {"t": {**load["tables"]["t"], **told}}}

    first = with_files(_load("1", 10, x="a", bad="s", typo="t"), refused_files=[["bad", "cut"], ["gone", "404"]], refused_in=["typo"])
    assert held(first) == ({"x"}, {"bad": "r", "gone": "r"}, set())
    assert held({**first, "verdict": "refused"}) == (set(), {}, set()), "no accepted load holds them"
    assert held({**first, "verdict": "refused"}, _drop("1", refetch=False)) == (set(), {"bad": "r", "gone": "r"}, {"bad", "gone"})
    assert held(first, _load("2", 20, bad="s2", gone="g", typo="t2")) == ({"x", "bad", "gone", "typo"}, {}, set())
    assert held(first, _load("2", 20, bad="s2"), _drop("2", refetch=True))[0] == {"x"}


def test_a_drop_with_refetch_puts_the_cursor_back_and_reading_again_moves_on() -> None:
    loads = [_load("1", 10, x="a"), _load("2", 20, y="b")]
    assert _at(*loads, _drop("2", refetch=True)) == (10, {"x": "a"})
    assert _at(*loads, _drop("2", refetch=False)) == (20, {"x": "a", "y": "b"})
    assert _at(*loads, _drop("2", refetch=True), _load("3", 25, y="b2")) == (25, {"x": "a", "y": "b2"})


def test_two_drops_put_the_cursor_back_to_the_first_of_the_two() -> None:
    loads = [_load("1", 10, x="a"), _load("2", 20, y="b"), _load("3", 30, z="c")]
    back = (10, {"x": "a"})
    assert _at(*loads, _drop("2", refetch=True), _drop("3", refetch=True)) == back
    assert _at(*loads, _drop("3", refetch=True), _drop("2", refetch=True)) == back
    assert _at(*loads, _drop("2", refetch=True), _drop("3", refetch=False)) == (10, {"x": "a", "z": "c"})


def test_a_refetch_never_moves_the_cursor_forward() -> None:
    # Load 1 is put back and read again by 3, not so far; putting 2 back must not skip what lies between.
    loads = [_load("1", 20), _load("2", 30), _drop("1", refetch=True), _load("3", 10)]
    assert _at(*loads, _drop("2", refetch=True)) == (0, {})


def test_a_drop_of_another_table_or_brick_moves_nothing() -> None:
    other = {**_load("2", 99), "brick": "other"}
    assert _at(_load("1", 10), other, {**_drop("2", refetch=True), "brick": "other"}) == (10, {})
    without = {**_load("2", 0), "tables": {"u": {"position": {}, "opened": {}, "files": []}}}
    assert _at(_load("1", 10), without, _drop("2", refetch=True)) == (10, {})


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from(["read", "refuse", "refetch", "forget", "accept"]), st.integers(0, 9), st.integers(1, 4)), max_size=14
    )
)
def test_no_row_of_a_source_is_ever_skipped_nor_lost(steps: list[tuple[str, int, int]]) -> None:
    """Against an oracle that keeps rows by hand: each row that nobody forgot is in a load, or is still to be read.

    The source is an endless list of rows, and a reading gives a few from the cursor on. A refetch may read again what a
    later load already holds, never the other way round.
    """
    entries: list[dict[str, Any]] = []
    held: dict[str, range] = {}  # rows by accepted load that is not dropped
    refused: dict[str, range] = {}  # rows by load that stands refused
    forgotten: set[int] = set()
    for number, (step, pick, size) in enumerate(steps):
        cursor, known = _at(*entries)
        covered = {row for rows in held.values() for row in rows} | forgotten
        assert set(range(cursor)) <= covered, "rows before the cursor are nowhere"
        standing = {**held, **refused}
        if step in ("read", "refuse"):
            rows = range(cursor, cursor + size)
            load_id = f"{number:03}"
            # What stands refused is read again, whole, when what is read now goes as far.
            replaced = [name for name, there in refused.items() if set(there) <= set(rows) | covered]
            verdict = "accepted" if step == "read" else "refused"
            entries.append({**_load(load_id, rows.stop, verdict, **{load_id: "s"}), "replaces": replaced})
            for name in replaced:
                del refused[name]
            (held if step == "read" else refused)[load_id] = rows
            after = (rows.stop, {**known, load_id: "s"}) if step == "read" else (cursor, known)
            assert _at(*entries) == after
        elif standing:
            load_id = sorted(standing)[pick % len(standing)]
            rows = standing[load_id]
            if step == "accept":
                entries.append(_load(load_id, rows.stop, "accepted", **{load_id: "s"}))
                held[load_id] = rows
                refused.pop(load_id, None)
                assert _at(*entries)[0] >= cursor
                continue
            entries.append(_drop(load_id, refetch=step == "refetch"))
            was_refused = refused.pop(load_id, None) is not None
            held.pop(load_id, None)
            after, known_after = _at(*entries)
            if step == "refetch":
                assert after <= rows.start or was_refused, "what was dropped is not read again"
                assert (after, known_after) == (cursor, known) if was_refused else load_id not in known_after
            else:
                forgotten |= set(rows)
                assert after >= cursor and known.items() <= known_after.items()


def test_the_clock_of_the_house_is_the_latest_accepted_reading(tmp_path: Path) -> None:
    refused = _load("2025-02-01", 2, "refused")
    assert _Told([_load("2025-01-02", 1), _load("2025-01-01", 1), refused]).as_of() == "2025-01-02"
    assert _Told([]).as_of() is None
    assert _Told([refused]).named_files("b") == {"2025-02-01.parquet"}
    assert _Told([refused, _drop("2025-02-01", refetch=False)]).named_files("b") == set()
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_the_state_of_another_lake_is_refused(tmp_path: Path) -> None:
    one, other = (Lake(str(tmp_path / name), str(tmp_path / "state")) for name in ("one", "other"))
    Journal(one).found_lake("Rennes Métropole", is_synthetic=False)
    with pytest.raises(LakeError, match=r"state is the state of another lake \(\w{16}\) than .*other\. Mend: set ORCHESTRA_STATE"):
        Journal(other).found_lake("Rennes Métropole", is_synthetic=True)
    assert Journal(one).seq == 1
    with pytest.raises(LakeError, match="holds a =, which"):
        Lake(str(tmp_path / "id=prod"))


# What is missing or broken ------------------------------------------------------------------------------------------


def _numbered(tmp_path: Path, count: int) -> tuple[Lake, Any]:
    lake = Lake(str(tmp_path / "lake"))
    journal = Journal(lake)
    journal.found_lake("Rennes Métropole", is_synthetic=False)
    for number in range(count):
        journal.append("publication", number=number, marts={}, withheld={}, withdrawn={})
    return lake, lambda seq: Path(lake.path(f"journal/{seq:012d}.json"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "is missing"),
        (b"", "is empty"),
        (b'{"seq": 3, "kind": "publ', "is broken"),
        (b"\xff\xfe", "is broken"),
        (b"[3]", "is broken"),
        (b'{"seq": 3, "kind": "drop", "brick": "shop"}', "says no load_id, as a drop does"),
        (b'{"seq": 4, "kind": "publication"}', "is no entry 3"),
    ],
)
def test_an_entry_that_is_missing_or_broken_stops_everything_and_is_named(tmp_path: Path, content: bytes | None, told: str) -> None:
    lake, path = _numbered(tmp_path, 3)
    opened = Journal(lake)
    path(3).unlink()
    if content is not None:
        path(3).write_bytes(content)
    mend = rf"000000000003\.json {told}.*goes on to 4.*Mend: .*orchestra journal lost --seq 3 --why"
    with pytest.raises(LakeError, match=mend):
        Journal(lake)
    opened.entries, opened.digests = opened.entries[:2], opened.digests[:3]
    with pytest.raises(LakeError, match=mend):
        opened.append("publication")
    assert path(4).exists() and not path(5).exists()


def test_the_last_entry_truncated_is_no_end_of_the_journal(tmp_path: Path) -> None:
    lake, path = _numbered(tmp_path, 2)
    path(3).write_bytes(path(3).read_bytes()[:20])
    with pytest.raises(LakeError, match=r"000000000003\.json is broken"):
        Journal(lake)


def test_a_loss_that_is_told_lets_the_journal_go_on_and_keeps_the_files_it_may_have_named(tmp_path: Path) -> None:
    lake, path = _numbered(tmp_path, 3)
    lake.replace("landed/b/t/load_id=1/x.parquet", b"x")
    digest = Journal(lake).digests[4]
    path(3).write_bytes(b"{")
    entry = declare_lost(lake, 3, "a disk", [])
    assert (entry["kind"], entry["why"], entry["kept"]) == ("lost", "a disk", ["landed/b/t/load_id=1/x.parquet"])
    assert [lake.read(name) for name in lake.names("journal/broken")] == [b"{"], "what was left of it is set aside"
    journal = Journal(lake)
    assert journal.seq == 4 and journal.kept_files() == set(entry["kept"])
    assert not journal.follows(4, digest), "who followed the lost entry stands on another history"
    assert journal.forget(3, "it was a trial") == 5
    assert Journal(lake).kept_files() == set()
    with pytest.raises(LakeError, match="entry 3 of the journal is not lost"):
        declare_lost(lake, 3, "again", [])
    with pytest.raises(LakeError, match="entry 9 of the journal is not lost"):
        declare_lost(lake, 9, "never was", [])
    path(1).unlink()
    with pytest.raises(LakeError, match="entry 1 of the journal says what lake this is"):
        declare_lost(lake, 1, "a disk", [])


def test_no_new_lake_begins_over_files_whose_journal_has_gone(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.replace("landed/b/t/load_id=1/x.parquet", b"x")
    with pytest.raises(LakeError, match=r"holds 1 files .*and no journal.*Mend: put its journal/ back"):
        Journal(lake).found_lake("Rennes Métropole", is_synthetic=False)


def test_an_appender_whose_answer_was_lost_does_not_append_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, _ = _numbered(tmp_path, 0)
    journal, link = Journal(lake), os.link

    def linked_and_lost(*names: Any) -> None:
        link(*names)
        raise FileExistsError("as a file system over a network answers the second try")

    monkeypatch.setattr(os, "link", linked_and_lost)
    assert journal.append("publication", who="me") == 2
    assert [entry.get("who") for entry in Journal(lake).entries] == [None, "me"]


def test_what_a_follower_reached_is_known_by_its_history(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lake, path = _numbered(tmp_path, 3)
    journal = Journal(lake)
    assert journal.noted("built.json") is None and not caplog.records, "nothing yet is nothing to tell"
    journal.note("built.json", project="p")
    told = journal.noted("built.json")
    assert told and (told["seq"], told["project"]) == (4, "p")
    kept = path(4).read_bytes()
    path(4).unlink()
    assert Journal(lake).noted("built.json") is None, "the journal was put back from an older backup"
    Journal(lake).append("publication", number="another")
    assert Journal(lake).noted("built.json") is None, "another entry stands at that number"
    path(4).write_bytes(kept)
    assert Journal(lake).noted("built.json")
    for broken in (b"", b"[2, 3]", b"{", b'{"seq": "x", "digest": 1}'):
        lake.state_path("built.json").write_bytes(broken)
        assert Journal(lake).noted("built.json") is None
    assert len(caplog.records) == 6 and "is made again from zero" in caplog.text


def test_an_empty_file_of_the_state_is_written_again(tmp_path: Path) -> None:
    lake, _ = _numbered(tmp_path, 0)
    lake.state_path("lake_id").write_bytes(b"")
    assert Journal(lake).entries[0]["lake_id"] == lake.state_path("lake_id").read_text()
    lake.state_path("begun", "publish").write_bytes(b"\xff\xfe")
    lake.begin("publish", "r1")
    assert "r1" in lake.begun("publish")


# On a real S3 server, through a proxy that loses answers -------------------------------------------------------------


def _on_s3(tmp_path: Path, name: str, state: str = "one") -> Lake:
    return Lake(f"s3://city/{name}/lake", str(tmp_path / state))


def test_an_entry_whose_answer_s3_loses_is_one_entry(tmp_path: Path, losing: Losing) -> None:
    lake = _on_s3(tmp_path, "lost-answer")
    Journal(lake).found_lake("Rennes Métropole", is_synthetic=False)
    journal = Journal(lake)
    for lost in (1, 20):  # one try of botocore's, all of them
        losing.rules[("PUT", "/journal/")] = f"lose {lost}"
        journal.append("publication", lost=lost)
    losing.rules.clear()
    assert [entry.get("lost") for entry in Journal(_on_s3(tmp_path, "lost-answer", "two")).entries] == [None, 1, 20]


def test_a_store_that_ignores_if_none_match_founds_no_lake(tmp_path: Path, losing: Losing) -> None:
    losing.rules[("PUT", "/probe/")] = "ignore"
    lake = _on_s3(tmp_path, "ignoring")
    with pytest.raises(LakeError, match="ignores If-None-Match"):
        Journal(lake).found_lake("Rennes Métropole", is_synthetic=False)
    assert lake.names("") == []


def test_a_hole_or_a_bucket_rolled_back_is_seen_by_who_knows_it_and_who_does_not(
    tmp_path: Path, losing: Losing, caplog: pytest.LogCaptureFixture
) -> None:
    known = _on_s3(tmp_path, "holes")
    journal = Journal(known)
    journal.found_lake("Rennes Métropole", is_synthetic=False)
    for number in range(4):
        journal.append("publication", number=number)
    assert Journal(known).seq == 5
    losing.asked.clear()
    assert Journal(known).seq == 5
    told = [(method, "list" if "list-type" in path else "read") for method, path in losing.asked]
    assert told == [("GET", "list"), ("GET", "read")], "one list, and the last entry of the local copy"

    name = "journal/000000000003.json"
    kept = known.read(name)
    assert kept
    for content in (None, kept[:30]):
        known.delete([name])
        if content:
            known.replace(name, content)
        for state in ("one", "new" if content else "newer"):
            with pytest.raises(LakeError, match=r"000000000003\.json is .*orchestra journal lost --seq 3"):
                Journal(_on_s3(tmp_path, "holes", state))
    assert declare_lost(known, 3, "a bucket", [])["number"] == 1, "the local copy holds it: it is put back"
    assert known.read(name) == kept and Journal(known).seq == 5

    known.delete(["journal/000000000005.json"])
    assert not caplog.records
    assert Journal(known).seq == 4 and "restored, or another's" in caplog.text
    caplog.clear()
    assert Journal(known).seq == 4 and not caplog.records, "said once: the copy is that of this history now"


def test_what_s3_answers_is_told(tmp_path: Path, losing: Losing) -> None:
    from botocore.exceptions import ClientError

    lake = _on_s3(tmp_path, "answers")
    Journal(lake).found_lake("Rennes Métropole", is_synthetic=False)
    losing.rules[("GET", "list-type")] = "answer 403"
    with pytest.raises(ClientError, match=r"Refused.*by the proxy"):
        Journal(lake)


# The warehouse, and what the journal names ---------------------------------------------------------------------------


def _days(house: House) -> Brick:
    columns = [column("id"), column("day", "date")]
    brick = house.brick("shop", [table("items", columns, ["id"], {"format": "csv", "path": "*.csv"})])
    for number in (1, 2):
        house.drop(f"{number}.csv", f"id,day\n{number},2025-01-0{number}\n")
        assert house.land(brick)
    return brick


def _warehouse(house: House, brick: Brick) -> Any:
    connection = house.lake.connect(str(house.lake.state_path("warehouse.duckdb")))
    catch_up(connection, house.lake, house.journal, {brick.name: brick})
    return connection


def test_a_warehouse_of_another_history_is_begun_anew_by_whoever_connects(house: House, caplog: pytest.LogCaptureFixture) -> None:
    brick = _days(house)
    with _warehouse(house, brick) as connection:
        connection.execute("create schema marts; create table marts.m as from shop.items; create view main.v as from marts.m")
        connection.execute("insert into meta.built (model, seq) values ('m', 3)")
    assert warehouse_fault(house.lake, house.journal, 3) is None
    assert "put back from before the last build" in str(warehouse_fault(house.lake, house.journal, 4))
    with _warehouse(house, brick) as connection:
        assert connection.execute("select count(*) from marts.m").fetchall() == [(2,)]
    Path(house.lake.path("journal/000000000003.json")).unlink()
    assert "follows another history" in str(warehouse_fault(house.lake, house.journal, 2))
    with _warehouse(house, brick) as connection:
        assert "follows another history" in caplog.text
        assert connection.execute("select table_name from duckdb_tables() where schema_name = 'marts'").fetchall() == []
        assert connection.execute("from meta.built").fetchall() == []
        assert connection.execute("select id from shop.items").fetchall() == [("1",)]
    assert warehouse_fault(house.lake, house.journal, 2) is None


def test_a_warehouse_of_before_digests_is_of_another_history(house: House) -> None:
    brick = _days(house)
    with _warehouse(house, brick) as connection:
        connection.execute("alter table meta.journal drop column digest")
    assert "follows another history" in str(warehouse_fault(house.lake, house.journal, 3))
    with _warehouse(house, brick) as connection:
        assert connection.execute("select seq, digest from meta.journal").fetchall() == [(3, house.journal.digests[3])]


@pytest.mark.parametrize("kept", [0, 1, 5000, -300_000])
def test_a_warehouse_that_was_cut_short_is_told_and_one_that_is_open_is_left(house: House, kept: int) -> None:
    brick = _days(house)
    path = house.lake.state_path("warehouse.duckdb")
    with _warehouse(house, brick) as connection:
        connection.execute("create table t as select range as i from range(300000)")
        connection.execute("checkpoint")
        held = "import sys; from ingestion.journal import Journal; from ingestion.lake import Lake; from ingestion.warehouse import "
        script = held + "warehouse_fault; lake = Lake(sys.argv[1]); sys.exit(warehouse_fault(lake, Journal(lake), 9))"
        assert subprocess.run([sys.executable, "-c", script, house.lake.root], check=False).returncode == 0
    assert warehouse_fault(house.lake, house.journal, 3) is None
    os.truncate(path, kept % path.stat().st_size)
    assert "cannot be read" in str(warehouse_fault(house.lake, house.journal, 0))


def test_what_fails_while_a_warehouse_catches_up_is_told_and_undone(house: House) -> None:
    brick = _days(house)
    lost = Path(house.lake.path(sorted(house.parquet_files("shop"))[0]))
    content = lost.read_bytes()
    lost.unlink()
    connection = house.lake.connect()
    load = house.journal.accepted()[0]["load_id"]
    for _ in range(2):  # and again on the same connection: no transaction is left open
        with pytest.raises(
            LakeError, match=rf"shop\.items: load {load}: {lost.relative_to(house.lake.root)} is gone\. Mend: .*drop {load} --refetch"
        ):
            catch_up(connection, house.lake, house.journal, {brick.name: brick})
    lost.write_bytes(b"PAR1 and no more")
    with pytest.raises(LakeError, match=rf"shop\.items: load {load}: .* is of 16 bytes, and landed with {len(content):,}\."):
        catch_up(connection, house.lake, house.journal, {brick.name: brick})
    lost.write_bytes(content)
    assert catch_up(connection, house.lake, house.journal, {brick.name: brick}) == 3
    assert list(landed_faults(house.lake, house.journal, is_deep=True)) == []
    lost.write_bytes(content[:4] + bytes(30) + content[34:])
    assert list(landed_faults(house.lake, house.journal)) == []
    assert "cannot be read" in str(next(landed_faults(house.lake, house.journal, is_deep=True)))


def test_two_states_on_one_lake_do_not_sweep_each_other(house: House) -> None:
    brick = _days(house)
    being_written = "landed/shop/items/load_id=of-another-machine/x.parquet"
    old, ours = being_written.replace("another", "old"), being_written.replace("another", "this")
    for name in (being_written, old, ours):
        house.lake.replace(name, b"x")
    os.utime(house.lake.path(old), (time.time() - 90_000,) * 2)
    house.lake.begin("landing-shop", "of-this-machine")
    dropped = house.journal.accepted()[0]
    house.journal.append("drop", brick="shop", load_id=dropped["load_id"], refetch=False)  # killed before it deleted
    swept = [name for name in sweep(house.lake, house.journal, brick) if "/_dlt_" not in name]
    assert sorted(swept) == sorted([old, ours, *files_of(dropped)])
    assert house.lake.read(being_written) == b"x"
    Path(house.lake.path("journal/000000000003.json")).unlink()
    with pytest.raises(LakeError, match="000000000003"):
        sweep(house.lake, house.journal, brick)


def test_nothing_is_swept_by_who_has_not_read_the_last_entries(house: House) -> None:
    brick = _days(house)
    late = house.journal
    house.drop("3.csv", "id,day\n3,2025-01-03\n")
    assert house.land(brick)
    for name in house.landed_files("shop"):
        os.utime(house.lake.path(name), (time.time() - 90_000,) * 2)
    sweep(house.lake, late, brick)
    assert len(house.parquet_files("shop")) == 3


def test_a_lost_load_is_read_again_and_its_declaration_is_told(house: House) -> None:
    brick = _days(house)
    version = next(iter(house.journal.accepted()[0]["declarations"]))
    Path(house.lake.path("journal/000000000002.json")).unlink()
    entry = declare_lost(house.lake, 2, "a disk", [brick])
    assert list(entry["declarations"]) == [version] and len(entry["kept"]) == 2, "its file and its particulars"
    assert house.rows(brick, "items", "id") == [("2",)]
    sweep(house.lake, house.journal, brick)
    assert house.land(brick), "its source still gives it"
    assert house.rows(brick, "items", "id") == [("1",), ("2",)]
    assert house.lake.read(entry["kept"][0]) is not None
    house.journal.forget(2, "read again")
    os.utime(house.lake.path(entry["kept"][0]), (time.time() - 90_000,) * 2)
    sweep(house.lake, house.journal, brick)
    assert house.lake.read(entry["kept"][0]) is None


def test_a_declaration_that_is_lost_and_not_todays_is_named(house: House) -> None:
    brick = _days(house)
    Path(house.lake.path("journal/000000000002.json")).unlink()
    declare_lost(house.lake, 2, "a disk", [])
    with pytest.raises(LakeError, match=r"stood in a lost entry of the journal\. Mend: orchestra loads drop \S+ --refetch"):
        house.rows(brick, "items")


def test_what_s3_answers_to_a_warehouse_is_told_and_undone(tmp_path: Path, losing: Losing, house: House) -> None:
    house.lake = _on_s3(tmp_path, "answers-of-landed")
    brick = _days(house)
    connection = house.lake.connect()
    for status in (403, 503):
        losing.rules = {(method, "/landed/"): f"answer {status}" for method in ("GET", "HEAD")}
        with pytest.raises(LakeError, match=rf"shop\.items: its landed files cannot be read \(.*{status}"):
            catch_up(connection, house.lake, house.journal, {brick.name: brick})
    losing.rules.clear()
    assert catch_up(connection, house.lake, house.journal, {brick.name: brick}) == 3
    assert list(landed_faults(house.lake, house.journal, is_deep=True)) == []
    lost = sorted(house.landed_files("shop"))[1]
    house.lake.delete([lost])
    assert f"{lost} is gone" in str(next(landed_faults(house.lake, house.journal)))
