"""A decision mart, as the dbt project declares it: what it lacks, or says wrong, stops it from being published."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from expectations.gate import MartFigures
from ingestion.lake import quoted
from ingestion.territory import read_territory
from redistribution.labels import labels_of
from redistribution.meta import NUMBERS, asked, is_mart, is_memory, read_meta, summed_of

# From what anybody may see to what few may.
CLASSES = ("open", "partner", "internal", "restricted")
FILE_NAME = "filename"  # DuckLake's own column of the file that holds a row


def seen_by(access_class: str) -> tuple[str, ...]:
    """Name the classes that who may see a class sees: it, and all that are more open."""
    return CLASSES[: CLASSES.index(access_class) + 1]


@dataclass(frozen=True)
class Mart:
    """A decision mart, as the dbt project declares it.

    `sources` are the bricks that it is made of, with their class; `files_by` the column of which each value has a file of its
    own, its unit: only units whose rows differ are written and replaced; `lineage` are the nodes of dbt that it is made of,
    itself included; `figures` what it says of them, by which its gate judges; `labels` is what readers are told of it, in each
    language (`redistribution.labels.labels_of`). `memories` are the other marts that it is made of and that remember what readers
    were given: it is never published ahead of one. `keeps` says that its rows outlive those of its sources, `broken` what its YAML
    lacks: it cannot be published then.
    """

    name: str
    relation: str
    access_class: str
    sources: dict[str, str]
    key: tuple[str, ...]
    labels: dict[str, Any] = field(default_factory=dict)
    declassified_because: str | None = None
    position: tuple[str, str] | None = None
    files_by: str | None = None
    figures: MartFigures = field(default_factory=MartFigures)
    lineage: frozenset[str] = frozenset()
    memories: frozenset[str] = frozenset()
    keeps: bool = False
    broken: str | None = None

    @property
    def labels_digest(self) -> str:
        """Sum up what readers are told of it: a publication says it once, and is referred to until it differs."""
        return hashlib.sha256(json.dumps(self.labels, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def source_class(self) -> str:
        """The highest class among its sources."""
        return max(self.sources.values(), key=CLASSES.index, default="open")

    @property
    def lowest_class(self) -> str:
        """The lowest class that may see it: its own, or its sources' where it does not say why it may be lower."""
        return self.own_class if self.declassified_because else max(self.own_class, self.source_class, key=CLASSES.index)

    @property
    def own_class(self) -> str:
        """The class that it says; the highest for what is none: it may have been meant higher than what stands."""
        return self.access_class if self.access_class in CLASSES else CLASSES[-1]

    def judged_by(self, expectations: str) -> str:
        """Sum up what its gate judges by, apart from its content: its expectations, its grain, its class and that of its sources."""
        told = [expectations, self.key, self.access_class, self.source_class, self.declassified_because, self.figures]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def fault(self, units: Iterable[str], columns: Mapping[str, str | None]) -> str | None:
        """Say why the mart cannot be published; `columns` are those that it holds, by their type.

        A class lower than the sources' without a reason, a unit that names no file, a column that is not there, no number, or DuckDB's own.
        """
        if self.access_class not in CLASSES:
            return f"access_class '{self.access_class}' is not one of {', '.join(CLASSES)}"
        is_lower = CLASSES.index(self.access_class) < CLASSES.index(self.source_class)
        if is_lower and not self.declassified_because:
            return f"class {self.access_class} is lower than its sources' ({self.source_class}): say why in `declassified_because`"
        held = {name.casefold(): kind for name, kind in columns.items()}
        completeness = [self.figures.completeness] if self.figures.completeness else []
        numbers = [*(self.position or ()), *completeness]
        if absent := [name for name in (*self.key, *numbers) if name.casefold() not in held]:
            return f"{', '.join(absent)} is no column of it. Mend: its `grain`, its `position` or its `completeness`"
        if others := [name for name in numbers if not NUMBERS.match(held[name.casefold()] or "double")]:
            return f"{', '.join(others)} is no number. Mend: its `position`, or its `completeness`"
        if self.keeps and (self.figures.period or "").casefold() not in held:
            return "`keeps` goes with a `partition` that is a column of it: by it the periods that have expired are known. Mend: its YAML"
        if FILE_NAME in held:  # by which the rows of a file are taken away: the mart's own would hide it, and old rows stay
            return f"a column is called {FILE_NAME}, as DuckDB's own. Mend: name it otherwise"
        if unnamed := [unit for unit in units if not re.fullmatch(r"[\w.-]+", unit)]:
            return f"`files_by: {self.files_by}` makes files, and {unnamed[0]!r} cannot name one (letters, digits, `_`, `-` and `.`)"
        return None


def read_marts(manifest: dict[str, Any], classes: Mapping[str, str]) -> list[Mart]:
    """Read the marts of a dbt manifest: the models of the folder `marts`; one whose YAML is not whole is `broken`.

    `classes` are those of the bricks today, by name: the manifest may be older than they are.
    """
    nodes, languages = manifest["nodes"], read_territory().languages
    told_in = tuple(dict.fromkeys([*languages, *asked(languages)]))  # English, where the house speaks none of them

    def lineage(node_id: str, seen: set[str]) -> set[str]:
        seen.add(node_id)
        for parent in nodes.get(node_id, {}).get("depends_on", {}).get("nodes", []):
            if parent not in seen:
                lineage(parent, seen)
        return seen

    marts = []
    for node in nodes.values():
        if not is_mart(node):
            continue
        said, broken = read_meta(node, languages)
        made_of = lineage(node["unique_id"], set())
        sources = [manifest["sources"][each] for each in made_of if each.startswith("source.")]
        marts.append(
            Mart(
                name=node["name"],
                relation=f"{quoted(node['schema'])}.{quoted(node['alias'])}",
                access_class=str(node["config"]["meta"].get("access_class", "")),
                sources={each["source_name"]: classes.get(each["source_name"], each["source_meta"]["access_class"]) for each in sources},
                key=tuple(said.get("grain", ())),
                labels=labels_of(node, told_in, [each["source_meta"]["licence"] for each in sources]),
                declassified_because=said.get("declassified_because"),
                position=(position[0], position[1]) if (position := said.get("position")) else None,
                files_by=said.get("files_by"),
                figures=MartFigures(node["config"].get("partition"), said.get("completeness"), tuple(summed_of(node))),
                lineage=frozenset(made_of),
                keeps=bool(said.get("keeps")),
                memories=frozenset(nodes[each]["name"] for each in made_of - {node["unique_id"]} if is_memory(nodes.get(each, {}))),
                broken="; ".join(broken) or None,
            )
        )
    return sorted(marts, key=lambda mart: mart.name)
