"""Files in a folder, on a web server or in S3: CSV, NDJSON, JSON, GeoJSON and Parquet, as such, in gzip or in zip."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import shutil
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from typing import IO, Any, BinaryIO, Literal, TypeVar, cast
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator

from ingestion.connectors import Reading, Request, SourceError, Strict
from ingestion.connectors.formats import Documents, Local, Spool, parts
from ingestion.connectors.stores import (
    DATED,
    Entry,
    FolderStore,
    HttpStore,
    MissingFile,
    S3Store,
    Store,
    Taken,
    UnreadableFile,
    matches,
    walk,
)
from ingestion.connectors.web import Client

S = TypeVar("S")
R = TypeVar("R")

THREADS, AHEAD = 8, 64
# So many files that a source fails to give mean that it is the source that fails.
MOST_UNREADABLE = 20
# What a file's content, rather than its source, may do wrong.
FAULTS = (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError)


class Auth(Strict):
    """Names of the environment variables that hold a user and a password."""

    user_env: str
    password_env: str


class BrickOptions(Strict):
    """What a brick of files may say: how to be let in by a web server; `headers_env` are headers by variable."""

    auth: Auth | None = None
    headers_env: dict[str, str] = Field({})


class TableOptions(Strict):
    """What a table of files may say.

    `path` may hold `*` (within a name), `{a,b}`, and %Y, %m, %d where folders or files are dated; what follows a .zip
    means its members. Without `header`, columns are the declared ones by position. `decimal`, `thousands` and
    `null_values` are for landing.
    """

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


def read(request: Request) -> Reading:
    """Read the files of a table that are new or have changed; none for a table delivered whole that has not.

    Raises SourceError. Files that are there and cannot be used are in `refused_files`.
    """
    reading = Reading(request, dict(request.position), count_method="counted")
    store = open_store(reading)
    found: Iterable[Entry] = walk(store, request.table_options.path, _floor(request))
    if request.whole:
        found = _photo(reading, store, list(found))
    intake = _Intake(reading, store)
    for file, taken in in_order(lambda file: (file, intake.take(file)), found):
        intake.book(file, taken)
    intake.close()
    return reading


def _photo(reading: Reading, store: Store, found: list[Entry]) -> list[Entry]:
    """Give all the files of a table delivered whole when one of them has changed, come or gone, else none."""
    request, position = reading.request, reading.position
    if not found:
        raise SourceError(f"{request.brick}.{request.table}: no file is {request.table_options.path}. Mend: check the endpoint and `path`.")
    # The journal's known files still hold those that went: their names are the position's.
    names = hashlib.sha256("\n".join(sorted(file.name for file in found)).encode()).hexdigest()[:16]
    is_same, position["files"] = names == position.get("files"), names
    return [] if is_same and not any(in_order(lambda file: store.read(file, request.known.get(file.name)), found)) else found


class _Intake:
    """What a reading takes in, file by file: `take` runs in several threads, `book` in the order of the files."""

    def __init__(self, reading: Reading, store: Store) -> None:
        self.request, self.reading, self.store = reading.request, reading, store
        self.options: TableOptions = self.request.table_options
        self.spool = reading.held = Spool(self.request.spool)
        self.known = {} if self.request.whole else self.request.known
        self.documents = Documents(self.spool) if self.options.format == "json" else None
        self.files: list[Local] = []
        # By name: the last day of the file's date, and its signature.
        self.opened: dict[str, tuple[date | None, str]] = {}
        self.present_count = self.unreadable_count = 0

    def take(self, file: Entry) -> Taken | SourceError | None:
        """Read a file, or give why it cannot be; None when it was read before and has not changed."""
        signature = self.known.get(file.name)
        # Frames are written once: those of a dated folder are not even asked for again.
        if signature and self.documents and file.days and isinstance(self.store, HttpStore):
            return None
        try:
            return self.store.read(file, signature, lambda stream: self._unpack(file, stream))
        except (MissingFile, UnreadableFile) as error:
            return error

    def book(self, file: Entry, taken: Taken | SourceError | None) -> None:
        """Note what was taken of a file; raises SourceError for what makes the whole reading worthless."""
        self._move_on(file)
        self.present_count += not isinstance(taken, MissingFile)
        if isinstance(taken, SourceError):
            self._book_absent(file, taken)
        elif taken is not None:
            items, fault = taken.content
            self.opened[file.name] = (file.days and file.days[1], taken.signature)
            self.reading.available_at = max(filter(None, (self.reading.available_at, taken.modified)), default=None)
            for item in items:
                self.documents.add(*item) if self.documents else self.files.append(item)
            if fault:
                self.reading.refuse(file.name, fault)

    def close(self) -> None:
        """Make the parts of what was taken."""
        if self.reading.refused_files and not self.present_count:
            raise MissingFile(self.reading.refused_files[0][1])
        self.reading.opened = {name: signature for name, (_, signature) in self.opened.items()}
        if self.documents:
            self.reading.parts = self.documents.parts()
        else:
            self.reading.parts = parts(self.options.format, self.files, self.reading, self.spool)

    def _move_on(self, file: Entry) -> None:
        """Move the cursor to a file's date, and forget the opened files that will not be met again."""
        # A folder dated in the future is read, and does not move the cursor: it would hide all that follows.
        if not file.days or file.days[0] > self.reading.read_at.date() + timedelta(days=1):
            return
        day, position = file.days[0].isoformat(), self.reading.position
        if day > position.get("folder_date", ""):
            position["folder_date"] = day
            floor = file.days[0] - timedelta(days=self.request.lookback_days)
            self.opened = {name: opened for name, opened in self.opened.items() if opened[0] is None or opened[0] >= floor}

    def _book_absent(self, file: Entry, error: SourceError) -> None:
        is_fatal, is_told = self.request.whole, file.is_named
        if isinstance(error, UnreadableFile):
            self.unreadable_count += 1
            is_fatal, is_told = not self.documents or self.unreadable_count > MOST_UNREADABLE, True
        if is_fatal:
            raise error
        # A file that was listed and is gone is none to speak of.
        if is_told:
            self.reading.refuse(file.name, str(error))

    def _unpack(self, file: Entry, stream: BinaryIO) -> tuple[list[Any], str | None]:
        """Give what a file holds (documents by name, or files in place or in the spool), and what is wrong with it."""
        items: list[Any] = []
        name, encoding = file.name, "utf-8" if self.options.format == "parquet" else self.options.encoding
        try:
            for name, source in _members(file, stream, self.spool):
                if self.documents:
                    items.append((name, source.read().decode("utf-8-sig" if encoding == "utf-8" else encoding)))
                elif self.store.root and source is stream and encoding == "utf-8":
                    items.append(Local(name, self.store.root))
                else:
                    # Ten times faster than to have DuckDB read it with its extension for encodings.
                    text = source if encoding == "utf-8" else codecs.EncodedFile(cast("Any", source), "utf-8", encoding)
                    with self.spool.create(name) as target:
                        shutil.copyfileobj(text, target, 1 << 20)
                    items.append(Local(name, self.spool.root))
        except FAULTS as error:
            return items, f"{name} cannot be read: {error or type(error).__name__}"[:300]
        return items, None


def open_store(reading: Reading) -> Store:
    """Give the place that a brick's endpoint names: a folder, file://, http(s):// or s3://; raises SourceError."""
    request = reading.request
    kind = urlsplit(request.endpoint).scheme
    if kind in ("http", "https"):
        headers = {name: _secret(request.brick, variable) for name, variable in request.brick_options.headers_env.items()}
        auth = request.brick_options.auth
        user = f"{_secret(request.brick, auth.user_env)}:{_secret(request.brick, auth.password_env)}" if auth else ""
        return HttpStore(Client(reading, headers, user, THREADS))
    if kind == "s3":
        return S3Store(reading, request.endpoint.partition("://")[2])
    return FolderStore(reading, unquote(urlsplit(request.endpoint).path) if kind == "file" else request.endpoint)


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
    if request.whole or not reached or not DATED.search(request.table_options.path):
        return None
    return date.fromisoformat(reached) - timedelta(days=request.lookback_days)


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
                members = [m for m in archive.infolist() if not m.is_dir() and matches(file.members or "**", m.filename)]
                if not members:
                    raise ValueError(f"the archive holds no {file.members}")
                for member in members:
                    with archive.open(member) as source:
                        yield f"{file.name}/{member.filename}", source
    else:
        yield file.name, stream


def _secret(brick: str, variable: str) -> str:
    if value := os.environ.get(variable):
        return value
    raise SourceError(f"{brick}: the environment lacks {variable}. Mend: set it to what lets this brick in.")
