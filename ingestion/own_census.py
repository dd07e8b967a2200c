"""The census as rows: what anybody may know of each brick and tool, and when the lake last read it."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

from ingestion.brick import Brick
from ingestion.census import read_census
from ingestion.journal import Journal
from ingestion.tool import Tool

CONNECTOR = "census"


class Own(NamedTuple):
    """The rows of the census, in the order of their names, and the clock of a synthetic lake (None of a real one)."""

    rows: list[dict[str, Any]]
    clock: dt.datetime | None


def own_census(journal: Journal, reader: str) -> Own | None:
    """Give the census as a lake knows it; None of a lake that holds nothing.

    Of who reads it no load is told: no reading would be the same as the one before.
    """
    if (as_of := journal.as_of()) is None:
        return None
    rows = []
    for name, each in read_census().all.items():
        last = None if name == reader else max((load["read_at"] for load in journal.accepted(name)), default=None)
        rows.append(_row(each, last))
    return Own(rows, dt.datetime.fromisoformat(as_of) if journal.is_synthetic else None)


def last_of_all(bricks: dict[str, Brick]) -> dict[str, Brick]:
    """Give bricks in their order, but for the census, which comes after those that it tells of."""
    return dict(sorted(bricks.items(), key=lambda item: item[1].meta.connector == CONNECTOR))


def _row(each: Brick | Tool, last: str | None) -> dict[str, Any]:
    meta, brick = each.meta, each if isinstance(each, Brick) else None
    return {
        "name": each.name,
        "title_fr": meta.title_fr,
        "title_en": meta.title_en,
        "kind": meta.kind,
        "is_tool": brick is None,
        "producer": brick.meta.producer if brick else meta.operator,
        "protocols": ", ".join(meta.protocols),
        "access_mode": meta.access_mode,
        "access_class": meta.access_class,
        "licence": meta.licence,
        "status": meta.status,
        "status_date": meta.status_date and meta.status_date.isoformat(),
        "cadence": brick.meta.cadence if brick else None,
        "use_cases": ", ".join(meta.use_cases) or None,
        "has_personal": bool(brick and brick.has_personal),
        "table_count": len(brick.tables) if brick else 0,
        "promised_days": brick.config.freshness.error_after.days if brick else None,
        "last_read_at": last,
    }
