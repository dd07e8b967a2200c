"""What a mart says of itself (`config.meta` of its YAML and of its columns): read in one way by the check, and by all that shows it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from ingestion.connectors import Strict
from ingestion.declaration import said

NUMBERS = re.compile(r"(tiny|small|big|huge|u)?int(eger)?\b|double|float|real|decimal|numeric|long|short", re.IGNORECASE)
TEXTS = {"mart": ("label", "description", "decision"), "column": ("label", "description")}  # said in each language
# Said in English, and by `<field>_<language>`.
ENGLISH = ("audience", "department", "reasons_not_open", "completeness_why", "declassified_because", "disclosure_why")
Words = dict[str, str]  # by language


@functools.cache
def read_words() -> Mapping[str, Mapping[str, Any]]:
    """Read what the house says in each language that it has words in."""
    told: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "site" / "words.yml").read_text(encoding="utf-8"))
    return told


def spoken() -> tuple[str, ...]:
    """Name the languages that the house has words in; what is not said in another one is told in English."""
    return tuple(read_words())


def asked(languages: Iterable[str]) -> list[str]:
    """Name the languages of a territory in which everything must be said: those that the house speaks, else English."""
    return [language for language in languages if language in spoken()] or ["en"]


class Question(Strict):
    """A question that the mart answers, by language, and the query that answers it."""

    words: Words
    sql: str | None = None


class ColumnMeta(Strict):
    """What a column says of itself: `label` and `description` by language; of a measure, what it is and how it sums up."""

    label: Words = Field(default={})
    description: Words = Field(default={})
    unit: str | None = None
    nature: Literal["measured", "estimated", "composite"] | None = None
    components: tuple[str, ...] = ()
    aggregate: Literal["sum", "mean", "last", "none"] = "none"
    weight: str | None = None
    codes: str | None = None
    empty_means: Literal["missing", "not_concerned"] = "missing"


class MartMeta(Strict):
    """What a mart says of itself; `label`, `description` and `decision` by language."""

    label: Words = Field(default={})
    description: Words = Field(default={})
    decision: Words = Field(default={})
    audience: str | tuple[str, ...]
    department: str
    access_class: Literal["open", "partner", "internal", "restricted"]
    declassified_because: str | None = None
    reasons_not_open: tuple[str, ...] = ()
    freshness: int = Field(gt=0)
    completeness: str | None
    completeness_why: str | None = None
    grain: tuple[str, ...] = Field(min_length=1)
    position: tuple[str, str] | None = None
    files_by: str | None = None
    keeps: bool = False
    reference_value: str | None = None
    target_value: str | None = None
    estimated: str | tuple[str, ...] = ()
    disclosure: str | None = None
    disclosure_why: str | None = None
    questions: tuple[Question, ...] = ()
    display: dict[str, Any] = Field(default={})


def is_mart(node: Mapping[str, Any]) -> bool:
    """Say whether a node of dbt's manifest is a mart."""
    return node["resource_type"] == "model" and len(node["fqn"]) > 1 and node["fqn"][1] == "marts"


def is_memory(node: Mapping[str, Any]) -> bool:
    """Say whether a mart reads itself as it stands published: the macro `published`."""
    return any(macro.endswith(".published") for macro in node.get("depends_on", {}).get("macros", ()))


def is_measure(name: str, data_type: str | None, grain: Iterable[str], position: Iterable[str] | None) -> bool:
    """Say whether a column is a measure: a number that is no key and no coordinate."""
    is_key = name in grain or name.endswith(("_id", "_code"))
    return bool(NUMBERS.match(data_type or "")) and not is_key and name not in (position or ())


def listed_of(told: Any) -> tuple[str, ...]:
    """Give what a YAML says as one value or as a list of them."""
    return tuple(told) if isinstance(told, list | tuple) else (str(told),) if told else ()


def column_meta(column: Mapping[str, Any]) -> dict[str, Any]:
    """Give the meta of a column of the manifest, as it is written."""
    return {**column.get("meta", {}), **column.get("config", {}).get("meta", {})}


def summed_of(node: Mapping[str, Any]) -> list[str]:
    """Name the columns of a mart that may be summed."""
    return [name for name, column in node["columns"].items() if column_meta(column).get("aggregate") == "sum"]


def words(meta: Mapping[str, Any], field: str, languages: Iterable[str], english: str | None = None) -> Words:
    """Give what a meta says of a field by language (`label_fr`); `english` is what stands for `<field>_en`: dbt's own description."""
    told = {language: meta.get(f"{field}_{language}") or (english if language == "en" else None) for language in languages}
    return {language: str(text).strip() for language, text in told.items() if text}


def words_of(of: Mapping[str, Any], meta: Mapping[str, Any], field: str, languages: Iterable[str]) -> Words:
    """Give what a mart or a column says of a field by language, its description in English where dbt wants it."""
    return words(meta, field, languages, of.get("description") if field == "description" else None)


def read_meta(node: Mapping[str, Any], languages: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Give what a mart says of itself that can be read, and what stops it from being published: the rest, and what is not said.

    What readers miss without harm (a field that is not said, one that nobody knows) is told by `make check` alone.
    """
    written, columns = node["config"]["meta"], node["columns"]
    wanted = ["access_class", "grain", *(f"label_{language}" for language in asked(languages))]
    told = {name: "it is missing" for name in wanted if not written.get(name)}
    harmless = ("missing", "extra_forbidden")
    try:
        parse_mart(node, languages)
    except ValidationError as error:
        for fault in error.errors():
            if len(fault["loc"]) > 1 or fault["type"] not in harmless:
                told.setdefault(str(fault["loc"][0]), said(fault))
    readable = {name: value for name, value in written.items() if name not in told}
    for name in ("completeness", "files_by", "grain", "position"):
        if absent := [column for column in listed_of(readable.get(name)) if column not in columns]:
            told[name] = f"{', '.join(absent)} is not one of its columns: {', '.join(columns)}"
    for name, column in columns.items():
        try:
            parse_column(column, languages)
        except ValidationError as error:
            for fault in error.errors():
                if len(fault["loc"]) > 1 or fault["type"] not in harmless:
                    told[f"{fault['loc'][0]} of column {name}"] = said(fault)
    return {name: value for name, value in readable.items() if name not in told}, [f"{name}: {why}" for name, why in told.items()]


def parse_mart(node: Mapping[str, Any], languages: Sequence[str]) -> MartMeta:
    """Read what a mart of the manifest says of itself; raises ValidationError."""
    rest, texts = _parted(node["config"]["meta"], TEXTS["mart"], languages)
    rest = {k: v for k, v in rest.items() if k not in {f"{f}_{each}" for f in ENGLISH for each in {*languages, *spoken()} - {"en"}}}
    if isinstance(rest.get("questions"), list):
        asked = [each if isinstance(each, dict) else {"?": str(each)} for each in rest["questions"]]
        rest["questions"] = [{"words": {k: v for k, v in each.items() if k != "sql"}, "sql": each.get("sql")} for each in asked]
    return MartMeta.model_validate({**rest, **texts})


def parse_column(column: Mapping[str, Any], languages: Sequence[str]) -> ColumnMeta:
    """Read what a column of the manifest says of itself; raises ValidationError."""
    rest, texts = _parted(column_meta(column), TEXTS["column"], languages)
    return ColumnMeta.model_validate({**rest, **texts})


def _parted(meta: Mapping[str, Any], fields: Iterable[str], languages: Iterable[str]) -> tuple[dict[str, Any], dict[str, Words]]:
    """Part what is said in each language from the rest; a key of a language that neither territory nor house has is unknown, and stays."""
    texts = {field: words(meta, field, languages) for field in fields}
    known = {f"{field}_{language}" for field in fields for language in {*languages, *spoken()}}
    return {name: value for name, value in meta.items() if name not in known}, texts
