"""Where the next reading of a table starts: only what is settled moves it, and a refusal never does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


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

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Position:
        """Give a position from what `told` made of it; the first reading's from nothing."""
        return cls(dict(told.get("at", {})), dict(told.get("known", {})), set(told.get("held", ())), dict(told.get("failed", {})))

    def told(self) -> dict[str, Any]:
        """Give what another reading starts from, as JSON."""
        return {"at": self.at, "known": self.known, "held": sorted(self.held), "failed": self.failed}

    def settle(self, record: dict[str, Any], read_by: str | None) -> None:
        """Move to where a reading of a table ended, by its record."""
        self.at, self.known = record["position"], {**self.known, **record["opened"]}
        _note_files(self, record, read_by, is_held=True, is_given_up=False)


def position_of(
    entries: Iterable[dict[str, Any]], table: str, whole: Callable[[dict[str, Any]], dict[str, Any]] = lambda entry: entry
) -> Position:
    """Fold the loads and drops of a brick, oldest first, into where the next reading of a table starts.

    A load accepted, or dropped and given up, moves it. A refusal does not; a drop with refetch puts it back. `whole` gives an
    entry with its particulars, which are asked for where they count.
    """
    position = Position()
    points = [position.at]  # the first reading's, then one by load that moved it; what followed a load put back is forgotten
    read_from: dict[str, dict[str, Any]] = {}  # by load, the point that it was read from
    before: dict[str, int] = {}  # by load, the point to go back to
    loads: dict[str, dict[str, Any]] = {}
    settled: set[str] = set()
    for entry in entries:
        load_id = entry["load_id"]
        earlier = loads.get(load_id)
        if entry["kind"] == "load" and table in entry["tables"]:
            loads[load_id] = entry
            before.setdefault(load_id, len(points) - 1)
            read_from.setdefault(load_id, points[-1])
        elif entry["kind"] == "load" or load_id not in loads:
            continue
        is_accepted = entry["kind"] == "load" and entry["verdict"] == "accepted"
        is_new = (is_accepted or (entry["kind"] == "drop" and not entry["refetch"])) and load_id not in settled
        is_given_up = is_accepted and "accepted_because" in entry and earlier is not None and "accepted_because" not in earlier
        if not (is_new or is_given_up or entry["kind"] == "drop"):
            continue
        record = whole(loads[load_id])["tables"][table]
        if entry["kind"] == "drop":
            position.held -= record["opened"].keys()
        if is_new:
            settled.add(load_id)
            position.known |= record["opened"]
            # What a later reading has passed does not go back to a load accepted, or given up, after it.
            if points[-1] is read_from[load_id]:
                points.append(record["position"])
            gives_up = not is_accepted or "accepted_because" in entry
            _note_files(position, record, loads[load_id].get("read_by"), is_held=is_accepted, is_given_up=gives_up)
        elif is_given_up:
            position.given_up |= {name for name, _ in record["refused_files"]} & position.failed.keys()
        elif entry["kind"] == "drop" and entry["refetch"] and load_id in settled:
            point = before[load_id]
            del points[point + 1 :]
            # A load that was read after this one is read again from here at the latest: never from a point further on.
            before = {each: min(at, point) for each, at in before.items()}
            position.known = {name: signature for name, signature in position.known.items() if name not in record["opened"]}
    position.at = points[-1]
    return position


def _note_files(position: Position, record: dict[str, Any], read_by: str | None, *, is_held: bool, is_given_up: bool) -> None:
    """Note which files of a settled load are held, which could not be read, and which of these a steward has given up."""
    failed = {name for name, _ in record.get("refused_files", ())}
    read = record["opened"].keys() - failed
    # A member of an archive is read with it.
    again = {name for name in position.failed if name in read or any(name.startswith(f"{each}/") for each in read)}
    position.failed = {name: by for name, by in position.failed.items() if name not in again} | dict.fromkeys(failed, read_by)
    position.given_up = position.given_up - read - again | (failed if is_given_up else set())
    if is_held:
        # Rows refused for their content may come back mended: their file is not held. Older loads do not say which.
        position.held = (position.held | read) - failed - set(record.get("refused_in", read if record.get("refused") else ()))
