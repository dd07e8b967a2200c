"""A brick of which nothing lands: a tool of the territory, or a source that is read where it is; the census holds it all the same."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from ingestion.card import ROOMS, Card
from ingestion.connectors import Strict
from ingestion.declaration import Name, fault_at


class ToolMeta(Card):
    """The identity card of a tool."""

    operator: str
    protocols: tuple[Name, ...] = Field(min_length=1)
    access_mode: Literal["copy", "query_in_place", "reference_only"]
    licence: str | None = None


class ToolConfig(Strict):
    """dbt's `config` of a source."""

    meta: ToolMeta


class Tool(Strict):
    """What the territory runs, and of which nothing lands: dbt finds a source without tables in its file, and makes nothing of it."""

    name: Name
    description: str
    config: ToolConfig

    @property
    def meta(self) -> ToolMeta:
        """Shorthand for `config.meta`."""
        return self.config.meta

    @model_validator(mode="after")
    def _is_named_as_no_schema(self) -> Tool:
        if self.name in ROOMS:
            raise fault_at(f"'{self.name}' is the name of a schema of the warehouse ({', '.join(ROOMS)})", "name")
        return self


def is_tool(source: Any) -> bool:
    """Say whether an entry under `sources:` is a tool: one with neither tables nor a connector; what has one of them is to have both."""
    config = source.get("config") if isinstance(source, dict) else None
    meta = config.get("meta") if isinstance(config, dict) else None
    return isinstance(meta, dict) and "tables" not in source and "connector" not in meta
