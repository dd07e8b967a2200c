"""Rules for every mart that need the whole project (docs/contracts.md): part of `make check`, beside `tests.check_meta`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from redistribution.mart import CLASSES
from redistribution.meta import column_meta, is_mart, is_measure, listed_of
from tests.check_meta import Fault

QUOTIENTS = ("share", "ratio", "rank", "°C")  # units of what never sums
COMPUTES = re.compile(r"\b(case|group\s+by|qualify|over)\b", re.IGNORECASE)
HINTS = ("figures", "time", "series", "entity", "columns", "map")  # of `display`
COMMENT = re.compile(r"--[^\n]*|\{#.*?#\}|/\*.*?\*/", re.DOTALL)
BY_HAND = re.compile(r"having\s+avg\s*\(", re.IGNORECASE)
Node = dict[str, Any]


def faults_of_marts(manifest: Mapping[str, Any], codes: Mapping[str, Any], domains: Collection[str]) -> list[str]:
    """Name what the marts of a manifest do not hold; `codes` have labels, `domains` thresholds of disclosure."""
    marts = sorted((node for node in manifest["nodes"].values() if is_mart(node)), key=lambda node: str(node["name"]))
    found = [
        fault
        for node in marts
        for fault in [
            *_of_grain(node, manifest),
            *_of_comparisons(node),
            *_of_estimates(node),
            *_of_units(node, codes),
            *_of_sums(node),
            *_of_display(node),
            *_of_questions(node),
            *_of_tests(node, manifest),
            *_of_disclosure(node, manifest, domains),
        ]
    ]
    return [str(fault) for fault in [*found, *_of_reconciled(marts, manifest)]]


def measures_of(node: Node) -> dict[str, dict[str, Any]]:
    """Give the measures of a mart, and what each says of itself."""
    meta = node["config"]["meta"]
    return {
        name: column_meta(column)
        for name, column in node["columns"].items()
        if is_measure(name, column["data_type"], meta.get("grain") or (), meta.get("position"))
    }


def tests_of(manifest: Mapping[str, Any], node_id: str, name: str) -> list[Node]:
    """Give the tests of a name that are attached to a node."""
    attached = [node for node in manifest["nodes"].values() if node["resource_type"] == "test" and node.get("attached_node") == node_id]
    return [node for node in attached if (node.get("test_metadata") or {}).get("name") == name]


def _of_grain(node: Node, manifest: Mapping[str, Any]) -> Iterator[Fault]:
    grain = list(node["config"]["meta"].get("grain") or ())
    tested = [test["test_metadata"]["kwargs"]["columns"] for test in tests_of(manifest, node["unique_id"], "unique_rows")]
    tested += [[test["column_name"]] for test in tests_of(manifest, node["unique_id"], "unique")]
    if not any(sorted(columns) == sorted(grain) for columns in tested):
        mend = f"data_tests: [unique_rows: {{arguments: {{columns: [{', '.join(grain)}]}}}}]"
        yield Fault(node["name"], None, "no test holds that no two rows have one grain", mend)


def _of_comparisons(node: Node) -> Iterator[Fault]:
    meta, measures = node["config"]["meta"], measures_of(node)
    for role in ("reference_value", "target_value"):
        named, prefix = meta.get(role), role.removesuffix("value")
        if not named:
            if unsaid := [name for name in measures if name.startswith(prefix)]:
                yield Fault(node["name"], unsaid[0], f"is compared with, and the mart says no `{role}`", f"name it in `{role}`, or another")
        elif named not in measures:
            yield Fault(node["name"], named, f"`{role}` names it, and it is no measure", "name a measure")
        else:
            others = [name for name in measures if name not in (meta.get("reference_value"), meta.get("target_value"))]
            if measures[named].get("unit") not in {measures[name].get("unit") for name in others}:
                told = f"`{role}` names it, and no other measure has its unit ({measures[named].get('unit')})"
                yield Fault(node["name"], named, told, "compare what has one unit")
    completeness = meta.get("completeness")
    if completeness in measures and measures[completeness].get("unit") != "share":
        yield Fault(
            node["name"], completeness, "`completeness` names it, and it is no share", "a share of what was expected: `unit: share`"
        )


def _of_estimates(node: Node) -> Iterator[Fault]:
    told = listed_of(node["config"]["meta"].get("estimated"))
    if not told and (estimated := [name for name, meta in measures_of(node).items() if meta.get("nature") == "estimated"]):
        yield Fault(node["name"], estimated[0], "is estimated, and no column says so and how", "name the columns that do: `estimated`")
    for name, column in node["columns"].items():
        if re.fullmatch(r"is_\w*verified", name) and name not in told:
            yield Fault(node["name"], name, "tells what nobody has verified, and `estimated` does not name it", "add it to `estimated`")
        if name in told and column["data_type"] not in ("boolean", "string"):
            told_of = f"`estimated` names it, and it is a {column['data_type']}"
            yield Fault(node["name"], name, told_of, "name a boolean (whether) or a text (how)")


def _of_units(node: Node, codes: Mapping[str, Any]) -> Iterator[Fault]:
    for name, meta in measures_of(node).items():
        unit = meta.get("unit")
        if unit and unit not in codes.get("unit", {}) and unit not in node["columns"]:
            mend = "write it in seed code_labels, domain unit, or use one that stands there"
            yield Fault(node["name"], name, f"its unit {unit} has no label", mend)


def _of_sums(node: Node) -> Iterator[Fault]:
    measures = measures_of(node)
    for name, meta in measures.items():
        unit = str(meta.get("unit"))
        if meta.get("aggregate") == "sum" and (unit in QUOTIENTS or "/" in unit):
            yield Fault(node["name"], name, f"says `aggregate: sum`, and {unit} does not sum", "`mean` with its `weight`, `last` or `none`")
        for role, told in [("components", meta.get("components") or ()), ("weight", listed_of(meta.get("weight")))]:
            if absent := [each for each in told if each in node["columns"] and each not in measures]:
                yield Fault(node["name"], name, f"`{role}` names {', '.join(absent)}, which is no measure", "name measures")


def _of_display(node: Node) -> Iterator[Fault]:
    for hint, told in (node["config"]["meta"].get("display") or {}).items():
        if hint not in HINTS:
            yield Fault(node["name"], None, f"`display` says {hint}, which no page knows", ", ".join(HINTS))
        for column in listed_of(told):
            if column not in node["columns"]:
                yield Fault(node["name"], column, f"`display.{hint}` names it, and the mart has no such column", "name one of its columns")


def _of_questions(node: Node) -> Iterator[Fault]:
    for question in node["config"]["meta"].get("questions") or ():
        if BY_HAND.search(question.get("sql") or ""):
            told = f"the query of '{question.get('en')}' says by hand which months are complete"
            yield Fault(node["name"], None, told, "where month_date in {period}: one definition, which the page's key figures have")


def _of_tests(node: Node, manifest: Mapping[str, Any]) -> Iterator[Fault]:
    computes = COMPUTES.search(COMMENT.sub("", node["raw_code"]))
    if computes and node["name"] not in {test["model"] for test in manifest.get("unit_tests", {}).values()}:
        yield Fault(node["name"], None, "computes, and has no unit test", "a dbt unit test for each of its rules")


def _of_disclosure(node: Node, manifest: Mapping[str, Any], domains: Collection[str]) -> Iterator[Fault]:
    told = node["config"]["meta"].get("disclosure")
    if ("is_suppressed" in node["columns"]) != bool(told):
        told_of = "says `disclosure`, and has no column is_suppressed" if told else "has a column is_suppressed, and says no `disclosure`"
        yield Fault(node["name"], None, told_of, "a domain of disclosure_thresholds, or `producer`")
    yield from _of_declassified(node, manifest)
    if told in (None, "producer"):
        return
    if told not in domains:
        told_of = f"`disclosure: {told}` is no domain of disclosure_thresholds"
        yield Fault(node["name"], None, told_of, f"one of {', '.join(sorted(domains))}")
    elif not any(_discloses(COMMENT.sub("", code), str(told)) for code in _codes_above(node["unique_id"], manifest)):
        mend = "`{{ disclosed(...) }}` or `{{ disclosed_over_time(...) }}` in a model that it is made of: one macro hides small cells"
        yield Fault(node["name"], None, f"hides its cells by no macro `disclosed` of domain {told}", mend)


def _of_declassified(node: Node, manifest: Mapping[str, Any]) -> Iterator[Fault]:
    """Name a mart that sums what fewer may see, or what is of persons, and neither hides small cells nor says why it need not."""
    meta = node["config"]["meta"]
    summed = [name for name, of in measures_of(node).items() if of.get("aggregate") == "sum"]
    if not summed or meta.get("disclosure") or meta.get("disclosure_why") or meta.get("access_class") not in CLASSES:
        return
    sources = [manifest["sources"][each] for each in _above(node["unique_id"], manifest) if each in manifest.get("sources", {})]
    higher = {s["source_name"] for s in sources if CLASSES.index(s["source_meta"]["access_class"]) > CLASSES.index(meta["access_class"])}
    personal = {s["source_name"] for s in sources if any(column_meta(c).get("personal") for c in s["columns"].values())}
    if told := sorted(higher | personal):
        why = "is below the class of" if higher else "is made of persons, by"
        mend = "`disclosure`: the domain by which macro `disclosed` (or `disclosed_over_time`) hides cells; or `disclosure_why` it need not"
        yield Fault(node["name"], summed[0], f"is summed, and the mart {why} {', '.join(told)}: a sum of few tells of one", mend)


def _discloses(code: str, domain: str) -> bool:
    """Say whether a code calls `disclosed` or `disclosed_over_time` of a domain: its second argument, or the one that is named so."""
    argument, quoted = r"(?:[^(),]|\([^()]*\))", rf"['\"]{re.escape(domain)}['\"]"
    told = rf"(?:{argument}+,\s*{quoted}|(?:{argument}|,)*?\bdomain\s*=\s*{quoted})"
    return bool(re.search(rf"\bdisclosed(?:_over_time)?\(\s*{told}\s*[,)]", code))


def _codes_above(node_id: str, manifest: Mapping[str, Any]) -> Iterator[str]:
    yield from (manifest["nodes"][each].get("raw_code") or "" for each in _above(node_id, manifest) if each in manifest["nodes"])


def _above(node_id: str, manifest: Mapping[str, Any]) -> set[str]:
    """Name what a node is made of, itself included."""
    waiting, seen = [node_id], set[str]()
    while waiting:
        if (each := waiting.pop()) not in seen:
            seen.add(each)
            waiting += manifest["nodes"].get(each, {}).get("depends_on", {}).get("nodes", [])
    return seen


def _of_reconciled(marts: list[Node], manifest: Mapping[str, Any]) -> Iterator[Fault]:
    """Name the marts that sum a measure of one name, and that no test holds together: sums_reconcile, or one of its own that reads both."""
    names = {node["unique_id"]: node["name"] for node in marts}
    held_by = []  # the columns that a test holds, and the marts that it reads
    for test in manifest["nodes"].values():
        told = test.get("test_metadata") or {}
        if test["resource_type"] == "test" and (not told or told.get("name") == "sums_reconcile"):
            columns = told["kwargs"]["columns"] if told else re.findall(r"\w+", test["raw_code"])
            held_by.append((set(columns), {names[each] for each in test["depends_on"]["nodes"] if each in names}))
    holders: dict[str, list[str]] = {}
    for node in marts:
        for name, meta in measures_of(node).items():
            if meta.get("aggregate") == "sum":
                holders.setdefault(name, []).append(node["name"])
    for name, held in holders.items():
        joined = {held[0]}
        while more := {mart for columns, read in held_by if name in columns and read & joined for mart in read} - joined:
            joined |= more
        for mart in sorted(set(held) - joined):
            told = f"is summed here and in {held[0]}, and no test holds both together"
            yield Fault(mart, name, told, "dbt's test sums_reconcile of one, over the other, or a test of its own")
