"""What a mart is compared with by its gate: what was published last, less what was taken back of its sources since."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from ingestion.entries import Entry
from ingestion.journal import Journal
from redistribution.publications import RETRACTED

TAKEN_BACK = ("erase", "expire")


def compared_with(journal: Journal, name: str, sources: Iterable[str]) -> dict[str, Any] | None:
    """Give the profile that a mart was last published with, its counts and sums less what was taken back since; None for a first one.

    Of a mart that was taken away with its past, the number of its rows is all that is known.
    """
    for entry in reversed(list(journal.of("publication"))):
        if RETRACTED not in entry["withdrawn"].get(name, {RETRACTED: True}):
            return None  # it had left the project
        if name in entry["marts"]:
            record = journal.whole_mart(entry["marts"][name])
            profile = record.get("profile") or {"row_count": record["row_count"], "filled": {}}
            share = share_left(journal, sources, entry["seq"])
            return _less(profile, share) if share else None  # nothing of it is left
    return None


def share_left(journal: Journal, sources: Iterable[str], since: int) -> float:
    """Give the share that is left of the rows that readers had at a seq, of the source of which the most was erased or has expired."""
    past = copy.copy(journal)
    past.entries = journal.entries[:since]
    shares = [1.0]
    for brick in sources:
        if any(entry["seq"] > since for kind in TAKEN_BACK for entry in journal.of(kind, brick)):
            then, now = _rows(past, brick), _rows(journal, brick)
            for load_id in {drop["load_id"] for drop in journal.of("drop", brick)}:
                for rows in (then, now):
                    rows.pop(load_id, None)  # a steward's drop is none of what is taken back
            total = sum(then.values())
            shares.append(sum(min(count, now.get(load_id, 0)) for load_id, count in then.items()) / total if total else 1.0)
    return min(shares)


def _rows(journal: Journal, brick: str) -> dict[str, int]:
    """Count, by accepted load, the rows that readers see: of a table delivered whole, those of its last photo."""
    loads = sorted(journal.accepted(brick), key=lambda load: load["read_at"])
    last = {name: load["load_id"] for load in loads for name in load["tables"]}

    def is_seen(load: Entry, name: str) -> bool:
        return last[name] == load["load_id"] or journal.declaration(load, name)["delivers"] != "whole"

    return {load["load_id"]: sum(r["kept"] for name, r in load["tables"].items() if is_seen(load, name)) for load in loads}


def _less(profile: Mapping[str, Any], share: float) -> dict[str, Any]:
    if share == 1:
        return dict(profile)
    settled = profile.get("settled") or {}
    sums = {name: total * share for name, total in (settled.get("sums") or {}).items()}
    return {**profile, "row_count": round(profile["row_count"] * share), **({"settled": {**settled, "sums": sums}} if settled else {})}
