"""How far the warehouse has followed journal and project: nowhere, where that cannot be known for sure."""

from __future__ import annotations

from typing import NamedTuple

from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.warehouse import REWRITES


class Reached(NamedTuple):
    """How far the warehouse has followed: seq of the journal, digest of the dbt project, why which nodes are to be built again."""

    seq: int
    project: str | None
    unreached: dict[str, str]


def reached(lake: Lake, journal: Journal) -> Reached:
    """Read how far the warehouse has followed.

    Nowhere (0, None) for no warehouse, one whose last build was killed or could not begin, or one of another history. It stands
    beside the warehouse, which nobody can read while dbt writes to it.
    """
    built = journal.noted("built.json")
    if not built or not (lake.state / "warehouse.duckdb").exists():
        return Reached(0, None, {})
    return Reached(built["seq"], built["project"], built.get("unreached", {}))


def is_built(lake: Lake, journal: Journal) -> bool:
    """Say whether the last build came to its end, whatever failed in it."""
    return reached(lake, journal).project is not None


def changed_sources(journal: Journal, seq: int) -> set[tuple[str, str]]:
    """Name the (brick, table) whose accepted rows changed after a seq of the journal."""
    tables = {load["load_id"]: list(load["tables"]) for load in journal.of("load")}
    visible = {load["load_id"] for load in journal.accepted()}
    changed: set[tuple[str, str]] = set()
    for entry in journal.entries[seq:]:
        if entry["kind"] == "expire":
            changed |= {(entry["brick"], table) for told in entry["loads"].values() for table in told["tables"]}
        load_id = entry.get("load_id")
        if entry["kind"] in REWRITES or (entry["kind"] == "load" and load_id in visible):
            named = [entry["table"]] if "table" in entry else tables.get(load_id, [])
            changed |= {(entry["brick"], table) for table in named}
    return changed
