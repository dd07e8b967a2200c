"""The site: static pages of one access class, in every language of the territory, drawn from the marts' YAML and their files."""

from __future__ import annotations

from dataclasses import dataclass, field

from ingestion.lake import Lake
from redistribution.mart import CLASSES


@dataclass
class Site:
    """What following gave: the site's address, the files that were written, those that were taken away, and what failed."""

    access_class: str
    address: str
    written: list[str] = field(default_factory=list)
    taken_away: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def standing_sites(lake: Lake) -> list[str]:
    """Name the classes that have a site, whole or not."""
    found = {name.split("/")[1] for name in lake.names("site")}
    return [access_class for access_class in CLASSES if access_class in found]
