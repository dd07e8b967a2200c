"""The stable files of a class: `files/<class>/<mart>.parquet` is always the last good file of the mart, whole, under that name."""

from __future__ import annotations

from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.published import stable_name, standing


def follow_stable_files(lake: Lake, journal: Journal, access_class: str, seq: int, held: set[str], *, is_rebuild: bool = False) -> None:
    """Make `files/<class>/<mart>.parquet`, or `<mart>/<unit>.parquet`, another name of the last good file of each unit held."""
    entries, reached = list(journal.of("publication")), 0 if is_rebuild else stable_seq(lake, journal, access_class)
    if reached >= seq:
        return
    seq_name = f"files/{access_class}/.seq"
    existing = set(lake.names(f"files/{access_class}")) - {seq_name}
    # What a lost file was named by stays as it is until the mart is published again.
    wanted = stable_names(entries, access_class)
    linked = stable_names([entry for entry in entries if entry["seq"] <= reached], access_class)
    for alias, file in wanted.items():
        if file in held and (alias not in existing or linked.get(alias) != file):
            lake.link(file, alias)
    lake.delete(sorted(existing - wanted.keys()))
    lake.replace(seq_name, f"{seq} {journal.digests[seq]}".encode())


def stable_seq(lake: Lake, journal: Journal, access_class: str) -> int:
    """Give the seq that the stable files of a class have reached; 0 when they follow another history, or nothing says which."""
    told = (lake.read(f"files/{access_class}/.seq") or b"").decode(errors="replace").split()
    if len(told) == 2 and told[0].isdecimal() and journal.follows(int(told[0]), told[1]):
        return int(told[0])
    return 0


def stable_names(entries: list[Entry], access_class: str) -> dict[str, str]:
    """Give, by stable name, the file that some publications leave under it."""
    return {
        stable_name(access_class, name, unit): file
        for name, (_, record) in standing(entries).items()
        if record["class"] == access_class
        for unit, file in record["files"].items()
    }
