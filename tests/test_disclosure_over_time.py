"""No difference between publications tells of one: the macro's own SQL in DuckDB, attacked by linear algebra over all its versions."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any

import duckdb
import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.lake import PROJECT

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
# Each clause of the macro, taken away, is found by the attack.
MUTANTS = {
    "what stands published": ("where has_counted\n", "where false\n"),
    "enough news": ("news_count >= minimum_count", "news_count >= 1"),
    "who has left is remembered": ("else compared.counted end as", "when compared.figure is not null then compared.counted end as"),
    "who comes back is no news": ("past.{{ contributor }} is null or present", "past.counted_{{ figure }} is null or present"),
    "who has counted is remembered": ("compared.has_counted or (decided", "compared.counted is not null or (decided"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_clause_taken_away_is_found(name: str) -> None:
    old, new = MUTANTS[name]
    assert TEXT.count(old) == 1 and lived(BACK)[0] is None
    assert any(lived(stocks, TEXT.replace(old, new))[0] for stocks in [BACK, *map(life, range(50))])


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
