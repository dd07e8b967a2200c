"""An entry that is lost is told as lost, with a reason: what it may have named is kept, and nothing of it is guessed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from ingestion.brick import Brick
from ingestion.entries import FORMAT, Entry, copied_entries, digest_of, entry_bytes, entry_name, is_chained, list_entries, read_entry
from ingestion.journal import files_of
from ingestion.lake import Lake, LakeError


def declare_lost(lake: Lake, seq: int, why: str, bricks: Iterable[Brick]) -> Entry:
    """Put an entry in the place of one that is missing or broken, and give it; what the local copy of a lake on S3 holds is put back.

    It says the digest for which it stands, so that the chain holds; it keeps the files that no other entry names, and the
    declarations of today under which other loads have landed. A broken entry is set aside under `journal/broken/`. Raises LakeError
    for an entry that is whole, or that never was.
    """
    last = max(list_entries(lake), default=0)
    entries, broken, digests = {}, {}, {0: ""}
    for number in range(1, last + 1):
        try:
            entries[number], content = read_entry(lake, number, last)
            digests[number] = digest_of(content)
        except LakeError:
            broken[number] = lake.read(entry_name(number))
    for number in range(2, last + 1):
        before = entries.get(number - 1)
        if before and number in entries and not is_chained(entries[number], before, digests[number - 1]):
            broken[number - 1] = lake.read(entry_name(number - 1))
    if seq not in broken:
        raise LakeError(
            f"{lake.root}: entry {seq} of the journal is not lost (it has {last}). Mend: none is needed; see `orchestra verify`"
        )
    if (aside := broken[seq]) is not None:
        lake.replace(f"journal/broken/{seq:012d}-{secrets.token_hex(4)}.json", aside)
        lake.delete([entry_name(seq)])
    copy = copied_entries(lake)
    if len(copy) >= seq:
        content = copy[seq - 1]
    else:
        lost = _lost(lake, seq, why, [entry for number, entry in entries.items() if number not in broken], bricks)
        chain = {"before": digests.get(seq - 1), "stands_for": entries[seq + 1]["before"] if seq + 1 in entries else None}
        content = entry_bytes({**lost, **chain})
    if not lake.create(entry_name(seq), content):
        raise LakeError(f"{lake.root}: entry {seq} of the journal has come back meanwhile. Mend: none is needed; see `orchestra verify`")
    entry: Entry = json.loads(content)
    return entry


def _lost(lake: Lake, seq: int, why: str, entries: list[Entry], bricks: Iterable[Brick]) -> Entry:
    if seq == 1:
        raise LakeError(
            f"{lake.root}: entry 1 of the journal says what lake this is, and nothing else does. "
            f"Mend: put {entry_name(1)} back from a backup, or land into a lake of its own (ORCHESTRA_LAKE)"
        )
    loads = [entry for entry in entries if entry["kind"] == "load"]
    named = {name for load in loads for name in (*files_of(load), load["particulars"]["name"])}
    named |= {
        name
        for entry in entries
        if entry["kind"] == "publication"
        for record in entry["marts"].values()
        for name in record["files"].values()
    }
    used = {version for load in loads for version in load["contract"].values()}
    held = {version for load in loads for version in load["declarations"]}
    today = dict(table.contract() for brick in bricks for table in brick.tables)
    files = [*lake.names("landed"), *(name for name in lake.names("marts") if name.split("/")[2] != "main")]
    return {
        "seq": seq, "format": FORMAT, "kind": "lost", "at": datetime.now(UTC).isoformat(), "nonce": secrets.token_hex(8),
        "of": seq, "why": why,
        "kept": [name for name in files if name not in named and (name.endswith(".parquet") or "/load_id=" in name)],
        "declarations": {version: told for version, told in today.items() if version in used - held},
    }  # fmt: skip
