"""The rules that each mart keeps by itself (docs/contracts.md), told with mart, column and mend: part of `make check`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ingestion.declaration import model_at, said
from redistribution.meta import (
    ENGLISH,
    TEXTS,
    ColumnMeta,
    MartMeta,
    Words,
    asked,
    column_meta,
    is_mart,
    is_measure,
    listed_of,
    parse_column,
    parse_mart,
    spoken,
    words,
    words_of,
)

RAW_NAME = re.compile(r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b")  # of a mart, or of a column


class Fault(NamedTuple):
    """What is wrong in the YAML of a mart, where, and the mend."""

    mart: str
    column: str | None
    told: str
    mend: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"mart {self.mart}{f', column {self.column}' if self.column else ''}: {self.told}. Mend: {self.mend}"


def faults_of_meta(manifest: dict[str, Any], languages: Sequence[str], codes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Name what the YAML of each mart lacks or says wrong of it and of its columns, with the mend; `codes` are those with a label."""
    marts = [node for node in manifest["nodes"].values() if is_mart(node)]
    faults = [fault for node in marts for fault in [*_of_mart(node, languages), *_of_columns(node, languages, codes, manifest)]]
    files = {node["name"]: str(node.get("patch_path") or "").partition("://")[2] for node in marts}
    return [f"{file}: {fault}" if (file := files[fault.mart]) else str(fault) for fault in [*faults, *_of_metrics(manifest, marts)]]


def _of_mart(node: dict[str, Any], languages: Sequence[str]) -> Iterator[Fault]:
    name, columns, written = node["name"], node["columns"], node["config"]["meta"]
    others = [language for language in asked(languages) if language != "en"]
    try:
        meta = parse_mart(node, languages)
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
        yield from ((f"{field}_{language}", text) for language, text in words_of(node, written, field, languages).items())
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
        try:
            meta = parse_column(column, languages)
        except ValidationError as error:
            yield from _unread(error, mart, name)
            continue
        yield from _unsaid(column, written, "column", languages, mart)
        if is_measure(name, column["data_type"], grain, position):
            for field in ("unit", "nature", "aggregate"):
                if field not in written:
                    yield Fault(mart, name, f"is a measure and says no `{field}`", f"say `{field}` under its config.meta")
        elif meta.aggregate != "none":
            yield Fault(mart, name, "is no measure, and says how it sums up", "take `aggregate` away")
        yield from _of_sums(mart, name, meta, node["columns"])
        yield from _of_codes(mart, name, meta, accepted.get(name, []), codes)


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
        # What most marts say is the name's: which of two came last, nobody can tell.
        said = [[column_meta(node["columns"][name]).get(field) for field in ("unit", "nature")] for node in nodes]
        first = max(zip(nodes, said, strict=True), key=lambda each: said.count(each[1]))[0]
        of_first = column_meta(first["columns"][name])
        for other in (node for node in nodes if node is not first):
            of_other = column_meta(other["columns"][name])
            for field in ("unit", "nature"):
                if of_first.get(field) != of_other.get(field):
                    told = f"its {field} is {of_other.get(field)}, and {of_first.get(field)} in {first['name']}: one name, one metric"
                    yield Fault(other["name"], name, told, "say the same of both, or give the column that came last a name of its own")
            if not _holders(manifest, first["unique_id"], name) & _holders(manifest, other["unique_id"], name):
                told = f"comes from no model that {first['name']} takes it from: one metric, one definition"
                yield Fault(
                    other["name"], name, told, "compute it in one model that both read, or give the column that came last a name of its own"
                )


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


def _named(node: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the columns of the grain and of the position of a mart, whose YAML may not be whole."""
    meta = node["config"]["meta"]
    return listed_of(meta.get("grain")), listed_of(meta.get("position"))


def _unread(error: ValidationError, mart: str, column: str | None) -> Iterator[Fault]:
    model, texts = (ColumnMeta, TEXTS["column"]) if column else (MartMeta, TEXTS["mart"])
    accepted = ", ".join(f"{name}_<language>" if name in texts else name for name in model.model_fields)
    for fault in error.errors():
        field = ".".join(map(str, fault["loc"]))
        is_unknown = fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1
        told = f"unknown field (accepted: {accepted})" if is_unknown else said(fault, model_at(model, fault["loc"]))
        yield Fault(mart, column, f"config.meta.{field}: {told}", f"say `{field}` as docs/contracts.md tells, or take it away")


def _unsaid(of: Mapping[str, Any], meta: Mapping[str, Any], kind: str, languages: Sequence[str], mart: str) -> Iterator[Fault]:
    """Give what a mart, or a column, does not say in each language."""
    for field in TEXTS[kind]:
        told = words_of(of, meta, field, languages)
        for language in asked(languages):
            if language not in told:
                of_column = of["name"] if kind == "column" else None
                # In English, the description is dbt's own.
                where = "description" if (field, language) == ("description", "en") else f"config.meta.{field}_{language}"
                yield Fault(mart, of_column, f"{where} is missing", "write it: readers see it in each language")


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
