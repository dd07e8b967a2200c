"""A mart leaves the classes that may not see it any more, with all that it ever was there."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ingestion.journal import Journal
from ingestion.lake import Lake
from redistribution.followers import follow
from redistribution.mart import CLASSES, Mart
from redistribution.publications import RETRACTED

log = logging.getLogger("orchestra")


def retract(lake: Lake, journal: Journal, marts: list[Mart], classes: Mapping[str, str], run_id: str) -> list[str]:
    """Take each mart away from the classes that may not see it any more, with all that it ever was there; give their names.

    Its stable files, its files and its snapshots go: the catalogue is made again without it. A mart that has left the project
    is held to the classes of its sources today (`classes`, by brick), and of when it was published.
    """
    of_project = {mart.name: mart.lowest_class for mart in marts}
    lowest, seen = dict(of_project), dict[str, set[str]]()
    for entry in journal.of("publication"):
        for name, record in entry["marts"].items():
            seen.setdefault(name, set()).add(record["class"])
            if name not in of_project:
                of_sources = [classes.get(brick, told) for brick, told in record.get("sources", {}).items()]
                lowest[name] = max(["open", *of_sources], key=CLASSES.index)
        for name, record in entry["withdrawn"].items():
            if RETRACTED in record:
                seen.get(name, set()).discard(record["class"])
    gone: dict[str, list[str]] = {}
    for name, held in seen.items():
        for access_class in held:
            if CLASSES.index(access_class) < CLASSES.index(lowest[name]):
                gone.setdefault(access_class, []).append(name)
    for access_class, names in sorted(gone.items()):
        why = f"class {access_class} may not see it any more"
        withdrawn = {name: {"class": access_class, "row_count": 0, "reasons": [why], RETRACTED: True} for name in sorted(names)}
        journal.append("publication", run_id=run_id, as_of=journal.as_of(), marts={}, withheld={}, withdrawn=withdrawn)
        for name in names:
            log.warning("mart %s: %s: it is taken away from there, with its past", name, why)
    if gone:
        with lake.lock("publish", wait=60):
            follow(lake, journal)
    return sorted({name for names in gone.values() for name in names})
