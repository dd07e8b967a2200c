"""What the YAML of a mart and of its bricks says, as a page needs it; what is not said is None or empty, never an error."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingestion.brick import Brick
from ingestion.lake import PROJECT
from redistribution.meta import column_meta, listed_of

NUMBERS = ("double", "bigint", "integer", "int", "float", "decimal", "real", "hugeint", "smallint")
LAYERS = ("source", "seed", "staging", "intermediate", "marts")
FEW_VALUES = 8  # of a column whose values may be the series of a chart

Words = Mapping[str, str]  # by language


def said(meta: Mapping[str, Any], name: str) -> dict[str, str]:
    """Give what the YAML says in each language: `label_fr` under fr, `label_en` under en."""
    return {key.removeprefix(f"{name}_"): str(value) for key, value in meta.items() if key.startswith(f"{name}_") and value}


@dataclass(frozen=True)
class Column:
    """A column of a mart; `labels` are of its codes, by code, where it holds codes."""

    name: str
    data_type: str
    label: Words
    description: Words
    unit: str | None
    nature: str | None
    components: tuple[str, ...]
    aggregate: str
    weight: str | None
    labels: Mapping[str, Words] = field(default_factory=dict)
    empty_means: str = "missing"

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.data_type.lower().partition("(")[0] in NUMBERS

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.is_number and "int" in self.data_type.lower()

    @property
    def is_summed_up(self) -> bool:
        """Whether several of its values make one: only when the YAML says how."""
        return self.is_number and (self.aggregate == "sum" or (self.aggregate == "mean" and self.weight is not None))


@dataclass(frozen=True)
class Origin:
    """A brick that a mart is made of, as readers see it; `steward` and `endpoint` are for those who may see more than open data."""

    name: str
    title: Words
    producer: str
    licence: str
    cadence: str
    homepage: str | None
    access_class: str
    status: str
    use_cases: tuple[str, ...]
    steward: str | None = None
    endpoint: str | None = None


@dataclass(frozen=True)
class Card:
    """The identity of a mart's page."""

    name: str
    use_case: str
    access_class: str
    label: Words
    description: Words
    grain: tuple[str, ...]
    columns: Mapping[str, Column]
    partition: str | None
    position: tuple[str, str] | None
    meta: Mapping[str, Any]
    origins: tuple[Origin, ...]
    lineage: Mapping[str, tuple[str, ...]]  # names of the nodes that it is made of, by layer
    units: Mapping[str, Words] = field(default_factory=dict)  # labels of units

    @property
    def display(self) -> Mapping[str, Any]:
        """The hints of the page: which column deserves more."""
        found: Mapping[str, Any] = self.meta.get("display") or {}
        return found

    @property
    def completeness(self) -> Column | None:
        """The column that says which share of what was expected is there."""
        return self.columns.get(self.meta.get("completeness") or ("completeness_share" if "completeness_share" in self.columns else ""))

    @property
    def time(self) -> Column | None:
        """The column that dates a row: of the grain, a date, or a year."""
        if hinted := self.columns.get(self.display.get("time", "")):
            return hinted
        of_grain = [self.columns[name] for name in self.grain if name in self.columns]
        dates = [column for column in of_grain if column.data_type.lower() == "date"]
        years = [column for column in of_grain if column.is_number and (column.name == "year" or column.name.endswith("_year"))]
        return next(iter(dates + years), None)

    def tells_unit(self, unit: str | None) -> bool:
        """Whether a unit is the name of a column that tells it row by row; `year` is a unit, beside a column that holds years."""
        column = self.columns.get(unit or "")
        return column is not None and not column.is_number

    @property
    def is_yearly(self) -> bool:
        """Whether the column that dates a row is a year."""
        return self.time is not None and self.time.is_number

    @property
    def subjects(self) -> list[Column]:
        """The columns of the grain that are no date: what a row is about."""
        return [self.columns[name] for name in self.grain if name in self.columns and self.columns[name] != self.time]

    @property
    def series(self) -> Column | None:
        """The column whose values are the series of a chart: one of few codes; the page makes sure that they are few."""
        if hinted := self.columns.get(self.display.get("series", "")):
            return hinted
        coded = [column for column in self.subjects if column.labels]
        others = [column for column in self.subjects if not column.name.endswith(("_id", "_code"))]
        return next(iter(coded + others), None)

    @property
    def entity(self) -> Column | None:
        """The column that says what or where a row is of: a building, a commune."""
        if hinted := self.columns.get(self.display.get("entity", "")):
            return hinted
        return next((column for column in self.subjects if column != self.series), None)

    @property
    def entity_name(self) -> Column | None:
        """The column that names the entity for people, where there is one: `commune_name` beside `commune_code`."""
        if self.entity is None:
            return None
        stem = self.entity.name.removesuffix("_id").removesuffix("_code")
        return self.columns.get(f"{stem}_name") or self.entity

    @property
    def measures(self) -> list[Column]:
        """The columns of which several rows make one figure, as the YAML says; those that the page is to show first come first."""
        wanted = [self.columns[name] for name in self.display.get("figures", ()) if name in self.columns]
        rest = [column for column in self.columns.values() if column not in wanted and column != self.completeness]
        return [column for column in wanted + rest if column.is_summed_up and column.name not in self.grain]

    @property
    def estimated(self) -> list[Column]:
        """The columns that say whether, and how, a figure is estimated or rests on what nobody has verified."""
        return [self.columns[name] for name in listed_of(self.meta.get("estimated")) if name in self.columns]

    @property
    def is_open(self) -> bool:
        """Whether anybody may see it."""
        return self.access_class == "open"


def read_cards(manifest: dict[str, Any], bricks: Mapping[str, Brick]) -> dict[str, Card]:
    """Read the card of each mart of a dbt manifest, by name."""
    origins = {name: origin_of(brick) for name, brick in bricks.items()}
    codes = _labels_of_codes(manifest)
    cards = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] != "model" or node["fqn"][1] != "marts":
            continue
        meta, lineage = node["config"]["meta"], _lineage(manifest, node["unique_id"])
        # What is no list withholds its mart, and no page of another.
        grain, position = (told if isinstance(told := meta.get(name), list) else [] for name in ("grain", "position"))
        cards[node["name"]] = Card(
            name=node["name"],
            use_case=node["fqn"][2] if len(node["fqn"]) > 3 else "other",
            access_class=meta.get("access_class", "restricted"),
            label={"en": node["name"], **said(meta, "label")},
            description={"en": node["description"], **said(meta, "description")},
            grain=tuple(grain),
            columns={name: _column(column, codes) for name, column in node["columns"].items()},
            partition=node["config"].get("partition"),
            position=(position[0], position[1]) if len(position) == 2 else None,
            meta=meta,
            origins=tuple(origins[name] for name in _bricks(manifest, lineage) if name in origins),
            lineage=_layers(manifest, lineage),
            units=codes.get("unit", {}),
        )
    return dict(sorted(cards.items()))


def origin_of(brick: Brick) -> Origin:
    """Give what the page says of a brick."""
    meta = brick.meta
    return Origin(
        name=brick.name, title=meta.titles, producer=meta.producer, licence=meta.licence,
        cadence=meta.cadence, homepage=meta.homepage, access_class=meta.access_class, status=meta.status,
        use_cases=tuple(meta.use_cases), steward=meta.steward, endpoint=meta.endpoint,
    )  # fmt: skip


def _column(column: dict[str, Any], codes: Mapping[str, Mapping[str, Words]]) -> Column:
    meta, name = column_meta(column), column["name"]
    return Column(
        name=name,
        data_type=column.get("data_type") or "string",
        label={"en": name.replace("_", " ").capitalize(), **said(meta, "label")},
        description={"en": column.get("description", ""), **said(meta, "description")},
        unit=meta.get("unit"),
        nature=meta.get("nature"),
        components=tuple(meta.get("components") or ()),
        aggregate=meta.get("aggregate") or "none",
        weight=meta.get("weight"),
        labels=codes.get(meta.get("codes") or "", {}),
        empty_means=meta.get("empty_means") or "missing",
    )


def _labels_of_codes(manifest: dict[str, Any]) -> dict[str, dict[str, Words]]:
    """Read the seed `code_labels`: the labels of each code, by domain."""
    found: dict[str, dict[str, Words]] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "seed" and node["name"] == "code_labels":
            path = Path(node.get("root_path") or PROJECT) / node["original_file_path"]
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    found.setdefault(row["domain"], {})[row["code"]] = said(row, "label")
    return found


def _lineage(manifest: dict[str, Any], node_id: str) -> list[str]:
    seen: dict[str, None] = {}

    def walk(each: str) -> None:
        if each not in seen:
            seen[each] = None
            for parent in manifest["nodes"].get(each, {}).get("depends_on", {}).get("nodes", []):
                walk(parent)

    walk(node_id)
    return list(seen)


def _bricks(manifest: dict[str, Any], lineage: Iterable[str]) -> list[str]:
    return sorted({manifest["sources"][each]["source_name"] for each in lineage if each.startswith("source.")})


def _layers(manifest: dict[str, Any], lineage: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {layer: set() for layer in LAYERS}
    for each in lineage:
        if each.startswith("source."):
            source = manifest["sources"][each]
            found["source"].add(f"{source['source_name']}.{source['name']}")
        elif node := manifest["nodes"].get(each):
            layer = "seed" if node["resource_type"] == "seed" else node["fqn"][1]
            found.setdefault(layer, set()).add(node["name"])
    return {layer: tuple(sorted(names)) for layer, names in found.items() if names}
