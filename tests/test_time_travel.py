"""Time travel keeps its promise: what was current 30 days ago and nothing older, whatever was rebuilt, taken away or killed since."""

from __future__ import annotations

import datetime as dt
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from flows import steps
from ingestion.journal import Entry, Journal
from ingestion.lake import Lake, LakeError, literal
from redistribution.catalogue import NEVER, attach, catalogue, followed, throw_catalogue
from redistribution.followers import follow, is_followed, is_past_due
from redistribution.publications import RETRACTED
from redistribution.verify import published_faults

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
PUBLISHED = "from lake.snapshots() where commit_message is not null"


class Town:
    """A lake whose publications are dated by hand: `day` is today, in days since START; `state` is that of one machine."""

    def __init__(self, folder: Path, root: str | None = None) -> None:
        self.lake = Lake(root or str(folder / "lake"), str(folder / "state"))
        self.journal = Journal(self.lake)
        self.journal.found_lake("Rennes Métropole", is_synthetic=True)
        self.other = Lake(self.lake.root, str(folder / "other"))
        self.day = 0.0

    @property
    def now(self) -> dt.datetime:
        """Today."""
        return START + self.day * DAY

    def publish(self, marts: dict[str, Any] | None = None, is_followed: bool = True, **more: Any) -> Entry:
        """Publish marts, each told by its columns (a value each), its class, its units: `{"g": 1}` is a column `v` of one row in `open`."""
        told = {name: mart if isinstance(mart, dict) else {"columns": {"v": mart}} for name, mart in (marts or {}).items()}
        run_id = f"r{self.journal.seq + 1}"
        records = {name: self._record(name, run_id, **mart) for name, mart in told.items()}
        body = {"withheld": {}, "withdrawn": {}, "labels": {}, **more}
        self.journal.append("publication", run_id=run_id, as_of=None, at=self.now.isoformat(), marts=records, **body)
        if is_followed:
            self.follow()
        return self.journal.entries[-1]

    def withdraw(self, *names: str, of: str = "open", is_retracted: bool = False, is_followed: bool = True) -> None:
        """Withdraw marts from a class, with all that they were there if they are retracted."""
        told = {"class": of, "row_count": 0, "reasons": ["why"], **({RETRACTED: True} if is_retracted else {})}
        self.publish(withdrawn=dict.fromkeys(names, told), is_followed=is_followed)

    def follow(self) -> None:
        """Follow the journal, as of today."""
        follow(self.lake, self.journal, now=self.now)

    def rebuild(self) -> None:
        """Make everything again from zero, as `orchestra rebuild` does."""
        for access_class in ("open", "internal"):
            throw_catalogue(self.lake, access_class)
        follow(self.lake, self.journal, is_rebuild=True, now=self.now)

    def read(self, sql: str, lake: Lake | None = None, of: str = "open") -> list[tuple[Any, ...]]:
        """Ask the catalogue of a class."""
        connection = (lake or self.lake).connect()
        try:
            attach(connection, lake or self.lake, of)
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def at(self, day: float, lake: Lake | None = None, of: str = "open") -> dict[str, Any] | None:
        """Give each mart that readers saw that day, its rows in the order of its columns; None where they may not go back so far."""
        return self.seen([day], lake or self.lake, of)[day]

    def seen(self, days: Iterable[float], lake: Lake, of: str) -> dict[float, dict[str, Any] | None]:
        """Give, by day, what readers saw then."""
        connection, found = lake.connect(), dict[float, Any]()
        attach(connection, lake, of)
        for day in days:
            connection.execute("use memory; detach lake")
            date, place = literal((START + day * DAY).isoformat()), literal(f"ducklake:sqlite:{catalogue(lake, of)}")
            try:
                connection.execute(f"attach {place} as lake (read_only, snapshot_time {date})")
            except duckdb.InvalidInputException as error:
                assert "No snapshot found" in str(error), error
                connection.execute("attach ':memory:' as lake")
                found[day] = None
                continue
            found[day] = {}
            for (name,) in connection.execute("select table_name from duckdb_tables() where database_name = 'lake'").fetchall():
                if name != "publications":
                    cursor = connection.execute(f"from lake.{name} order by all")
                    found[day][name] = [[column for column, *_ in cursor.description or ()], *cursor.fetchall()]
        connection.close()
        return found

    def _record(self, name: str, run_id: str, columns: dict[str, Any], of: str = "open", units: tuple[str, ...] = ("whole",)) -> Entry:
        files, is_empty = {}, None in columns.values()
        for unit in units:
            files[unit] = f"marts/{of}/{name}/{run_id}-{unit}.parquet"
            path = self.lake.state_path("told.parquet")
            told = ", ".join(f"{'null' if value is None else value}::bigint as {column}" for column, value in columns.items())
            duckdb.execute(f"copy (select {told} {'limit 0' if is_empty else ''}) to {literal(str(path))} (format parquet)")
            self.lake.upload(path, files[unit])
        return {"class": of, "files": files, "row_count": 0 if is_empty else len(units), "digests": {}, "labels": {}}


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


def values(shown: dict[str, Any] | None) -> dict[str, Any] | None:
    """Give the first value of each mart."""
    return shown and {name: rows[1][0] for name, rows in shown.items()}


def test_what_was_current_30_days_ago_is_read_of_a_class_published_once_a_month(town: Town) -> None:
    for number, day in enumerate((0, 33, 66), 1):
        town.day = day
        town.publish({"g": number})
    town.day = 70
    town.follow()
    for lake in (town.lake, town.other):
        follow(lake, town.journal, now=town.now)
        assert [values(town.at(day, lake)) for day in (32.9, 33, 40, 65.9, 66, 70)] == [None, *[{"g": 2}] * 3, *[{"g": 3}] * 2]


def test_a_first_publication_is_read_as_of_its_own_date(town: Town) -> None:
    """DuckLake's own first snapshot holds nothing: as of no instant is it read."""
    town.publish({"g": 1})
    town.day = 3
    assert town.read("select v from lake.g at (timestamp => now())") == [(1,)]
    assert values(town.at(0)) == {"g": 1} == values(town.at(400))


def test_there_are_never_less_than_two_snapshots(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    """With one, a reader who asks while the next is made could see empty tables: see NEVER, and the soak of readers in test_publish."""
    for day in (0, 1, 100):  # the first, one more, one long after the others are past
        town.day = day
        town.publish({"g": day})
        assert [date for (date,) in town.read("select snapshot_time from lake.snapshots() limit 1")] == [NEVER]
    town.day = 200
    town.follow()
    assert [(message,) for message in (None, "run r4")] == town.read("select commit_message from lake.snapshots() order by snapshot_id")
    with sqlite3.connect(catalogue(town.lake, "open")) as connection:  # as those stand that were made before
        connection.execute("delete from ducklake_snapshot where snapshot_id = 0")
    town.publish({"g": 4})
    assert "could see empty tables" in caplog.text
    assert len(town.read("from lake.snapshots()")) == 3 and values(town.at(200)) == {"g": 4}


def test_a_class_that_publishes_nothing_any_more_expires_too(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its snapshots go the day they are past, the files a day later at the soonest; in between, nothing is even opened."""
    for number, day in enumerate((0, 10, 20), 1):
        town.day = day
        town.publish({"g": number})
    opened: list[str] = []
    connect = Lake.connect
    monkeypatch.setattr(Lake, "connect", lambda lake, *more, **told: opened.append("") or connect(lake, *more, **told))
    held = []
    for day in (20.5, 39.9, 40, 40.9, 41, 49, 51.1, 60, 400):
        town.day, before = day, len(opened)
        is_due = is_past_due(town.journal, town.now)
        assert len(opened) == before
        if is_due:
            town.follow()
        held.append((day, is_due, len(town.read(PUBLISHED)), len(town.lake.names("marts/open/g"))))
    assert held == [
        (20.5, False, 3, 3), (39.9, True, 3, 3), (40, True, 2, 3), (40.9, False, 2, 3), (41, True, 2, 2), (49, False, 2, 2),
        (51.1, True, 1, 2), (60, True, 1, 1), (400, False, 1, 1),
    ]  # fmt: skip
    assert values(town.at(400)) == {"g": 3}


def test_the_step_that_publishes_lets_go_what_is_past_even_where_nothing_can_be_published(town: Town) -> None:
    for number, day in enumerate((-100, -60, -50), 1):
        town.day = (dt.datetime.now(dt.UTC) - START) / DAY + day
        town.publish({"g": number})
    town.publish({"h": 1}, is_followed=False)
    with pytest.raises(LakeError, match="nothing was built yet"):
        steps.publish(town.lake, town.journal, "r9")
    assert len(town.read(PUBLISHED)) == 1
    assert values(town.at(10_000)) == {"g": 3, "h": 1}, "what a killed run left undone is done, too"


def test_a_mart_taken_away_is_in_no_snapshot_and_the_others_are_where_they_were(town: Town) -> None:
    for number, day in enumerate((0, 10, 20), 1):
        town.day = day
        town.publish({"g": number, "h": 50 + number})
    town.day = 25
    town.withdraw("h", is_retracted=True)
    town.day = 35
    town.publish({"h": 60})
    follow(town.other, town.journal, now=town.now)
    for lake in (town.lake, town.other):
        assert [values(town.at(day, lake)) for day in (6, 12, 22, 30)] == [{"g": 1}, {"g": 2}, {"g": 3}, {"g": 3}]
        assert values(town.at(36, lake)) == {"g": 3, "h": 60}
    assert town.lake.names("marts/open/h") == ["marts/open/h/r6-whole.parquet"], "at once, whoever reads it"
    assert len(town.lake.names("marts/open/main")) == 5, "a list that says why it was withheld goes as well"
    assert not list(published_faults(town.lake, town.journal, is_deep=True))


def test_a_rebuild_brings_back_no_publication_that_is_past_and_none_of_which_a_file_is_gone(town: Town) -> None:
    for number, day in enumerate((0, 33, 50, 60), 1):
        town.day = day
        town.publish({"g": number} if number == 4 else {"g": number, "h": 50 + number})
    for town.day in (64, 65):
        town.follow()
    before = [town.at(day) for day in (32, 35, 55, 65)], town.lake.names("")
    for _ in range(2):
        town.rebuild()
        assert ([town.at(day) for day in (32, 35, 55, 65)], town.lake.names("")) == before
    assert before[0][0] is None and values(before[0][1]) == {"g": 2, "h": 52}
    # A file that is lost: what was published with it would read as if it had never been.
    Path(town.lake.path("marts/open/g/r4-whole.parquet")).unlink()
    Path(town.lake.path("marts/open/g/r5-whole.parquet")).rename(town.lake.path("marts/open/g/hidden"))
    town.rebuild()
    assert [values(town.at(day)) for day in (35, 55, 65)] == [None, None, {"h": 53}], "of the last one, readers see what is whole"
    Path(town.lake.path("marts/open/g/hidden")).rename(town.lake.path("marts/open/g/r5-whole.parquet"))
    assert [fault.mend for fault in published_faults(town.lake, town.journal)] == ["orchestra rebuild"]
    town.rebuild()
    assert [values(town.at(day)) for day in (35, 55, 65)] == [None, None, {"g": 4, "h": 53}]
    # Lost before it was followed; and a list that a failing disk has cut short.
    town.publish({"g": 5}, is_followed=False)
    Path(town.lake.path("marts/open/g/r6-whole.parquet")).unlink()
    town.follow()
    assert values(town.at(65)) == {"h": 53}, "what was published before is not what is current"
    os.truncate(town.lake.path(town.lake.names("marts/open/main")[-1]), 100)
    town.rebuild()
    assert town.read("select count(distinct seq) from lake.publications") == [(5,)]


def test_on_s3_as_on_disk(tmp_path: Path, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    town = Town(tmp_path, "s3://city/travel/lake")
    for number, day in enumerate((0, 10, 35, 60), 1):
        town.day = day
        town.publish({"g": number, "h": number // 2})
    town.withdraw("h", is_retracted=True)
    for town.day in (66, 67):
        town.follow()
    names = town.lake.names("marts")
    assert [name for name in names if "/main/" not in name] == [f"marts/open/g/r{number}-whole.parquet" for number in (4, 5)]
    for _ in range(2):
        assert [values(town.at(day)) for day in (34, 38, 67)] == [None, {"g": 3}, {"g": 4}]
        assert not list(published_faults(town.lake, town.journal, is_deep=True))
        town.rebuild()
    assert town.lake.names("marts") == names


def test_a_mart_without_rows_is_read_as_such_and_is_no_fault(town: Town) -> None:
    for number, value in enumerate((1, None, 2)):
        town.day = 10.0 * number
        town.publish({"g": value, "h": 1})
        assert not list(published_faults(town.lake, town.journal))
    assert [len(town.at(day)["g"]) for day in (5, 15, 25)] == [2, 1, 2]
    town.day = 100
    town.follow()
    town.rebuild()
    assert values(town.at(100)) == {"g": 2, "h": 1} and not list(published_faults(town.lake, town.journal, is_deep=True))


KILLED = """
import datetime, os, signal, sys
from ingestion.journal import Journal
from ingestion.lake import Lake
from redistribution import catalogue, followers
lake, place, calls = Lake(sys.argv[1], sys.argv[2]), sys.argv[3], []
of = getattr(catalogue, place)
def killed(*told, **more):
    calls.append(place)
    if len(calls) == 3 or place in ('_expire', '_date_snapshots'):
        os.kill(os.getpid(), signal.SIGKILL)
    return of(*told, **more)
setattr(catalogue, place, killed)
followers.follow(lake, Journal(lake), is_rebuild=True, now=datetime.datetime.fromisoformat(sys.argv[4]))
"""


@pytest.mark.parametrize("place", ["_list", "_show", "_tell", "_date_snapshots", "_expire"])
def test_a_rebuild_that_is_killed_is_ended_by_the_next_run_and_leaves_nothing(town: Town, place: str) -> None:
    for number in range(6):
        town.day = 8.0 * number
        town.publish({"g": number, "h": number // 2} if number % 2 else {"g": number})
    for town.day in (50, 51.5):
        town.follow()
    days = (20, 22, 30, 41, 51)
    before, names = [town.at(day) for day in days], town.lake.names("")
    throw_catalogue(town.lake, "open")
    command = [sys.executable, "-c", KILLED, town.lake.root, str(town.lake.state), place, town.now.isoformat()]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not is_followed(town.lake, town.journal) or place == "_expire"
    town.follow()
    assert is_followed(town.lake, town.journal)
    assert ([town.at(day) for day in days], town.lake.names("")) == (before, names)


# Any history ----------------------------------------------------------------------------------------------------------

NAMES, CLASSES = ("g", "h", "k"), ("open", "internal")
MART = st.fixed_dictionaries(
    {
        "columns": st.sampled_from([("v",), ("v", "w"), ("w", "v"), ("v", "x", "w")]).flatmap(
            lambda names: st.fixed_dictionaries(dict.fromkeys(names, st.integers(0, 9)))
        ),
        "of": st.sampled_from(CLASSES),
        "units": st.sampled_from([("whole",), ("a",), ("a", "b")]),
    }
)
NEWS = st.one_of(
    st.tuples(st.just("publish"), st.dictionaries(st.sampled_from(NAMES), MART, min_size=1)),
    st.tuples(st.just("publish"), st.dictionaries(st.sampled_from(NAMES), MART, min_size=1)),
    st.tuples(st.just("empty"), st.sampled_from(NAMES)),
    st.tuples(st.just("withdraw"), st.sampled_from(NAMES)),
    st.tuples(st.just("retract"), st.sampled_from(NAMES)),
    st.tuples(st.just("rebuild"), st.none()),
)
STORY = st.lists(st.tuples(NEWS, st.sampled_from([0.5, 3, 11, 29, 31, 45]), st.booleans()), min_size=1, max_size=7)


class Told:
    """What readers of a class should see, kept apart from what is tested: (day, marts by name) of each publication that concerns it."""

    def __init__(self) -> None:
        self.states: dict[str, list[tuple[float, dict[str, Any]]]] = {of: [] for of in CLASSES}

    def say(self, day: float, changes: dict[tuple[str, str], Any]) -> None:
        """Say what a publication changes: by class and mart, its rows; None where it leaves."""
        for of in {of for of, _ in changes}:
            marts = dict(self.states[of][-1][1]) if self.states[of] else {}
            for (_, name), rows in ((key, rows) for key, rows in changes.items() if key[0] == of):
                marts.pop(name, None)
                marts |= {name: rows} if rows else {}
            self.states[of].append((day, marts))

    def forget(self, of: str, name: str) -> None:
        """Take a mart away, with its past."""
        self.states[of] = [(day, {n: rows for n, rows in marts.items() if n != name}) for day, marts in self.states[of]]

    def kept(self, of: str, now: float) -> list[tuple[float, dict[str, Any]]]:
        """Give what readers may go back to."""
        past = [number for number, (day, _) in enumerate(self.states[of]) if day <= now - 30]
        return self.states[of][max(past, default=0) :]

    def at(self, of: str, day: float, now: float) -> dict[str, Any] | None:
        """Give what readers should see as of a day."""
        return next((marts for since, marts in reversed(self.kept(of, now)) if since <= day), None)


def tell(town: Town, told: Told, news: tuple[str, Any], is_followed: bool) -> None:
    """Do what a story tells, and say what readers should see of it."""
    what, of_what = news
    standing = {name: of for of in CLASSES if told.states[of] for name in told.states[of][-1][1]}
    if what == "rebuild":
        town.rebuild()
    elif what == "publish":
        town.publish(of_what, is_followed)
        changes: dict[tuple[str, str], Any] = {(standing[name], name): None for name in of_what if name in standing}
        for name, mart in of_what.items():
            rows = [tuple(mart["columns"].values())] * len(mart["units"])
            changes[mart["of"], name] = [list(mart["columns"]), *rows]
        told.say(town.day, changes)
    elif of_what in standing:
        of = standing[of_what]
        if what == "empty":
            town.publish({of_what: {"columns": {"v": None}, "of": of}}, is_followed)
            told.say(town.day, {(of, of_what): [["v"]]})
        else:
            town.withdraw(of_what, of=of, is_retracted=what == "retract", is_followed=is_followed)
            told.say(town.day, {(of, of_what): None})
            if what == "retract":
                told.forget(of, of_what)


@settings(
    max_examples=int(os.environ.get("STORIES", "5")), deadline=None, derandomize="STORIES" not in os.environ, phases=[Phase.generate]
)  # a story takes seconds: none is made shorter
@given(STORY)
def test_any_history_reads_as_it_was_for_30_days_live_and_rebuilt(story: list[tuple[tuple[str, Any], float, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        town, told = Town(Path(folder)), Told()
        for news, days, is_followed_now in story:
            tell(town, told, news, is_followed_now)
            town.day += days
        town.follow()
        listed = held(town, told, town.lake)
        follow(town.other, town.journal, now=town.now)
        assert held(town, told, town.other) == listed
        town.day += 1.1
        town.follow()
        names = town.lake.names("")
        town.rebuild()
        assert held(town, told, town.lake) == listed
        assert town.lake.names("") == names
        assert not list(published_faults(town.lake, town.journal, is_deep=True))
        needed = {(of, name) for of in CLASSES for _, marts in [*told.kept(of, town.day - 1), *told.states[of][-1:]] for name in marts}
        assert {tuple(name.split("/")[1:3]) for name in names if name.startswith("marts/") and "/main/" not in name} == needed


def held(town: Town, told: Told, lake: Lake) -> list[Any]:
    """Hold what is read as of any day to what was told; give the lists of publications."""
    for of in CLASSES:
        if not told.states[of]:
            assert not catalogue(lake, of).exists()
            continue
        days = {since + delta for since, _ in told.states[of] for delta in (-0.01, 0)} | {town.day, town.day - 30, town.day + 9}
        seen = town.seen(days, lake, of)
        assert seen == {day: told.at(of, day, town.day) for day in days}, (of, town.day)
        dates = [date for seq, (number, date) in followed(lake, of).snapshots.items() if seq]
        assert dates == [START + since * DAY for since, _ in told.kept(of, town.day)]
    return [town.read("from lake.publications order by all", lake, of) for of in CLASSES if told.states[of]]
