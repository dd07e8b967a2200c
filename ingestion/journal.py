"""The journal, the one commit of the house: a dense sequence of entries, each created once, that nothing edits."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingestion.disk import write_whole
from ingestion.lake import Lake, LakeError
from ingestion.position import Position, position_of

if TYPE_CHECKING:
    from pathlib import Path

    from ingestion.brick import Brick

log = logging.getLogger("orchestra")

FORMAT = 1
# `expire` and `compact` are reserved: no command writes them yet.
KINDS = ("lake", "load", "drop", "erase", "expire", "compact", "publication", "accept", "lost")
# What an entry of a kind always says.
SAID = {"load": ("brick", "load_id", "verdict", "read_at", "contract", "declarations", "tables"), "drop": ("brick", "load_id", "refetch")}
Entry = dict[str, Any]


class Journal:
    """Entries of a lake, read once and caught up with `refresh`; `append` is the only way to add one.

    The lake of another territory is not opened: LakeError.

    `digests` says, by seq, what history leads to it: the digest of its bytes and of all before them ("" for none yet).
    """

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.entries: list[Entry] = []
        self.digests = [""]
        self._contents: list[bytes] = []
        self._declared: dict[tuple[str, str], dict[str, Any]] = {}  # by brick and version, which is a digest of it
        self.refresh()
        from ingestion.territory import read_territory

        self.belong(read_territory().name)

    @property
    def seq(self) -> int:
        """Number of the last entry read; 0 for a lake that holds nothing."""
        return len(self.entries)

    def refresh(self) -> None:
        """Read the entries that followed; raises LakeError for one that is missing or broken, and for a newer format."""
        listed = list_entries(self.lake, after=self.seq)
        last = max(listed, default=self.seq)
        if gone := set(range(self.seq + 1, last)) - set(listed):
            read_entry(self.lake, min(gone), last)  # raises, unless it was being written while the others were listed
        is_recalled = self.lake.is_s3 and not self.entries and self._recall(listed)
        known = self.seq
        while self.seq < last:
            self._add(*read_entry(self.lake, self.seq + 1, last))
        if self.entries and self.entries[0]["format"] > FORMAT:
            raise LakeError(f"{self.lake.root} has format {self.entries[0]['format']}, this version reads {FORMAT}: upgrade")
        if self.seq > known or is_recalled:
            self._bind()
            if self.lake.is_s3:
                self._remember()

    def append(self, kind: str, **body: Any) -> int:
        """Add an entry and give its number; when another process took the number, the next one is tried."""
        if kind not in KINDS:
            raise ValueError(f"'{kind}' is no kind of entry: {', '.join(KINDS)}")
        told = {"kind": kind, "at": datetime.now(UTC).isoformat(), "nonce": secrets.token_hex(8), **body}
        while True:
            self.refresh()
            content = entry_bytes({"seq": self.seq + 1, **told})
            if self.lake.create(entry_name(self.seq + 1), content):
                self._add(json.loads(content), content)
                return self.seq

    def found_lake(self, territory: str, *, is_synthetic: bool) -> None:
        """Write entry 1 of a new lake; raises LakeError when the lake is another territory's, or of another nature.

        A place that holds files and no journal is no new lake: what an entry named would be swept.
        """
        if not self.entries:
            if held := [*self.lake.names("landed"), *self.lake.names("marts")]:
                raise LakeError(
                    f"{self.lake.root} holds {len(held)} files ({held[0]}) and no journal: no new lake begins over them. "
                    "Mend: put its journal/ back from a backup, or set ORCHESTRA_LAKE to an empty place"
                )
            if self.lake.is_s3:
                self.lake.probe_create()
            content = {"lake_id": secrets.token_hex(8), "format": FORMAT, "territory": territory, "is_synthetic": is_synthetic}
            self.lake.create(entry_name(1), entry_bytes({"seq": 1, "kind": "lake", "at": datetime.now(UTC).isoformat(), **content}))
            self.refresh()
        self.belong(territory)
        first = self.entries[0]
        if first["is_synthetic"] != is_synthetic:
            natures = {True: "synthetic (sandbox)", False: "real"}
            raise LakeError(
                f"{self.lake.root} holds {natures[first['is_synthetic']]} data and the source gives "
                f"{natures[is_synthetic]} data: they never mix. Mend: set ORCHESTRA_LAKE to a lake of its own."
            )

    def belong(self, territory: str) -> None:
        """Raise LakeError for a lake that another territory founded: its figures would be told by the values of this one."""
        if self.entries and (founder := self.entries[0]["territory"]) != territory:
            told = f"{self.lake.root} is the lake of {founder}, not of {territory}"
            raise LakeError(f"{told}. Mend: set ORCHESTRA_LAKE to a lake of its own, or `name` of territory.yml back to {founder}")

    def follows(self, seq: int, digest: str | None) -> bool:
        """Say whether who reached this seq by this digest stands on this history."""
        return 0 <= seq <= self.seq and self.digests[seq] == digest

    def note(self, name: str, **told: Any) -> None:
        """Write a file of the state that says what a follower holds, and the place in the history that it has reached."""
        content = {"lake": self.lake.root, "seq": self.seq, "digest": self.digests[-1], **told}
        write_whole(self.lake.state_path(name), json.dumps(content).encode())

    def noted(self, name: str) -> Entry | None:
        """Read what `note` wrote; None, and said, when it is broken, of another history, or of a lake that has moved since."""
        path = self.lake.state_path(name)
        if not path.exists():
            return None
        why = "cannot be read"
        try:
            told: Entry = json.loads(path.read_bytes())
            if not self.follows(told["seq"], told["digest"]):
                why = f"follows another history than the journal of {self.lake.root}, which is at {self.seq}"
            elif told["lake"] == self.lake.root:
                return told
            else:
                why = f"follows the lake where it was ({told['lake']}), not in {self.lake.root}"
        except (ValueError, TypeError, KeyError):
            pass
        log.warning("%s %s: what it speaks of is made again from zero", path, why)
        return None

    def forget(self, seq: int, why: str) -> int:
        """Give up the files that a lost entry may have named; raises LakeError for an entry that was not told as lost."""
        if not any(entry["of"] == seq for entry in self.of("lost")):
            raise LakeError(
                f"{self.lake.root}: entry {seq} was not told as lost. Mend: orchestra journal lost --seq {seq} without --forget"
            )
        return self.append("lost", of=seq, why=why, kept=[], declarations={})

    def amend(self, load: Entry, **changes: Any) -> int:
        """Say a load anew, by a second entry of it that differs by `changes`; it is as of when the load was read."""
        body = {name: value for name, value in load.items() if name not in ("seq", "kind", "at", "nonce", "masked")}
        return self.append("load", **{**body, "declarations": {}, **changes})

    @property
    def is_synthetic(self) -> bool:
        """Whether the lake holds sandbox data; False for a lake that holds nothing."""
        return bool(self.entries) and self.entries[0]["is_synthetic"]

    def of(self, kind: str, brick: str | None = None) -> Iterator[Entry]:
        """Give the entries of a kind, oldest first."""
        return (e for e in self.entries if e["kind"] == kind and (brick is None or e.get("brick") == brick))

    def loads(self, brick: str | None = None) -> dict[str, Entry]:
        """Give the loads by id, each as its last entry says it (a load accepted later has a second entry).

        Left out: those dropped, and those refused that a later load has read again.
        """
        loads = {entry["load_id"]: entry for entry in self.of("load", brick)}
        gone = [drop["load_id"] for drop in self.of("drop", brick)]
        gone += [load_id for load in loads.values() for load_id in load.get("replaces", ())]
        for load_id in gone:
            loads.pop(load_id, None)
        return loads

    def accepted(self, brick: str | None = None) -> list[Entry]:
        """Give the loads that readers see, in the order in which they became visible."""
        return sorted((load for load in self.loads(brick).values() if load["verdict"] == "accepted"), key=lambda e: e["seq"])

    def refused(self, brick: str | None = None) -> list[Entry]:
        """Give the loads that stand refused, oldest first: nobody accepted or dropped them, no later load has read them again."""
        return [load for load in self.loads(brick).values() if load["verdict"] == "refused"]

    def unread(self, brick: str) -> dict[str, list[tuple[str, str, str]]]:
        """Give, by accepted load, the files that it could not read (table, file, why), and that nothing has read or given up since.

        Those for which a later load stands refused are left out.
        """
        told = {(t, file) for load in self.refused(brick) for t, record in load["tables"].items() for file, _ in record["refused_files"]}
        last: dict[tuple[str, str], tuple[str, str]] = {}
        for load in self.accepted(brick):
            for name, record in load["tables"].items():
                last |= {(name, file): (load["load_id"], why) for file, why in record["refused_files"]}
        positions = {name: self.position(brick, name) for name, _ in last}
        found: dict[str, list[tuple[str, str, str]]] = {}
        for (name, file), (load_id, why) in last.items():
            if file in positions[name].failed.keys() - positions[name].given_up and (name, file) not in told:
                found.setdefault(load_id, []).append((name, file, why))
        return found

    def declaration(self, load: Entry, table: str) -> dict[str, Any]:
        """Give the declaration under which the rows of a table landed in a load."""
        version = load["contract"][table]
        if known := self._declared.get((load["brick"], version)):
            return known
        for entry in (*self.of("load", load["brick"]), *self.of("lost")):
            if version in entry["declarations"]:
                declared: dict[str, Any] = entry["declarations"][version]
                self._declared[load["brick"], version] = declared
                return declared
        raise LakeError(
            f"{load['brick']}.{table}: load {load['load_id']} landed under a declaration ({version}) that stood in a lost entry of the "
            f"journal. Mend: orchestra loads drop {load['load_id']} --refetch"
        )

    def new_contract(self, brick: Brick, tables: Iterable[str]) -> tuple[dict[str, str], dict[str, Any]]:
        """Give today's contract version of some tables, and the declarations of those that no entry of the brick holds yet."""
        known = {version for entry in self.of("load", brick.name) for version in entry["declarations"]}
        today = {name: brick.table(name).contract() for name in tables}
        return {name: version for name, (version, _) in today.items()}, {v: told for v, told in today.values() if v not in known}

    def named_files(self, brick: str) -> set[str]:
        """Give the names of every landed file that a load of the brick names; any other does not exist."""
        return {name for load in self.loads(brick).values() for name in files_of(load)}

    def kept_files(self) -> set[str]:
        """Give the files that a lost entry may have named, and that nobody gave up since: they are not swept."""
        return {name for kept in {entry["of"]: entry["kept"] for entry in self.of("lost")}.values() for name in kept}

    def position(self, brick: str, table: str) -> Position:
        """Give where the next reading of a table starts."""
        return position_of(self.of_brick(brick), table)

    def of_brick(self, brick: str) -> Iterator[Entry]:
        """Give the loads and the drops of a brick, oldest first."""
        return (e for e in self.entries if e["kind"] in ("load", "drop") and e["brick"] == brick)

    def as_of(self) -> str | None:
        """Give the greatest instant at which an accepted load was read (ISO, UTC); the house's only clock."""
        return max((load["read_at"] for load in self.accepted()), default=None)

    def _add(self, entry: Entry, content: bytes) -> None:
        self.entries.append(entry)
        self.digests.append(hashlib.sha256(self.digests[-1].encode() + content).hexdigest()[:32])
        if self.lake.is_s3:
            self._contents.append(content)

    def _bind(self) -> None:
        """Hold the state to this lake: warehouse and catalogues that follow one lake would speak for another."""
        lake_id, bound = self.entries[0]["lake_id"], self.lake.state_path("lake_id")
        other = bound.read_bytes().decode(errors="replace") if bound.exists() else ""
        if not re.fullmatch("[0-9a-f]{16}", other):
            # None yet, or what a full disk has left of it: each follower knows its history by itself.
            write_whole(bound, lake_id.encode())
        elif other != lake_id:
            raise LakeError(f"{self.lake.state} is the state of another lake ({other}) than {self.lake.root}. Mend: set ORCHESTRA_STATE")

    def _recall(self, listed: dict[int, int]) -> bool:
        """Take the entries of a lake on S3 from the local copy of its journal, by their listed sizes; say whether there was one.

        The last entry is compared too: a copy of another history is left aside, and that is said.
        """
        copy, last = copied_entries(self.lake), max(listed, default=0)
        if other := [seq for seq, content in enumerate(copy[:last], 1) if listed.get(seq) != len(content)]:
            read_entry(self.lake, other[0], last)  # raises when it is broken
        if copy and (other or last < len(copy) or self.lake.read(entry_name(len(copy))) != copy[-1]):
            log.warning(
                "%s: the journal of %s (at %s) is not the one that this state has followed to %s: restored, or another's. "
                "It is read again, and what followed it is made again from zero", self.lake.state, self.lake.root, last, len(copy),
            )  # fmt: skip
            return False
        for content in copy:
            self._add(json.loads(content), content)
        return bool(copy)

    def _remember(self) -> None:
        # An entry that somebody wrote over several lines is read from the lake each time, and those after it.
        lines = itertools.takewhile(lambda content: b"\n" not in content, self._contents)
        write_whole(_copy_of(self.lake), b"".join(content + b"\n" for content in lines))


def standing(lake: Lake) -> Journal:
    """Open the journal of a lake that holds something; raises LakeError for a place where nothing ever landed.

    Its address may be another than was meant, and all would be well there.
    """
    if (journal := Journal(lake)).entries:
        return journal
    if not (named := os.environ.get("ORCHESTRA_LAKE")):
        raise LakeError(
            f"ORCHESTRA_LAKE is not set, and {lake.root} holds no lake. Mend: export ORCHESTRA_LAKE=<folder, or s3://bucket/prefix>"
        )
    told = "" if named == lake.root else f" (ORCHESTRA_LAKE={named}, from where you stand)"
    raise LakeError(f"{lake.root}{told} holds no lake. Mend: set ORCHESTRA_LAKE to one; `orchestra land` makes one there")


def files_of(load: Entry) -> list[str]:
    """Give the files that an entry of a load names."""
    return [name for table in load["tables"].values() for name in table["files"]]


def entry_name(seq: int) -> str:
    """Name the object that holds an entry."""
    return f"journal/{seq:012d}.json"


def list_entries(lake: Lake, after: int = 0) -> dict[int, int]:
    """List the entries that stand after one: their size, by number."""
    found = {
        re.fullmatch(r"journal/(\d{12})\.json", name): stored.size for name, stored in lake.listing("journal", entry_name(after)).items()
    }
    return {int(match[1]): size for match, size in found.items() if match}


def read_entry(lake: Lake, seq: int, last: int) -> tuple[Entry, bytes]:
    """Read an entry, and its bytes; raises LakeError, with the mend, when it is missing or broken."""
    content = lake.read(entry_name(seq))
    fault = "is missing" if content is None else "is empty"
    if content:
        try:
            entry = json.loads(content)
            if (kind := entry["kind"]) not in KINDS:
                raise LakeError(f"{lake.path(entry_name(seq))} is of a kind ('{kind}') that this version does not read: upgrade")
            if absent := [name for name in SAID.get(kind, ()) if name not in entry]:
                fault = f"says no {absent[0]}, as a {kind} does"
            elif entry["seq"] == seq and (seq > 1 or "format" in entry):
                return entry, content
            else:
                fault = f"is no entry {seq}"
        except (ValueError, TypeError, KeyError) as error:
            fault = f"is broken ({type(error).__name__}: {error})"
    raise LakeError(
        f"{lake.path(entry_name(seq))} {fault}, and the journal goes on to {last}: nothing is read, written or swept before it is mended. "
        f'Mend: put it back from a backup; when it is lost for good: orchestra journal lost --seq {seq} --why "..."'
    )


def entry_bytes(entry: Entry) -> bytes:
    """Write an entry as it stands in its object."""
    return json.dumps(entry, ensure_ascii=False, sort_keys=True).encode()


def copied_entries(lake: Lake) -> list[bytes]:
    """Read the local copy of the journal of a lake on S3, up to where it is whole."""
    path = _copy_of(lake)
    lines = path.read_bytes().split(b"\n") if lake.is_s3 and path.exists() else []
    return [line for _, line in itertools.takewhile(lambda numbered: _is_entry(*numbered), enumerate(lines, 1))]


def _copy_of(lake: Lake) -> Path:
    return lake.state_path("journal.ndjson")


def _is_entry(seq: int, line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and entry.get("seq") == seq
