"""Small cells are hidden so that no subtraction gives them back: the macro's own SQL in DuckDB, attacked by linear algebra."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.lake import PROJECT

TEXT = (PROJECT / "dbt_project" / "macros" / "disclosure.sql").read_text(encoding="utf-8")
SEED = PROJECT / "dbt_project" / "seeds" / "reference" / "disclosure_thresholds.csv"
MINIMUM, SHARE = 3, 0.85
LEVELS = ("epci", "commune", "quartier")
ELSEWHERE = "(select shown.*, zones.zone from shown inner join zones on shown.iris = zones.iris)"
Cell = dict[str, Any]


class Macro:
    """The SELECTs of the macros, as dbt compiles them from a text: of a first publication, of one that follows, of another geography."""

    def __init__(self, text: str) -> None:
        self.module: Any = jinja2.Environment().from_string(text).module
        self.first, self.again = self.sql(), self.sql(shown="shown")
        self.elsewhere = str(self.module.disclosed_elsewhere(ELSEWHERE, "zone"))

    def sql(self, **told: Any) -> str:
        asked = {
            "cells": "cells", "domain": "enterprises", "cell": ["iris"], "levels": list(LEVELS), "contributors": "contributor_count",
            "value": "amount", "largest": "largest", "measures": ["amount", "contributor_count"], "thresholds": "thresholds", **told,
        }  # fmt: skip
        return str(self.module.disclosed(**asked))


CONNECTION = duckdb.connect()
CONNECTION.execute("set threads = 1")
CONNECTION.execute(f"create table thresholds as from read_csv('{SEED}')")
CONNECTION.execute(
    "create table cells (epci int, commune int, quartier int, iris int, contributor_count int, amount double, largest double)"
)
CONNECTION.execute("create table zones (iris int, zone int)")
OWN = Macro(TEXT)


def fill(table: str, rows: list[Any]) -> None:
    CONNECTION.execute(f"delete from {table}")
    if rows:
        CONNECTION.execute(f"insert into {table} values {', '.join(str(tuple(row)) for row in rows)}")


def disclosed(cells: list[Cell], shown: list[Cell] | None = None, macro: Macro = OWN) -> list[Cell]:
    """Run the macro over cells; with `shown`, what it gave of the table before is what was published."""
    fill("cells", [each.values() for each in cells])
    if shown is None:
        CONNECTION.execute(f"create or replace table shown as {macro.first}")
    found = CONNECTION.execute("from shown" if shown is None else macro.again)
    names = [each[0] for each in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def cell(commune: int, quartier: int, iris: int, values: list[int]) -> Cell:
    """Give a cell by what each of its contributors gives."""
    return {
        "epci": 1, "commune": commune, "quartier": quartier, "iris": iris,
        "contributor_count": len(values), "amount": float(sum(values)), "largest": float(max(values, default=0)),
    }  # fmt: skip


def cells_of(town: list[list[list[list[int]]]]) -> list[Cell]:
    numbers = itertools.count(1)
    quarters = itertools.count(1)
    return [
        cell(c, q, next(numbers), values) for c, parts in enumerate(town) for part in parts for q in [next(quarters)] for values in part
    ]


def equations(rows: list[Cell], names: dict[int, str]) -> list[tuple[dict[str, int], str]]:
    """Give what readers see as sums of the unknown cells: each shown total less its shown cells. `names` are the unknown, by iris."""
    hidden = [row for row in rows if row["is_suppressed"]]
    found = []
    for depth, level in enumerate(LEVELS):
        of = LEVELS[: depth + 1]
        for total in {tuple(row[name] for name in of) for row in rows if not row[f"{level}_is_suppressed"]}:
            held = {names[row["iris"]]: 1 for row in hidden if tuple(row[name] for name in of) == total}
            found.append((held, f"{level} {total}"))
    return [(held, told) for held, told in found if held]


def is_sum_known(known: list[dict[str, int]], asked: dict[str, int]) -> bool:
    """Say whether a sum of unknowns can be had by adding and subtracting sums that are known: Gauss, in fractions."""
    unknowns = sorted({name for row in [*known, asked] for name in row})
    matrix = [[Fraction(row.get(name, 0)) for name in unknowns] for row in known]
    rest = [Fraction(asked.get(name, 0)) for name in unknowns]
    for column in range(len(unknowns)):
        pivot = next((row for row in matrix if row[column]), None)
        if pivot is None:
            continue
        matrix = [row for row in matrix if row is not pivot]
        for row in [*matrix, rest]:
            if row[column]:
                times = row[column] / pivot[column]
                row[:] = [a - times * b for a, b in zip(row, pivot, strict=True)]
    return not any(rest)


def is_unsafe(group: tuple[Cell, ...]) -> bool:
    """Say whether the sum of some cells would tell of too few, or of one of them."""
    amount = sum(each["amount"] for each in group)
    few = sum(each["contributor_count"] for each in group) < MINIMUM
    return few or max(each["largest"] for each in group) > SHARE * amount


def attacked(cells: list[Cell], rows: list[Cell], known: list[dict[str, int]], names: dict[int, str]) -> None:
    """Try each hidden cell, and each sum of a few that would tell too much."""
    of_iris = {each["iris"]: each for each in cells}
    hidden = [of_iris[row["iris"]] for row in rows if row["is_suppressed"]]
    for size in (1, 2, 3):
        for group in itertools.combinations(hidden[:9], size):
            if is_unsafe(group):
                assert not is_sum_known(known, {names[each["iris"]]: 1 for each in group}), [each["iris"] for each in group]
    for row in rows:  # what is shown tells nothing by itself either
        if not row["is_suppressed"] and of_iris[row["iris"]]["contributor_count"]:
            assert not is_unsafe((of_iris[row["iris"]],))
    for depth, level in enumerate(LEVELS):
        totals: dict[tuple, list[Cell]] = {}
        for row in rows:
            if of_iris[row["iris"]]["contributor_count"] and not row[f"{level}_is_suppressed"]:
                totals.setdefault(tuple(row[name] for name in LEVELS[: depth + 1]), []).append(of_iris[row["iris"]])
        assert not [key for key, group in totals.items() if is_unsafe(tuple(group))], level


Situation = tuple[list, dict[int, list[int]] | None, dict[int, int] | None]


def blocks_hold(cells: list[Cell], rows: list[Cell]) -> None:
    """What can be subtracted is a sum of two cells at least, none of them empty, that tells of nobody."""
    of_iris = {each["iris"]: each for each in cells}
    blocks: dict[str, list[Cell]] = {}
    for row in rows:
        assert (row["amount"] is None) == row["is_suppressed"] and (row["contributor_count"] is None) == row["is_suppressed"]
        if row["disclosure_block"]:
            blocks.setdefault(row["disclosure_block"], []).append(of_iris[row["iris"]])
    for block in blocks.values():
        assert len(block) >= 2 and all(each["contributor_count"] for each in block) and not is_unsafe(tuple(block)), "block"


def attack(macro: Macro, told: Situation) -> tuple[str | None, int]:
    """Attack what a macro shows of a situation: one publication, two geographies, two publications.

    Gives what was found, None for nothing, and how much is hidden.
    """
    town, changed, other = told
    first, hidden = cells_of(town), 0
    try:
        before = disclosed(first, macro=macro)
        old = {each["iris"]: f"v{each['iris']}" for each in first}
        held = [held for held, _ in equations(before, old)]
        attacked(first, before, held, old)
        blocks_hold(first, before)
        hidden += hidden_of(before)
        if other:
            fill("zones", list(other.items()))
            shown = {zone for zone, is_suppressed in CONNECTION.execute(macro.elsewhere).fetchall() if not is_suppressed}
            zones = [{old[row["iris"]]: 1 for row in before if row["is_suppressed"] and other[row["iris"]] == zone} for zone in shown]
            attacked(first, before, held + [each for each in zones if each], old)
            hidden -= len(shown)
        if changed is not None:
            second = [
                cell(*(each[n] for n in LEVELS[1:]), each["iris"], changed[each["iris"]]) if each["iris"] in changed else each
                for each in first
            ]
            rows = disclosed(second, before, macro)
            new = {iris: f"w{iris}" if iris in changed else name for iris, name in old.items()}
            known = held + [held for held, _ in equations(rows, new)]
            known += [{old[row["iris"]]: 1} for row in before if not row["is_suppressed"]]
            known += [{new[row["iris"]]: 1} for row in rows if not row["is_suppressed"]]
            attacked(second, rows, known, new)
            blocks_hold(second, rows)
            hidden += hidden_of(rows)
            were = {row["iris"] for row in before if row["is_suppressed"]}
            seen = {row["iris"] for row in rows if not row["is_suppressed"] and row["contributor_count"]}
            assert not were & seen, "what was hidden stays hidden"
            for depth, level in enumerate(LEVELS):
                of = LEVELS[: depth + 1]
                filled = {tuple(each[name] for name in of) for each in second if each["contributor_count"]}  # an empty one is told
                were_hidden = {tuple(row[name] for name in of) for row in before if row[f"{level}_is_suppressed"]}
                are_shown = {tuple(row[name] for name in of) for row in rows if not row[f"{level}_is_suppressed"]}
                assert not filled & were_hidden & are_shown, "a total that was hidden stays hidden"
    except AssertionError as error:
        return str(error) or "shown", hidden
    return None, hidden


def hidden_of(rows: list[Cell]) -> int:
    return sum(row["is_suppressed"] + sum(row[f"{level}_is_suppressed"] for level in LEVELS) for row in rows)


VALUES = st.lists(st.sampled_from([1, 2, 5, 100]), max_size=5)
TOWNS = st.lists(st.lists(st.lists(VALUES, min_size=1, max_size=4), min_size=1, max_size=3), min_size=1, max_size=3)


@settings(max_examples=50, deadline=None)
@given(TOWNS)
def test_no_subtraction_gives_back_what_is_hidden(town: list) -> None:
    assert attack(OWN, (town, None, None))[0] is None


@settings(max_examples=50, deadline=None)
@given(TOWNS, st.data())
def test_nor_does_the_publication_that_follows(town: list, data: st.DataObject) -> None:
    """Some cells change, and what did not is the same unknown in both publications."""
    changed = {each["iris"]: data.draw(VALUES) for each in cells_of(town) if data.draw(st.integers(0, 3)) == 0}
    assert attack(OWN, (town, changed, None))[0] is None


@settings(max_examples=50, deadline=None)
@given(TOWNS, st.randoms(use_true_random=False))
def test_nor_does_another_geography_that_cuts_no_block(town: list, random: Any) -> None:
    """Sums by another cut of the same districts are shown where no block, nor any cell without one, lies across its border."""
    assert attack(OWN, (town, None, {each["iris"]: random.randint(1, 3) for each in cells_of(town)}))[0] is None


def test_a_cell_that_appears_beside_hidden_ones_hides_their_total() -> None:
    """Found by the attack: the sum of what was hidden before is known, so that it protects nothing new."""
    before = disclosed(first := [cell(0, 1, 1, [1]), cell(0, 1, 2, []), cell(0, 2, 3, [1, 1])])
    assert [row["commune_is_suppressed"] for row in before] == [False] * 3
    rows = disclosed([*first[:1], cell(0, 1, 2, [1]), *first[2:]], before)
    assert [row["commune_is_suppressed"] for row in rows] == [True] * 3


@settings(max_examples=20, deadline=None)
@given(TOWNS)
def test_the_same_data_published_again_hides_the_same(town: list) -> None:
    cells = cells_of(town)
    before = disclosed(cells)
    assert sorted(map(str, disclosed(cells, before))) == sorted(map(str, before))


def test_what_is_hidden_is_the_least_and_a_domain_without_thresholds_shows_nothing() -> None:
    town = [[[[5, 5, 5], [5], [5, 5, 5, 5], [5, 5, 5, 5, 5]]], [[[5, 5, 5], [5, 5, 5]]]]
    hidden = [row["iris"] for row in disclosed(cells_of(town)) if row["is_suppressed"]]
    assert sorted(hidden) == [1, 2], "the small cell, and the smallest of its neighbours"
    dominated = [[[[100, 1, 1], [5, 5, 5], [5, 5, 5]], [[5, 5, 5]]]]
    assert 1 in [row["iris"] for row in disclosed(cells_of(dominated)) if row["is_suppressed"]]
    fill("cells", [])
    assert CONNECTION.execute(OWN.sql(domain="nobody")).fetchall() == []


@pytest.mark.parametrize("domain", ["enterprises", "fiscal_households", "residential_energy", "traffic"])
def test_thresholds_are_those_of_the_seed(domain: str, tmp_path: Path) -> None:
    minimum = CONNECTION.execute("select minimum_count from thresholds where domain = ?", [domain]).fetchall()[0][0]
    cells = [cell(1, 1, iris, [5] * count) for iris, count in enumerate([minimum - 1, minimum, 2 * minimum, 3 * minimum])]
    fill("cells", [each.values() for each in cells])
    found = CONNECTION.execute(f"select iris from ({OWN.sql(domain=domain)}) where is_suppressed order by iris").fetchall()
    assert found == [(0,), (1,)]


# Each clause of the macro, taken away, is found by the attack ---------------------------------------------------------


def situation(seed: int) -> Situation:
    """Draw a town, what changes of it at the next publication, and another geography."""
    draw = random.Random(seed)

    def values() -> list[int]:
        return [draw.choice([1, 2, 5, 100]) for _ in range(draw.choice([0, 1, 1, 2, 2, 3, 4, 5]))]

    town = [
        [[values() for _ in range(draw.choice([1, 2, 2, 3, 4]))] for _ in range(draw.choice([1, 1, 2, 3]))]
        for _ in range(draw.choice([1, 2, 2, 3]))
    ]
    count = sum(len(part) for commune in town for part in commune)
    changed = {iris: values() for iris in range(1, count + 1) if draw.random() < 0.35} if draw.random() < 0.85 else None
    other = {iris: draw.randint(1, 3) for iris in range(1, count + 1)} if draw.random() < 0.5 else None
    return town, changed, other


def is_found(mutant: Macro, told: Situation) -> bool:
    """Say whether what a mutant shows can be subtracted, or what it hides is more than the macro."""
    found, hidden = attack(mutant, told)
    return found is not None or hidden > attack(OWN, told)[1]


# What is taken away (where it stands several times, which), what is put in its place, and a situation in which that is seen.
HIDDEN = "{% for wider in range(depth, levels | length + 1) %}hidden_{{ wider }}.is_hidden{{ ' or ' if not loop.last }}{% endfor %} as"
PARTS = "({% for depth in range(levels | length + 1) %}hidden_{{ depth }}.is_hidden{{ ' or ' if not loop.last }}{% endfor %})"
NEW = "cells.{{ contributors }} > 0 and not coalesce(shown.is_suppressed, false) as is_new"
MUTANTS: dict[str, tuple[str, str, int | Situation | None]] = {
    "two at least": ("group_parts >= 2", "group_parts >= 1", 22),
    "that reach the threshold together": ("and group_count >= minimum_count", "", 12),
    "and pass dominance": ("and group_largest <= dominance_share * group_value", "", 0),
    "all the small ones among them": ("part_rank >= small_count", "true", 11),
    "none of them empty": ("when part_count = 0 or is_known then 0", "when is_known then 0", 22),
    "what readers know protects nothing": ("when part_count = 0 or is_known then 0", "when part_count = 0 then 0", 10),
    "the smallest of its neighbours": ("is_small desc, is_known, part_count, {{ part", "is_small desc, is_known, {{ part", 0),
    "what readers do not know first": ("is_small desc, is_known, part_count", "is_small desc, part_count", None),
    "the small ones first": ("order by is_small desc, is_known", "order by is_known", 8),
    "a cell of few": ("or part_count < thresholds.minimum_count", "", 0),
    "a cell that one dominates": ("or part_largest > thresholds.dominance_share * part_value", "", 0),
    "what was hidden stays hidden": ("was_hidden\n            or {{ 'is", "false\n            or {{ 'is", 11),
    "a total that its parts do not protect": ("{{ 'is_unprotected' if depth else 'false' }}", "false", 10),
    "nor the widest": ("(was_hidden or is_unprotected) as is_hidden", "was_hidden as is_hidden", 7),
    "the widest that was hidden stays hidden": ("(was_hidden or is_unprotected) as is_hidden", "is_unprotected as is_hidden", 34),
    "what was hidden protects nothing new": ("was_hidden and max(", "false and max(", 39),
    "beside what appears": ("(is_new or not was_hidden)", "not was_hidden", 39),
    "beside what is small now": ("(is_new or not was_hidden)", "is_new", ([[[[1, 1], [1, 1]], [[1]], [[1, 1]]]], {1: [1], 2: []}, None)),
    "which is told to the wider total": ("small_count > 0 and last_hidden is null as is_total", "false as is_total", 7),
    "none but those, where they are enough": ("coalesce(part_rank <= last_hidden, false)", "true", 0),
    "a hidden total hides its parts": (f"and {PARTS}", "and hidden_0.is_hidden", 17),
    "and the totals in it": (HIDDEN, "hidden_{{ depth }}.is_hidden as", 1),
    "new is what has contributors": (NEW, "not coalesce(shown.is_suppressed, false) as is_new", 0),
    "new is what was not hidden": (NEW, "cells.{{ contributors }} > 0 as is_new", 0),
    "a cell that was shown is known": ("coalesce(not shown.is_suppressed, false) as is_known", "false as is_known", 40),
    "a total that was shown is known": ("coalesce(not shown.{{ level }}_is_suppressed, false)", "false", 16),
    "a total that was hidden is remembered": ("coalesce(shown.{{ level }}_is_suppressed, false)", "false", 25),
    "known in the wider total too": ("bool_and({{ level }}_is_known) as is_known", "false as is_known", 16),
    "remembered in the wider total too": ("bool_or({{ level }}_was_hidden) as was_hidden", "false as was_hidden", 25),
    "new in the wider total too": ("bool_or(is_new) as is_new", "false as is_new", 39),
    "no zone of what no total holds": ("disclosure_block is null\n            or ", "", ([[[[1]]]], None, {1: 1})),
    "no zone that cuts a block": (
        "or min({{ zone }}) over (partition by disclosure_block) !=",
        "or max({{ zone }}) over (partition by disclosure_block) !=",
        0,
    ),
}


def mutated(name: str) -> Macro:
    """Give the macro without one of its clauses."""
    old, new, _ = MUTANTS[name]
    assert TEXT.count(old) == 1, f"{name}: the clause stands there {TEXT.count(old)} times"
    return Macro(TEXT.replace(old, new))


@pytest.mark.parametrize("name", [name for name, (*_, told) in MUTANTS.items() if told is not None])
def test_a_clause_taken_away_is_found(name: str) -> None:
    seen = MUTANTS[name][2]
    told = situation(seen) if isinstance(seen, int) else seen
    assert told
    assert attack(OWN, told)[0] is None and is_found(mutated(name), told)


@pytest.mark.parametrize(("name", "hidden"), [(None, [3, 4]), ("what readers do not know first", [1, 3, 4])])
def test_beside_a_cell_that_is_new_what_readers_know_is_not_hidden_for_nothing(name: str | None, hidden: list[int]) -> None:
    macro = mutated(name) if name else OWN
    before = disclosed(first := [cell(0, 1, 1, [5, 5, 5]), cell(0, 1, 2, [5] * 9)], macro=macro)
    rows = disclosed([*first, cell(0, 1, 3, [1]), cell(0, 1, 4, [5, 5, 5, 5])], before, macro)
    assert sorted(row["iris"] for row in rows if row["is_suppressed"]) == hidden


@pytest.mark.soak
def test_thousands_of_situations_are_attacked_in_vain_and_no_clause_is_idle() -> None:
    """Longer: the macro as it is over 3,000 towns, and each of its mutants until it is found, by other towns than above."""
    assert [seed for seed in range(10_000, 13_000) if attack(OWN, situation(seed))[0]] == []
    for name, (*_, seen) in MUTANTS.items():
        if not isinstance(seen, int):
            continue  # too rare to be met by chance
        macro = mutated(name)
        assert next((seed for seed in range(20_000, 23_000) if is_found(macro, situation(seed))), None), name
