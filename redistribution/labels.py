"""What readers are told of a mart: in its files, in the catalogue and in the journal, the same words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redistribution.meta import TEXTS, column_meta, listed_of, words, words_of

TOLD = ("unit", "nature", "components", "aggregate", "weight", "codes", "empty_means")  # what is told of a column


def labels_of(node: Mapping[str, Any], languages: Sequence[str], licences: Iterable[str] = ()) -> dict[str, Any]:
    """Give what readers are told of a mart: titles, descriptions, licences of its sources, and the columns, with their units.

    What is not whole is left out: `make check` tells it.
    """
    meta, columns = node["config"]["meta"], {}
    for name, column in node["columns"].items():
        of = column_meta(column)
        told = {field: text for field in TEXTS["column"] if (text := words_of(column, of, field, languages))}
        columns[name] = told | {key: of[key] for key in TOLD if of.get(key) not in (None, "none")}
    return {
        "label": words(meta, "label", languages),
        "description": words_of(node, meta, "description", languages),
        "licences": sorted(set(licences)),
        "grain": [*map(str, listed_of(meta.get("grain")))],
        "columns": columns,
    }


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
