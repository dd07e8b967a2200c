"""What readers see follows the journal: a run that is killed leaves it behind, and the next one brings it there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from ingestion.journal import Journal
from ingestion.lake import Lake
from redistribution.catalogue import follow_catalogue, followed, is_behind, stray
from redistribution.history import GRACE, falling_due, files_of, kept_files, seq_of_list
from redistribution.publications import by_class, whole_files
from redistribution.stable_files import follow_stable_files, stable_seq


def follow(lake: Lake, journal: Journal, *, is_rebuild: bool = False, now: dt.datetime | None = None) -> None:
    """Bring every catalogue and stable file to the last publication, and have them forget what is past, as of `now`.

    What a killed run left undone is done here.
    """
    now, existing = now or dt.datetime.now(dt.UTC), whole_files(lake, journal)
    written = {name for name in existing if not seq_of_list(name)} if is_rebuild else existing
    for access_class, entries in by_class(journal).items():
        follow_catalogue(lake, journal, entries, access_class, written, now)
        follow_stable_files(lake, journal, access_class, entries[-1]["seq"], existing, is_rebuild=is_rebuild)
    leaving = {file: began for access_class in by_class(journal) for file, began in followed(lake, access_class).leaving.items()}
    _sweep(lake, journal, existing, leaving, now)
    due = min([*falling_due(journal, now), *(began + GRACE for began in leaving.values())], default=None)
    journal.note("past.json", due=due and due.isoformat())


def is_followed(lake: Lake, journal: Journal) -> bool:
    """Say whether every catalogue and stable file has reached the last publication of its class."""
    return all(
        not is_behind(entries, found := followed(lake, name))
        and not stray(lake, journal, name, found)
        and stable_seq(lake, journal, name) >= entries[-1]["seq"]
        for name, entries in by_class(journal).items()
    )


def is_past_due(journal: Journal, now: dt.datetime | None = None) -> bool:
    """Say whether what readers may go back to, or the files of it that are needed, have become less since they were followed."""
    told = journal.noted("past.json")
    return told is None or (told["due"] is not None and (now or dt.datetime.now(dt.UTC)) >= dt.datetime.fromisoformat(told["due"]))


def _sweep(lake: Lake, journal: Journal, existing: set[str], leaving: Iterable[str], now: dt.datetime) -> None:
    """Delete the mart files that nobody needs: those of publications past or taken away, and those that none names."""
    needed = kept_files(journal, now).union(leaving)
    told = {file for entry in journal.of("publication") for file in files_of(entry["marts"])}
    # A list that says what was taken away since goes at once; one that another machine writes is of an entry to come.
    told |= {name for name in existing if (seq := seq_of_list(name)) and seq <= journal.seq}
    lake.sweep("marts", "publish", needed.__contains__, told - needed)
