"""Files in a folder, on a web server or in S3: CSV, NDJSON, JSON, GeoJSON and Parquet, as such, in gzip or in zip."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import itertools
import os
import shutil
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, TypeVar, cast
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ingestion.connectors import Reading, Request, SourceError
from ingestion.connectors.formats import Documents, Local, Spool, csv_parts, geojson_parts, ndjson_parts, parquet_parts
from ingestion.connectors.stores import (
    FolderStore,
    Found,
    HttpStore,
    MissingFile,
    S3Store,
    Store,
    Taken,
    UnreadableFile,
    is_dated,
    matches,
    walk,
)
from ingestion.connectors.web import Client, Meter

S = TypeVar("S")
R = TypeVar("R")

THREADS, AHEAD = 8, 64
# So many files that a source fails to give mean that it is the source that fails.
MOST_UNREADABLE = 20
# What a file's content, rather than its source, may do wrong.
FAULTS = (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError)


class Auth(BaseModel):
    """Names of the environment variables that hold a user and a password."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_env: str
    password_env: str


class BrickOptions(BaseModel):
    """What a brick of files may say: how to be let in by a web server; `headers_env` are headers by variable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    auth: Auth | None = None
    headers_env: dict[str, str] = {}


class TableOptions(BaseModel):
    """What a table of files may say.

    `path` may hold `*` (within a name), `{a,b}`, and %Y, %m, %d where folders or files are dated; what follows a .zip
    means its members. Without `header`, columns are the declared ones by position. `decimal`, `thousands` and
    `null_values` are for landing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["csv", "ndjson", "json", "geojson", "parquet"]
    path: str = Field(min_length=1)
    separator: str | None = Field(None, min_length=1, max_length=1)
    encoding: str = "utf-8"
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
            return "utf-8" if codecs.lookup(name).name in ("utf-8", "utf-8-sig", "ascii") else codecs.lookup(name).name
        except LookupError:
            raise ValueError(f"'{name}' is no encoding: utf-8, cp1252, latin-1, ...") from None


@dataclass
class _Content:
    """What a file held: local files or documents by name, and what is wrong with it."""

    items: list[Any]
    fault: str | None = None


def read(request: Request) -> Reading:
    """Read the files of a table that are new or have changed; none for a table delivered whole that has not.

    Raises SourceError. Files that are there and cannot be used are in `refused_files`.
    """
    reading = Reading(read_at=datetime.now(UTC), position=dict(request.position), count_method="counted")
    meter = Meter(request.progress)
    store = open_store(request, meter)
    found: Iterable[Found] = walk(store, request.table_options.path, None if request.whole else _floor(request))
    if request.whole:
        found = _photo(request, store, list(found), reading.position)
    intake = _Intake(request, store, reading)
    for file, taken in in_order(lambda file: (file, intake.take(file)), found):
        intake.book(file, taken)
    intake.close()
    reading.bytes_read, reading.request_count = meter.byte_count, meter.request_count
    if store.sandbox_at:
        reading.read_at, reading.is_synthetic = store.sandbox_at, True
    return reading


def _photo(request: Request, store: Store, found: list[Found], position: dict[str, Any]) -> list[Found]:
    """Give all the files of a table delivered whole when one of them has changed, come or gone, else none."""
    if not found:
        raise SourceError(f"{request.brick}.{request.table}: no file is {request.table_options.path}. Mend: check the endpoint and `path`.")
    # The journal's known files still hold those that went: their names are the position's.
    names = hashlib.sha256("\n".join(sorted(file.name for file in found)).encode()).hexdigest()[:16]
    is_same = names == position.get("files")
    position["files"] = names
    if is_same and not any(in_order(lambda file: store.is_changed(file, request.known.get(file.name)), found)):
        return []
    return found


class _Intake:
    """What a reading takes in, file by file: `take` runs in several threads, `book` in the order of the files."""

    def __init__(self, request: Request, store: Store, reading: Reading) -> None:
        self.request, self.store, self.reading = request, store, reading
        self.options: TableOptions = request.table_options
        self.spool = reading.held = Spool(request.spool)
        self.known = {} if request.whole else request.known
        self.documents = Documents(self.spool) if self.options.format == "json" else None
        self.files: list[Local] = []
        self.opened: dict[date | None, dict[str, str]] = {}
        reached = request.position.get("folder_date")
        self.newest = date.fromisoformat(reached) if reached else None
        self.present_count = self.unreadable_count = 0

    def take(self, file: Found) -> Taken | SourceError | None:
        """Read a file, or give why it cannot be; None when it was read before and has not changed."""
        signature = self.known.get(file.name)
        # Frames are written once: those of a dated folder are not even asked for again.
        if signature and self.documents and file.days and isinstance(self.store, HttpStore):
            return None
        try:
            return self.store.read(file, signature, lambda stream: self._unpack(file, stream))
        except (MissingFile, UnreadableFile) as error:
            return error

    def book(self, file: Found, taken: Taken | SourceError | None) -> None:
        """Note what was taken of a file; raises SourceError for what makes the whole reading worthless."""
        self._move_on(file)
        self.present_count += not isinstance(taken, MissingFile)
        if isinstance(taken, SourceError):
            self._book_absent(file, taken)
        elif taken is not None:
            self.opened.setdefault(file.days and file.days[1], {})[file.name] = taken.signature
            self.reading.available_at = max(filter(None, (self.reading.available_at, taken.modified)), default=None)
            for item in taken.content.items:
                self.documents.add(*item) if self.documents else self.files.append(item)
            if taken.content.fault:
                self.refuse(file.name, taken.content.fault)

    def close(self) -> None:
        """Make the parts of what was taken."""
        if self.reading.refused_files and not self.present_count:
            raise MissingFile(self.reading.refused_files[0][1])
        if self.newest:
            self.reading.position["folder_date"] = self.newest.isoformat()
        self.reading.opened = {name: signature for names in self.opened.values() for name, signature in names.items()}
        columns, connection = self.request.columns, self.request.connection
        if self.documents:
            self.reading.parts = self.documents.parts(connection)
        elif self.options.format == "csv":
            self.reading.parts = csv_parts(self.files, self.options, columns, self.spool, self.refuse)
        elif self.options.format == "ndjson":
            self.reading.parts = ndjson_parts(self.files, self.spool)
        elif self.options.format == "geojson":
            self.reading.parts = geojson_parts(self.files, connection, self.refuse)
        else:
            self.reading.parts = parquet_parts(self.files, columns, self.refuse)

    def refuse(self, name: str, reason: str) -> None:
        """Note a file that cannot be used."""
        self.reading.refused_files.append((name, reason))

    def _move_on(self, file: Found) -> None:
        """Move the cursor to a file's date, and forget the opened files that will not be met again."""
        # A folder dated in the future is read, and does not move the cursor: it would hide all that follows.
        today = (self.store.sandbox_at or self.reading.read_at).date()
        if file.days and file.days[0] <= today + timedelta(days=1) and (self.newest is None or file.days[0] > self.newest):
            self.newest = file.days[0]
            floor = self.newest - timedelta(days=self.request.lookback_days)
            self.opened = {day: names for day, names in self.opened.items() if day is None or day >= floor}

    def _book_absent(self, file: Found, error: SourceError) -> None:
        is_unreadable = isinstance(error, UnreadableFile)
        self.unreadable_count += is_unreadable
        if self.request.whole if not is_unreadable else not self.documents or self.unreadable_count > MOST_UNREADABLE:
            raise error
        # A file that was listed and is gone is none to speak of.
        if is_unreadable or file.is_named:
            self.refuse(file.name, str(error))

    def _unpack(self, file: Found, stream: BinaryIO) -> _Content:
        """Bring a file to where it can be read: documents to memory, others to the spool, or in place if they can be."""
        content, name = _Content([]), file.name
        encoding = "utf-8" if self.options.format == "parquet" else self.options.encoding
        try:
            for name, source in _unpack(file, stream, self.spool):
                if self.documents:
                    text = source.read().decode("utf-8-sig" if encoding == "utf-8" else encoding)
                    content.items.append((name, text))
                elif self.store.root and source is stream and encoding == "utf-8":
                    content.items.append(Local(name, self.store.root))
                else:
                    with self.spool.create(name) as target:
                        _copy(source, target, encoding)
                    content.items.append(Local(name, self.spool.root))
        except FAULTS as error:
            content.fault = f"{name} cannot be read: {error or type(error).__name__}"[:300]
        return content


def open_store(request: Request, meter: Meter) -> Store:
    """Give the place that a brick's endpoint names: a folder, file://, http(s):// or s3://; raises SourceError."""
    kind = urlsplit(request.endpoint).scheme
    if kind in ("http", "https"):
        headers = {name: _secret(request.brick, variable) for name, variable in request.brick_options.headers_env.items()}
        auth = request.brick_options.auth
        user = f"{_secret(request.brick, auth.user_env)}:{_secret(request.brick, auth.password_env)}" if auth else ""
        return HttpStore(Client(request.brick, request.endpoint, meter, headers, user, THREADS), meter)
    if kind == "s3":
        return S3Store(request.brick, request.endpoint.partition("://")[2], meter)
    folder = Path(unquote(urlsplit(request.endpoint).path) if kind == "file" else request.endpoint)
    if not folder.is_dir():
        raise SourceError(f"{request.brick}: the folder {folder} is not there. Mend: check the endpoint.")
    return FolderStore(request.brick, folder, meter)


def in_order(function: Callable[[S], R], items: Iterable[S]) -> Iterator[R]:
    """Call a function on each item, 8 at a time and at most 64 ahead, and give what it gave, in the items' order."""
    pool = ThreadPoolExecutor(THREADS)
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _floor(request: Request) -> date | None:
    """Give the first day whose folder is listed again; None where folders have no date or none was read yet."""
    reached = request.position.get("folder_date")
    if reached is None or not is_dated(request.table_options.path):
        return None
    return date.fromisoformat(reached) - timedelta(days=request.lookback_days)


def _secret(brick: str, variable: str) -> str:
    if value := os.environ.get(variable):
        return value
    raise SourceError(f"{brick}: the environment lacks {variable}. Mend: set it to what lets this brick in.")


def _unpack(file: Found, stream: BinaryIO, spool: Spool) -> Iterator[tuple[str, IO[bytes]]]:
    """Give what a file holds, by what its first bytes say: itself, what gzip has packed, the members of a zip."""
    start = stream.peek(4)[:4]  # type: ignore[attr-defined]
    if start[:2] == b"\x1f\x8b":
        yield file.name, cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    elif start == b"PK\x03\x04":
        with spool.temporary() as copy:
            if not stream.seekable():
                shutil.copyfileobj(stream, copy, 1 << 20)
            with zipfile.ZipFile(stream if stream.seekable() else copy) as archive:
                members = [m for m in archive.infolist() if not m.is_dir() and matches(file.members or "**", m.filename)]
                if not members:
                    raise ValueError(f"the archive holds no {file.members}")
                for member in members:
                    with archive.open(member) as source:
                        yield f"{file.name}/{member.filename}", source
    else:
        yield file.name, stream


def _copy(source: IO[bytes], target: BinaryIO, encoding: str) -> None:
    """Copy a text to UTF-8; ten times faster here than to have DuckDB read it with its extension for encodings."""
    if encoding == "utf-8":
        shutil.copyfileobj(source, target, 1 << 20)
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    for block in itertools.chain(iter(lambda: source.read(1 << 20), b""), (b"",)):
        target.write(decoder.decode(block, final=not block).encode())
