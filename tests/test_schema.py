"""The JSON schemas of the YAML files: what the models give now, what each committed file holds, and what both refuse."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from expectations.suite import LANDED, MART, LandedSuite, Suite
from flows import schema
from ingestion.census import read_brick
from ingestion.declaration import BrickError
from ingestion.lake import PROJECT
from ingestion.territory import read_territory
from redistribution.meta import read_meta

Document = dict[str, Any]
FILES = [(name, path) for name, paths in schema.kinds().items() for path in paths]


def plain(told: Any) -> Any:
    """What an editor reads: JSON has no dates."""
    if isinstance(told, dict):
        return {key: plain(value) for key, value in told.items()}
    return [plain(each) for each in told] if isinstance(told, list) else told.isoformat() if isinstance(told, dt.date) else told


def faults(name: str, document: Document) -> list[str]:
    validator = Draft7Validator(json.loads((schema.FOLDER / name).read_text(encoding="utf-8")))
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(plain(document))]


def test_they_are_what_the_models_give_now_and_each_file_names_its_own() -> None:
    assert schema.faults_of_schemas() == []
    for name, made in schema.schemas().items():
        Draft7Validator.check_schema(made)
        assert made["$defs"], name


@pytest.mark.parametrize(("name", "path"), FILES, ids=lambda told: Path(told).name)
def test_each_committed_yaml_is_valid(name: str, path: Path) -> None:
    assert faults(name, yaml.safe_load(path.read_text(encoding="utf-8"))) == []


def test_each_field_of_each_model_is_described() -> None:
    told = {"BrickConfig": ("meta",), "TableConfig": ("meta",), "ColumnConfig": ("meta",), "Period": ("count", "period")}
    told |= {"Question": ("sql",), "Suite": ()}
    for name, made in schema.schemas().items():
        for model, each in made["$defs"].items():
            for field, property_ in each.get("properties", {}).items():
                is_told = property_.get("description") or "$ref" in property_ or field in told.get(model, ())
                assert is_told, f"{name}: {model}.{field}. Mend: a row of docs/contracts.md"


def test_what_differs_is_written_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "FOLDER", tmp_path / "schemas")
    assert len([fault for fault in schema.faults_of_schemas() if "Mend: orchestra schema" in fault]) == 4
    assert {path.name for path in schema.write_schemas()} == set(schema.schemas())
    assert schema.write_schemas() == []
    (tmp_path / "schemas" / "brick.json").write_text("{}")
    assert [path.name for path in schema.write_schemas()] == ["brick.json"]


def test_a_file_that_names_no_schema_is_told_with_the_line_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bricks := tmp_path / "ingestion" / "bricks").mkdir(parents=True)
    (bricks / "new.yml").write_text("version: 2\n")
    monkeypatch.setattr(schema, "PROJECT", tmp_path)
    monkeypatch.setattr(schema, "FOLDER", tmp_path / "docs" / "schemas")
    (told,) = [fault for fault in schema.faults_of_schemas() if "first line" in fault]
    assert told.startswith("ingestion/bricks/new.yml: ") and told.endswith("# yaml-language-server: $schema=../../docs/schemas/brick.json")


def brick() -> Document:
    told: Document = yaml.safe_load((PROJECT / "ingestion/bricks/insee_cog.yml").read_text(encoding="utf-8"))
    return told


def of(document: Document, *path: Any) -> Any:
    for step in path:
        document = document[step]
    return document


META, TABLE = ("sources", 0, "config", "meta"), ("sources", 0, "tables", 0, "config", "meta")
BRICKS: list[Callable[[Document], Any]] = [
    lambda d: of(d, *META).update(colour="red"),
    lambda d: of(d, *META).pop("steward"),
    lambda d: of(d, *META).update(access_class="secret"),
    lambda d: of(d, *META).update(connector="ftp"),
    lambda d: of(d, *META).update(cadence="often"),
    lambda d: of(d, *META).update(retention={"count": 0, "period": "year"}),
    lambda d: of(d, *META, "options").update(api_key="typed here"),
    lambda d: of(d, *TABLE, "options").update(formatt="csv"),
    lambda d: of(d, *TABLE, "options").update(format="xls"),
    lambda d: of(d, *TABLE).update(key=[]),
    lambda d: of(d, "sources", 0, "tables", 0, "columns", 0).update(data_type="text"),
    lambda d: of(d, "sources", 0).update(tables=[]),
]


@pytest.mark.parametrize("breaks", BRICKS)
def test_a_wrong_field_of_a_brick_is_refused_by_both(breaks: Callable[[Document], Any], tmp_path: Path) -> None:
    broken = brick()
    broken["sources"][0]["config"]["meta"].setdefault("options", {})
    path = tmp_path / "insee_cog.yml"
    path.write_text(yaml.safe_dump(broken, allow_unicode=True), encoding="utf-8")
    assert read_brick(path).name == "insee_cog" and faults("brick.json", broken) == []
    breaks(broken)
    path.write_text(yaml.safe_dump(broken, allow_unicode=True), encoding="utf-8")
    with pytest.raises(BrickError):
        read_brick(path)
    assert faults("brick.json", broken)


MARTS: list[tuple[Callable[[Document], Any], str]] = [
    (lambda m: m["config"]["meta"].update(access_class="secret"), "access_class"),
    (lambda m: m["config"]["meta"].update(freshness=0), "freshness"),
    (lambda m: m["config"]["meta"].update(grain=[]), "grain"),
    (lambda m: m["config"]["meta"].update(position=["longitude"]), "position"),
    (lambda m: m["columns"][0]["config"]["meta"].update(nature="guessed"), "nature"),
    (lambda m: m["columns"][0]["config"]["meta"].update(aggregate="add"), "aggregate"),
]


@pytest.mark.parametrize(("breaks", "field"), MARTS)
def test_a_wrong_field_of_a_mart_is_refused_by_both(breaks: Callable[[Document], Any], field: str) -> None:
    document = yaml.safe_load((PROJECT / "dbt_project/models/marts/energy/_energy__marts.yml").read_text(encoding="utf-8"))
    mart = document["models"][0]
    node = {**copy.deepcopy(mart), "columns": {column["name"]: column for column in mart["columns"]}}
    assert not any(field in fault for fault in read_meta(node, read_territory().languages)[1])
    breaks(mart)
    node = {**mart, "columns": {column["name"]: column for column in mart["columns"]}}
    assert any(field in fault for fault in read_meta(node, read_territory().languages)[1])
    assert faults("mart.json", document)


@pytest.mark.parametrize("told", [{"labl_fr": "Un titre"}, {"label": "A title"}, {"audience_fr": 3}])
def test_a_field_that_is_none_of_a_mart_is_underlined(told: Document) -> None:
    document = yaml.safe_load((PROJECT / "dbt_project/models/marts/energy/_energy__marts.yml").read_text(encoding="utf-8"))
    document["models"][0]["config"]["meta"].update(told)
    assert faults("mart.json", document)


def suites() -> Iterator[tuple[str, Any, Document]]:
    for broken in ({"expectation": []}, {"expectations": [{"kwargs": {}}]}, {"expectations": [{"type": "t", "severity": "mild"}]}):
        yield "expectations_mart.json", Suite, broken
        yield "expectations_landed.json", LandedSuite, {"tables": {"t": broken}}
    for broken in ({"defaults": {"volum": None}}, {"defaults": {"volume": 3}}, {"defaults": {"filled": "many"}}):
        yield "expectations_mart.json", lambda told: Suite(**told).tolerated(MART), broken
        yield "expectations_landed.json", lambda told: Suite(**told["tables"]["t"]).tolerated(LANDED), {"tables": {"t": broken}}


@pytest.mark.parametrize(("name", "model", "broken"), list(suites()))
def test_a_wrong_field_of_an_expectations_file_is_refused_by_both(name: str, model: Any, broken: Document) -> None:
    with pytest.raises(Exception, match=r"validation error|expectations: "):
        model.model_validate(broken) if isinstance(model, type) else model(broken)
    assert faults(name, broken)
