"""The metrics of dbt's semantic layer: what `make check` asks of them. Each is held equal to its mart by tests/test_demo.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.check_metrics import faults_of_metrics

Project = dict[str, Any]
UNITS = ("kWh", "share", "building")


def column(**meta: Any) -> dict[str, Any]:
    return {"config": {"meta": meta}}


def project() -> Project:
    """Give a manifest with a metric that sums, and one that weighs a share."""
    columns = {
        "month_date": column() | {"data_type": "date"},
        "kwh": column(unit="kWh", aggregate="sum"),
        "change_share": column(unit="share", aggregate="none"),
        "covered_share": column(unit="share", aggregate="mean", weight="building_count"),
        "building_count": column(unit="building", aggregate="none"),
    }
    measures = [
        {"name": "energy", "agg": "sum", "expr": "kwh"},
        {"name": "covered", "agg": "sum", "expr": "covered_share * building_count"},
    ]
    metric = {"name": "energy", "type": "simple", "type_params": {"measure": {"name": "energy"}}, "config": {"meta": {"unit": "kWh"}}}
    return {
        "nodes": {"mart": {"name": "energy_by_month", "columns": columns, "resource_type": "model", "fqn": ["p", "marts", "energy", "m"]}},
        "semantic_models": {"s": {"depends_on": {"nodes": ["mart"]}, "measures": measures}},
        "metrics": {"m": metric},
    }


def measure(project: Project) -> dict[str, Any]:
    told: dict[str, Any] = project["semantic_models"]["s"]["measures"][0]
    return told


def meta(project: Project) -> dict[str, Any]:
    told: dict[str, Any] = project["metrics"]["m"]["config"]["meta"]
    return told


BROKEN: list[tuple[Callable[[Project], Any], str]] = [
    (lambda p: measure(p).update(expr="change_share"), "column change_share does not say `aggregate: sum`. Mend"),
    (lambda p: measure(p).update(expr="2 * covered_share"), "column covered_share does not say `aggregate: sum`. Mend"),
    (
        lambda p: (p["semantic_models"].clear(), p["metrics"].clear()),
        "energy_by_month: kwh, covered_share sums up, and is no metric",
    ),
    (lambda p: measure(p).update(expr="gone"), "measure energy of mart energy_by_month: gone is no column of it. Mend"),
    (lambda p: meta(p).update(unit="leagues"), "metric energy: its unit leagues has no label in seed code_labels. Mend"),
    (lambda p: meta(p).update(unit="share"), "metric energy: its unit is share, and kWh in mart energy_by_month. Mend"),
]


def test_what_sums_and_what_is_weighed_has_no_fault() -> None:
    assert faults_of_metrics(project(), UNITS) == []


def test_a_mart_that_nothing_dates_has_no_metric() -> None:
    undated = project() | {"semantic_models": {}, "metrics": {}}
    del undated["nodes"]["mart"]["columns"]["month_date"]
    assert faults_of_metrics(undated, UNITS) == []


@pytest.mark.parametrize(("breaks", "told"), BROKEN)
def test_each_rule_is_named_with_its_mend(breaks: Callable[[Project], Any], told: str) -> None:
    broken = project()
    breaks(broken)
    assert any(told in fault for fault in faults_of_metrics(broken, UNITS)), faults_of_metrics(broken, UNITS)
