"""What a steward does with a load: read its refused rows, accept it, drop it."""

from __future__ import annotations

from typing import Any

from ingestion.brick import read_territory
from ingestion.journal import Entry, Journal
from ingestion.lake import Lake, LakeError, listed, literal
from ingestion.landing import UNREADABLE


def refused_rows(lake: Lake, load: Entry, limit: int) -> dict[str, list[dict[str, Any]]]:
    """Give, by table, the first refused rows of a load: file, row in that file (from 1, headers aside), reason."""
    connection = lake.connect()
    found: dict[str, list[dict[str, Any]]] = {}
    for name, record in load["tables"].items():
        found[name] = []
        if record["refused"] and record["files"]:
            relation = f"read_parquet({listed([lake.path(file) for file in record['files']])}, file_row_number = true, filename = true)"
            # Landing keeps the order of the source: where it left no row out, a row's place is its rank among its file's rows
            # and the lines that could not be read, whose place landing told.
            sql = (
                "with landed as (select _file, _refused, _row, "
                f"_row is not null and regexp_matches(_refused, {literal(UNREADABLE)}) as is_line, "
                f"coalesce(_row, row_number() over (partition by filename, _file order by file_row_number)) as place from {relation}), "
                "lines as (select _file, list(_row order by _row) as lines from landed where is_line group by _file) "
                "select landed._file, place, is_line, lines, _refused from landed left join lines using (_file) where _refused is not null"
            )
            rows = [
                {"reason": reason, "row": place if is_line else _among(lines or [], place), "file": file}
                for file, place, is_line, lines, reason in connection.execute(sql).fetchall()
            ]
            found[name] = sorted(rows, key=lambda row: (row["file"], row["row"]))[: int(limit)]
    connection.close()
    return found


def _among(lines: list[int], place: int) -> int:
    """Give the place of a row in its file from its place among the rows that could be read."""
    for line in lines:
        place += line <= place
    return place


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

    Raises LakeError when another steward has accepted it, or dropped it, since it was looked up.
    """
    with lake.lock(f"landing-{load['brick']}", wait=60):
        load = _again(journal, load)
        if load["verdict"] == "accepted":
            raise LakeError(f"load {load['load_id']} of {load['brick']} is accepted already. Mend: nothing is to be done.")
        journal.found(read_territory().name, is_synthetic=journal.is_synthetic)
        return journal.amend(load, verdict="accepted", accepted_because=why)


def drop_load(lake: Lake, journal: Journal, load: Entry, *, refetch: bool) -> int:
    """Drop a load and delete its files; with `refetch`, the next landing reads again from where it had started.

    Raises LakeError when another steward has dropped it since it was looked up.
    """
    with lake.lock(f"landing-{load['brick']}", wait=60):
        load = _again(journal, load)
        seq = journal.append("drop", brick=load["brick"], load_id=load["load_id"], refetch=refetch)
        lake.delete([file for record in load["tables"].values() for file in record["files"]])
    return seq
