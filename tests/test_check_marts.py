"""What `make check` asks of marts with the whole project before it: each rule broken once, and named with its mend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.check_dbt import faults_of_classes, faults_of_facts, faults_of_seeds, revised_seeds
from tests.check_marts import faults_of_marts
from tests.test_meta import Node, node

CODES = {"energy": {"gas": {}, "wood": {}}, "unit": {unit: {} for unit in ("kWh", "m2", "kWh/m2", "share")}}
DOMAINS = ["enterprises"]
Project = dict[str, Any]


def data_test(name: str, attached: str = "energy_by_month", column: str | None = None, **kwargs: Any) -> Node:
    return {
        "unique_id": f"{name} of {attached}", "resource_type": "test", "fqn": ["p", "t"], "attached_node": attached, "column_name": column,
        "test_metadata": {"name": name, "kwargs": kwargs},
    }  # fmt: skip


def project(*nodes: Node) -> Project:
    """Give a manifest whose mart, a sum by month, holds every rule."""
    mart = node("energy_by_month", ["int_months"], "select month_date, sum(kwh) from int_months group by month_date")
    told = [mart, data_test("unique_rows", columns=["energy", "month_date"]), *nodes]
    tests = {"u": {"name": "it_sums", "model": "energy_by_month"}}
    return {"nodes": {each["unique_id"]: each for each in told}, "unit_tests": tests, "sources": {}}


def meta(project: Project) -> dict[str, Any]:
    told: dict[str, Any] = project["nodes"]["energy_by_month"]["config"]["meta"]
    return told


def add(project: Project, name: str, data_type: str = "double", **told: Any) -> None:
    column = {"name": name, "data_type": data_type, "description": name, "config": {"meta": told}}
    project["nodes"]["energy_by_month"]["columns"][name] = column


def of(project: Project, name: str) -> dict[str, Any]:
    told: dict[str, Any] = project["nodes"]["energy_by_month"]["columns"][name]["config"]["meta"]
    return told


KWH = {"unit": "kWh", "nature": "measured", "aggregate": "sum"}
BROKEN: list[tuple[Callable[[Project], Any], str]] = [
    (lambda p: p["nodes"].pop("unique_rows of energy_by_month"), "no test holds that no two rows have one grain"),
    (lambda p: meta(p).update(grain=["month_date"]), "no test holds that no two rows have one grain"),
    (lambda p: add(p, "reference_kwh", **KWH), "column reference_kwh: is compared with, and the mart says no `reference_value`"),
    (lambda p: add(p, "target_kwh", **KWH), "column target_kwh: is compared with, and the mart says no `target_value`"),
    (lambda p: meta(p).update(reference_value="energy"), "column energy: `reference_value` names it, and it is no measure"),
    (lambda p: meta(p).update(target_value="area_m2"), "column area_m2: `target_value` names it, and no other measure has its unit (m2)"),
    (lambda p: of(p, "completeness_share").update(unit="kWh"), "`completeness` names it, and it is no share"),
    (lambda p: of(p, "kwh").update(nature="estimated"), "column kwh: is estimated, and no column says so and how"),
    (lambda p: add(p, "is_factor_verified", "boolean"), "is_factor_verified: tells what nobody has verified"),
    (lambda p: meta(p).update(estimated="kwh"), "column kwh: `estimated` names it, and it is a double"),
    (lambda p: of(p, "kwh").update(unit="therm"), "column kwh: its unit therm has no label"),
    (lambda p: of(p, "kwh_per_m2").update(aggregate="sum"), "column kwh_per_m2: says `aggregate: sum`, and kWh/m2 does not sum"),
    (lambda p: of(p, "completeness_share").update(aggregate="sum"), "says `aggregate: sum`, and share does not sum"),
    (lambda p: of(p, "kwh_per_m2").update(components=["kwh", "energy"]), "`components` names energy, which is no measure"),
    (lambda p: of(p, "kwh_per_m2").update(weight="energy"), "`weight` names energy, which is no measure"),
    (lambda p: meta(p).update(display={"figures": ["absent"]}), "column absent: `display.figures` names it"),
    (lambda p: meta(p).update(display={"colour": "kwh"}), "`display` says colour, which no page knows"),
    (lambda p: meta(p)["questions"][0].update(sql="select y from x having avg(c) > 0"), "says by hand which months are complete"),
    (lambda p: p["unit_tests"].clear(), "computes, and has no unit test"),
    (lambda p: add(p, "is_suppressed", "boolean"), "has a column is_suppressed, and says no `disclosure`"),
    (lambda p: meta(p).update(disclosure="producer"), "says `disclosure`, and has no column is_suppressed"),
    (lambda p: (add(p, "is_suppressed", "boolean"), meta(p).update(disclosure="fish")), "`disclosure: fish` is no domain"),
    (lambda p: (add(p, "is_suppressed", "boolean"), meta(p).update(disclosure="enterprises")), "hides its cells by no macro `disclosed`"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "told"), BROKEN, ids=[told for _, told in BROKEN])
def test_each_rule_is_named_where_it_is_broken(broken: Callable[[Project], Any], told: str) -> None:
    whole = project()
    assert faults_of_marts(whole, CODES, DOMAINS) == []
    broken(whole)
    faults = faults_of_marts(whole, CODES, DOMAINS)
    assert [fault for fault in faults if told in fault and "Mend: " in fault], faults


def test_what_holds_the_rules_is_let_be() -> None:
    """A mart that compares, estimates, hides cells and tells a unit row by row, as it should."""
    whole = project(node("int_months", [], "{{ disclosed('cells', 'enterprises', ['x']) }}", "intermediate"))
    add(whole, "reference_kwh", **KWH)
    add(whole, "is_factor_verified", "boolean")
    add(whole, "method", "string")
    add(whole, "observed_value", unit="energy", nature="estimated", aggregate="none")
    add(whole, "is_suppressed", "boolean")
    meta(whole).update(reference_value="reference_kwh", estimated=["is_factor_verified", "method"], disclosure="enterprises")
    meta(whole)["questions"][0].update(sql="select sum(kwh) from energy_by_month where month_date in {period}")
    assert faults_of_marts(whole, CODES, DOMAINS) == []
    meta(whole).update(disclosure="producer")
    assert faults_of_marts(whole, CODES, DOMAINS) == []


@pytest.mark.parametrize(
    ("code", "is_held"),
    [
        ("{{ disclosed('cells', 'enterprises', ['x']) }}", True),
        ("{{ disclosed(ref('int_cells'), 'enterprises', ['x']) }}", True),
        ("{{ disclosed(\n    cells=ref('int_cells'),\n    cell=['x'], domain=\"enterprises\"\n) }}", True),
        ("{{ disclosed('cells', 'enterprises_small', ['x']) }}", False),
        ("{{ disclosed('enterprises', 'traffic', ['enterprises']) }}", False),
        ("-- {{ disclosed('cells', 'enterprises', ['x']) }}\nselect 1", False),
        ("{# as\n{{ disclosed('cells', 'enterprises', ['x']) }}\n#} select 1", False),
        ("{{ disclosed_elsewhere('cells', 'enterprises') }}", False),
    ],
)
def test_the_macro_of_a_domain_is_a_call_of_it(code: str, is_held: bool) -> None:
    whole = project(node("int_months", [], code, "intermediate"))
    add(whole, "is_suppressed", "boolean")
    meta(whole).update(disclosure="enterprises")
    faults = [fault for fault in faults_of_marts(whole, CODES, DOMAINS) if "by no macro `disclosed`" in fault]
    assert bool(faults) != is_held


def test_the_macro_that_compares_with_what_stands_is_one_as_well() -> None:
    whole = project(node("int_months", [], "{{ disclosed_over_time('figures', 'enterprises', ['x']) }}", "intermediate"))
    add(whole, "is_suppressed", "boolean")
    meta(whole).update(disclosure="enterprises")
    assert faults_of_marts(whole, CODES, DOMAINS) == []


@pytest.mark.parametrize(
    ("access_class", "source_class", "is_personal", "told"),
    [
        ("open", "internal", False, "column kwh: is summed, and the mart is below the class of homes: a sum of few tells of one"),
        ("internal", "internal", True, "column kwh: is summed, and the mart is made of persons, by homes: a sum of few tells of one"),
        ("internal", "internal", False, None),
        ("open", "open", False, None),
    ],
)
def test_a_mart_that_sums_what_fewer_may_see_hides_small_cells_or_says_why_not(
    access_class: str, source_class: str, is_personal: bool, told: str | None
) -> None:
    """A source is found through any number of models."""
    whole = project(node("int_months", ["stg_homes__homes"], "select 1", "intermediate"))
    whole["nodes"]["stg_homes__homes"] = node("stg_homes__homes", ["source.homes.homes"], "select 1", "staging")
    columns = {"name": {"name": "name", "config": {"meta": {"personal": is_personal}}}}
    whole["sources"]["source.homes.homes"] = {"source_name": "homes", "source_meta": {"access_class": source_class}, "columns": columns}
    meta(whole).update(access_class=access_class)
    faults = [fault for fault in faults_of_marts(whole, CODES, DOMAINS) if "a sum of few" in fault]
    assert len(faults) == bool(told) and all(told in fault and "Mend: `disclosure`: the domain" in fault for fault in faults)
    for said in ({"disclosure_why": "Of towers, which are no persons."}, {"disclosure": "producer"}):
        whole["nodes"]["energy_by_month"]["config"]["meta"] = {**meta(project()), "access_class": access_class, **said}
        assert not [fault for fault in faults_of_marts(whole, CODES, DOMAINS) if "a sum of few" in fault]
    whole["nodes"]["energy_by_month"]["config"]["meta"] = {**meta(project()), "access_class": access_class}
    for name in whole["nodes"]["energy_by_month"]["columns"]:
        of(whole, name).update(aggregate="none")
    assert not [fault for fault in faults_of_marts(whole, CODES, DOMAINS) if "a sum of few" in fault], "what nobody sums has no cell"


def test_a_comment_of_several_lines_computes_nothing() -> None:
    whole = project()
    whole["unit_tests"].clear()
    for each in whole["nodes"].values():
        each["raw_code"] = "{# of a\ncase, group by\n#} select * from x /* over\nthem */"
    assert not [fault for fault in faults_of_marts(whole, CODES, DOMAINS) if "computes" in fault]


def test_marts_that_sum_one_measure_are_held_together() -> None:
    year = node("energy_by_year", ["energy_by_month"], "select kwh, area_m2, kwh_per_m2, completeness_share from energy_by_month")
    unique = data_test("unique_rows", "energy_by_year", columns=["month_date", "energy"])
    faults = faults_of_marts(project(year, unique), CODES, DOMAINS)
    assert faults == [
        "mart energy_by_year, column kwh: is summed here and in energy_by_month, and no test holds both together. "
        "Mend: dbt's test sums_reconcile of one, over the other, or a test of its own"
    ]
    both = {"depends_on": {"nodes": ["energy_by_year", "energy_by_month"]}}
    held = data_test("sums_reconcile", "energy_by_year", of="ref('energy_by_month')", columns=["kwh"]) | both
    assert faults_of_marts(project(year, unique, held), CODES, DOMAINS) == []
    of_another = data_test("sums_reconcile", "energy_by_year", of="ref('energy_by_month')", columns=["area_m2"]) | both
    assert faults_of_marts(project(year, unique, of_another), CODES, DOMAINS) == faults
    own = {"unique_id": "own", "resource_type": "test", "fqn": ["p", "own"], "raw_code": "select sum(kwh)", "test_metadata": None, **both}
    assert faults_of_marts(project(year, unique, own), CODES, DOMAINS) == []
    assert faults_of_marts(project(year, unique, own | {"raw_code": "select area_m2"}), CODES, DOMAINS) == faults


def test_a_class_lower_than_the_sources_is_named() -> None:
    whole = project()
    mart = whole["nodes"]["energy_by_month"]
    mart |= {"schema": "marts", "alias": "energy_by_month", "depends_on": {"nodes": ["source.x"]}}
    of_source = {"source_name": "x", "name": "t", "source_meta": {"access_class": "internal", "licence": "etalab-2.0"}}
    whole["sources"] = {"source.x": of_source}
    assert faults_of_classes(whole) == []
    meta(whole).update(access_class="open")
    assert "mart energy_by_month: class open is lower than its sources' (internal)" in faults_of_classes(whole)[0]


def test_labels_stand_in_one_seed() -> None:
    seed = {
        "resource_type": "seed", "name": "code_labels_too", "fqn": ["p"], "columns": {},
        "original_file_path": "dbt_project/seeds/reference/code_labels.csv",
    }  # fmt: skip
    (told,) = faults_of_seeds({"nodes": {"seed": seed}}, {})
    assert told.startswith("seed code_labels_too: holds labels (label_fr, label_en). Mend: code_labels.csv")


@pytest.mark.parametrize(
    ("sql", "is_held"),
    [
        ("with energies as (\n    select * from {{ ref('energies') }}\n)\nselect * from energies", False),
        ("with energies as (\n    select * from {{ ref('energies') }} where valid_to is null\n)\nselect * from energies", True),
        ("with e as (\n    select * from {{ ref('energies') }}\n    where is_known and valid_to is null\n) select * from e", True),
        ("with energies as (select * from {{ ref('energies') }}) select * from energies where energies.valid_to > d", True),
        ("with a as (select * from {{ ref('energies') }} where valid_to is null), b as (from {{ ref('energies') }}) select 1", False),
        ("with others as (select * from {{ ref('other_energies') }}) select * from others", True),
    ],
)
def test_a_fact_that_holds_no_more_is_not_read(sql: str, is_held: bool) -> None:
    assert "energies" in revised_seeds()
    assert (faults_of_facts(sql, revised_seeds()) == []) is is_held
