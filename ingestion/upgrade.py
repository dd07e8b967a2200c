"""Write the journal of an older lake anew, in the format of today: beside the old, then in its place; killed, it goes on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from ingestion.brick import Brick
from ingestion.entries import FORMAT, Entry, digest_of, entry_bytes, entry_name, list_entries, other_format
from ingestion.erased_keys import KNOWN, digested, forms_of
from ingestion.journal import files_of
from ingestion.keyed import let_know, make_secret, secret_of
from ingestion.lake import Lake, LakeError
from ingestion.particulars import bare, put_aside

ANEW = "upgrade"  # folder of the lake where the journal is written anew
WRITTEN = f"{ANEW}/written.json"  # says that all of it is: what follows only puts it in its place


class Upgraded(NamedTuple):
    """What an upgrade has done: from which format, and how many entries it wrote anew; none where there was nothing to do."""

    held: int
    entry_count: int


def upgrade(lake: Lake, bricks: Iterable[Brick]) -> Upgraded:
    """Write the journal of a lake in the format of today. Values that its entries held go to their particulars, or are digested.

    No landed or published file is written again; whatever follows the journal is made again by the next run. Raises LakeError for
    a journal that is not whole, or is of a newer format. Nobody else may write to the lake meanwhile.
    """
    with lake.lock("run", wait=600), lake.lock("publish", wait=600):
        last = max(list_entries(lake), default=0)
        if not last:
            raise LakeError(f"{lake.root} holds no lake. Mend: set ORCHESTRA_LAKE to one")
        told = lake.read(WRITTEN)
        if told is None:
            entries = _read_old(lake, last)
            if (held := entries[0]["format"]) == FORMAT:
                return Upgraded(held, 0)
            make_secret(lake)
            _write_anew(lake, entries, {brick.name: brick for brick in bricks})
            told = json.dumps({"entries": last, "held": held}).encode()
            lake.replace(WRITTEN, told)
        known: dict[str, int] = json.loads(told)
        if last != known["entries"]:
            raise LakeError(
                f"{lake.root}: {last - known['entries']} entries were written while it was being upgraded. Mend: stop what writes to it, "
                f"delete {lake.path(ANEW)}, then orchestra upgrade"
            )
        # The first entry last: it is by its format that everybody else knows to wait.
        for seq in range(last, 0, -1):
            if (content := lake.read(f"{ANEW}/{seq:012d}.json")) is not None:
                lake.replace(entry_name(seq), content)
        lake.delete([*lake.names("journal/broken"), *(name for name in lake.names(ANEW) if name != WRITTEN), WRITTEN])
        return Upgraded(known["held"], last)


def _read_old(lake: Lake, last: int) -> list[Entry]:
    """Read the entries of a journal whatever its format; raises LakeError for one that is missing, broken, or of a newer format."""
    entries: list[Entry] = []
    for seq in range(1, last + 1):
        entry: Any = None
        with contextlib.suppress(ValueError):
            entry = json.loads(lake.read(entry_name(seq)) or b"")
        if not isinstance(entry, dict) or entry.get("seq") != seq or (seq == 1 and "format" not in entry):
            mend = "put it back from a backup, or mend it with the version that wrote it, then orchestra upgrade"
            raise LakeError(f"{lake.path(entry_name(seq))} is missing or broken. Mend: {mend}")
        entries.append(entry)
    if entries[0]["format"] > FORMAT:
        raise LakeError(other_format(lake, entries[0]["format"]))
    return entries


def _write_anew(lake: Lake, entries: list[Entry], bricks: dict[str, Brick]) -> None:
    """Write each entry in the format of today beside the old ones; particulars are written once, as the last entry of a load says them."""
    last = {entry["load_id"]: entry for entry in entries if entry["kind"] == "load"}
    gone = {entry["load_id"] for entry in entries if entry["kind"] == "drop"}
    gone |= {load_id for load in last.values() for load_id in load.get("replaces", ())}
    with lake.connect(is_private=True) as connection:
        let_know(connection, KNOWN, secret_of(lake, KNOWN))
        standing = {load_id: _measured(lake, connection, load) if load_id not in gone else load for load_id, load in last.items()}
        told = {load_id: put_aside(lake, "load", load) for load_id, load in standing.items()}
        before = ""
        for entry in entries:
            body = entry
            if entry["kind"] == "load":
                own = told[entry["load_id"]]
                body = own if entry is last[entry["load_id"]] else {**bare(entry), "particulars": own["particulars"]}
            elif entry["kind"] == "publication":
                body = put_aside(lake, "publication", entry)
            elif entry["kind"] == "erase":
                body = {**entry, "why": entry.get("why", ""), "keys": _digested(connection, entries, entry, bricks)}
            elif entry["kind"] == "lost":
                body = {**entry, "stands_for": None}
            content = entry_bytes({**body, "format": FORMAT, "before": before})
            lake.replace(f"{ANEW}/{entry['seq']:012d}.json", content)
            before = digest_of(content)


def _measured(lake: Lake, connection: Any, load: Entry) -> Entry:
    """Give a load with the size and the rows of each of its files; none of one that is gone, which `orchestra verify` tells."""
    sizes = lake.listing(f"landed/{load['brick']}")
    held = [lake.path(name) for name in files_of(load) if name in sizes]
    asked = "select file_name, num_rows from parquet_file_metadata(?)"
    rows = dict(connection.execute(asked, [held]).fetchall()) if held else {}
    tables = {}
    for name, record in load["tables"].items():
        files = record["files"]
        known = record.get("sizes") or [sizes[file].size if file in sizes else 0 for file in files]
        counted = [rows.get(lake.path(file), 0) for file in files]
        tables[name] = {**{key: each for key, each in record.items() if key != "row_count"}, "sizes": known, "rows": counted}
    return {**load, "tables": tables}


def _digested(connection: Any, entries: list[Entry], erasure: Entry, bricks: dict[str, Brick]) -> list[dict[str, Any]]:
    """Give the keys of an erasure by their digests: no row is written again here, the next run does."""
    name, brick = erasure["brick"], bricks.get(erasure["brick"])
    if brick is None:
        raise LakeError(f"entry {erasure['seq']} erases rows of {name}, which is no brick any more. Mend: put its YAML back, then upgrade")
    tables = [table for table in brick.tables if table.name == erasure["table"]]
    declared = [
        column
        for entry in entries
        for told in entry.get("declarations", {}).values()
        if entry.get("brick") == name
        for column in told["columns"]
    ]

    def kinds_of(names: Collection[str]) -> set[str]:
        return {each["data_type"] for each in declared if each["name"].casefold() in names} - {"json"}

    keys = [{called: None if value is None else str(value) for called, value in key.items()} for key in erasure["keys"]]
    # Values were told as ISO writes them, and a pseudonym as it landed.
    return digested(connection, brick, tables, keys, lambda c, value, kinds: [] if c.meta.mask else forms_of(c, value, kinds), kinds_of)
