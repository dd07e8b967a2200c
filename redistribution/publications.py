"""What was published, withheld and taken away, and of which class: folded from the journal, which alone says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.published import standing
from redistribution.mart import CLASSES

RETRACTED = "is_retracted"  # marks a mart taken away from a class that may not see it any more, with all that it was there


def last_published(journal: Journal) -> dict[str, Any]:
    """Give, by mart, what the last publication that holds it says; those withdrawn left out."""
    return {name: journal.whole_mart(record) for name, (_, record) in standing(journal.of("publication")).items()}


def by_class(journal: Journal) -> dict[str, list[Entry]]:
    """Give, by access class, the publications that say something of one of its marts, or take one away from it."""
    found: dict[str, list[Entry]] = {}
    classes: dict[str, str] = {}
    for entry in journal.of("publication"):
        records = {**entry["withheld"], **entry["marts"], **entry["withdrawn"]}
        concerned = {record["class"] for record in records.values()} | {classes[name] for name in entry["marts"] if name in classes}
        for access_class in sorted(concerned & set(CLASSES)):
            found.setdefault(access_class, []).append(entry)
        # What was withdrawn has nothing left there: a publication elsewhere says nothing of that class.
        classes = {name: of for name, of in classes.items() if entry["withdrawn"].get(name, {}).get("class") != of}
        classes |= {name: record["class"] for name, record in entry["marts"].items()}
    return found


def retractions(journal: Journal) -> dict[tuple[str, str], int]:
    """Give, by mart and class, the seq up to which what was published of the mart is taken away from the class."""
    return {
        (name, record["class"]): entry["seq"]
        for entry in journal.of("publication")
        for name, record in entry["withdrawn"].items()
        if RETRACTED in record
    }


def whole_files(lake: Lake, journal: Journal) -> set[str]:
    """Name the mart files that stand, of the size with which they were published."""
    records = [record for entry in journal.of("publication") for record in entry["marts"].values()]
    sizes = {file: size for r in records for unit, file in r["files"].items() if (size := r.get("sizes", {}).get(unit)) is not None}
    return {name for name, stored in lake.listing("marts").items() if sizes.get(name, stored.size) == stored.size}


def labels_by_digest(journal: Journal) -> dict[str, dict[str, Any]]:
    """Give, by digest, what publications told readers of marts."""
    return {digest: told for entry in journal.of("publication") for digest, told in entry.get("labels", {}).items()}


def labels_told(record: dict[str, Any], labels: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Give what a publication told readers of a mart; of one before labels had a digest, its titles."""
    of = record.get("labels", {})
    return labels.get(of, {}) if isinstance(of, str) else {"label": of}
