"""Small cells are hidden so that no subtraction gives them back: the macro's own SQL in DuckDB, attacked by linear algebra."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.brick import PROJECT

MACRO = PROJECT / "dbt_project" / "macros" / "disclosure.sql"
SEED = PROJECT / "dbt_project" / "seeds" / "reference" / "disclosure_thresholds.csv"
MINIMUM, SHARE = 3, 0.85
LEVELS = ("epci", "commune", "quartier")
Cell = dict[str, Any]


def sql(**told: Any) -> str:
    """Write the SELECT of the macro, as dbt compiles it."""
    template = jinja2.Environment().from_string(MACRO.read_text(encoding="utf-8"))
    asked = {
        "cells": "cells", "domain": "enterprises", "cell": ["iris"], "levels": list(LEVELS), "contributors": "contributor_count",
        "value": "amount", "largest": "largest", "measures": ["amount", "contributor_count"], "thresholds": "thresholds", **told,
    }  # fmt: skip
    return str(template.module.disclosed(**asked))  # type: ignore[attr-defined]


CONNECTION = duckdb.connect()
CONNECTION.execute("set threads = 1")
CONNECTION.execute(f"create table thresholds as from read_csv('{SEED}')")
CONNECTION.execute(
    "create table cells (epci int, commune int, quartier int, iris int, contributor_count int, amount double, largest double)"
)
SELECT = sql()
AGAIN = sql(shown="shown")


def disclosed(cells: list[Cell], shown: list[Cell] | None = None) -> list[Cell]:
    """Run the macro over cells; with `shown`, what it gave of the table before is what was published."""
    CONNECTION.execute("delete from cells")
    CONNECTION.executemany("insert into cells values (?, ?, ?, ?, ?, ?, ?)", [list(cell.values()) for cell in cells])
    found = CONNECTION.execute(AGAIN if shown is not None else SELECT)
    names = [each[0] for each in found.description]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    if shown is None:
        CONNECTION.execute(f"create or replace table shown as {SELECT}")
    return rows


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


VALUES = st.lists(st.sampled_from([1, 2, 5, 100]), max_size=5)
TOWNS = st.lists(st.lists(st.lists(VALUES, min_size=1, max_size=4), min_size=1, max_size=3), min_size=1, max_size=3)


@settings(max_examples=50, deadline=None)
@given(TOWNS)
def test_no_subtraction_gives_back_what_is_hidden(town: list) -> None:
    cells = cells_of(town)
    rows = disclosed(cells)
    names = {each["iris"]: f"v{each['iris']}" for each in cells}
    attacked(cells, rows, [held for held, _ in equations(rows, names)], names)
    blocks: dict[str, list[Cell]] = {}
    of_iris = {each["iris"]: each for each in cells}
    for row in rows:
        assert (row["amount"] is None) == row["is_suppressed"] and (row["contributor_count"] is None) == row["is_suppressed"]
        if row["disclosure_block"]:
            blocks.setdefault(row["disclosure_block"], []).append(of_iris[row["iris"]])
    for block in blocks.values():
        assert len(block) >= 2 and all(each["contributor_count"] for each in block) and not is_unsafe(tuple(block))


@settings(max_examples=50, deadline=None)
@given(TOWNS, st.data())
def test_nor_does_the_publication_that_follows(town: list, data: st.DataObject) -> None:
    """Some cells change, and what did not is the same unknown in both publications."""
    first = cells_of(town)
    before = disclosed(first)
    changed = {each["iris"]: data.draw(VALUES) for each in first if data.draw(st.integers(0, 3)) == 0}
    second = [
        cell(*(each[n] for n in LEVELS[1:]), each["iris"], changed[each["iris"]]) if each["iris"] in changed else each for each in first
    ]
    rows = disclosed(second, before)
    old = {each["iris"]: f"v{each['iris']}" for each in first}
    new = {iris: f"w{iris}" if iris in changed else name for iris, name in old.items()}
    known = [held for held, _ in [*equations(before, old), *equations(rows, new)]]
    known += [{old[row["iris"]]: 1} for row in before if not row["is_suppressed"]] + [
        {new[r["iris"]]: 1} for r in rows if not r["is_suppressed"]
    ]
    attacked(second, rows, known, new)
    assert all(row["is_suppressed"] or not of["is_suppressed"] or not row["contributor_count"] for row, of in zip(
        sorted(rows, key=lambda r: r["iris"]), sorted(before, key=lambda r: r["iris"]), strict=True
    )), "what was hidden stays hidden"  # fmt: skip


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


@settings(max_examples=50, deadline=None)
@given(TOWNS, st.randoms(use_true_random=False))
def test_nor_does_another_geography_that_cuts_no_block(town: list, random: Any) -> None:
    """Sums by another cut of the same districts are shown where no block, nor any cell without one, lies across its border."""
    cells = cells_of(town)
    rows = disclosed(cells)
    other = {each["iris"]: random.randint(1, 3) for each in cells}
    CONNECTION.execute("create or replace table zones (iris int, zone int)")
    CONNECTION.executemany("insert into zones values (?, ?)", [list(pair) for pair in other.items()])
    template = jinja2.Environment().from_string(MACRO.read_text(encoding="utf-8"))
    select = template.module.disclosed_elsewhere(  # type: ignore[attr-defined]
        "(select shown.*, zones.zone from shown inner join zones on shown.iris = zones.iris)", "zone"
    )
    shown = {zone for zone, is_suppressed in CONNECTION.execute(str(select)).fetchall() if not is_suppressed}
    names = {each["iris"]: f"v{each['iris']}" for each in cells}
    known = [held for held, _ in equations(rows, names)]
    known += [{names[row["iris"]]: 1 for row in rows if row["is_suppressed"] and other[row["iris"]] == zone} for zone in shown]
    attacked(cells, rows, [held for held in known if held], names)


def test_what_is_hidden_is_the_least_and_a_domain_without_thresholds_shows_nothing() -> None:
    town = [[[[5, 5, 5], [5], [5, 5, 5, 5], [5, 5, 5, 5, 5]]], [[[5, 5, 5], [5, 5, 5]]]]
    hidden = [row["iris"] for row in disclosed(cells_of(town)) if row["is_suppressed"]]
    assert sorted(hidden) == [1, 2], "the small cell, and the smallest of its neighbours"
    dominated = [[[[100, 1, 1], [5, 5, 5], [5, 5, 5]], [[5, 5, 5]]]]
    assert 1 in [row["iris"] for row in disclosed(cells_of(dominated)) if row["is_suppressed"]]
    CONNECTION.execute("delete from cells")
    assert CONNECTION.execute(sql(domain="nobody")).fetchall() == []


@pytest.mark.parametrize("domain", ["enterprises", "fiscal_households", "residential_energy", "traffic"])
def test_thresholds_are_those_of_the_seed(domain: str, tmp_path: Path) -> None:
    minimum = CONNECTION.execute("select minimum_count from thresholds where domain = ?", [domain]).fetchall()[0][0]
    cells = [cell(1, 1, iris, [5] * count) for iris, count in enumerate([minimum - 1, minimum, 2 * minimum, 3 * minimum])]
    CONNECTION.execute("delete from cells")
    CONNECTION.executemany("insert into cells values (?, ?, ?, ?, ?, ?, ?)", [list(each.values()) for each in cells])
    found = CONNECTION.execute(f"select iris from ({sql(domain=domain)}) where is_suppressed order by iris").fetchall()
    assert found == [(0,), (1,)]
