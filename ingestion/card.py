"""The identity card of what the census holds: what a brick that lands says of itself, and a tool, of which nothing lands, as well."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from ingestion.connectors import Strict
from ingestion.declaration import Name, fault_at
from ingestion.territory import read_territory

# Schemas of the warehouse that a brick's, of its own name, must not be.
ROOMS = ("meta", "main", "staging", "intermediate", "marts", "seeds", "information_schema", "pg_catalog", "system", "temp")
STATUSES = ("candidate", "tested", "adopted", "retired")  # in the order of a life
UNKNOWN = "unknown"  # a licence that nobody has found yet
UNSAID = "To be said"  # what a trial leaves to be written by a person
LINKS = ("reads_from", "feeds", "replaces", "mirrors")  # the fields of a card that name others


def _use_case(name: str) -> str:
    if name not in (declared := read_territory().use_cases):
        raise ValueError(f"'{name}' is no use case that territory.yml declares ({', '.join(declared)})")
    return name


UseCase = Annotated[str, AfterValidator(_use_case)]


class Card(Strict):
    """What the census says of each: what it is, who runs it, how far along its life it is, and what it is connected to."""

    title_fr: str | None = None
    title_en: str | None = None
    kind: Literal["source", "processing", "storage", "redistribution"]
    steward: str
    operator: str | None = None
    use_cases: tuple[UseCase, ...]
    status: Literal["candidate", "tested", "adopted", "retired"]
    status_date: dt.date | None = None
    homepage: str | None = None
    access_class: Literal["open", "partner", "internal", "restricted"]
    reads_from: tuple[Name, ...] = ()
    feeds: tuple[Name, ...] = ()
    replaces: tuple[Name, ...] = ()
    mirrors: tuple[Name, ...] = ()
    endpoint: str | None
    endpoint_reason: str | None = None

    @property
    def titles(self) -> dict[str, str]:
        """Its title, by language."""
        return {language: title for language, title in (("fr", self.title_fr), ("en", self.title_en)) if title}

    @property
    def links(self) -> dict[str, tuple[str, ...]]:
        """Those that it names, by the field that names them."""
        return {field: named for field in LINKS if (named := getattr(self, field))}

    @model_validator(mode="after")
    def _has_a_title(self) -> Card:
        # Another language of the territory is told in English, as on the pages.
        wanted = [language for language in ("fr", "en") if language in read_territory().languages] or ["en"]
        if absent := [language for language in wanted if language not in self.titles]:
            raise fault_at(f"is missing; the territory's languages are {', '.join(read_territory().languages)}", f"title_{absent[0]}")
        return self

    @model_validator(mode="after")
    def _is_said(self) -> Card:
        if self.status == "adopted" and (left := [name for name, value in self if value == UNSAID]):
            raise fault_at(f"'{UNSAID}' stands there: a trial left it to be written before it is adopted", left[0])
        return self

    @model_validator(mode="after")
    def _endpoint_is_explained(self) -> Card:
        if self.endpoint is None and not self.endpoint_reason:
            raise fault_at("null: say why in `endpoint_reason`", "endpoint")
        return self
