"""What `make check` asks of what `dbt docs` shows: each rule broken once, and named with its mend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.check_docs import faults_of_docs, repeats

Project = dict[str, Any]


def project() -> Project:
    """Give a manifest that holds every rule: a model, a docs block that it reads, a macro."""
    block = {"name": "month", "package_name": "city_orchestra", "original_file_path": "models/docs.md", "block_contents": "First day."}
    model = {
        "name": "int_months", "resource_type": "model", "fqn": ["city_orchestra", "intermediate", "energy", "int_months"],
        "description": "One row per month.", "config": {"group": "energy"},
        "compiled_code": "with a as (select * from b) select month_date, sum(a.kwh) as kwh from a group by all",
        "columns": {"month_date": {"description": "First day."}, "kwh": {"description": "kWh PCI, NULL where nothing is known."}},
    }  # fmt: skip
    argument = {"name": "instant", "type": "string", "description": "SQL of an instant."}
    macro = {"name": "local_date", "package_name": "city_orchestra", "description": "The local day.", "arguments": [argument]}
    return {"nodes": {"m": model}, "sources": {}, "macros": {"d": macro}, "docs": {"b": block}}


def columns(project: Project) -> dict[str, Any]:
    told: dict[str, Any] = project["nodes"]["m"]["columns"]
    return told


BROKEN: list[tuple[Callable[[Project], Any], str]] = [
    (lambda p: columns(p).pop("kwh"), "model int_months, column kwh is not described. Mend"),
    (lambda p: columns(p)["kwh"].update(description=" "), "model int_months, column kwh is not described. Mend"),
    (lambda p: columns(p)["kwh"].update(description="The kWh."), "column kwh: 'The kWh.' says no more than its name. Mend"),
    (lambda p: columns(p).update(gone={"description": "Gone."}), "describes column gone, which its SELECT does not give. Mend"),
    (lambda p: columns(p)["month_date"].update(description="Other."), "models/docs.md: no description reads the docs block month. Mend"),
    (lambda p: p["nodes"]["m"]["config"].update(group=None), "model int_months is in no group. Mend"),
    (lambda p: p["macros"]["d"].update(description=""), "macro local_date is not described. Mend"),
    (lambda p: p["macros"]["d"]["arguments"][0].update(type=None), "macro local_date, argument instant: say its `type`"),
]


def test_what_holds_every_rule_has_no_fault() -> None:
    assert faults_of_docs(project()) == []


@pytest.mark.parametrize(("breaks", "told"), BROKEN)
def test_each_rule_is_named_with_its_mend(breaks: Callable[[Project], Any], told: str) -> None:
    broken = project()
    breaks(broken)
    assert any(told in fault for fault in faults_of_docs(broken)), faults_of_docs(broken)


@pytest.mark.parametrize("text", ["Building name.", "Name of the building", "The name of a building."])
def test_a_description_of_the_words_of_the_name_repeats_it(text: str) -> None:
    assert repeats("building_name", text)
    assert not repeats("building_name", f"{text} NULL where the stock does not hold it.")
