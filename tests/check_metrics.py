"""Rules of the metrics of dbt's semantic layer: part of `make check`, by `tests.check_dbt`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import sqlglot
from sqlglot import exp

from redistribution.meta import column_meta, is_mart

Node = Mapping[str, Any]


def faults_of_metrics(manifest: Node, units: Collection[str]) -> list[str]:
    """Name the marts that sum without a metric, measures that sum what does not, and metrics of a wrong unit; `units` have labels."""
    measures, found = {}, list(_without_metric(manifest))
    for model in manifest["semantic_models"].values():
        mart = manifest["nodes"][model["depends_on"]["nodes"][0]]
        for measure in model["measures"]:
            measures[measure["name"]] = (mart, measure)
            found += list(_of_measure(mart, measure))
    for metric in manifest["metrics"].values():
        unit, mend = metric["config"]["meta"].get("unit"), "Mend: its `config: {meta: {unit: ...}}`"
        if unit not in units:
            found.append(f"metric {metric['name']}: its unit {unit} has no label in seed code_labels. {mend}")
        if metric["type"] == "simple":
            mart, measure = measures[metric["type_params"]["measure"]["name"]]
            of_column = column_meta(mart["columns"].get(measure["expr"] or measure["name"], {})).get("unit")
            if of_column and unit != of_column:
                found.append(f"metric {metric['name']}: its unit is {unit}, and {of_column} in mart {mart['name']}. {mend}")
    return found


def _without_metric(manifest: Node) -> Iterator[str]:
    """Name the marts that sum, or weigh, a measure over time and that no semantic model reads; dbt has no metric without a time."""
    read = {model["depends_on"]["nodes"][0] for model in manifest["semantic_models"].values()}
    for key, mart in manifest["nodes"].items():
        columns = mart.get("columns", {})
        is_dated = any(name == "year" or column.get("data_type") == "date" for name, column in columns.items())
        sums = [name for name, column in columns.items() if column_meta(column).get("aggregate") in ("sum", "mean")]
        if sums and is_dated and is_mart(mart) and key not in read:
            mend = "`semantic_models` and `metrics` in a YAML of its folder, as dbt_project/models/marts/energy/_energy__metrics.yml"
            yield f"mart {mart['name']}: {', '.join(sums)} sums up, and is no metric: no semantic model reads the mart. Mend: {mend}"


def _of_measure(mart: Node, measure: Node) -> Iterator[str]:
    """Compare what a measure adds up with what its columns say of their sums."""
    told, columns = f"measure {measure['name']} of mart {mart['name']}", mart["columns"]
    read = {column.name for column in sqlglot.parse_one(measure["expr"] or measure["name"], dialect="duckdb").find_all(exp.Column)}
    if absent := sorted(read - columns.keys()):
        yield f"{told}: {', '.join(absent)} is no column of it. Mend: its `expr`"
    metas = {name: column_meta(columns[name]) for name in read & columns.keys()}
    weights = {meta["weight"] for meta in (column_meta(column) for column in columns.values()) if meta.get("weight")}
    for name, meta in sorted(metas.items()):
        is_mean = meta.get("aggregate") == "mean" and meta.get("weight") in read
        if measure["agg"] == "sum" and not is_mean and name not in weights and meta.get("aggregate") != "sum":
            yield f"{told}: column {name} does not say `aggregate: sum`. Mend: read it in its mart, row by row, or weigh it"
