"""The census itself as a source: a row a brick or a tool, of what their YAML says and of what the lake last read of each."""

from __future__ import annotations

import hashlib
import json

from ingestion.connectors import Probed, Reading, Request, SourceError, Strict
from ingestion.formats import parts
from ingestion.formats.spool import Spool


class BrickOptions(Strict):
    """Nothing is to be said of the census: its folder is the one of all commands."""


class TableOptions(Strict):
    """Nothing is to be said of its table."""


def read(request: Request) -> Reading:
    """Read the census as it stands, when it has changed; nothing of a lake that holds nothing yet. Raises SourceError without a lake."""
    if request.census is None:
        raise SourceError(f"{request.brick}: the census is what a lake knows of its bricks. Mend: orchestra land, which has one.")
    reading = Reading(request, dict(request.position))
    own = request.census(request.brick)
    if own is None:
        return reading
    if own.clock is not None:
        reading.note_sandbox(own.clock)
    content = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in own.rows)
    digest = hashlib.sha256(content).hexdigest()[:16]
    if request.position.get("census") == digest:
        return reading
    reading.position["census"] = digest
    spool = reading.held = Spool(request.spool, is_private=False)
    with spool.create(name := f"{request.table}.ndjson") as target:
        target.write(content)
    reading.parts = parts("ndjson", [name], reading, spool)
    return reading


def probe(request: Request) -> Probed:
    """Give what the census always is: there."""
    return Probed()
