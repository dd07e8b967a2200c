"""What belongs to the territory stands in `territory.yml`, and nowhere else."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from ingestion.connectors import Strict
from ingestion.declaration import BrickError, Name, TimeZone, read_yaml
from ingestion.lake import PROJECT


class Territory(Strict):
    """What belongs to the territory: `territory.yml`."""

    name: str
    epci_code: str
    crs: str
    time_zone: TimeZone
    languages: tuple[str, ...] = Field(min_length=1)
    use_cases: dict[Name, dict[str, str]]
    reference_year: int
    reference_station: str
    reference_degree_days: tuple[float, ...] = Field(min_length=12, max_length=12)
    zones: str | None = None

    @model_validator(mode="after")
    def _is_told_in_each_language(self) -> Territory:
        for name, titles in self.use_cases.items():
            if absent := [language for language in self.languages if not titles.get(language)]:
                raise ValueError(
                    f"use_cases.{name} has no title in {', '.join(absent)}. Mend: write one by language ({', '.join(self.languages)})"
                )
        return self


@functools.cache
def read_territory(path: Path | None = None) -> Territory:
    """Read `territory.yml` (ORCHESTRA_TERRITORY, else the project's), its `zones` made absolute; raises BrickError naming the field."""
    path = path or Path(os.environ.get("ORCHESTRA_TERRITORY", PROJECT / "territory.yml"))
    try:
        territory = Territory.model_validate(read_yaml(path)[2])
        zones = str((path.parent / territory.zones).resolve()) if territory.zones else None
        return territory.model_copy(update={"zones": zones})
    except ValidationError as error:
        faults = [f"{path.name}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise BrickError("\n".join(faults)) from error
