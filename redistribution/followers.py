"""What readers see follows the journal: a run that is killed leaves it behind, and the next one brings it there."""

from __future__ import annotations

from ingestion.journal import Journal
from ingestion.lake import Lake
from redistribution.catalogue import follow_catalogue, followed, is_behind, stray
from redistribution.publications import by_class, retractions
from redistribution.stable_files import follow_stable_files, stable_seq


def follow(lake: Lake, journal: Journal, *, is_rebuild: bool = False) -> None:
    """Bring every catalogue and stable file to the last publication: what a killed run left undone is done here."""
    for access_class, entries in by_class(journal).items():
        follow_catalogue(lake, journal, entries, access_class, is_rebuild=is_rebuild)
        follow_stable_files(lake, journal, access_class, entries[-1]["seq"], is_rebuild=is_rebuild)
    _sweep(lake, journal)


def is_followed(lake: Lake, journal: Journal) -> bool:
    """Say whether every catalogue and stable file has reached the last publication of its class."""
    return all(
        not is_behind(entries, found := followed(lake, name))
        and not stray(lake, journal, name, found)
        and stable_seq(lake, journal, name) >= entries[-1]["seq"]
        for name, entries in by_class(journal).items()
    )


def _sweep(lake: Lake, journal: Journal) -> None:
    """Delete the mart files that no publication names; DuckLake's own, under `main/`, follow their catalogue."""
    named: set[str] = set()
    gone: set[str] = set()
    retracted = retractions(journal)
    for entry in journal.of("publication"):
        for name, record in entry["marts"].items():
            (gone if retracted.get((name, record["class"]), 0) > entry["seq"] else named).update(record["files"].values())
    named |= journal.kept_files()
    lake.sweep("marts", "publish", lambda name: name in named or name.split("/")[2] == "main", gone - named)
