"""The journal: the one commit of the house, a dense sequence of entries that nothing edits."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingestion.lake import Lake, LakeError

if TYPE_CHECKING:
    from ingestion.brick import Brick

FORMAT = 1
# `expire` and `compact` are reserved: no command writes them yet.
KINDS = ("lake", "load", "drop", "erase", "expire", "compact", "publication")
Entry = dict[str, Any]


@dataclass
class Position:
    """Where we are in a table: what its last settled reading said, and of the files that a reading may meet again.

    `known` are those opened, by signature; `held` those of which an accepted load holds every row; `failed` those that could
    not be read, with what read them (`read_by` of their load); `given_up` those of them that a steward has given up.
    """

    at: dict[str, Any] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    failed: dict[str, str | None] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)


class Journal:
    """Entries of a lake, read once and caught up with `refresh`; `append` is the only way to add one."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.entries: list[Entry] = []
        self.refresh()

    @property
    def seq(self) -> int:
        """Number of the last entry read; 0 for a lake that holds nothing."""
        return len(self.entries)

    def refresh(self) -> None:
        """Read the entries that followed; raises LakeError for an entry of a newer format."""
        if self.lake.is_s3 and not self.entries:
            self._recall()
        known = self.seq
        while (content := self.lake.read(_name(self.seq + 1))) is not None:
            self.entries.append(json.loads(content))
        if self.entries and self.entries[0]["format"] > FORMAT:
            raise LakeError(f"{self.lake.root} has format {self.entries[0]['format']}, this version reads {FORMAT}: upgrade")
        if self.seq > known:
            self._bind()
            if self.lake.is_s3:
                self._remember()

    def append(self, kind: str, **body: Any) -> int:
        """Add an entry and give its number; when another process took the number, the next one is tried."""
        if kind not in KINDS:
            raise ValueError(f"'{kind}' is no kind of entry: {', '.join(KINDS)}")
        while True:
            seq = self.seq + 1
            entry = {"seq": seq, "kind": kind, "at": datetime.now(UTC).isoformat(), **body}
            if self.lake.create(_name(seq), json.dumps(entry, ensure_ascii=False, sort_keys=True).encode()):
                self.entries.append(json.loads(json.dumps(entry)))
                return seq
            self.refresh()

    def found(self, territory: str, *, is_synthetic: bool) -> None:
        """Write entry 1 of a new lake; raises LakeError when the lake is another territory's, or of another nature."""
        if not self.entries:
            content = {"lake_id": secrets.token_hex(8), "format": FORMAT, "territory": territory, "is_synthetic": is_synthetic}
            entry = {"seq": 1, "kind": "lake", "at": datetime.now(UTC).isoformat(), **content}
            self.lake.create(_name(1), json.dumps(entry, ensure_ascii=False, sort_keys=True).encode())
            self.refresh()
        first = self.entries[0]
        if first["territory"] != territory:
            raise LakeError(f"{self.lake.root} is the lake of {first['territory']}, not of {territory}: set ORCHESTRA_LAKE")
        if first["is_synthetic"] != is_synthetic:
            natures = {True: "synthetic (sandbox)", False: "real"}
            raise LakeError(
                f"{self.lake.root} holds {natures[first['is_synthetic']]} data and the source gives "
                f"{natures[is_synthetic]} data: they never mix. Mend: set ORCHESTRA_LAKE to a lake of its own."
            )

    def amend(self, load: Entry, **changes: Any) -> int:
        """Say a load anew, by a second entry of it that differs by `changes`; it is as of when the load was read."""
        body = {name: value for name, value in load.items() if name not in ("seq", "kind", "at")}
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

    def declaration(self, load: Entry, table: str) -> dict[str, Any]:
        """Give the declaration under which the rows of a table landed in a load."""
        version = load["contract"][table]
        return next(e["declarations"][version] for e in self.of("load", load["brick"]) if version in e["declarations"])

    def new_contract(self, brick: Brick, tables: Iterable[str]) -> tuple[dict[str, str], dict[str, Any]]:
        """Give today's contract version of some tables, and the declarations of those that no entry of the brick holds yet."""
        known = {version for entry in self.of("load", brick.name) for version in entry["declarations"]}
        today = {name: brick.table(name).contract() for name in tables}
        return {name: version for name, (version, _) in today.items()}, {v: told for v, told in today.values() if v not in known}

    def named_files(self, brick: str) -> set[str]:
        """Give the names of every landed file that a load of the brick names; any other does not exist."""
        loads = self.loads(brick).values()
        return {name for load in loads for table in load["tables"].values() for name in table["files"]}

    def position(self, brick: str, table: str) -> Position:
        """Give where the next reading of a table starts.

        Only what is settled moves it: a load accepted, or dropped and given up. A refusal does not; a drop with refetch puts
        it back.
        """
        found = Position()
        points = [found.at]  # the first reading's, then one by load that moved it; what followed a load put back is forgotten
        read_from: dict[str, dict[str, Any]] = {}  # by load, the point that it was read from
        before: dict[str, int] = {}  # by load, the point to go back to
        loads: dict[str, Entry] = {}
        settled: set[str] = set()
        for entry in self.of_brick(brick):
            load_id = entry["load_id"]
            if entry["kind"] == "load" and table in entry["tables"]:
                loads[load_id] = entry
                before.setdefault(load_id, len(points) - 1)
                read_from.setdefault(load_id, points[-1])
            elif entry["kind"] == "load" or load_id not in loads:
                continue
            is_accepted = entry["kind"] == "load" and entry["verdict"] == "accepted"
            record = loads[load_id]["tables"][table]
            if entry["kind"] == "drop":
                found.held -= record["opened"].keys()
            if (is_accepted or (entry["kind"] == "drop" and not entry["refetch"])) and load_id not in settled:
                settled.add(load_id)
                found.known |= record["opened"]
                # What a later reading has passed does not go back to a load accepted, or given up, after it.
                if points[-1] is read_from[load_id]:
                    points.append(record["position"])
                is_given_up = not is_accepted or "accepted_because" in entry
                _note_files(found, record, loads[load_id].get("read_by"), is_held=is_accepted, is_given_up=is_given_up)
            elif entry["kind"] == "drop" and entry["refetch"] and load_id in settled:
                point = before[load_id]
                del points[point + 1 :]
                # A load that was read after this one is read again from here at the latest: never from a point further on.
                before = {each: min(at, point) for each, at in before.items()}
                found.known = {name: signature for name, signature in found.known.items() if name not in record["opened"]}
        found.at = points[-1]
        return found

    def of_brick(self, brick: str) -> Iterator[Entry]:
        """Give the loads and the drops of a brick, oldest first."""
        return (e for e in self.entries if e["kind"] in ("load", "drop") and e["brick"] == brick)

    def as_of(self) -> str | None:
        """Give the greatest instant at which an accepted load was read (ISO, UTC); the house's only clock."""
        return max((load["read_at"] for load in self.accepted()), default=None)

    def _bind(self) -> None:
        """Hold the state to this lake: warehouse and catalogues that follow one lake would speak for another."""
        lake_id, bound = self.entries[0]["lake_id"], self.lake.state_path("lake_id")
        if not bound.exists():
            bound.write_text(lake_id)
        elif (other := bound.read_text()) != lake_id:
            raise LakeError(f"{self.lake.state} is the state of another lake ({other}) than {self.lake.root}. Mend: set ORCHESTRA_STATE")

    def _recall(self) -> None:
        """Read the local copy of the journal of a lake on S3, when it is the copy of this lake."""
        copy = self.lake.state_path("journal.ndjson")
        first = self.lake.read(_name(1))
        if first is None or not copy.exists():
            return
        for line in copy.read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if entry["seq"] != self.seq + 1 or (entry["seq"] == 1 and entry != json.loads(first)):
                break
            self.entries.append(entry)

    def _remember(self) -> None:
        copy = self.lake.state_path("journal.ndjson")
        beside = copy.with_name(f"{copy.name}.{secrets.token_hex(4)}")
        beside.write_text("".join(json.dumps(entry) + "\n" for entry in self.entries), encoding="utf-8")
        beside.replace(copy)


def _note_files(position: Position, record: dict[str, Any], read_by: str | None, *, is_held: bool, is_given_up: bool) -> None:
    """Note which files of a settled load are held, which could not be read, and which of these a steward has given up."""
    failed = {name for name, _ in record.get("refused_files", ())}
    read = record["opened"].keys() - failed
    position.failed = {name: by for name, by in position.failed.items() if name not in read} | dict.fromkeys(failed, read_by)
    position.given_up = position.given_up - read | (failed if is_given_up else set())
    if is_held:
        # Rows refused for their content may come back mended: their file is not held.
        position.held = (position.held | read) - failed - set(record.get("refused_in", ()))


def _name(seq: int) -> str:
    return f"journal/{seq:012d}.json"
