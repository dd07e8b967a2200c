"""What stands refused, and how a steward ends it: a load is accepted or dropped as the journal says it now, never as it was looked up."""

from __future__ import annotations

from typing import Any

from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError
from ingestion.refusal import first_refused, sentence
from ingestion.territory import read_territory


def standing_refusals(journal: Journal, brick: str) -> dict[str, str]:
    """Say, by load, which stand refused, or are accepted without files that could not be read; why, and the mend."""
    refused = {load["load_id"]: f"load {load['load_id']} stands refused: {'; '.join(load['reasons'])}. {mend_of(load)}"
               for load in map(journal.whole, journal.refused(brick))}  # fmt: skip
    unread = {
        load_id: f"load {load_id} is not whole: {'; '.join(f'{brick}.{table}: {file}: {why}' for table, file, why in files)}. Mend: "
        f"mend the source or its brick, and it is read then, or orchestra loads accept {load_id} --why '...', which gives that file up"
        for load_id, files in journal.unread(brick).items()
    }
    return refused | unread


def mend_of(load: Entry) -> str:
    """Say what ends a refusal, as commands that work."""
    command = f"orchestra loads {{}} {load['load_id']}"
    return (
        f"Mend: see {command.format('show')}; then mend its source or its brick, and it is tried again, or "
        f"{command.format('accept')} --why '...', or {command.format('drop')} --refetch (--forget gives its rows up)"
    )


def refused_rows(lake: Lake, load: Entry, limit: int) -> dict[str, list[dict[str, Any]]]:
    """Give, by table, the first refused rows of a load, told with its particulars: file, row in that file (from 1, headers aside), reason.

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


def _looked_up_again(journal: Journal, load: Entry) -> Entry:
    """Read the journal again, and give a load as it says it now."""
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
        load = _looked_up_again(journal, load)
        if load["verdict"] == "accepted" and load["load_id"] not in journal.unread(load["brick"]):
            raise LakeError(f"load {load['load_id']} of {load['brick']} is accepted already. Mend: nothing is to be done.")
        journal.found_lake(read_territory().name, is_synthetic=journal.is_synthetic)
        return journal.amend(load, verdict="accepted", accepted_because=why)


def drop_load(lake: Lake, journal: Journal, load: Entry, *, refetch: bool, why: str | None = None) -> int:
    """Drop a load and delete its files, and say `why`; with `refetch`, the next landing reads again from where it had started.

    Raises LakeError when another steward has dropped it since it was looked up.
    """
    with lake.lock(f"landing-{load['brick']}", wait=60):
        load = _looked_up_again(journal, load)
        seq = journal.append("drop", brick=load["brick"], load_id=load["load_id"], refetch=refetch, **({"why": why} if why else {}))
        lake.delete([file for record in load["tables"].values() for file in record["files"]])
    return seq
