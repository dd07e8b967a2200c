"""What the journal names no more, or never named, is deleted: a killed run leaves it behind, and it may be in clear."""

from __future__ import annotations

from ingestion.brick import Brick
from ingestion.journal import Journal, files_of
from ingestion.lake import Lake


def sweep(lake: Lake, journal: Journal, brick: Brick) -> list[str]:
    """Delete the landed files of a brick that no entry names any more, or that a killed run left, and give their names."""
    journal.refresh()
    named = journal.named_files(brick.name) | journal.kept_files()
    once = [name for load in journal.of("load", brick.name) for name in (*files_of(load), load["particulars"]["name"])]
    # What dlt notes beside holds the names of columns, undeclared ones included; it reads none of it again.
    once += [name for name in lake.names(f"landed/{brick.name}") if "/_dlt_" in name and not name.endswith("/init")]
    return lake.sweep(f"landed/{brick.name}", f"landing-{brick.name}", lambda name: name in named or name.endswith("/init"), once)
