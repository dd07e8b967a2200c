"""What is made of what, as the SQL and the YAML of the dbt project say it: read in milliseconds, without dbt and without a lake."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flows import dbt_process
from ingestion.declaration import BrickError, read_yaml

LAYERS = ("seed", "staging", "intermediate", "mart")
_COMMENT = re.compile(r"\{#.*?#\}|--[^\n]*", re.DOTALL)
_NAMED = re.compile(r"\b(ref|source)\(\s*'([^']+)'(?:\s*,\s*'([^']+)')?\s*\)")
_MACRO = re.compile(r"\{%-?\s*macro\s+(\w+)\s*\(.*?%\}(.*?)\{%-?\s*endmacro", re.DOTALL)


@dataclass(frozen=True)
class Node:
    """A model or a seed: its layer, the nodes that it reads, and of a mart its use case and what its YAML says of it."""

    name: str
    layer: str
    reads: frozenset[str] = frozenset()
    tables: frozenset[tuple[str, str]] = frozenset()  # (brick, table)
    use_case: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def titles(self) -> dict[str, str]:
        """The title of a mart, by language."""
        return {key.removeprefix("label_"): str(text) for key, text in self.meta.items() if key.startswith("label_")}


@dataclass(frozen=True)
class Lineage:
    """The models and seeds of the dbt project, by name."""

    nodes: Mapping[str, Node]

    @property
    def marts(self) -> dict[str, Node]:
        """The marts, by name."""
        return {name: node for name, node in sorted(self.nodes.items()) if node.layer == "mart"}

    def made_of(self, name: str) -> set[str]:
        """Name the nodes that one is made of, itself included."""
        found, left = set[str](), [name]
        while left:
            if (each := left.pop()) in self.nodes and each not in found:
                found.add(each)
                left += self.nodes[each].reads
        return found

    def tables_of(self, name: str) -> set[tuple[str, str]]:
        """Give the tables of bricks, as (brick, table), that a node is made of."""
        return {told for each in self.made_of(name) for told in self.nodes[each].tables}

    def marts_on(self, brick: str, table: str | None = None) -> list[str]:
        """Name the marts that rest on a brick, or on one of its tables."""
        return [mart for mart in self.marts if any(b == brick and table in (None, t) for b, t in self.tables_of(mart))]

    def use_cases_on(self, brick: str) -> dict[str, int]:
        """Count by use case the marts that rest on a brick."""
        cases = [self.nodes[mart].use_case or "" for mart in self.marts_on(brick)]
        return {case: cases.count(case) for case in sorted(set(cases))}


def read_lineage() -> Lineage:
    """Read the dbt project of the house; raises BrickError for a YAML that cannot be read."""
    folder = dbt_process.DBT_PROJECT
    patterns = ("models/**/*.sql", "models/**/*.yml", "macros/*.sql", "seeds/*.csv")
    files = [path for pattern in patterns for path in folder.glob(pattern)]
    return _read(folder, tuple(sorted((path, path.stat().st_mtime_ns) for path in files)))


@functools.lru_cache(maxsize=2)
def _read(folder: Path, files: tuple[tuple[Path, int], ...]) -> Lineage:
    paths = [path for path, _ in files]
    macros = _macros(path.read_text(encoding="utf-8") for path in paths if path.parent.name == "macros")
    metas = _metas(path for path in paths if path.suffix == ".yml")
    nodes = {path.stem: Node(path.stem, "seed") for path in paths if path.suffix == ".csv"}
    for path in paths:
        if path.suffix != ".sql" or path.parent.name == "macros":
            continue
        parts = path.relative_to(folder / "models").parts
        text = _COMMENT.sub("", path.read_text(encoding="utf-8"))
        # What a macro reads is read by who calls it.
        text += "".join(body for name, body in macros.items() if re.search(rf"\b{name}\s*\(", text))
        named = _NAMED.findall(text)
        nodes[path.stem] = Node(
            path.stem,
            "mart" if parts[0] == "marts" else parts[0],
            frozenset(first for kind, first, _ in named if kind == "ref"),
            frozenset((first, second) for kind, first, second in named if kind == "source"),
            parts[1] if parts[0] == "marts" and len(parts) > 2 else None,
            metas.get(path.stem, {}),
        )
    return Lineage(nodes)


def _macros(texts: Iterable[str]) -> dict[str, str]:
    """Give what each macro that reads a node writes of it, those that call it included."""
    bodies = {name: body for text in texts for name, body in _MACRO.findall(_COMMENT.sub("", text))}
    reading = {name: " ".join(match[0] for match in _NAMED.finditer(body)) for name, body in bodies.items() if _NAMED.search(body)}
    while callers := {
        name: told
        for name, body in bodies.items()
        if name not in reading and (told := " ".join(reads for own, reads in reading.items() if re.search(rf"\b{own}\s*\(", body)))
    }:
        reading |= callers
    return reading


def _metas(paths: Iterable[Path]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        if "marts" not in path.parts:
            continue
        document = read_yaml(path)[2]
        models = document.get("models") if isinstance(document, dict) else None
        for model in models if isinstance(models, list) else ():
            found[str(model.get("name"))] = {**(model.get("config") or {}).get("meta", {}), "columns": _columns(model)}
    return found


def _columns(model: Mapping[str, Any]) -> list[str]:
    return [str(column.get("name")) for column in model.get("columns") or ()]


def exposures() -> dict[str, Mapping[str, Any]]:
    """Give what takes from the marts, by name, as dbt's exposures say it."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted((dbt_process.DBT_PROJECT / "models").rglob("*exposures*.yml")):
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise BrickError(f"{path.name}: not YAML: {' '.join(str(error).split())}") from error
        for each in (document or {}).get("exposures") or ():
            found[str(each["name"])] = each
    return found
