"""What belongs to the territory stands in `territory.yml`, and nowhere else."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from ingestion.connectors import Strict
from ingestion.declaration import BrickError, Name, TimeZone, read_yaml, said
from ingestion.lake import PROJECT

REFERENCE = re.compile(r"\{territory\.(\w*)\}")
MEND = "Mend: what each field says is told by docs/territory.md"


class TerritoryError(BrickError):
    """A `territory.yml` that cannot be what the house goes by: no command is obeyed; the message is one line."""


class Controller(Strict):
    """Who answers for the personal data that is processed (GDPR, art. 4 and 30); the register of processing says it."""

    name: str
    contact: str
    data_protection_officer: str
    transfers: str

    @property
    def told(self) -> str:
        """Who it is, and how to reach it."""
        return f"{self.name}, {self.contact}"


class Territory(Strict):
    """What belongs to the territory: `territory.yml`."""

    name: str
    epci_code: str
    departement: str | None = None
    crs: str
    time_zone: TimeZone
    languages: tuple[str, ...] = Field(min_length=1)
    use_cases: dict[Name, dict[str, str]]
    reference_year: int
    reference_station: str
    reference_degree_days: tuple[float, ...] = Field(min_length=12, max_length=12)
    zones: str | None = None
    controller: Controller | None = None

    @model_validator(mode="after")
    def _is_told_in_each_language(self) -> Territory:
        for name, titles in self.use_cases.items():
            if absent := [language for language in self.languages if not titles.get(language)]:
                told = f"'{name}' has no title in {', '.join(absent)}: write one by language ({', '.join(self.languages)})"
                raise ValueError(f"use_cases: {told}")
        return self


@functools.cache
def read_territory(path: Path | None = None) -> Territory:
    """Read `territory.yml` (ORCHESTRA_TERRITORY, else the project's), its `zones` made absolute; raises TerritoryError naming the field."""
    path = path or Path(os.environ.get("ORCHESTRA_TERRITORY", PROJECT / "territory.yml"))
    try:
        document = read_yaml(path)[2]
        territory = Territory.model_validate(document)
    except BrickError as error:
        raise TerritoryError(str(error)) from error
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {said(fault, Territory)}" for fault in error.errors())
        raise TerritoryError(f"{path.name}: {'; '.join(dict.fromkeys(faults))}. {MEND}") from error
    zones = (path.parent / territory.zones).resolve() if territory.zones else None
    if zones and not zones.is_file():
        told = f"zones: {territory.zones} is no file ({zones})"
        raise TerritoryError(f"{path.name}: {told}. Mend: the path of a GeoJSON, relative to {path.name}, or null for none")
    return territory.model_copy(update={"zones": zones and str(zones)})


def of_territory(told: Any) -> Any:
    """Give what a brick says with `{territory.<field>}` replaced by the territory's value, so that none is typed twice.

    Raises ValueError for a field that `territory.yml` has not, or does not say.
    """
    if isinstance(told, dict):
        return {name: of_territory(value) for name, value in told.items()}
    if isinstance(told, list | tuple):
        return [of_territory(value) for value in told]
    return REFERENCE.sub(_value, told) if isinstance(told, str) else told


def _value(reference: re.Match[str]) -> str:
    said = {name: value for name, value in read_territory().model_dump().items() if isinstance(value, str | int)}
    if reference[1] not in said:
        raise ValueError(f"{reference[0]}: territory.yml says no such text or number (it says {', '.join(said)})")
    return str(said[reference[1]])
