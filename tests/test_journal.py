"""The journal is dense, written once, of one territory and one nature, and says where each reading starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError

APPEND = """
import sys
from ingestion.journal import Journal
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
    lake._sync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
entries.append("publication", who="killed")
"""


def test_eight_processes_append_and_none_is_lost(tmp_path: Path) -> None:
    root = str(tmp_path / "lake")
    Journal(Lake(root)).found("Rennes Métropole", is_synthetic=False)
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
    Journal(lake).found("Rennes Métropole", is_synthetic=False)
    late, early = Journal(lake), Journal(lake)
    early.append("publication", who="early")
    assert late.append("publication", who="late") == 3
    assert [entry["who"] for entry in Journal(lake).entries[1:]] == ["early", "late"]
    assert [entry["who"] for entry in late.entries[1:]] == ["early", "late"]
    assert not lake.create("journal/000000000001.json", b"{}")


@pytest.mark.parametrize(("moment", "count"), [("before", 1), ("after", 2)])
def test_a_kill_leaves_a_whole_entry_or_none(tmp_path: Path, moment: str, count: int) -> None:
    Journal(Lake(str(tmp_path))).found("Rennes Métropole", is_synthetic=False)
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
    Journal(lake).found("Rennes Métropole", is_synthetic=True)
    Journal(lake).found("Rennes Métropole", is_synthetic=True)
    journal = Journal(lake)
    assert journal.seq == 1
    assert (journal.entries[0]["kind"], journal.entries[0]["territory"], journal.is_synthetic) == ("lake", "Rennes Métropole", True)
    with pytest.raises(LakeError, match=r"holds synthetic \(sandbox\) data and the source gives real data.*ORCHESTRA_LAKE"):
        journal.found("Rennes Métropole", is_synthetic=False)
    with pytest.raises(LakeError, match="is the lake of Rennes Métropole, not of Brest"):
        journal.found("Brest", is_synthetic=True)
    assert Journal(lake).seq == 1


def test_a_lake_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.create("journal/000000000001.json", b'{"seq": 1, "kind": "lake", "format": 99}')
    with pytest.raises(LakeError, match="format 99, this version reads 1: upgrade"):
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
    Journal(one).found("Rennes Métropole", is_synthetic=False)
    with pytest.raises(LakeError, match=r"state is the state of another lake \(\w{16}\) than .*other\. Mend: set ORCHESTRA_STATE"):
        Journal(other).found("Rennes Métropole", is_synthetic=True)
    assert Journal(one).seq == 1
    with pytest.raises(LakeError, match="holds a =, which"):
        Lake(str(tmp_path / "id=prod"))
