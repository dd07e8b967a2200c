"""How an entry of the journal stands in its object: its format, its bytes, and the chain that each forms with the one before it."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from pathlib import Path
from typing import Any

from ingestion.lake import Lake, LakeError

Entry = dict[str, Any]

FORMAT = 2  # each entry says it; `orchestra upgrade` writes an older journal anew
# `compact` is reserved: no command writes it yet.
KINDS = ("lake", "load", "drop", "erase", "expire", "compact", "publication", "accept", "lost")
# What an entry of a kind always says.
SAID = {
    "load": ("brick", "load_id", "verdict", "read_at", "contract", "declarations", "tables", "particulars"),
    "drop": ("brick", "load_id", "refetch"),
}


def entry_name(seq: int) -> str:
    """Name the object that holds an entry."""
    return f"journal/{seq:012d}.json"


def list_entries(lake: Lake, after: int = 0) -> dict[int, int]:
    """List the entries that stand after one: their size, by number."""
    found = {
        re.fullmatch(r"journal/(\d{12})\.json", name): stored.size for name, stored in lake.listing("journal", entry_name(after)).items()
    }
    return {int(match[1]): size for match, size in found.items() if match}


def entry_bytes(entry: Entry) -> bytes:
    """Write an entry as it stands in its object."""
    return json.dumps(entry, ensure_ascii=False, sort_keys=True).encode()


def digest_of(content: bytes) -> str:
    """Sum up the bytes of an entry, which the one that follows says as `before`, or of its particulars, which are named by it."""
    return hashlib.sha256(content).hexdigest()[:32]


def read_entry(lake: Lake, seq: int, last: int) -> tuple[Entry, bytes]:
    """Read an entry, and its bytes; raises LakeError, with the mend, when it is missing, broken or of another format."""
    content = lake.read(entry_name(seq))
    fault = "is missing" if content is None else "is empty"
    if content:
        try:
            entry = json.loads(content)
            if (held := entry.get("format", 1 if seq == 1 else FORMAT)) != FORMAT:
                raise LakeError(other_format(lake, held))
            if (kind := entry["kind"]) not in KINDS:
                raise LakeError(f"{lake.path(entry_name(seq))} is of a kind ('{kind}') that this version does not read: upgrade")
            if entry["seq"] != seq:
                fault = f"is no entry {seq}"
            elif absent := [name for name in (*SAID.get(kind, ()), "format", "before") if name not in entry]:
                fault = f"says no {absent[0]}, as a {kind} does"
            else:
                return entry, content
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            fault = f"is broken ({type(error).__name__}: {error})"
    raise broken(lake, seq, fault, last)


def other_format(lake: Lake, held: int) -> str:
    """Say what is to be done of a journal of another format."""
    if held < FORMAT:
        return f"{lake.root} has format {held}, and this version reads {FORMAT}. Mend: back it up, then orchestra upgrade"
    return f"{lake.root} has format {held}, and this version reads {FORMAT}. Mend: read it with the version that wrote it, or a later one"


def broken(lake: Lake, seq: int, fault: str, last: int) -> LakeError:
    """Give the error of an entry that is missing, or is not what was written: it names the mend."""
    return LakeError(
        f"{lake.path(entry_name(seq))} {fault}, and the journal goes on to {last}: nothing is read, written or swept before it is mended. "
        f'Mend: put it back from a backup; when it is lost for good: orchestra journal lost --seq {seq} --why "..."'
    )


def is_chained(entry: Entry, before: Entry | None, digest: str) -> bool:
    """Say whether an entry was written after the one before it, whose bytes have this digest.

    What was put in the place of a lost one says which digest it stands for: that of the lost one, where the next entry told it.
    """
    in_place = before if before and before["kind"] == "lost" and before["of"] == before["seq"] else {}
    is_untold = bool(in_place) and in_place["stands_for"] is None  # the next one was lost too
    return entry["kind"] == "lost" or is_untold or entry["before"] in (digest, in_place.get("stands_for"))


def copied_entries(lake: Lake) -> list[bytes]:
    """Read the local copy of the journal of a lake on S3, up to where it is whole."""
    path = copy_of(lake)
    lines = path.read_bytes().split(b"\n") if lake.is_s3 and path.exists() else []
    return [line for _, line in itertools.takewhile(lambda numbered: _is_entry(*numbered), enumerate(lines, 1))]


def copy_of(lake: Lake) -> Path:
    """Give the path of the local copy of the journal of a lake on S3."""
    return lake.state_path("journal.ndjson")


def _is_entry(seq: int, line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and entry.get("seq") == seq and entry.get("format") == FORMAT
