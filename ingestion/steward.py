"""What a steward does with a load: read its refused rows, accept it, drop it."""

from __future__ import annotations

from typing import Any

from ingestion.brick import read_territory
from ingestion.journal import Entry, Journal
from ingestion.lake import Lake, listed


def refused_rows(lake: Lake, load: Entry, limit: int) -> dict[str, list[dict[str, Any]]]:
    """Give, by table, the first refused rows of a load: file, row in that file (from 1), reason."""
    connection = lake.connect()
    found: dict[str, list[dict[str, Any]]] = {}
    for name, record in load["tables"].items():
        found[name] = []
        if record["refused"] and record["files"]:
            relation = f"read_parquet({listed([lake.path(file) for file in record['files']])}, union_by_name = true, file_row_number = true, filename = true)"
            # Landing keeps the order of the source, so a row's place in its file is its rank among that file's rows.
            sql = (
                f"select _file as file, row_number() over (partition by filename, _file order by file_row_number) as row, _refused as reason "
                f"from {relation} qualify _refused is not null order by file, row limit {int(limit)}"
            )
            cursor = connection.execute(sql)
            found[name] = [dict(zip(("file", "row", "reason"), row, strict=True)) for row in cursor.fetchall()]
    connection.close()
    return found


def accept_load(lake: Lake, journal: Journal, load: Entry, why: str) -> int:
    """Accept a refused load: a second entry of the same load, which becomes visible as of when it was read."""
    with lake.lock(f"landing-{load['brick']}", wait=60):
        journal.refresh()
        journal.found(read_territory().name, is_synthetic=journal.is_synthetic)
        body = {name: value for name, value in load.items() if name not in ("seq", "kind", "at", "verdict", "declarations")}
        return journal.append("load", **body, verdict="accepted", declarations={}, accepted_because=why)


def drop_load(lake: Lake, journal: Journal, load: Entry, *, refetch: bool) -> int:
    """Drop a load and delete its files; with `refetch`, the next landing reads again from where it had started."""
    with lake.lock(f"landing-{load['brick']}", wait=60):
        seq = journal.append("drop", brick=load["brick"], load_id=load["load_id"], refetch=refetch)
        lake.delete([file for record in load["tables"].values() for file in record["files"]])
    return seq
