"""The journal, the one commit of the house: a dense sequence of entries, each created once, that nothing edits."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingestion import particulars
from ingestion.disk import write_whole
from ingestion.entries import (
    FORMAT,
    KINDS,
    Entry,
    broken,
    copied_entries,
    copy_of,
    digest_of,
    entry_bytes,
    entry_name,
    is_chained,
    list_entries,
    read_entry,
)
from ingestion.keyed import make_secret
from ingestion.lake import Lake, LakeError
from ingestion.position import Position, position_of

if TYPE_CHECKING:
    from ingestion.brick import Brick

log = logging.getLogger("orchestra")

ENVELOPE = ("seq", "format", "before", "kind", "at", "nonce")  # what each entry says, whatever its kind


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
        self._digest = ""  # of the last entry alone
        self._particulars: dict[str, Entry] = {}  # by the name of their object, which is a digest of them
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
            self._add(*read_entry(self.lake, self.seq + 1, last), last)
        if self.seq > known or is_recalled:
            self._bind()
            if self.lake.is_s3:
                self._remember()

    def append(self, kind: str, **body: Any) -> int:
        """Add an entry and give its number; when another process took the number, the next one is tried.

        Values go to the particulars of the entry, whose object is written first; `whole` brings them back.
        """
        if kind not in KINDS:
            raise ValueError(f"'{kind}' is no kind of entry: {', '.join(KINDS)}")
        body = particulars.put_aside(self.lake, kind, body)
        told = {"format": FORMAT, "kind": kind, "at": datetime.now(UTC).isoformat(), "nonce": secrets.token_hex(8), **body}
        while True:
            self.refresh()
            content = entry_bytes({"seq": self.seq + 1, "before": self._digest, **told})
            if self.lake.create(entry_name(self.seq + 1), content):
                self._add(json.loads(content), content, self.seq + 1)
                return self.seq

    def whole(self, entry: Entry) -> Entry:
        """Give an entry with its particulars: the values that were read. Raises LakeError where those of a load are gone."""
        return particulars.joined(entry, self._read)

    def whole_mart(self, record: Entry) -> Entry:
        """Give what a publication says of a mart, with its particulars."""
        return particulars.joined_mart(record, self._read)

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
            make_secret(self.lake)
            content = {"lake_id": secrets.token_hex(8), "territory": territory, "is_synthetic": is_synthetic}
            told = {"seq": 1, "format": FORMAT, "before": "", "kind": "lake", "at": datetime.now(UTC).isoformat()}
            self.lake.create(entry_name(1), entry_bytes({**told, **content}))
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
        """Say a load anew, by a second entry of it that differs by `changes`; it is as of when the load was read.

        No value is copied: its particulars stay the same object, unless `changes` hold others.
        """
        said = self.said(load["brick"])[load["load_id"]]
        body = {name: value for name, value in said.items() if name not in (*ENVELOPE, "masked")}
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

        Left out: those dropped, those refused that a later load has read again, and tables that have expired.
        """
        loads = self.said(brick)
        gone = [drop["load_id"] for drop in self.of("drop", brick)]
        gone += [load_id for load in loads.values() for load_id in load.get("replaces", ())]
        for load_id in gone:
            loads.pop(load_id, None)
        for load_id, load in list(loads.items()):
            if expired := load.get("expired"):
                tables = {name: record for name, record in load["tables"].items() if name not in expired}
                loads |= {load_id: {**load, "tables": tables}}
                if not tables:
                    del loads[load_id]
        return loads

    def said(self, brick: str | None = None) -> dict[str, Entry]:
        """Give every load by id, one that is gone included, as its last entry says it; `expired` names the tables that have."""
        loads = {entry["load_id"]: entry for entry in self.of("load", brick)}
        for entry in self.of("expire", brick):
            for load_id, told in entry["loads"].items():
                if (load := loads.get(load_id)) and load["seq"] < entry["seq"]:
                    expired = sorted({*load.get("expired", ()), *told["tables"]})
                    loads[load_id] = {**load, "expired": expired, "particulars": told["particulars"]}
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

        def failing(loads: list[Entry]) -> list[Entry]:
            return [self.whole(load) for load in loads if any(record["refused_file_count"] for record in load["tables"].values())]

        refused = failing(self.refused(brick))
        told = {(t, file) for load in refused for t, record in load["tables"].items() for file, _ in record["refused_files"]}
        last: dict[tuple[str, str], tuple[str, str]] = {}
        for load in failing(self.accepted(brick)):
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

    def to_erase(self, brick: str) -> list[Entry]:
        """Give the erasures that were killed before their end: some of their rows may still stand."""
        done = {entry["of"] for entry in self.of("erase", brick) if "of" in entry}
        return [entry for entry in self.of("erase", brick) if "keys" in entry and entry["seq"] not in done]

    def named_files(self, brick: str) -> set[str]:
        """Give the names of every landed object that a load of the brick names; any other does not exist.

        Of a load that was dropped the particulars stay: they say which files it had opened.
        """
        files = {name for load in self.loads(brick).values() for name in files_of(load)}
        last = self.said(brick)
        replaced = {load_id for load in last.values() for load_id in load.get("replaces", ())}
        return files | {load["particulars"]["name"] for load_id, load in last.items() if load_id not in replaced and "particulars" in load}

    def unnamed(self, load: Entry) -> list[str]:
        """Give what a load named, as it was told before, and that its last entry names no more."""
        last = self.said(load["brick"])[load["load_id"]]
        kept = {*files_of(last), last["particulars"]["name"]}
        return [name for name in (*files_of(load), load["particulars"]["name"]) if name not in kept]

    def kept_files(self) -> set[str]:
        """Give the files that a lost entry may have named, and that nobody gave up since: they are not swept."""
        return {name for kept in {entry["of"]: entry["kept"] for entry in self.of("lost")}.values() for name in kept}

    def position(self, brick: str, table: str) -> Position:
        """Give where the next reading of a table starts."""
        last, again = self.said(brick), {drop["load_id"] for drop in self.of("drop", brick) if drop["refetch"]}

        def whole(entry: Entry) -> Entry:
            try:
                return self.whole(last[entry["load_id"]])
            except LakeError:
                if entry["load_id"] not in again:
                    raise
                return {"tables": {table: {"position": {}, "opened": {}, "refused_files": []}}}  # not known any more: it is read again

        return position_of(self.of_brick(brick), table, whole)

    def of_brick(self, brick: str) -> Iterator[Entry]:
        """Give the loads and the drops of a brick, oldest first; what has expired of a refused load is given up."""
        refused = {load_id for load_id, load in self.said(brick).items() if load["verdict"] == "refused"}
        for entry in self.entries:
            if entry["kind"] in ("load", "drop") and entry["brick"] == brick:
                yield entry
            elif entry["kind"] == "expire" and entry["brick"] == brick:
                yield from ({"kind": "drop", "load_id": load_id, "refetch": False} for load_id in entry["loads"] if load_id in refused)

    def as_of(self) -> str | None:
        """Give the greatest instant at which an accepted load was read (ISO, UTC); the house's only clock."""
        return max((load["read_at"] for load in self.accepted()), default=None)

    def _add(self, entry: Entry, content: bytes, last: int) -> None:
        """Take an entry in; raises LakeError, naming the one before it, where it was not written after that one."""
        if not is_chained(entry, self.entries[-1] if self.entries else None, self._digest):
            raise broken(self.lake, max(1, entry["seq"] - 1), f"is not the one after which entry {entry['seq']} was written", last)
        self.entries.append(entry)
        self._digest = digest_of(content)
        self.digests.append(digest_of(self.digests[-1].encode() + content))
        if self.lake.is_s3:
            self._contents.append(content)

    def _read(self, of: Entry) -> Entry:
        name = of["particulars"]["name"]
        if name not in self._particulars:
            self._particulars[name] = particulars.read_particulars(self.lake, of)
        return self._particulars[name]

    def _named_particulars(self) -> set[str]:
        last: list[Entry] = list(self.said().values())
        last += [record for entry in self.of("publication") for group in particulars.OF_MART for record in entry.get(group, {}).values()]
        return {each["particulars"]["name"] for each in last if "particulars" in each}

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
            self._add(json.loads(content), content, last)
        return bool(copy)

    def _remember(self) -> None:
        # An entry that somebody wrote over several lines is read from the lake each time, and those after it.
        lines = itertools.takewhile(lambda content: b"\n" not in content, self._contents)
        write_whole(copy_of(self.lake), b"".join(content + b"\n" for content in lines))
        particulars.forget_copies(self.lake, self._named_particulars())


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
