"""What a place of files says of those of a table: whether they are there, when they changed, and what the first of them begins with."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from typing import Any

from ingestion.connectors import MissingFile, Probed, Reading, Request
from ingestion.connectors.patterns import WILD, expand_braces
from ingestion.connectors.remote import RemoteStore
from ingestion.connectors.stores import HttpStore, Store, open_store

SEPARATORS = (",", ";", "\t", "|")
PACKED = (b"\x1f\x8b", b"PK")


def probe(request: Request) -> Probed:
    """Look at the files of a table without reading them; raises SourceError, MissingFile where one that it names is not there.

    Where its path has wildcards or dates, the folder that they begin in is listed, and no other.
    """
    reading = Reading(request, {})
    store = open_store(reading)
    if isinstance(store, HttpStore):
        store.client.tries = 1
    elif isinstance(store, RemoteStore):
        store.tries = 1
    columns, dates = None, list[datetime | None]()
    with closing(store):
        for path in expand_braces(request.table_options.path):
            named = re.sub(r"(\.(?:zip|7z))/.*", r"\1", path, flags=re.IGNORECASE | re.DOTALL)
            if WILD.search(named):
                dates += _listed(store, named)
                continue
            begins, modified = store.glance(named)
            columns, dates = columns or _columns(request, begins), [*dates, modified]
    return Probed(columns, changed_at=max(filter(None, dates), default=None), is_synthetic=reading.is_synthetic)


def _listed(store: Store, pattern: str) -> list[datetime | None]:
    """Give the dates of what stands in the folder that the wildcards of a pattern begin in."""
    folder = "/".join(WILD.split(pattern)[0].split("/")[:-1])
    if not (entries := store.list(folder)):
        raise MissingFile(f"{store.place(folder)} holds nothing. Mend: check the endpoint and the path in the brick.")
    return [entry.modified for entry in entries]


def _columns(request: Request, begins: bytes) -> tuple[str, ...] | None:
    """Give the columns that the header of a CSV names; None for what has none, or is packed."""
    options: Any = request.table_options
    if options.format != "csv" or not options.header or not begins or begins.startswith(PACKED):
        return None
    lines = begins.decode(options.encoding, "replace").lstrip("\ufeff").splitlines()
    if len(lines) <= options.skip:
        return None
    line = lines[options.skip]
    separators = [options.separator] if options.separator else SEPARATORS
    read = [tuple(name.strip() for name in next(csv.reader([line], delimiter=each, quotechar=options.quote or '"'))) for each in separators]
    return max(read, key=lambda names: _known(names, request.columns))


def _known(names: Sequence[str], columns: Sequence[str]) -> int:
    return len({name.casefold() for name in names} & {column.casefold() for column in columns})
