"""What a class shows from each of its publications on, and how far back its readers may go: folded from the journal."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ingestion.entries import Entry
from ingestion.journal import Journal
from redistribution.publications import by_class, retractions

KEPT = dt.timedelta(days=30)  # how far back readers can travel: to what was current then
GRACE = dt.timedelta(days=1)  # files go that much later, so that no open reader loses one

Records = dict[str, dict[str, Any]]
Retracted = Mapping[tuple[str, str], int]


class Shown(NamedTuple):
    """What a class shows from one of its publications on: what was last published of each of its marts, by name."""

    entry: Entry
    marts: Records


def shown(entries: Iterable[Entry], access_class: str, retracted: Retracted) -> Iterator[Shown]:
    """Give what each publication of a class leaves there; of a mart that was taken away since with its past, nothing."""
    marts: Records = {}
    for entry in entries:
        for name, record in entry["marts"].items():
            marts.pop(name, None)  # it may have moved to another class
            if record["class"] == access_class and entry["seq"] > retracted.get((name, access_class), 0):
                marts[name] = record
        for name, record in entry["withdrawn"].items():
            if record["class"] == access_class:
                marts.pop(name, None)
        yield Shown(entry, dict(marts))


def oldest_kept(entries: list[Entry], now: dt.datetime) -> int:
    """Give the seq of the publication of a class that was current as far back as its readers may go."""
    return max((entry["seq"] for entry in entries if _is_past(entry, now)), default=entries[0]["seq"])


def kept(entries: list[Entry], access_class: str, retracted: Retracted, now: dt.datetime, held: set[str] | None = None) -> list[Shown]:
    """Give what a class shows at each publication that its readers may go back to; the last one is always among them.

    They go back no further than to where all files are `held`: the rest of a publication would read wrong.
    """
    found: list[Shown] = []
    for each in shown(entries, access_class, retracted):
        if _is_past(each.entry, now) or (found and held is not None and not files_of(found[-1].marts) <= held):
            found.clear()
        found.append(each)
    return found


def falling_due(journal: Journal, now: dt.datetime) -> Iterator[dt.datetime]:
    """Give the instants after `now` at which what readers may go back to, or the files of it that are needed, become less."""
    for entry in journal.of("publication"):
        at = dt.datetime.fromisoformat(entry["at"]) + KEPT
        yield from (each for each in (at, at + GRACE) if each > now)


def files_of(marts: Records) -> set[str]:
    """Name the files of some marts."""
    return {file for record in marts.values() for file in record["files"].values()}


def kept_files(journal: Journal, now: dt.datetime) -> set[str]:
    """Name the files under `marts/` that are still needed: those of what readers may go back to, or see now."""
    retracted, needed = retractions(journal), journal.kept_files()
    for access_class, entries in by_class(journal).items():
        for each in kept(entries, access_class, retracted, now - GRACE):
            needed |= files_of(each.marts)
        needed.update(lists(journal, entries, access_class, retracted).values())
    return needed


def lists(journal: Journal, entries: Iterable[Entry], access_class: str, retracted: Retracted) -> dict[int, str]:
    """Name, by seq, the file that lists for readers what a publication says of a class: the same wherever and whenever it is written."""
    return {
        entry["seq"]: f"marts/{access_class}/main/publications/{entry['seq']}-{_told(journal, entry, access_class, retracted)}.parquet"
        for entry in entries
    }


def seq_of_list(name: str) -> int:
    """Give the seq of the publication that a file lists; 0 for a file that lists none."""
    match = re.fullmatch(r"marts/\w+/main/publications/(\d+)-[0-9a-f]{16}\.parquet", name)
    return int(match[1]) if match else 0


def taken_away(entry: Entry, access_class: str, retracted: Retracted) -> set[str]:
    """Name the marts of a publication that were taken away from a class since, with their past."""
    gone = {name for (name, of), seq in retracted.items() if of == access_class and seq > entry["seq"]}
    return gone & {*entry["marts"], *entry["withheld"], *entry["withdrawn"]}


def _told(journal: Journal, entry: Entry, access_class: str, retracted: Retracted) -> str:
    told = f"{journal.digests[entry['seq']]} {sorted(taken_away(entry, access_class, retracted))}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _is_past(entry: Entry, now: dt.datetime) -> bool:
    return dt.datetime.fromisoformat(entry["at"]) <= now - KEPT
