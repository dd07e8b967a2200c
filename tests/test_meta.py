"""What `make check` asks of the YAML of a mart: each rule broken once, and named with the mart, the column and the mend."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingestion.lake import PROJECT
from redistribution.labels import labels_of
from tests.check_dbt import faults_of_questions, faults_of_seeds
from tests.check_meta import faults_of_meta, read_codes, unsaid_of

MART = """
name: energy_by_month
description: One row per month and energy.
config:
  meta:
    label_fr: Énergie
    label_en: Energy
    description_fr: Une ligne par mois et énergie.
    audience: [citizens]
    audience_fr: [habitants]
    access_class: internal
    reasons_not_open: [It tells a habit.]
    reasons_not_open_fr: [Elle dit une habitude.]
    decision_fr: Choisir.
    decision_en: Choose.
    department: Energy
    department_fr: Énergie
    freshness: 3
    completeness: completeness_share
    grain: [month_date, energy]
    questions: [{fr: "Combien ?", en: "How much?", sql: select 1 as value}]
columns:
  - {name: month_date, data_type: date, description: Month., config: {meta: {label_fr: Mois, label_en: Month, description_fr: Mois.}}}
  - {name: energy, data_type: string, description: Energy.,
     config: {meta: {label_fr: Énergie, label_en: Energy, description_fr: Énergie., codes: energy}}}
  - {name: area_m2, data_type: double, description: Area.,
     config: {meta: {label_fr: Surface, label_en: Area, description_fr: Surface., unit: m2, nature: measured, aggregate: none}}}
  - {name: kwh, data_type: double, description: Energy.,
     config: {meta: {label_fr: Énergie, label_en: Energy, description_fr: Énergie., unit: kWh, nature: measured, aggregate: sum}}}
  - {name: kwh_per_m2, data_type: double, description: Energy.,
     config: {meta: {label_fr: Énergie, label_en: Energy, description_fr: Énergie., unit: kWh/m2, nature: composite,
                     components: [kwh, area_m2], aggregate: mean, weight: area_m2}}}
  - {name: completeness_share, data_type: double, description: Share.,
     config: {meta: {label_fr: Part, label_en: Share, description_fr: Part., unit: share, nature: measured, aggregate: none}}}
"""
LANGUAGES = ("fr", "en")
REQUIRED = ("audience", "department", "freshness", "access_class", "grain", "completeness")
NAMED = ("completeness", "reference_value", "target_value", "estimated", "files_by")
CODES = {"energy": {"gas": {}, "wood": {}}}
Node = dict[str, Any]


def node(name: str, parents: list[str], code: str, layer: str = "marts") -> Node:
    """Give a model of the manifest: a mart as MART says it, or what marts are made of."""
    told = yaml.safe_load(MART)
    return {
        **told, "name": name, "unique_id": name, "resource_type": "model", "fqn": ["p", layer, name], "raw_code": code,
        "columns": {column["name"]: column for column in told["columns"]}, "depends_on": {"nodes": parents},
    }  # fmt: skip


def manifest(*nodes: Node) -> dict[str, Any]:
    test = {
        "unique_id": "test", "resource_type": "test", "fqn": ["p", "t"], "attached_node": "energy_by_month", "column_name": "energy",
        "test_metadata": {"name": "accepted_values", "kwargs": {"values": ["gas", "wood"]}},
    }  # fmt: skip
    return {"nodes": {"test": test, **{each["unique_id"]: each for each in nodes}}}


def of_mart(field: str, value: Any = None) -> Callable[[Node], None]:
    def broken(mart: Node) -> None:
        mart["config"]["meta"].pop(field, None)
        if value is not None:
            mart["config"]["meta"][field] = value

    return broken


def of_column(name: str, field: str, value: Any = None) -> Callable[[Node], None]:
    def broken(mart: Node) -> None:
        mart["columns"][name]["config"]["meta"].pop(field, None)
        if value is not None:
            mart["columns"][name]["config"]["meta"][field] = value

    return broken


def no_completeness(mart: Node) -> None:
    mart["config"]["meta"]["completeness"] = None


def open_mart(mart: Node) -> None:
    mart["config"]["meta"]["access_class"] = "open"


def test_a_mart_that_says_all_has_no_fault() -> None:
    assert faults_of_meta(manifest(node("energy_by_month", [], "kwh")), LANGUAGES, CODES) == []


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        *[(of_mart(field), f"mart energy_by_month: config.meta.{field}: is missing") for field in ("audience", "department", "freshness")],
        *[
            (of_mart(field), f"mart energy_by_month: config.meta.{field}: is missing")
            for field in ("access_class", "grain", "completeness")
        ],
        *[
            (of_mart(field), f"config.meta.{field} is missing")
            for field in ("label_fr", "description_fr", "decision_en", "audience_fr", "department_fr")
        ],
        (of_mart("reasons_not_open"), "is internal, and does not say why it is not open"),
        (open_mart, "is open, and says why it is not open"),
        (of_mart("access_class"), "config.meta.access_class: is missing (one of open, partner, internal, restricted)"),
        (of_mart("access_class", "secret"), "config.meta.access_class: 'secret' is none of 'open'"),
        (of_mart("grain", 3), "config.meta.grain: 3 is no list"),
        (of_mart("files_by", ["kwh"]), "config.meta.files_by: ['kwh'] is no text"),
        (of_mart("position", 3), "config.meta.position: 3 is no list"),
        (of_mart("freshness", 0), "config.meta.freshness: 0 is not above 0"),
        (
            of_mart("owner", "me"),
            "config.meta.owner: unknown field (accepted: label_<language>, description_<language>, decision_",
        ),
        (of_mart("label_de", "Energie"), "config.meta.label_de: unknown field (accepted: label_<language>"),
        *[
            (of_mart(field, "As kwh_per_m2 tells."), f"config.meta.{field} says kwh_per_m2")
            for field in ("label_fr", "description_fr", "decision_en", "department", "audience_fr")
        ],
        (of_mart("reasons_not_open", ["Of energy_by_month."]), "config.meta.reasons_not_open says energy_by_month"),
        (of_mart("questions", [{"fr": "Combien ?", "en": "How much kwh_per_m2?"}]), "config.meta.questions says kwh_per_m2"),
        (no_completeness, "completeness is null without a reason"),
        (of_mart("questions", [{"fr": "Combien ?"}]), "a question has no `en` (Combien ?)"),
        (of_mart("questions", ["Combien ?"]), "a question has no `fr, en`"),
        *[
            (of_mart(of, "absent"), f"column absent: `{of}` names it")
            for of in ("completeness", "reference_value", "target_value", "estimated")
        ],
        (of_mart("grain", ["absent"]), "column absent: `grain` names it"),
        (of_mart("position", ["x", "y"]), "column x: `position` names it"),
        (of_column("kwh", "label_en"), "mart energy_by_month, column kwh: config.meta.label_en is missing"),
        (of_column("month_date", "description_fr"), "column month_date: config.meta.description_fr is missing"),
        *[(of_column("kwh", field), f"column kwh: is a measure and says no `{field}`") for field in ("unit", "nature", "aggregate")],
        (of_column("kwh", "nature", "guessed"), "column kwh: config.meta.nature: 'guessed' is none of 'measured'"),
        (of_column("kwh", "aggregate", "max"), "column kwh: config.meta.aggregate: 'max' is none of 'sum'"),
        (of_column("energy", "aggregate", "sum"), "column energy: is no measure, and says how it sums up"),
        (of_column("kwh_per_m2", "components"), "is a composite without components"),
        (of_column("kwh", "components", ["area_m2"]), "column kwh: names components, and is measured"),
        (of_column("kwh_per_m2", "components", ["kwh", "floor"]), "`components` names floor, which is no column"),
        (of_column("kwh_per_m2", "components", ["kwh_per_m2"]), "`components` names the column itself"),
        (of_column("kwh_per_m2", "weight"), "is a mean without its weight"),
        (of_column("kwh_per_m2", "weight", "floor"), "`weight` names floor, which is no column"),
        (of_column("kwh", "weight", "area_m2"), "names a weight, and its aggregate is sum"),
        (of_column("energy", "codes"), "holds codes (gas, wood) that have no label"),
        (of_column("energy", "codes", "fuel"), "`codes: fuel` is no domain of seed code_labels"),
    ],
)
def test_each_rule_is_named_where_it_is_broken(broken: Callable[[Node], None], told: str) -> None:
    mart = node("energy_by_month", [], "kwh")
    broken(mart)
    faults = faults_of_meta(manifest(mart), LANGUAGES, CODES)
    assert any(told in fault and "Mend: " in fault for fault in faults), faults


def test_a_code_without_a_label_is_named() -> None:
    faults = faults_of_meta(manifest(node("energy_by_month", [], "kwh")), LANGUAGES, {"energy": {"gas": {}}})
    assert faults == ["mart energy_by_month, column energy: wood has no label in domain energy. Mend: write it in seed code_labels"]


def test_languages_are_those_of_the_territory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the house has words in is asked for; of another language it is told that English stands for it."""
    mart = node("energy_by_month", [], "kwh")
    assert faults_of_meta(manifest(mart), ("br", "en"), CODES) == [], "label_fr is the house's, and harms nobody"
    (told,) = unsaid_of(manifest(mart), ("br", "en"))
    assert "no words in 'br'" in told and "label_br (energy_by_month)" in told and unsaid_of(manifest(mart), LANGUAGES) == []
    absent = copy.deepcopy(mart)
    del absent["config"]["meta"]["label_en"]
    for languages in (("br", "en"), ("br",)):
        assert any("config.meta.label_en is missing" in fault for fault in faults_of_meta(manifest(absent), languages, CODES))
    monkeypatch.setattr("redistribution.meta.spoken", lambda: ("fr", "en", "br"))
    assert any("config.meta.label_br is missing" in fault for fault in faults_of_meta(manifest(mart), ("fr", "en", "br"), CODES))
    mart["config"]["meta"]["label_br"] = "Energiezh"
    assert labels_of(mart, ("br",))["label"] == {"br": "Energiezh"}


def test_one_name_is_one_metric() -> None:
    """The same name in two marts: the same unit, the same nature, and a model that both take it from."""
    shared = node("int_months", [], "select kwh, area_m2, kwh_per_m2, completeness_share", "intermediate")
    first = node("energy_by_month", ["int_months"], "select kwh, area_m2, kwh_per_m2, completeness_share")
    second = node("sums_by_year", ["int_months"], "select sum(kwh) as kwh, area_m2, kwh_per_m2, completeness_share")
    assert faults_of_meta(manifest(shared, first, second), LANGUAGES, CODES) == []
    assert faults_of_meta(manifest(shared, first, node("sums_by_year", ["energy_by_month"], second["raw_code"])), LANGUAGES, CODES) == []
    other = copy.deepcopy(second)
    other["columns"]["kwh"]["config"]["meta"] |= {"unit": "MWh", "nature": "estimated"}
    faults = faults_of_meta(manifest(shared, first, other), LANGUAGES, CODES)
    assert [fault.partition(": ")[2].partition(",")[0] for fault in faults] == ["its unit is MWh", "its nature is estimated"]
    # Of three, the one that differs is named, wherever it stands among them.
    third = node("a_newcomer", ["int_months"], "select kwh, area_m2, kwh_per_m2, completeness_share")
    third["columns"]["kwh"]["config"]["meta"] |= {"unit": "MWh"}
    (fault,) = faults_of_meta(manifest(shared, first, second, third), LANGUAGES, CODES)
    assert fault.startswith("mart a_newcomer, column kwh: its unit is MWh, and kWh in energy_by_month: one name, one metric. Mend: say")
    apart = node("int_bills", [], "select area_m2, kwh_per_m2, completeness_share, amount * 10 as kwh", "intermediate")
    second = node("sums_by_year", ["int_bills", "int_months"], "select int_bills.kwh, area_m2, kwh_per_m2, completeness_share")
    months = node("int_months", [], "area_m2, kwh_per_m2, completeness_share", "intermediate")
    faults = faults_of_meta(manifest(months, apart, first, second), LANGUAGES, CODES)
    assert len(faults) == 1 and "sums_by_year, column kwh: comes from no model that energy_by_month takes it from" in faults[0]


def test_the_seed_of_labels_says_each_language_once(tmp_path: Path) -> None:
    path = tmp_path / "code_labels.csv"
    path.write_text("domain,code,label_fr,label_en\nenergy,gas,Gaz,Gas\nenergy,wood,Bois,\nenergy,gas,Gaz,Gas\n", encoding="utf-8")
    codes, faults = read_codes(path, LANGUAGES)
    assert codes["energy"]["gas"] == {"fr": "Gaz", "en": "Gas"}
    assert faults == [
        "code_labels.csv: energy wood has no label_en. Mend: write it",
        "code_labels.csv: energy gas stands twice. Mend: keep one",
    ]


def test_codes_of_seeds_have_labels() -> None:
    energies = {
        "resource_type": "seed", "name": "energies", "fqn": ["p", "energies"],
        "original_file_path": "dbt_project/seeds/energy/energies.csv",
        "columns": {"energy": {"config": {"meta": {"codes": "energy"}}}},
    }  # fmt: skip
    labels = read_codes(PROJECT / "dbt_project" / "seeds" / "reference" / "code_labels.csv", LANGUAGES)[0]
    assert faults_of_seeds({"nodes": {"energies": energies}}, labels) == []
    less = {"energy": {code: told for code, told in labels["energy"].items() if code != "wood"}}
    told = "seed energies, column energy: wood has no label in domain energy. Mend: code_labels.csv"
    assert faults_of_seeds({"nodes": {"energies": energies}}, less) == [told]


def test_the_query_of_a_question_is_tried_on_what_its_readers_see() -> None:
    mart, inner = node("energy_by_month", [], "kwh"), node("energy_by_day", [], "kwh")
    assert faults_of_questions(manifest(mart, inner)) == []
    mart["config"]["meta"]["access_class"] = "open"
    for sql in ("select sum(kwhh) from energy_by_month", "select sum(kwh) from energy_by_day"):
        mart["config"]["meta"]["questions"] = [{"fr": "Combien ?", "en": "How much?", "sql": sql}]
        faults = faults_of_questions(manifest(mart, inner))
        assert len(faults) == 1 and faults[0].startswith("mart energy_by_month: the query of 'How much?' cannot run: "), sql
