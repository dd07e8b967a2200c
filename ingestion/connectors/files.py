"""Files in a folder, on a web server or in S3: CSV, NDJSON, JSON, GeoJSON and Parquet, as such, in gzip or in zip."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import shutil
import zipfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from typing import IO, Any, BinaryIO, Literal, cast

from pydantic import Field, field_validator

from ingestion.connectors import MissingFile, Reading, Request, SourceError, Strict, UnreadableFile, Variable
from ingestion.connectors.formats import Documents, Spool, parts
from ingestion.connectors.stores import Entry, HttpStore, Store, Taken, matches, open_store, walk

THREADS, AHEAD = 8, 64
# A byte order mark is none of the text.
UTF_8 = "utf-8-sig"
# So many files that a source fails to give mean that it is the source that fails.
MOST_UNREADABLE = 20
# What the signature of a frame that was no JSON object begins with: it is asked for again.
DOUBTFUL = "? "
# What a file's content, rather than its source, may do wrong.
FAULTS = (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, ValueError, RuntimeError)


class Auth(Strict):
    """Names of the environment variables that hold a user and a password."""

    user_env: Variable
    password_env: Variable


class BrickOptions(Strict):
    """What a brick of files may say: how to be let in by a web server; `headers_env` are headers by variable."""

    auth: Auth | None = None
    headers_env: dict[str, Variable] = Field({})


class TableOptions(Strict):
    """What a table of files may say.

    `path` may hold `*` (within a name), `{a,b}`, and %Y, %m, %d where folders or files are dated; what follows a .zip
    means its members. Without `header`, columns are the declared ones by position. `decimal`, `thousands` and
    `null_values` are for landing.
    """

    format: Literal["csv", "ndjson", "json", "geojson", "parquet"]
    path: str = Field(min_length=1)
    separator: str | None = Field(None, min_length=1, max_length=1)
    encoding: str = UTF_8
    header: bool = True
    quote: str = Field('"', max_length=1)
    skip: int = Field(0, ge=0)
    decimal: Literal[".", ","] = "."
    thousands: str | None = Field(None, min_length=1, max_length=1)
    null_values: tuple[str, ...] = ()

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            "".encode(name)  # which, other than codecs, speaks encodings of text only
            return UTF_8 if codecs.lookup(name).name in ("utf-8", "ascii") else codecs.lookup(name).name
        except (LookupError, UnicodeError):
            raise ValueError(f"'{name}' is no encoding: utf-8, cp1252, latin-1, ...") from None


def read(request: Request) -> Reading:
    """Read the files of a table that are new or have changed; of a table delivered whole, all of them or none.

    Raises SourceError. Files that are there and cannot be used are in `refused_files`.
    """
    reading = Reading(request, dict(request.position))
    intake = _Intake(reading, open_store(reading))
    found: Iterable[Entry] = walk(intake.store, request.table_options.path, _floor(request, request.position))
    if request.whole:
        found = list(found)
    intake.take_in(found, request.known)
    if request.whole:
        # The known files still hold those that went: the names of the last photo are the position's.
        found = [file for file in found if file.name not in intake.missing]
        names = hashlib.sha256("\n".join(sorted(file.name for file in found)).encode()).hexdigest()[:16]
        is_same, reading.position["files"] = names == reading.position.get("files"), names
        if intake.opened or not is_same:
            intake.take_in([file for file in found if file.name not in intake.opened], {})
    intake.close()
    return reading


class _Intake:
    """What a reading takes in, file by file: `_take` runs in several threads, `_book` in the order of the files."""

    def __init__(self, reading: Reading, store: Store) -> None:
        self.request, self.reading, self.store = reading.request, reading, store
        self.options: TableOptions = self.request.table_options
        self.spool = reading.held = Spool(self.request.spool, is_private=self.request.is_private)
        self.documents = Documents(self.spool) if self.options.format == "json" else None
        self.files: list[str] = []
        # By name: the last day of the file's date, and its signature.
        self.opened: dict[str, tuple[date | None, str]] = {}
        self.missing: set[str] = set()
        self.is_empty, self.unreadable_count = True, 0

    def take_in(self, found: Iterable[Entry], known: dict[str, str]) -> None:
        """Take what has changed of the files found, 8 at a time and at most 64 ahead; raises SourceError."""
        pool = ThreadPoolExecutor(THREADS)
        pending: deque[tuple[Entry, Future[Taken | None]]] = deque()
        try:
            for file in found:
                pending.append((file, pool.submit(self._take, file, known.get(file.name))))
                if len(pending) >= AHEAD:
                    self._book(*pending.popleft())
            while pending:
                self._book(*pending.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Make the parts of what was taken, and keep the names of the files that a later reading will meet again."""
        if self.is_empty:
            if self.reading.refused_files:
                raise SourceError(self.reading.refused_files[0][1])
            where = f"{self.request.brick}.{self.request.table}"
            if self.request.whole:
                raise SourceError(f"{where}: no file is {self.options.path}. Mend: check the endpoint and `path`.")
            if self.request.known and isinstance(self.store, HttpStore):
                # A page without links may be one of maintenance.
                told = f"{where}: no file is {self.options.path} any more, where {len(self.request.known)} were read"
                raise SourceError(f"{told}. Mend: try later, or check the endpoint and `path`.")
        floor = _floor(self.request, self.reading.position) or date.min
        self.reading.taken = {name: signature for name, (_, signature) in self.opened.items()}
        self.reading.opened = {name: signature for name, (last, signature) in self.opened.items() if last is None or last >= floor}
        # The files of a photo were taken in two goes.
        files = sorted(self.files) if self.request.whole else self.files
        self.reading.parts = self.documents.parts() if self.documents else parts(self.options.format, files, self.reading, self.spool)

    def _take(self, file: Entry, signature: str | None) -> Taken | None:
        """Read a file; None when it was read before and has not changed."""
        # Frames are written once: those of a dated folder whose listing tells no signature are not even asked for again.
        is_frame = self.documents and file.days and not file.signature
        if is_frame and signature and not signature.startswith(DOUBTFUL):
            return None
        known = signature and signature.removeprefix(DOUBTFUL)
        taken = self.store.read(file, known, lambda stream: self._unpack(file, stream))
        if taken and is_frame and not all(_is_object(text) for _, text in taken.content[0]):
            return replace(taken, signature=DOUBTFUL + taken.signature)
        return taken

    def _book(self, file: Entry, reading: Future[Taken | None]) -> None:
        """Note what was taken of a file; raises SourceError for what makes the whole reading worthless."""
        taken = None
        try:
            taken = reading.result()
        except MissingFile as error:
            if self.request.whole and (file.is_listed or file.is_named):
                raise
            if file.is_named:
                self.reading.refused_files.append((file.name, str(error)))
            self.missing.add(file.name)
            return
        except UnreadableFile as error:
            self.unreadable_count += 1
            if self.request.whole or not self.documents or self.unreadable_count > MOST_UNREADABLE:
                raise
            self.reading.refused_files.append((file.name, str(error)))
        self.is_empty = False
        # A folder dated in the future is read, and does not move the cursor: it would hide all that follows.
        if file.days and file.days[0] <= self.reading.read_at.date() + timedelta(days=1):
            position = self.reading.position
            position["folder_date"] = max(position.get("folder_date", ""), file.days[0].isoformat())
        if taken:
            items, fault = taken.content
            self.opened[file.name] = (file.days and file.days[1], taken.signature)
            self.reading.available_at = max(filter(None, (self.reading.available_at, taken.modified)), default=None)
            for item in items:
                if not self.documents:
                    self.files.append(item)
                elif item[0] not in self.documents.names:
                    self.documents.add(*item)
            if fault:
                self.reading.refused_files.append((file.name, fault))

    def _unpack(self, file: Entry, stream: BinaryIO) -> tuple[list[Any], str | None]:
        """Give what a file holds (documents with their names, or names of files in the spool), and what is wrong with it."""
        items: list[Any] = []
        name, encoding = file.name, self.options.encoding
        try:
            for name, source in _members(file, stream, self.spool):
                if self.documents:
                    items.append((name, source.read().decode(encoding)))
                elif self.store.root and source is stream and encoding == UTF_8:
                    self.spool.roots[name] = self.store.root
                    items.append(name)
                else:
                    # Ten times faster than to have DuckDB read it with its extension for encodings.
                    text = source if encoding == UTF_8 else codecs.EncodedFile(cast("Any", source), "utf-8", encoding)
                    with self.spool.create(name) as target:
                        shutil.copyfileobj(text, target, 1 << 20)
                    items.append(name)
        except FAULTS as error:
            return items, f"{name[:100]} cannot be read: {error or type(error).__name__}"[:300]
        return items, None


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _floor(request: Request, position: dict[str, Any]) -> date | None:
    """Give the first day whose folder is listed again from a position; None where folders have no date or none was read."""
    reached = position.get("folder_date")
    return None if request.whole or not reached else date.fromisoformat(reached) - timedelta(days=request.lookback_days)


def _members(file: Entry, stream: BinaryIO, spool: Spool) -> Iterator[tuple[str, IO[bytes]]]:
    """Give what a file holds, by what its first bytes say: itself, what gzip has packed, the members of a zip."""
    start = stream.peek(4)[:4]  # type: ignore[attr-defined]
    if start[:2] == b"\x1f\x8b":
        yield file.name, cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    elif start == b"PK\x03\x04":
        with spool.temporary() as copy:
            if not stream.seekable():
                shutil.copyfileobj(stream, copy, 1 << 20)
            with zipfile.ZipFile(stream if stream.seekable() else copy) as archive:
                files = [member for member in archive.infolist() if not member.is_dir()]
                found = (member for pattern in file.members for member in files if matches(pattern, member.filename))
                members = list({id(member): member for member in found}.values())
                if not members:
                    raise ValueError(f"the archive holds no {' or '.join(file.members)}")
                # By its name, zipfile would open the last of them each time, and their rows would be under one name.
                if len({member.filename for member in members}) < len(members):
                    raise ValueError("the archive holds several members of one name. Mend: pack them under different names")
                for member in members:
                    with archive.open(member) as source:
                        yield f"{file.name}/{member.filename}", source
    else:
        yield file.name, stream
