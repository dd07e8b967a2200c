"""Loads are kept as long as their brick says: what is older goes, files and values, and is not read again."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

from ingestion.brick import Brick
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.masking import throw_warehouses
from ingestion.particulars import places_of, store_of_load, without_values
from ingestion.sweep import sweep


class Expired(NamedTuple):
    """What has expired of a brick: the entry of the journal, how many loads, how many rows that readers had."""

    brick: str
    seq: int
    load_count: int
    row_count: int


def clock_of(journal: Journal) -> dt.datetime:
    """Give the instant from which ages are counted: now; of a sandbox's lake, when it was last read."""
    as_of = journal.as_of()
    return dt.datetime.fromisoformat(as_of) if journal.is_synthetic and as_of else dt.datetime.now(dt.UTC)


def kept_since(brick: Brick, now: dt.datetime) -> dt.datetime:
    """Give the instant before which what was read of a brick is not kept."""
    return now - dt.timedelta(days=brick.meta.retention.days)


def expired_tables(journal: Journal, brick: Brick, since: dt.datetime) -> dict[str, list[str]]:
    """Give, by load of a brick that was read before an instant, the tables that have not expired yet; of loads that are gone, all.

    The newest accepted photo of a table that is delivered whole never expires: it is what the table is.
    """
    whole = {table.name for table in brick.tables if table.meta.delivers == "whole"}
    accepted = sorted(journal.accepted(brick.name), key=lambda load: load["read_at"])
    photos = {name: load["load_id"] for load in accepted for name in load["tables"] if name in whole}
    found = {}
    for load_id, load in journal.said(brick.name).items():
        left = [name for name in load["tables"] if name not in load.get("expired", ()) and photos.get(name) != load_id]
        if left and dt.datetime.fromisoformat(load["read_at"]) < since:
            found[load_id] = left
    return found


def expire_loads(lake: Lake, journal: Journal, brick: Brick, now: dt.datetime, wait: float = 600) -> Expired | None:
    """Let what is older than the retention of a brick go, of loads accepted or refused; None where nothing is.

    One entry says it. What a source still gives of it is not read again: of each load the places that it was read to stay, with the
    names of its files. The warehouses, which hold its rows, are thrown away.
    """
    with lake.lock(f"landing-{brick.name}", wait):
        journal.refresh()
        since = kept_since(brick, now)
        if not (tables := expired_tables(journal, brick, since)):
            return None
        visible = {load["load_id"] for load in journal.accepted(brick.name)}
        with lake.lock("build", wait=600):
            said, told, rows = journal.said(brick.name), {}, 0
            for load_id, names in tables.items():
                load = said[load_id]
                lake.begin(f"landing-{brick.name}", load_id)
                told[load_id] = {"tables": names, "particulars": store_of_load(lake, load, _left_of(journal, load, names))}
                rows += sum(load["tables"][name]["kept"] for name in names) if load_id in visible else 0
            throw_warehouses(lake)
            seq = journal.append("expire", brick=brick.name, loads=told, until=since.isoformat(), rows=rows)
        sweep(lake, journal, brick)
        return Expired(brick.name, seq, len(told), rows)


def _left_of(journal: Journal, load: Entry, expired: list[str]) -> dict[str, Any]:
    """Give what particulars keep of a load of which some tables expire: of these, the places that were reached alone."""
    if load["load_id"] in {i for each in journal.said(load["brick"]).values() for i in each.get("replaces", ())}:
        return {}
    whole = journal.whole(load)
    gone = {*expired, *load.get("expired", ())}
    kept = without_values({**whole, "tables": {name: each for name, each in whole["tables"].items() if name not in gone}})
    return {**kept, "tables": {**kept["tables"], **{name: places_of(whole["tables"][name]) for name in gone}}}
