"""What a steward does with a load: read its refused rows, accept it, drop it."""

from __future__ import annotations

from typing import Any

from ingestion.brick import read_territory
from ingestion.journal import Entry, Journal
from ingestion.lake import Lake, LakeError
from ingestion.refusal import first_refused, sentence


def refused_rows(lake: Lake, load: Entry, limit: int) -> dict[str, list[dict[str, Any]]]:
    """Give, by table, the first refused rows of a load: file, row in that file (from 1, headers aside), reason.

    Of the first of a text, the line as well, as an editor shows it.
    """
    connection = lake.connect()
    found: dict[str, list[dict[str, Any]]] = {}
    for name, record in load["tables"].items():
        refused, lines = [], record.get("lines", {})
        if record["refused"] and record["files"]:
            refused = first_refused(connection, [lake.path(file) for file in record["files"]], limit).rows
        found[name] = []
        for row in refused:
            line = lines.get(row["file"], {}).get(str(row["row"]))
            place = {"file": row["file"], "row": row["row"], **({"line": line} if line else {})}
            found[name].append({**place, "reason": sentence(row, line)})
    connection.close()
    return found


def _again(journal: Journal, load: Entry) -> Entry:
    """Give a load as the journal says it now."""
    journal.refresh()
    if (found := journal.loads(load["brick"]).get(load["load_id"])) is None:
        raise LakeError(
            f"load {load['load_id']} of {load['brick']} was dropped, or a later load has read it again. Mend: see `orchestra loads list`."
        )
    return found


def accept_load(lake: Lake, journal: Journal, load: Entry, why: str) -> int:
    """Accept a refused load: a second entry of the same load, which becomes visible as of when it was read.

    Of an accepted one, the files that it could not read are given up. Raises LakeError when another steward has accepted it, or
    dropped it, since it was looked up.
    """
    with lake.lock(f"landing-{load['brick']}", wait=60):
        load = _again(journal, load)
        if load["verdict"] == "accepted" and load["load_id"] not in journal.unread(load["brick"]):
            raise LakeError(f"load {load['load_id']} of {load['brick']} is accepted already. Mend: nothing is to be done.")
        journal.found(read_territory().name, is_synthetic=journal.is_synthetic)
        return journal.amend(load, verdict="accepted", accepted_because=why)


def drop_load(lake: Lake, journal: Journal, load: Entry, *, refetch: bool, why: str | None = None) -> int:
    """Drop a load and delete its files, and say `why`; with `refetch`, the next landing reads again from where it had started.

    Raises LakeError when another steward has dropped it since it was looked up.
    """
    with lake.lock(f"landing-{load['brick']}", wait=60):
        load = _again(journal, load)
        seq = journal.append("drop", brick=load["brick"], load_id=load["load_id"], refetch=refetch, **({"why": why} if why else {}))
        lake.delete([file for record in load["tables"].values() for file in record["files"]])
    return seq
