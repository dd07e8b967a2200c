"""What `mqtt` and `webhook` have in common: what was pushed to a table is read from its inbox, one row a JSON object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ingestion.connectors import Reading, Request, SourceError, Strict
from ingestion.connectors.envelopes import Envelope, unwrapped
from ingestion.formats import parts
from ingestion.formats.spool import Spool
from ingestion.inbox import closed, messages

# What a row may have beside what its message says, where the table declares it.
TOPIC, RECEIVED_AT = "message_topic", "message_received_at"
_BLANK = re.compile(r"[ \t\n\r]*")


class Received(NamedTuple):
    """A message as it was pushed: the table that it is for, its topic, its bytes, and the clock of the sandbox that sent it, if one did."""

    table: str
    topic: str
    body: bytes
    clock: datetime | None = None


class TableOptions(Strict):
    """What a table of pushed data may say: the envelope that its messages come in."""

    envelope: Envelope | None = None


def read(request: Request) -> Reading:
    """Read the messages that wait in the inbox of a table, but for the files that a load has taken; raises SourceError.

    Files none of whose messages is a row wait for some that are.
    """
    told = f"{request.brick}.{request.table}"
    if request.inbox is None:
        raise SourceError(f"{told}: what is pushed waits in the inbox of a lake, and none is known. Mend: orchestra land")
    reading = Reading(request, dict(request.position))
    spool = reading.held = Spool(request.spool, is_private=request.is_private)
    declared, left_out, row_count, clocks = {*request.columns, *request.formerly}, 0, 0, set[datetime | None]()
    for path in closed(request.inbox / request.table):
        if path.name in request.known:
            continue
        with spool.create(path.name) as target:
            for document in _documents(path, declared, request.table_options.envelope, clocks):
                if document is None:
                    left_out += 1
                else:
                    row_count += 1
                    target.write(document.encode() + b"\n")
        size = path.stat().st_size
        reading.taken[path.name] = str(size)
        reading.spend(size)
    if told_by := [clock for clock in clocks if clock]:
        if None in clocks:
            mixed = f"{told}: messages of a sandbox wait beside real ones in {request.inbox / request.table}, and never mix"
            raise SourceError(f'{mixed}. Mend: delete the lines that say "synthetic":true there, or the others.')
        reading.note_sandbox(max(told_by))
    if left_out:
        reading.warnings.append(f"{told}: {left_out} messages are no uplinks (joins, downlinks, states), and are left out")
    if row_count:
        reading.opened = dict(reading.taken)
        reading.parts = parts("ndjson", reading.taken, reading, spool)
    else:
        reading.taken = {}
    return reading


def _documents(path: Path, declared: set[str], envelope: Envelope | None, clocks: set[datetime | None]) -> Iterator[str | None]:
    """Give the rows of a file as texts of JSON, None for what its envelope leaves out; note the clocks of the sandboxes that sent it."""
    for message in messages(path):
        if message.received_at:  # else it is no message of ours
            clocks.add(datetime.fromisoformat(message.received_at) if message.is_synthetic else None)
        beside = {TOPIC: message.topic, RECEIVED_AT: message.received_at}
        head = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in beside.items() if name in declared)
        for element in _elements(message.payload):
            document = unwrapped(element, envelope) if envelope else element
            yield document and _with(head, document)


def _with(head: str, document: str) -> str:
    """Write fields before those of an object; what is none is left as it is, and is refused."""
    if not head or not document.startswith("{"):
        return document
    rest = document[1:].lstrip()
    return f"{{{head}{rest}" if rest.startswith("}") else f"{{{head},{rest}"


def _elements(payload: str) -> Iterable[str]:
    """Give the values of a list, each as it is written, or the one value that a payload is."""
    if not payload.startswith("["):
        return [payload]
    found: list[str] = []
    decoder, at = json.JSONDecoder(), _skip(payload, 1)
    while payload[at] != "]":
        try:
            _, end = decoder.raw_decode(payload, at)
        except RecursionError:  # deeper than anything that a row may be: refused as the list that it is
            return [payload]
        found.append(payload[at:end])
        at = _skip(payload, end)
        if payload[at] == ",":
            at = _skip(payload, at + 1)
    return found


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
