"""How each of the census stands: what it declares, what the lake holds of it, and what rests on it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flows.cadence import next_run, promise_of
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.steward import standing_refusals

if TYPE_CHECKING:
    from flows.lineage import Lineage
    from ingestion.brick import Brick
    from ingestion.tool import Tool


def sum_up(brick: Brick, loads: list[Entry]) -> dict[str, Any]:
    """Sum up the loads of a brick; rows are those that its accepted loads hold, of a table delivered whole those of its last photo."""
    refused = sum(load["verdict"] == "refused" for load in loads)
    accepted = sorted((load for load in loads if load["verdict"] == "accepted"), key=lambda load: load["read_at"])
    whole = {table.name for table in brick.tables if table.meta.delivers == "whole"}
    photos = {name: record for load in accepted for name, record in load["tables"].items() if name in whole}
    records = [r for load in accepted for name, r in load["tables"].items() if name not in whole] + list(photos.values())
    return {
        "loads": len(loads),
        "refused_loads": refused,
        "kept": sum(record["kept"] for record in records),
        "refused": sum(record["refused"] for record in records),
        "last_read_at": max((load["read_at"] for load in loads), default=None),
    }


def standing_of(journal: Journal, brick: Brick, lineage: Lineage) -> dict[str, Any]:
    """Give how a brick stands: its loads summed up, its freshness beside its promise, when it is due, and what rests on it."""
    promise = promise_of(journal, brick)
    return {
        **sum_up(brick, list(journal.loads(brick.name).values())),
        "days_since": None if promise is None else round(promise.days, 2),
        "promised_days": brick.config.freshness.error_after.days,
        "is_late": promise is not None and promise.is_late,
        "next_run": next_run(brick),
        "has_personal": brick.has_personal,
        "stands_refused": list(standing_refusals(journal, brick.name)),
        "marts": lineage.marts_on(brick.name),
        "marts_by_use_case": lineage.use_cases_on(brick.name),
    }


def brick_row(brick: Brick, standing: Mapping[str, Any]) -> dict[str, Any]:
    """Give the row of a brick in a list, what is asked for most first: a narrow terminal cuts its end."""
    meta, days = brick.meta, standing["days_since"]
    late, promised = "late: " if standing["is_late"] else "", standing["promised_days"]
    return {
        "brick": brick.name,
        "status": meta.status,
        "protocol": meta.connector,
        "cadence": meta.cadence,
        "last_load": standing["last_read_at"] and standing["last_read_at"][:16],
        "freshness": "never landed" if days is None else f"{late}{days:.1f} of {promised:g} days",
        "rows": standing["kept"],
        "refused": standing["refused"],
        "loads_refused": standing["refused_loads"],
        "personal": "yes" if brick.has_personal else "no",
        "licence": meta.licence,
        "use_cases": rests(standing["marts_by_use_case"]),
        "producer": meta.producer,
        "title": title_of(brick),
    }


def tool_row(tool: Tool, census: Mapping[str, Brick | Tool]) -> dict[str, Any]:
    """Give the row of a tool in a list."""
    meta = tool.meta
    readers = [name for name, each in census.items() if tool.name in each.meta.reads_from]
    givers = [name for name, each in census.items() if tool.name in each.meta.feeds]
    return {
        "tool": tool.name,
        "status": meta.status,
        "kind": meta.kind,
        "protocols": ", ".join(meta.protocols),
        "access_mode": meta.access_mode,
        "takes_from": ", ".join(sorted({*meta.reads_from, *givers})) or "-",
        "gives_to": ", ".join(sorted({*meta.feeds, *readers})) or "-",
        "operator": meta.operator,
        "title": title_of(tool),
    }


def title_of(of: Brick | Tool) -> str:
    """Give a title in the first language of the territory that it is told in."""
    from ingestion.territory import read_territory

    titles = of.meta.titles
    return next((titles[language] for language in read_territory().languages if language in titles), next(iter(titles.values())))


def rests(marts_by_use_case: Mapping[str, int]) -> str:
    """Say which use cases rest on a brick, by how many marts."""
    return ", ".join(f"{case} ({count})" for case, count in marts_by_use_case.items()) or "-"


def last_loads(journal: Journal, brick: str, count: int = 5) -> list[dict[str, Any]]:
    """Give the last loads of a brick, the newest first: when each was read, its verdict, its rows."""
    loads = sorted(journal.loads(brick).values(), key=lambda load: load["read_at"], reverse=True)[:count]
    return [
        {
            "load": load["load_id"],
            "read_at": dt.datetime.fromisoformat(load["read_at"]).isoformat(timespec="minutes"),
            "verdict": load["verdict"],
            **{name: sum(record[name] for record in load["tables"].values()) for name in ("kept", "refused")},
        }
        for load in loads
    ]
