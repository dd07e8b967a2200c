"""What a mart is compared with by its gate: what was published last, less what was taken back of its sources since."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

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
    return min([1.0, *(_share(past, journal, brick) for brick in sources if _is_touched(journal, brick, since))])


def _is_touched(journal: Journal, brick: str, since: int) -> bool:
    return any(entry["seq"] > since for kind in TAKEN_BACK for entry in journal.of(kind, brick))


def _share(past: Journal, journal: Journal, brick: str) -> float:
    """Give the share that is left of the rows of a brick that readers had; a steward's drop, and a newer photo, take nothing back."""
    now = {load["load_id"]: load["tables"] for load in journal.accepted(brick)}
    newest = {name: load_id for load_id, tables in now.items() for name in tables}
    dropped = {drop["load_id"] for drop in journal.of("drop", brick)}
    last = {name: load["load_id"] for load in sorted(past.accepted(brick), key=lambda load: load["read_at"]) for name in load["tables"]}
    total = left = 0
    for load in past.accepted(brick):
        for name, record in load["tables"].items():
            is_whole, load_id, count = past.declaration(load, name)["delivers"] == "whole", load["load_id"], record["kept"]
            if load_id in dropped or (is_whole and last[name] != load_id):
                continue
            total += count
            is_replaced = is_whole and newest.get(name, load_id) != load_id
            left += count if is_replaced else min(count, now.get(load_id, {}).get(name, {"kept": 0})["kept"])
    return left / total if total else 1.0


def _less(profile: Mapping[str, Any], share: float) -> dict[str, Any]:
    if share == 1:
        return dict(profile)
    settled = profile.get("settled") or {}
    sums = {name: total * share for name, total in (settled.get("sums") or {}).items()}
    return {**profile, "row_count": round(profile["row_count"] * share), **({"settled": {**settled, "sums": sums}} if settled else {})}
