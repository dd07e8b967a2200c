"""Rules of what `dbt docs` shows (columns, blocks of text, macros, groups): part of `make check`, by `tests.check_dbt`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import sqlglot

PACKAGE = "city_orchestra"
FILLERS = frozenset(("a", "an", "and", "as", "by", "for", "in", "is", "it", "its", "of", "on", "or", "per", "that", "the", "this", "to"))
INTERNAL = re.compile(r"__|^orchestra_|^json_numbers_as_texts$")  # macros that only other macros call
Node = Mapping[str, Any]


def faults_of_docs(manifest: Mapping[str, Any]) -> list[str]:
    """Name what the handbook would not tell, with the mend; the manifest is of `dbt compile`, which says the columns of a SELECT."""
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    mend = "Mend: `config: {group: <use case>}` in its YAML, and that group under `groups:` of the use case's"
    return [
        *(fault for node in models if node["fqn"][1] == "intermediate" for fault in _of_columns(node)),
        *_of_blocks(manifest),
        *(fault for macro in manifest["macros"].values() if macro["package_name"] == PACKAGE for fault in _of_macro(macro)),
        *(f"model {node['name']} is in no group. {mend}" for node in models if not node["config"].get("group")),
    ]


def repeats(name: str, description: str) -> bool:
    """Say whether a description holds no word that the name does not."""
    told = set(re.findall(r"[^\W_]+", description.lower())) - FILLERS
    return not {word.removesuffix("s") for word in told} - {word.removesuffix("s") for word in name.lower().split("_")}


def _of_columns(node: Node) -> Iterator[str]:
    """Compare what a model's SELECT gives with what its YAML tells."""
    held, told = sqlglot.parse_one(node["compiled_code"], dialect="duckdb").named_selects, node["columns"]
    mend = "Mend: in its YAML, say what it holds: unit, what NULL means, what is counted"
    for name in held:
        description = (told.get(name, {}).get("description") or "").strip()
        if not description:
            yield f"model {node['name']}, column {name} is not described. {mend}"
        elif repeats(name, description):
            yield f"model {node['name']}, column {name}: '{description}' says no more than its name. {mend}"
    for name in told:
        if name not in held:
            yield f"model {node['name']} describes column {name}, which its SELECT does not give. Mend: one of {', '.join(held)}"


def _of_blocks(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Name the docs blocks that nothing reads: their text stands in no description."""
    told = {text for kind in ("nodes", "sources", "macros") for node in manifest[kind].values() for text in _texts(node)}
    for block in manifest["docs"].values():
        if block["package_name"] == PACKAGE and not block["name"].startswith("__") and block["block_contents"].strip() not in told:
            yield f"{block['original_file_path']}: no description reads the docs block {block['name']}. Mend: take it away"


def _texts(node: Node) -> Iterator[str]:
    for of in (node, *node.get("columns", {}).values()):
        yield (of.get("description") or "").strip()


def _of_macro(macro: Node) -> Iterator[str]:
    if INTERNAL.search(macro["name"]):
        return
    if not macro["description"].strip():
        yield f"macro {macro['name']} is not described. Mend: dbt_project/macros/_macros.yml, with its arguments and their types"
    if macro["name"].startswith(("materialization_", "test_")):
        return  # what they take is said in a YAML, and dbt does not read it of them
    for argument in macro["arguments"]:
        if not argument["type"] or not argument["description"].strip():
            yield f"macro {macro['name']}, argument {argument['name']}: say its `type` and `description` in dbt_project/macros/_macros.yml"
