"""What a mart says of itself (`config.meta` of its YAML and of its columns): read by the check, and by all that shows it."""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import Field, ValidationError

from ingestion.connectors import Strict

NUMBERS = re.compile(r"(tiny|small|big|huge|u)?int(eger)?\b|double|float|real|decimal|numeric|long|short", re.IGNORECASE)
TEXTS = {"mart": ("label", "description", "decision"), "column": ("label", "description")}  # said in each language
# Said in English, and by `<field>_<language>`.
ENGLISH = ("audience", "department", "reasons_not_open", "completeness_why", "declassified_because")
RAW_NAME = re.compile(r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b")  # of a mart, or of a column
TOLD = ("unit", "nature", "components", "aggregate", "weight", "codes", "empty_means")  # what is told of a column

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
    reference_value: str | None = None
    target_value: str | None = None
    estimated: str | tuple[str, ...] = ()
    disclosure: str | None = None
    questions: tuple[Question, ...] = ()
    display: dict[str, Any] = Field(default={})


class Fault(NamedTuple):
    """What is wrong in the YAML of a mart, where, and the mend."""

    mart: str
    column: str | None
    told: str
    mend: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"mart {self.mart}{f', column {self.column}' if self.column else ''}: {self.told}. Mend: {self.mend}"


def is_mart(node: Mapping[str, Any]) -> bool:
    """Say whether a node of dbt's manifest is a mart."""
    return node["resource_type"] == "model" and len(node["fqn"]) > 1 and node["fqn"][1] == "marts"


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


def words(meta: Mapping[str, Any], field: str, languages: Iterable[str], english: str | None = None) -> Words:
    """Give what a meta says of a field by language (`label_fr`); `english` is what stands for `<field>_en`: dbt's own description."""
    told = {language: meta.get(f"{field}_{language}") or (english if language == "en" else None) for language in languages}
    return {language: str(text).strip() for language, text in told.items() if text}


def _words_of(of: Mapping[str, Any], meta: Mapping[str, Any], field: str, languages: Iterable[str]) -> Words:
    """Give what a mart or a column says of a field by language, its description in English where dbt wants it."""
    return words(meta, field, languages, of.get("description") if field == "description" else None)


def labels_of(node: Mapping[str, Any], languages: Sequence[str], licences: Iterable[str] = ()) -> dict[str, Any]:
    """Give what readers are told of a mart: titles, descriptions, licences of its sources, and the columns, with their units.

    What is not whole is left out: `make check` tells it.
    """
    meta, columns = node["config"]["meta"], {}
    for name, column in node["columns"].items():
        of = column_meta(column)
        told = {field: text for field in TEXTS["column"] if (text := _words_of(column, of, field, languages))}
        columns[name] = told | {key: of[key] for key in TOLD if of.get(key) not in (None, "none")}
    return {
        "label": words(meta, "label", languages),
        "description": _words_of(node, meta, "description", languages),
        "licences": sorted(set(licences)),
        "grain": [*map(str, listed_of(meta.get("grain")))],
        "columns": columns,
    }


def summed_of(node: Mapping[str, Any]) -> list[str]:
    """Name the columns of a mart that may be summed."""
    return [name for name, column in node["columns"].items() if column_meta(column).get("aggregate") == "sum"]


def metadata_of(labels: Mapping[str, Any]) -> dict[str, str]:
    """Write what readers are told of a mart as texts by key: `label_fr`, `description_fr`, ..., `licences`, and `columns` as JSON."""
    told = {f"{field}_{language}": text for field in ("label", "description") for language, text in labels.get(field, {}).items()}
    if licences := labels.get("licences"):
        told["licences"] = ", ".join(licences)
    if columns := labels.get("columns"):
        told["columns"] = json.dumps(columns, ensure_ascii=False)
    return told


def comments_of(labels: Mapping[str, Any]) -> tuple[str | None, dict[str, str]]:
    """Write what readers are told of a mart as the comment of its table, and of each column: a line by language, then what it is."""
    of_table = _lines(labels)
    if licences := labels.get("licences"):
        of_table.append(f"licence: {', '.join(licences)}")
    of_columns = {}
    for name, told in labels.get("columns", {}).items():
        more = {key: told[key] for key in TOLD if told.get(key)}
        texts = [f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}" for key, value in more.items()]
        of_columns[name] = "\n".join([*_lines(told), *(["; ".join(texts)] if texts else [])])
    return "\n".join(of_table) or None, {name: text for name, text in of_columns.items() if text}


def _lines(told: Mapping[str, Any]) -> list[str]:
    label, description = told.get("label", {}), told.get("description", {})
    both = {language: (label.get(language), description.get(language)) for language in sorted({**label, **description})}
    return [f"{language}: {'. '.join(text.rstrip('.') for text in texts if text)}." for language, texts in both.items()]


def read_codes(path: Path, languages: Iterable[str]) -> tuple[dict[str, dict[str, Words]], list[str]]:
    """Read the seed of the labels of codes: by domain and code, the label in each language; and what is wrong in it."""
    codes: dict[str, dict[str, Words]] = {}
    faults = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            domain, code = row["domain"], row["code"]
            if code in codes.get(domain, {}):
                faults.append(f"{path.name}: {domain} {code} stands twice. Mend: keep one")
            codes.setdefault(domain, {})[code] = words(row, "label", languages)
            faults += [
                f"{path.name}: {domain} {code} has no label_{language}. Mend: write it"
                for language in asked(languages)
                if language not in codes[domain][code]
            ]
    return codes, faults


def unsaid_of(manifest: Mapping[str, Any], languages: Iterable[str]) -> list[str]:
    """Say, of each language that the house does not speak, of which marts titles are told in English: a warning, for pages say so."""
    told, marts = [], [node for node in manifest["nodes"].values() if is_mart(node)]
    for language in (each for each in languages if each not in spoken()):
        absent = sorted(node["name"] for node in marts if not words(node["config"]["meta"], "label", [language]))
        told.append(
            f"territory.yml: languages: the house has no words in '{language}': its pages are told in English, as are marts without "
            f"label_{language} ({', '.join(absent) or 'none'}). Mend: redistribution/site/words.yml, then the labels that make check names"
        )
    return told


def faults_of_meta(manifest: dict[str, Any], languages: Sequence[str], codes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Name what the YAML of each mart lacks or says wrong of it and of its columns, with the mend; `codes` are those with a label."""
    marts = [node for node in manifest["nodes"].values() if is_mart(node)]
    faults = [fault for node in marts for fault in [*_of_mart(node, languages), *_of_columns(node, languages, codes, manifest)]]
    return [str(fault) for fault in [*faults, *_of_metrics(manifest, marts)]]


def _split(meta: Mapping[str, Any], fields: Iterable[str], languages: Iterable[str]) -> tuple[dict[str, Any], dict[str, Words]]:
    """Part what is said in each language from the rest; a key of a language that neither territory nor house has is unknown, and stays."""
    texts = {field: words(meta, field, languages) for field in fields}
    known = {f"{field}_{language}" for field in fields for language in {*languages, *spoken()}}
    return {name: value for name, value in meta.items() if name not in known}, texts


def _unread(error: ValidationError, mart: str, column: str | None) -> Iterator[Fault]:
    for fault in error.errors():
        field = ".".join(map(str, fault["loc"]))
        yield Fault(mart, column, f"config.meta.{field}: {fault['msg']}", f"say `{field}` as docs/contracts.md tells, or take it away")


def _unsaid(of: Mapping[str, Any], meta: Mapping[str, Any], kind: str, languages: Sequence[str], mart: str) -> Iterator[Fault]:
    """Give what a mart, or a column, does not say in each language."""
    for field in TEXTS[kind]:
        told = _words_of(of, meta, field, languages)
        for language in asked(languages):
            if language not in told:
                of_column = of["name"] if kind == "column" else None
                yield Fault(mart, of_column, f"config.meta.{field}_{language} is missing", "write it: readers see it in each language")


def _read(node: Mapping[str, Any], languages: Sequence[str]) -> MartMeta:
    rest, texts = _split(node["config"]["meta"], TEXTS["mart"], languages)
    rest = {k: v for k, v in rest.items() if k not in {f"{f}_{each}" for f in ENGLISH for each in {*languages, *spoken()} - {"en"}}}
    if isinstance(rest.get("questions"), list):
        asked = [each if isinstance(each, dict) else {"?": str(each)} for each in rest["questions"]]
        rest["questions"] = [{"words": {k: v for k, v in each.items() if k != "sql"}, "sql": each.get("sql")} for each in asked]
    return MartMeta.model_validate({**rest, **texts})


def read_meta(node: Mapping[str, Any], languages: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Give what a mart says of itself that can be read, and what stops it from being published: the rest, and what is not said.

    What readers miss without harm (a field that is not said, one that nobody knows) is told by `make check` alone.
    """
    written, columns = node["config"]["meta"], node["columns"]
    wanted = ["access_class", "grain", *(f"label_{language}" for language in asked(languages))]
    told = {name: "it is missing" for name in wanted if not written.get(name)}
    harmless = ("missing", "extra_forbidden")
    try:
        _read(node, languages)
    except ValidationError as error:
        for fault in error.errors():
            if len(fault["loc"]) > 1 or fault["type"] not in harmless:
                told.setdefault(str(fault["loc"][0]), fault["msg"])
    said = {name: value for name, value in written.items() if name not in told}
    for name in ("completeness", "files_by", "grain", "position"):
        if absent := [column for column in listed_of(said.get(name)) if column not in columns]:
            told[name] = f"{', '.join(absent)} is not one of its columns: {', '.join(columns)}"
    for name, column in columns.items():
        rest, texts = _split(column_meta(column), TEXTS["column"], languages)
        try:
            ColumnMeta.model_validate({**rest, **texts})
        except ValidationError as error:
            for fault in error.errors():
                if len(fault["loc"]) > 1 or fault["type"] not in harmless:
                    told[f"{fault['loc'][0]} of column {name}"] = fault["msg"]
    return {name: value for name, value in said.items() if name not in told}, [f"{name}: {why}" for name, why in told.items()]


def _of_mart(node: dict[str, Any], languages: Sequence[str]) -> Iterator[Fault]:
    name, columns, written = node["name"], node["columns"], node["config"]["meta"]
    others = [language for language in asked(languages) if language != "en"]
    try:
        meta = _read(node, languages)
    except ValidationError as error:
        yield from _unread(error, name, None)
        return
    yield from _unsaid(node, written, "mart", languages, name)
    for field in ENGLISH:
        for language in others if written.get(field) else ():
            if not written.get(f"{field}_{language}"):
                yield Fault(name, None, f"config.meta.{field}_{language} is missing", "write it: readers see it in each language")
    if (meta.access_class == "open") == bool(meta.reasons_not_open):
        told = f"is {meta.access_class}, and {'says' if meta.reasons_not_open else 'does not say'} why it is not open"
        yield Fault(name, None, told, "`reasons_not_open` lists why a mart is of a higher class than open")
    if meta.completeness is None and not meta.completeness_why:
        mend = "name the column whose denominator is what was expected, or say `completeness_why`"
        yield Fault(name, None, "completeness is null without a reason", mend)
    yield from _raw_names(node, meta, languages)
    for question in meta.questions:
        if absent := [language for language in asked(languages) if not question.words.get(language)]:
            yield Fault(
                name, None, f"a question has no `{', '.join(absent)}` ({' '.join(question.words.values())})", "ask it in each language"
            )
    named = {of: [getattr(meta, of)] for of in ("completeness", "files_by", "reference_value", "target_value")}
    for of, those in {**named, "estimated": listed_of(meta.estimated), "grain": meta.grain, "position": meta.position or ()}.items():
        for column in those:
            if column and column not in columns:
                yield Fault(name, column, f"`{of}` names it, and the mart has no such column", f"name one of {', '.join(columns)}")


def _raw_names(node: Mapping[str, Any], meta: MartMeta, languages: Sequence[str]) -> Iterator[Fault]:
    """Give the technical names that the texts of a mart say."""
    for field, text in _texts(node, meta, languages):
        if names := RAW_NAME.findall(text):
            told = f"config.meta.{field} says {', '.join(names)}"
            yield Fault(node["name"], None, told, "say it in words: readers see it, and no technical name")


def _texts(node: Mapping[str, Any], meta: MartMeta, languages: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give all that the page of a mart says of it in words, by field."""
    written = node["config"]["meta"]
    for field in TEXTS["mart"]:
        yield from ((f"{field}_{language}", text) for language, text in _words_of(node, written, field, languages).items())
    for field in ENGLISH:
        told = [(field, written.get(field)), *((f"{field}_{language}", written.get(f"{field}_{language}")) for language in languages)]
        yield from ((of, text) for of, texts in told for text in listed_of(texts))
    yield from (("questions", text) for question in meta.questions for text in question.words.values())


def _of_columns(
    node: dict[str, Any], languages: Sequence[str], codes: Mapping[str, Mapping[str, Any]], manifest: dict[str, Any]
) -> Iterator[Fault]:
    mart, (grain, position) = node["name"], _named(node)
    accepted = _accepted_values(manifest, node["unique_id"])
    for name, column in node["columns"].items():
        written = column_meta(column)
        rest, texts = _split(written, TEXTS["column"], languages)
        try:
            meta = ColumnMeta.model_validate({**rest, **texts})
        except ValidationError as error:
            yield from _unread(error, mart, name)
            continue
        yield from _unsaid(column, written, "column", languages, mart)
        if is_measure(name, column["data_type"], grain, position):
            for field in ("unit", "nature", "aggregate"):
                if field not in rest:
                    yield Fault(mart, name, f"is a measure and says no `{field}`", f"say `{field}` under its config.meta")
        elif meta.aggregate != "none":
            yield Fault(mart, name, "is no measure, and says how it sums up", "take `aggregate` away")
        yield from _of_sums(mart, name, meta, node["columns"])
        yield from _of_codes(mart, name, meta, accepted.get(name, []), codes)


def _named(node: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the columns of the grain and of the position of a mart, whose YAML may not be whole."""
    meta = node["config"]["meta"]
    return listed_of(meta.get("grain")), listed_of(meta.get("position"))


def _of_codes(mart: str, name: str, meta: ColumnMeta, accepted: list[str], codes: Mapping[str, Mapping[str, Any]]) -> Iterator[Fault]:
    """Give the codes of a column that have no label."""
    if meta.codes is None:
        if accepted:
            mend = "name their domain of seed code_labels: `codes`"
            yield Fault(mart, name, f"holds codes ({', '.join(accepted)}) that have no label", mend)
    elif meta.codes not in codes:
        yield Fault(
            mart, name, f"`codes: {meta.codes}` is no domain of seed code_labels", f"write its codes, or name one of {', '.join(codes)}"
        )
    elif absent := [value for value in accepted if value not in codes[meta.codes]]:
        yield Fault(mart, name, f"{', '.join(absent)} has no label in domain {meta.codes}", "write it in seed code_labels")


def _of_sums(mart: str, name: str, meta: ColumnMeta, columns: Mapping[str, Any]) -> Iterator[Fault]:
    """Give what a column says of its parts and of its sums that cannot be."""
    if meta.nature == "composite" and not meta.components:
        yield Fault(mart, name, "is a composite without components", "name the columns it is made of: `components`")
    if meta.components and meta.nature != "composite":
        yield Fault(mart, name, f"names components, and is {meta.nature or 'nothing'}", "say `nature: composite`")
    if meta.aggregate == "mean" and not meta.weight:
        yield Fault(mart, name, "is a mean without its weight", "name the column that weighs it: `weight`")
    if meta.weight and meta.aggregate != "mean":
        yield Fault(mart, name, f"names a weight, and its aggregate is {meta.aggregate}", "say `aggregate: mean`, or take `weight` away")
    for of, told in [*(("components", each) for each in meta.components), *([("weight", meta.weight)] if meta.weight else [])]:
        if told not in columns:
            yield Fault(mart, name, f"`{of}` names {told}, which is no column of the mart", f"name one of {', '.join(columns)}")
        elif told == name:
            yield Fault(mart, name, f"`{of}` names the column itself", "name another")


def _accepted_values(manifest: dict[str, Any], model_id: str) -> dict[str, list[str]]:
    """Give, by column of a model, the codes that dbt's test accepts."""
    found = {}
    for node in manifest["nodes"].values():
        test = node.get("test_metadata") or {}
        if node["resource_type"] == "test" and test.get("name") == "accepted_values" and node.get("attached_node") == model_id:
            found[node["column_name"]] = [str(value) for value in test["kwargs"]["values"]]
    return found


def _of_metrics(manifest: dict[str, Any], marts: Sequence[dict[str, Any]]) -> Iterator[Fault]:
    """Name the measures of one name that are not one metric: another unit, another nature, or no model that both come from."""
    seen: dict[str, list[dict[str, Any]]] = {}
    for node in sorted(marts, key=lambda node: node["name"]):
        grain, position = _named(node)
        for name, column in node["columns"].items():
            if is_measure(name, column["data_type"], grain, position):
                seen.setdefault(name, []).append(node)
    for name, nodes in seen.items():
        first = nodes[0]
        of_first = column_meta(first["columns"][name])
        for other in nodes[1:]:
            of_other = column_meta(other["columns"][name])
            for field in ("unit", "nature"):
                if of_first.get(field) != of_other.get(field):
                    told = f"its {field} is {of_other.get(field)}, and {of_first.get(field)} in {first['name']}: one name, one metric"
                    yield Fault(other["name"], name, told, "say the same of both, or name it for what it is")
            if not _holders(manifest, first["unique_id"], name) & _holders(manifest, other["unique_id"], name):
                told = f"comes from no model that {first['name']} takes it from: one metric, one definition"
                yield Fault(other["name"], name, told, "compute it in one model that both read, or name it for what it is")


def _holders(manifest: dict[str, Any], model_id: str, column: str) -> set[str]:
    """Give the models that name a column, among a model and those that it takes it from: each read by one that names it."""
    found: set[str] = set()
    waiting = [model_id]
    while waiting:
        node = manifest["nodes"].get(each := waiting.pop())
        if each in found or not node or node["resource_type"] != "model":
            continue
        if each == model_id or re.search(rf"\b{re.escape(column)}\b", node["raw_code"]):
            found.add(each)
            waiting += node["depends_on"]["nodes"]
    return found
