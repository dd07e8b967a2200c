"""No difference between publications tells of one: the macro's own SQL in DuckDB, attacked by linear algebra over all its versions."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.journal import Journal
from ingestion.lake import PROJECT, Lake
from ingestion.published import say_published
from redistribution.catalogue import attach
from redistribution.mart import Mart
from redistribution.publish import publish_marts

TEXT = (PROJECT / "dbt_project" / "macros" / "disclosure.sql").read_text(encoding="utf-8")
T, SHARE = 3, 0.85  # of the domain: how many, and how much one of them may make
Stock = dict[str, float]  # what each building of a commune takes


class Sums:
    """A commune as readers and the house see it: each publication is the macro's SELECT over the stock of the day and what stands."""

    def __init__(self, text: str = TEXT, minimum: int = T, share: float | None = SHARE) -> None:
        module: Any = jinja2.Environment().from_string(text).module
        told = ("figures", "homes", ["commune"], "building", "kwh", "standing", "thresholds")
        self.sql = str(module.disclosed_over_time(*told))
        self.connection = duckdb.connect()
        self.connection.execute("set threads = 1")
        self.connection.execute("create table figures (commune int, building varchar, kwh double)")
        self.connection.execute("create table thresholds (domain varchar, minimum_count bigint, dominance_share double, valid_to date)")
        self.ask(minimum, share)
        empty = (
            "select null::int as commune, null::varchar as building, null::double as counted_kwh, null::boolean as has_counted where false"
        )
        self.connection.execute(f"create table standing as {empty}")

    def ask(self, minimum: int, share: float | None = SHARE) -> None:
        """Have the domain ask for so many contributors."""
        self.connection.execute("delete from thresholds")
        self.connection.execute("insert into thresholds values ('homes', ?, ?, null)", [minimum, share])

    def publish(self, stock: Mapping[str, float | None]) -> tuple[float | None, dict[str, float]]:
        """Give the sum that readers see, none where it is hidden, and the figures that it is of."""
        self.connection.execute("delete from figures")
        for building, kwh in stock.items():
            self.connection.execute("insert into figures values (1, ?, ?)", [building, kwh])
        self.connection.execute(f"create or replace table standing as {self.sql}")
        rows = self.connection.execute("select building, counted_kwh, is_suppressed from standing").fetchall()
        counted = {building: kwh for building, kwh, is_suppressed in rows if kwh is not None and not is_suppressed}
        return (math.fsum(counted.values()), counted) if counted else (None, {})

    def memory(self) -> list[tuple]:
        return self.connection.execute("from standing order by all").fetchall()


def life(seed: int, count: int = 12) -> list[Stock]:
    """Draw the stocks of successive publications: buildings join, leave, come back and are corrected."""
    draw = random.Random(seed)
    pool, stocks = [f"b{n}" for n in range(draw.randint(3, 9))], []
    known = {name: float(draw.randint(50, 150)) for name in draw.sample(pool, draw.randint(0, len(pool)))}
    away: Stock = {}
    for step in range(count):
        for name in pool:
            chance = draw.random()
            if name in known and chance < 0.12:
                away[name] = known.pop(name)
            elif name not in known and chance < 0.4:
                # Who comes back may come back with the very figure that it had.
                known[name] = away.pop(name) if name in away and draw.random() < 0.5 else float(draw.randint(50, 150)) + step / 100
            elif name in known and chance > 0.75:
                known[name] += draw.choice([0.01, 1, 40]) + step / 1000
        stocks.append(dict(known))
    return stocks


def told_by(versions: list[Stock]) -> str | None:
    """Say what an attacker finds who knows of whom each version is: by sums and differences of them all, of fewer than T buildings."""
    known: list[dict[tuple[str, float], Fraction]] = [{each: Fraction(1) for each in version.items()} for version in versions]
    buildings = sorted({name for version in versions for name in version})
    for size in range(1, T):
        for group in itertools.combinations(buildings, size):
            if left := left_of(known, group):
                return f"of {' and '.join(group)} alone: {left}"
    for before, after in itertools.pairwise([{}, *versions]):
        if max(after.values()) > SHARE * sum(after.values()):
            return f"one makes most of a sum: {after}"
        changes = [abs(after.get(name, 0) - before.get(name, 0)) for name in before.keys() | after.keys()]
        if max(changes) > SHARE * sum(changes) + 1e-9:
            return f"one makes most of a change: {changes}"
    return None


def left_of(known: list[dict[tuple[str, float], Fraction]], group: Collection[str]) -> list[tuple[str, float]]:
    """Give the figures in a combination of what is known that is of a group of buildings alone: Gauss, all others eliminated."""
    rows = [dict(row) for row in known]
    for unknown in sorted({each for row in rows for each in row if each[0] not in group}):
        pivot = next((row for row in rows if row.get(unknown)), None)
        if pivot is None:
            continue
        rows = [row for row in rows if row is not pivot]
        for row in rows:
            if times := row.get(unknown, Fraction(0)) / pivot[unknown]:
                for each, value in pivot.items():
                    row[each] = row.get(each, Fraction(0)) - times * value
    return sorted({each for row in rows for each, value in row.items() if value})


def lived(stocks: list[Stock], text: str = TEXT) -> tuple[str | None, int]:
    """Publish the life of a commune and attack it; give what was found, and how many versions were shown."""
    sums, versions = Sums(text), list[Stock]()
    for stock in stocks:
        counted = sums.publish(stock)[1]
        if counted and counted not in versions:
            versions.append(counted)
    return told_by(versions), len(versions)


@pytest.mark.parametrize("seed", range(10))
def test_no_sum_nor_difference_of_any_publications_tells_of_fewer_than_the_threshold(seed: int) -> None:
    assert lived(life(seed))[0] is None


def test_sums_follow_all_the_same() -> None:
    """A rule that shows nothing would pass: most lives show several versions."""
    assert sum(lived(life(seed))[1] for seed in range(10)) >= 20


@pytest.mark.parametrize("seed", range(5))
def test_what_is_published_twice_changes_nothing(seed: int) -> None:
    sums = Sums()
    for stock in life(seed):
        told, memory = sums.publish(stock), sums.memory()
        assert (sums.publish(stock), sums.memory()) == (told, memory)


@settings(max_examples=20, deadline=None)
@given(st.integers(min_value=100))
def test_nor_in_any_other_life(seed: int) -> None:
    assert lived(life(seed))[0] is None


# All are replaced by others, then come back with one more, and stay: too rare to be drawn.
THREE = {"a": 100.0, "b": 90.0, "c": 80.0}
BACK = [THREE, {"d": 70.0, "e": 60.0, "f": 50.0}, *2 * [THREE | {"g": 40.0}]]
# Those that leave made as much as the one that stays.
ALONE = [{"a": 500.0, "b": 500.0, "c": 400.0}, {"a": 500.0, "d": 10.0, "e": 11.0, "f": 12.0}]
# Each clause of the macro, taken away, is found by the attack.
MUTANTS = {
    "what stands published": ("where has_counted\n", "where false\n"),
    "enough news": ("news_count >= minimum_count", "news_count >= 1"),
    "none that makes most of the change": ("and largest_change <= dominance_share * change_value", ""),
    "nor most of the cell": ("and largest_present <= dominance_share * present_value", ""),
    "who has left is remembered": ("else compared.counted end as", "when compared.figure is not null then compared.counted end as"),
    "who comes back is no news": ("past.{{ contributor }} is null or present", "past.counted_{{ figure }} is null or present"),
    "who has counted is remembered": ("compared.has_counted or (decided", "compared.counted is not null or (decided"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_clause_taken_away_is_found(name: str) -> None:
    old, new = MUTANTS[name]
    assert TEXT.count(old) == 1 and lived(BACK)[0] is None and lived(ALONE)[0] is None
    assert any(lived(stocks, TEXT.replace(old, new))[0] for stocks in [BACK, ALONE, *map(life, range(50))])


def test_the_second_building_of_a_commune_is_not_had_by_difference() -> None:
    """What was seen: one building was shown, then two; their difference was the second one's exact figure."""
    sums = Sums()
    assert sums.publish({"a": 100}) == (None, {}) and sums.publish({"a": 100, "b": 90}) == (None, {})
    assert sums.publish({"a": 100, "b": 90, "c": 80}) == (270, {"a": 100, "b": 90, "c": 80})
    assert sums.publish({"a": 100, "b": 90, "c": 80, "d": 70})[0] == 270, "the fourth waits"
    assert sums.publish({"a": 100, "b": 95, "c": 80, "d": 70})[0] == 270, "and a correction"
    assert sums.publish({"a": 100, "b": 95, "c": 80, "d": 70, "e": 60})[0] == 405, "until three bring news"


def test_who_leaves_hides_until_he_is_back_or_three_bring_news() -> None:
    sums, three = Sums(), {"a": 100.0, "b": 90.0, "c": 80.0, "d": 70.0}
    assert sums.publish(three)[0] == 340
    left = {name: kwh for name, kwh in three.items() if name != "d"}
    assert sums.publish(left)[0] is None and sums.publish(left | {"d": None})[0] is None, "a figure that is not known any more has left"
    assert sums.publish(three)[0] == 340
    assert sums.publish({**left, "e": 60.0, "f": 50.0, "g": 40.0})[0] == 420
    assert sums.publish({**left, "e": 60.0, "f": 50.0, "g": 40.0, "d": 70.0, "h": 75.0, "i": 65.0})[0] == 420, "who comes back is no news"


def test_one_that_makes_most_of_a_change_waits() -> None:
    """Three bring news, and two of them next to none: the difference would be the third's, to a hair."""
    sums, before = Sums(), {"a": 100.0, "b": 90.0, "c": 80.0}
    assert sums.publish(before)[0] == 270
    assert sums.publish({"a": 100.1, "b": 90.1, "c": 80.0, "d": 70.0})[0] == 270
    assert sums.publish({"a": 150.0, "b": 90.1, "c": 80.0, "d": 70.0})[0] == pytest.approx(390.1)
    assert sums.publish({"b": 90.2, "c": 80.1, "d": 70.1})[0] is None, "who leaves would be told by those that hardly change"
    assert Sums().publish({"a": 1000.0, "b": 90.0, "c": 80.0})[0] is None, "one makes most of the cell"
    assert Sums(share=None).publish({"a": 1000.0, "b": 90.0, "c": 80.0})[0] == 1170


def test_a_domain_that_asks_for_more_hides_what_stands_and_one_that_is_told_nowhere_shows_nothing() -> None:
    sums, three = Sums(), {"a": 100.0, "b": 90.0, "c": 80.0}
    assert sums.publish(three)[0] == 270
    sums.ask(4)
    assert sums.publish(three)[0] is None
    sums.ask(3)
    assert sums.publish(three)[0] == 270
    sums.connection.execute("delete from thresholds")
    assert sums.publish(three) == (None, {})


# Through the lake: published, read as the models of dbt read it, and attacked with all that readers keep. -----------------


class Town:
    """A lake whose open mart is summed by its memory, which reads what stands published of it as dbt's models do."""

    MEMORY = Mart("homes_by_month", "marts.homes_by_month", "internal", {"b": "internal"}, ("commune", "building"))
    OPEN = Mart(
        "energy_by_commune", "marts.energy_by_commune", "open", {"b": "internal"}, ("commune",), declassified_because="Sums.",
        memories=frozenset({"homes_by_month"}),
    )  # fmt: skip
    COLUMNS: ClassVar = {"commune": "bigint", "building": "varchar", "counted_kwh": "double", "has_counted": "boolean"}

    def __init__(self, folder: Path) -> None:
        self.lake = Lake(str(folder / "lake"), str(folder / "state"))
        Journal(self.lake).found_lake("Rennes Métropole", is_synthetic=True)
        self.runs = 0

    def build(self, stock: Stock) -> None:
        """Make the memory and the open mart of a stock, in the warehouse."""
        connection = self.lake.connect(str(self.lake.state_path("warehouse.duckdb")))
        connection.execute("create schema if not exists meta; create schema if not exists marts")
        say_published(connection, self.lake, Journal(self.lake))
        held = connection.execute("select count(*) from information_schema.columns where table_schema = 'published'").fetchall()[0][0]
        empty = ", ".join(f"null::{kind} as {name}" for name, kind in self.COLUMNS.items())
        stands = "from published.homes_by_month" if held else f"select {empty} where false"
        connection.execute(f"create or replace view standing as {stands}")
        asked = f"'homes' as domain, {T} as minimum_count, {SHARE} as dominance_share, null::date as valid_to"
        connection.execute(f"create or replace table thresholds as select {asked}")
        connection.execute("create or replace table figures (commune bigint, building varchar, kwh double)")
        for each in stock.items():
            connection.execute("insert into figures values (1, ?, ?)", each)
        connection.execute(f"create or replace table made as {Sums().sql}")
        connection.execute("create or replace table marts.homes_by_month as from made")
        shown = "sum(counted_kwh order by building) filter (where not is_suppressed)"
        connection.execute(f"create or replace table marts.energy_by_commune as select commune, {shown} as kwh from made group by commune")
        connection.close()

    def publish(self, judge: Any = lambda *_: ([], {"warnings": []})) -> Any:
        self.runs += 1
        return publish_marts(self.lake, Journal(self.lake), [self.OPEN, self.MEMORY], f"run-{self.runs}", judge)

    def kept(self) -> list[float]:
        """Give every sum that a reader may have kept: each snapshot of the catalogue, each file, the stable one."""
        connection = self.lake.connect()
        attach(connection, self.lake, "open")
        snapshots = connection.execute("select snapshot_id from lake.snapshots() where commit_message is not null").fetchall()
        places = [f"lake.energy_by_commune at (version => {number})" for (number,) in snapshots]
        names = [name for name in self.lake.names("marts/open") if name.endswith(".parquet") and "/main/" not in name]
        places += [f"'{self.lake.path(name)}'" for name in [*names, "files/open/energy_by_commune.parquet"]]
        found = [row for place in places for row in connection.execute(f"select kwh from {place}").fetchall()]
        connection.close()
        return sorted({kwh for (kwh,) in found if kwh is not None})


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


def test_what_readers_keep_of_all_publications_tells_of_no_building(town: Town) -> None:
    """Files and time travel: each pair is subtracted, and no difference is what one building takes, nor two together."""
    four = THREE | {"d": 71.25}
    six = four | {"e": 61.0625, "f": 52.5}
    two, corrected, left = {"a": 100.0, "b": 90.5}, four | {"b": 95.125}, {name: kwh for name, kwh in six.items() if name != "e"}
    stocks: list[Stock] = [two, THREE, four, corrected, six, left, six | {"g": 43.03125}]
    for stock in stocks:
        town.build(stock)
        town.publish()
    town.build(stocks[-1])
    assert town.publish() is None, "what is published is what it is compared with: nothing is new"
    kept = town.kept()
    assert kept == [270.0, 454.8125]
    single = {kwh for stock in stocks for kwh in stock.values()}
    small = single | {one + other for one, other in itertools.combinations(single, 2)}
    assert not {abs(one - other) for one, other in itertools.combinations([0.0, *kept], 2)} & small


def test_a_warehouse_thrown_away_remembers(town: Town) -> None:
    town.build(THREE)
    town.publish()
    town.lake.state_path("warehouse.duckdb").unlink()
    town.build(THREE | {"d": 70.0})
    assert town.publish() is not None and town.kept() == [270.0], "the memory is published, the sum waits"


def test_a_mart_is_never_ahead_of_its_memory(town: Town) -> None:
    town.build(THREE)
    entry = town.publish(lambda lake, name, *_: (["odd"] if name == "homes_by_month" else [], {"warnings": []}))
    assert entry["marts"] == {} and "homes_by_month, by which what stands published" in entry["withheld"]["energy_by_commune"]["reasons"][0]
    assert set(town.publish()["marts"]) == {"homes_by_month", "energy_by_commune"}


def test_a_memory_whose_files_are_lost_is_said_so_and_has_no_view(town: Town) -> None:
    town.build(THREE)
    town.publish()
    connection = town.lake.connect()
    connection.execute("create schema meta")
    say_published(connection, town.lake, Journal(town.lake))
    assert connection.execute("select has_counted from published.homes_by_month").fetchall() == 3 * [(True,)]
    (file,) = town.lake.names("marts/internal/homes_by_month")
    town.lake.delete([file])
    say_published(connection, town.lake, Journal(town.lake))
    assert connection.execute("select count(*) from published.homes_by_month").fetchall() == [(3,)], "by its stable name"
    town.lake.delete(["files/internal/homes_by_month.parquet"])
    say_published(connection, town.lake, Journal(town.lake))
    told = connection.execute("select mart, is_whole from meta.published order by mart").fetchall()
    assert told == [("energy_by_commune", True), ("homes_by_month", False)]
    views = connection.execute("select view_name from duckdb_views() where schema_name = 'published'").fetchall()
    assert views == [("energy_by_commune",)]
    connection.close()


@pytest.mark.soak
def test_hundreds_of_lives_are_attacked_in_vain() -> None:
    assert [seed for seed in range(10_000, 10_500) if lived(life(seed))[0]] == []
