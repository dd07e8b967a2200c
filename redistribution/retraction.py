"""A mart leaves the classes that may not see it any more, and all of them where it was made of what is personal now."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from ingestion.clear import taken_back_since
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.particulars import OF_MART
from redistribution.followers import follow
from redistribution.mart import CLASSES, Mart
from redistribution.publications import RETRACTED

log = logging.getLogger("orchestra")


def retract(
    lake: Lake,
    journal: Journal,
    marts: list[Mart],
    classes: Mapping[str, str],
    run_id: str,
    hidden: Mapping[str, str] | None = None,
    *,
    spares: Collection[str] = (),
) -> list[str]:
    """Take each mart away from the classes that may not see it any more, with all that it ever was there; give their names.

    Its stable files, its files and its snapshots go: the catalogue is made again without it. A mart that has left the project
    is held to the classes of its sources today (`classes`, by brick), and of when it was published. What was published of a brick
    before a column of it was masked, or rows were erased, goes as well, and all of what is made of a brick that is `hidden`, but
    for the marts that are spared. So do the particulars of what is taken away.
    """
    lowest, made_of, seen = _told_of(journal, marts, classes)
    masked = taken_back_since(journal)
    gone: dict[str, dict[str, str]] = {}
    for name, held in seen.items():
        for access_class, first in held.items():
            if CLASSES.index(access_class) < CLASSES.index(lowest[name]):
                gone.setdefault(access_class, {})[name] = f"class {access_class} may not see it any more"
            elif of := sorted(b for b in made_of[name] if (b in (hidden or {}) and name not in spares) or first < masked.get(b, 0)):
                gone.setdefault(access_class, {})[name] = f"it was made of what is taken back ({', '.join(of)})"
    for access_class, names in sorted(gone.items()):
        withdrawn = {n: {"class": access_class, "row_count": 0, "reasons": [why], RETRACTED: True} for n, why in sorted(names.items())}
        journal.append("publication", run_id=run_id, as_of=journal.as_of(), marts={}, withheld={}, withdrawn=withdrawn)
        for name, why in names.items():
            log.warning("mart %s: %s: it is taken away from there, with its past", name, why)
    if gone:
        with lake.lock("publish", wait=60):
            follow(lake, journal)
            objects = _particulars(journal, gone)
            lake.delete(objects)
            for name in objects:  # of a lake on S3, their local copies
                (lake.state / "particulars" / name.rpartition("/")[2]).unlink(missing_ok=True)
    return sorted({name for names in gone.values() for name in names})


def _told_of(
    journal: Journal, marts: list[Mart], classes: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, set[str]], dict[str, dict[str, int]]]:
    """Give, by mart, the lowest class that may see it, the bricks that it was made of, and by class the first entry of it that stands."""
    of_project = {mart.name: mart for mart in marts}
    lowest = {name: mart.lowest_class for name, mart in of_project.items()}
    seen: dict[str, dict[str, int]] = {}
    made_of = {name: set(mart.sources) for name, mart in of_project.items()}
    for entry in journal.of("publication"):
        for name, record in entry["marts"].items():
            seen.setdefault(name, {}).setdefault(record["class"], entry["seq"])
            # One of before its sources were told, whatever its class, may be made of any of them.
            is_told = "is_declassified" in record or name in of_project
            made_of.setdefault(name, set()).update(record.get("sources") or (() if is_told else classes))
            if name not in of_project:
                told = {} if record.get("is_declassified") else record.get("sources", {})
                lowest[name] = max(["open", *(classes.get(brick, said) for brick, said in told.items())], key=CLASSES.index)
        for name, record in entry["withheld"].items():
            # What was withheld since tells why, which may be by a value.
            seen.setdefault(name, {}).setdefault(record["class"], entry["seq"])
            made_of.setdefault(name, set()).update(record.get("sources", ()))
            lowest.setdefault(name, "open")
        for name, record in entry["withdrawn"].items():
            if RETRACTED in record:
                seen.get(name, {}).pop(record["class"], None)
    return lowest, made_of, seen


def _particulars(journal: Journal, gone: Mapping[str, Collection[str]]) -> list[str]:
    """Name the particulars of what publications have said of the marts that are gone from a class; what another class has stays."""
    said = [item for entry in journal.of("publication") for group in OF_MART for item in entry.get(group, {}).items()]
    return [record["particulars"]["name"] for name, record in said if "particulars" in record and name in gone.get(record["class"], ())]
