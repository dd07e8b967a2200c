"""The identity of a source, read by dbt and by ingestion alike: what could be read in two ways is no brick."""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ingestion.card import ROOMS, UNKNOWN, Card
from ingestion.column import EPOCHS, Column
from ingestion.connectors import CONNECTORS, PUSHED, Strict, connector, declared_name
from ingestion.declaration import BrickError, Name, TimeZone, fault_at, said
from ingestion.deletion import Deletion, fault_of
from ingestion.rhythm import Cadence, Freshness, Period
from ingestion.territory import of_territory, read_territory
from ingestion.tool import Tool

UNPLUGGED = "none"  # what an endpoint's variable says of a brick that is not to be read


Options = Annotated[dict[str, Any], BeforeValidator(of_territory)]


class TableMeta(Strict):
    """What a table delivers and how it is read."""

    delivers: Literal["changes", "whole"]
    options: Options = Field({})
    key: tuple[Annotated[str, AfterValidator(declared_name)], ...] = Field(min_length=1)
    cursor: Annotated[str, AfterValidator(declared_name)] | None = None
    lookback: Period | None = None
    time_zone: Annotated[TimeZone, BeforeValidator(of_territory)] = "UTC"
    time_fold: Literal["in_order", "first", "second", "refuse"] = "in_order"
    crs: str | None = None
    deleted_when: Deletion | None = None


class TableConfig(Strict):
    """dbt's `config` of a source table."""

    meta: TableMeta
    freshness: Freshness | None = None
    loaded_at_field: str | None = None


class Table(Strict):
    """What a brick delivers."""

    name: Name
    description: str
    config: TableConfig
    columns: tuple[Column, ...] = Field(min_length=1)

    @property
    def meta(self) -> TableMeta:
        """Shorthand for `config.meta`."""
        return self.config.meta

    def named(self, name: str) -> Column | None:
        """Give the column of a name, whatever its case, today's or an older one; None when the table has none."""
        return next((c for c in self.columns if name.casefold() in {each.casefold() for each in (c.name, *c.meta.formerly)}), None)

    @property
    def cursor_column(self) -> Column | None:
        """The column that the cursor follows; None for none, or for the dates of folders."""
        return next((column for column in self.columns if column.name == self.meta.cursor), None)

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Names that the source must give; a zone is made of the two columns of its position."""
        names = [name for column in self.columns if not column.meta.optional for name in column.meta.position or (column.name,)]
        return tuple(dict.fromkeys(names))

    @property
    def says_no_zone(self) -> bool:
        """Whether local hours would be taken for UTC without anybody having said so."""
        return "time_zone" not in self.meta.model_fields_set

    @model_validator(mode="after")
    def _local_hours_have_a_zone(self) -> Table:
        for place, column in enumerate(self.columns):
            written = column.meta.format if column.data_type == "timestamptz" else None
            if written and written not in EPOCHS and self.says_no_zone and not re.search("%[zZ]", written.replace("%%", "")):
                own = read_territory().time_zone
                told = f"{written} tells no offset, and the table no `time_zone`: say it, as in `time_zone: {own}` or `time_zone: UTC`"
                raise fault_at(told, "columns", place, "config", "meta", "format")
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> Table:
        names = [column.name for column in self.columns]
        if twice := _twice([name for column in self.columns for name in (column.name, *column.meta.formerly)]):
            raise fault_at(f"column '{twice}' is declared twice (names that differ by their case are one name)", "columns")
        if self.meta.lookback and not self.meta.cursor:
            raise fault_at("a lookback needs a cursor", "config", "meta", "lookback")
        for field, name in (*(("key", name) for name in self.meta.key), ("cursor", self.meta.cursor or "folder_date")):
            if name not in names and (field, name) != ("cursor", "folder_date"):
                raise fault_at(f"'{name}' is not one of the table's columns: {', '.join(names)}", "config", "meta", field)
        if self.cursor_column and (mask := self.cursor_column.meta.mask):
            told = f"'{self.meta.cursor}' is masked ({mask}), and what a mask makes has no order: new rows would be left out"
            raise fault_at(f"{told}. Mend: another cursor, or none: all of it is read when it changes", "config", "meta", "cursor")
        if fault := fault_of(self):
            raise fault_at(fault, "config", "meta", "deleted_when")
        self._tells_no_position()
        hidden = [column.name for column in self.columns if not column.is_landed and column.name in self.meta.key]
        if hidden:
            raise fault_at(f"{', '.join(hidden)} is dropped by its mask: use mask pseudonym", "config", "meta", "key")
        if any(column.meta.mask == "zone" for column in self.columns) and self.meta.crs not in (None, "EPSG:4326"):
            raise fault_at(f"mask zone reads longitudes and latitudes (EPSG:4326), not {self.meta.crs}", "config", "meta", "crs")
        return self

    def _tells_no_position(self) -> None:
        """Find fault with a column that lands what a zone is made of: the household would be told by it."""
        made_of = {name.casefold() for column in self.columns for name in column.meta.position or ()}
        for number, column in enumerate(self.columns):
            if column.meta.mask not in ("drop", "zone") and made_of & {name.casefold() for name in (column.name, *column.meta.formerly)}:
                told = f"'{column.name}' is of the exact position that a zone masks, and would land beside it"
                raise fault_at(f"{told}. Mend: leave it out (the zone reads it all the same), or `mask: drop`", "columns", number, "name")

    def contract(self) -> tuple[str, dict[str, Any]]:
        """Give the version (a hash) and the declaration under which rows of this table land."""
        told: Any = {"mode": "json", "exclude_defaults": True, "exclude": {"unit"}}
        columns = [{"name": c.name, "data_type": c.data_type, **c.meta.model_dump(**told)} for c in self.columns]
        declaration = {"columns": columns, **self.meta.model_dump(mode="json", include={"key", "delivers", "time_zone"})}
        # Left out where nothing is said, so that what landed before it could be said keeps its version.
        declaration |= self.meta.model_dump(mode="json", include={"time_fold", "deleted_when"}, exclude_defaults=True)
        return hashlib.sha256(json.dumps(declaration, sort_keys=True).encode()).hexdigest()[:12], declaration


class BrickMeta(Card):
    """The identity card of a brick."""

    producer: str
    licence: str
    access_mode: Literal["copy"] = "copy"
    legal_basis: str | None = None
    purpose: str | None = None
    dpia_ref: str | None = None
    data_subjects: tuple[str, ...] = ()
    pseudonym_domain: Name | None = None
    authoritative_for: tuple[Name, ...] = ()
    connector: str
    options: Options = Field({})
    cadence: Cadence
    retention: Period

    @field_validator("connector")
    @classmethod
    def _is_spoken(cls, connector: str) -> str:
        if connector not in CONNECTORS:
            raise ValueError(f"'{connector}' is not one of {', '.join(CONNECTORS)}")
        return connector

    @property
    def protocols(self) -> tuple[str, ...]:
        """What it speaks."""
        return (self.connector,)

    @model_validator(mode="after")
    def _has_a_licence(self) -> BrickMeta:
        if self.status == "adopted" and self.licence == UNKNOWN:
            raise fault_at("a brick whose licence is unknown cannot be adopted: say which one its producer gives", "licence")
        return self


class BrickConfig(Strict):
    """dbt's `config` of a source."""

    meta: BrickMeta
    freshness: Freshness
    loaded_at_field: Literal["_read_at"]


class Brick(Strict):
    """A system that holds or moves the territory's data."""

    name: Name
    description: str
    config: BrickConfig
    tables: tuple[Table, ...] = Field(min_length=1)

    @property
    def meta(self) -> BrickMeta:
        """Shorthand for `config.meta`."""
        return self.config.meta

    @property
    def has_personal(self) -> bool:
        """Whether a column of the brick is personal."""
        return any(column.masked_by for table in self.tables for column in table.columns)

    def table(self, name: str) -> Table:
        """Give a table by name; KeyError when the brick has none of that name."""
        return {table.name: table for table in self.tables}[name]

    @model_validator(mode="after")
    def _is_whole(self) -> Brick:
        if self.name in ROOMS:
            raise fault_at(f"'{self.name}' is the name of a schema of the warehouse ({', '.join(ROOMS)})", "name")
        if twice := _twice([table.name for table in self.tables]):
            raise fault_at(f"table {twice} is declared twice", "tables")
        module = connector(self.meta.connector)
        _options(module.BrickOptions, self.meta.options, "config", "meta", "options")
        for number, table in enumerate(self.tables):
            options = _options(module.TableOptions, table.meta.options, "tables", number, "config", "meta", "options")
            if self.meta.connector in PUSHED and table.meta.delivers == "whole":
                raise fault_at("messages are changes: none is a photo of the whole", "tables", number, "config", "meta", "delivers")
            optional = next((place for place, column in enumerate(table.columns) if column.meta.optional), None)
            if optional is not None and not getattr(options, "header", True):
                told = "without `header` columns are told by position: declare every column of the file, none of them `optional`"
                raise fault_at(told, "tables", number, "columns", optional, "config", "meta", "optional")
        if self.has_personal:
            if not (self.meta.legal_basis and self.meta.purpose):
                raise fault_at("a brick with personal columns needs `legal_basis` and `purpose`", "config", "meta")
            if self.meta.status == "adopted" and not self.meta.dpia_ref:
                raise fault_at("a brick with personal columns cannot be adopted without `dpia_ref`", "config", "meta", "status")
            for place, table in enumerate(self.tables):
                told = "json of a brick with personal columns: say which keys are personal (`[]` for none), or `personal: true, mask: drop`"
                for number, column in enumerate(table.columns):
                    if column.data_type == "json" and column.is_landed and column.meta.personal_paths is None:
                        raise fault_at(told, "tables", place, "columns", number, "config", "meta", "personal_paths")
            masks = {column.meta.mask for table in self.tables for column in table.columns}
            if "pseudonym" in masks and not self.meta.pseudonym_domain:
                raise fault_at("mask pseudonym needs the brick's `pseudonym_domain`", "config", "meta")
        return self


def _options(model: type[BaseModel], values: dict[str, Any], *field: str | int) -> BaseModel:
    """Give the options of a connector once checked; the first fault is told, at its place."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        told = "unknown option" if fault["type"] == "extra_forbidden" else said(fault, shows_value=False)
        accepted = dict.fromkeys((*(name for name in model.model_fields if name in model.__annotations__), *model.model_fields))
        raise fault_at(f"{told} (accepted: {', '.join(accepted)})", *field, *fault["loc"]) from error


def _twice(names: list[str]) -> str | None:
    """Give the first name that stands twice, as SQL compares names: whatever their case."""
    folded = [name.casefold() for name in names]
    return next((name for number, name in enumerate(names) if folded[number] in folded[:number]), None)


def endpoint_of(brick: Brick | Tool) -> str:
    """Give the address to read a brick at: its variable, else the general one (which is of no tool), else the YAML's.

    Raises BrickError when there is none, or when its variable says that it is not to be read (`none`).
    """
    own = f"ORCHESTRA_ENDPOINT_{brick.name.upper()}"
    general = "" if isinstance(brick, Tool) else os.environ.get("ORCHESTRA_ENDPOINT", "").replace("{brick}", brick.name)
    endpoint = os.environ.get(own) or general or brick.meta.endpoint
    if not endpoint or endpoint == UNPLUGGED:
        reason = f"{own} is {UNPLUGGED}" if endpoint else brick.meta.endpoint_reason
        raise BrickError(f"{brick.name}: no endpoint ({reason}) Mend: set {own} to a URL or a folder.")
    return endpoint.rstrip("/")
