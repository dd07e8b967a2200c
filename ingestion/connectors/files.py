"""Files in a folder, on a server of the web, SFTP or FTP, or in S3: texts, Parquet and spreadsheets, as such, in gzip or in zip."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import shutil
import urllib.parse
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from pydantic import Field, model_validator

from ingestion.connectors import MissingFile, Reading, Request, SourceError, UnreadableFile
from ingestion.connectors.answers import NoAnswer, members_of, records_at
from ingestion.connectors.archives import FAULTS, PACKED_TIMES, of_content, opened
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.glance import probe
from ingestion.connectors.patterns import are_shared, halt, walk
from ingestion.connectors.remote import Login
from ingestion.connectors.stores import Store, StoreEntry, Taken, open_store
from ingestion.connectors.wholes import asked_anew, check_journal, is_shape, read_shapefile
from ingestion.formats import parts
from ingestion.formats.documents import Documents
from ingestion.formats.options import UTF_8, LayerOptions, RasterOptions, SheetOptions, TextOptions, marked
from ingestion.formats.spool import UNDECODED, Spool

THREADS, AHEAD = 8, 64
MARK = codecs.BOM_UTF8
TEXTS = ("csv", "ndjson", "json", "geojson")
COPIED = ("geopackage",)  # of which a reader may write beside it
# So many files that a source fails to give mean that it is the source that fails.
MOST_UNREADABLE = 20
# What the signature of a frame that was no JSON object begins with: it is asked for again.
DOUBTFUL = "? "

__all__ = ["BrickOptions", "TableOptions", "probe", "read"]


class BrickOptions(WebOptions):
    """What a brick of files may say: how it is let in by a web server, or by one of SFTP or FTP."""

    login: Login | None = None


class TableOptions(RasterOptions, LayerOptions, SheetOptions, TextOptions):
    """What a table of files may say.

    `path` may hold `*` (within a name), `{a,b}`, and %Y, %m, %d where folders or files are dated; what follows a .zip or a .7z
    means its members. `records` is where the rows of a JSON stand, keys parted by dots, its top where it is empty: a file is
    one row else.
    """

    format: Literal["csv", "ndjson", "json", "geojson", "parquet", "spreadsheet", "shapefile", "geopackage", "flatgeobuf", "geotiff"]
    path: str = Field(min_length=1)
    records: str | None = None

    @model_validator(mode="after")
    def _has_records(self) -> TableOptions:
        if self.records is not None and self.format != "json":
            raise ValueError("`records` says where the rows of a JSON stand: it goes with `format: json`")
        return self

    @model_validator(mode="after")
    def _has_outlines(self) -> TableOptions:
        if (self.format == "geotiff") != (self.outlines is not None):
            raise ValueError("a GeoTIFF lands by `outlines`, and nothing else does: say which, or another `format`")
        return self


def read(request: Request) -> Reading:
    """Read the files of a table that are new or have changed; of a table delivered whole, all of them or none.

    Raises SourceError. Files that are there and cannot be used are in `refused_files`.
    """
    reading = Reading(request, dict(request.position))
    if outlines := request.table_options.outlines:
        request = reading.request = asked_anew(request, reading, outlines)
    intake = _Intake(reading, open_store(reading))
    try:
        _take_all(intake)
    except MissingFile as error:
        told, _, mend = str(error).partition(" Mend: ")
        told = told.removeprefix(f"{request.brick}: ").rstrip(".")
        raise MissingFile(f"{request.brick}.{request.table}: {told}{intake.told_names()}. Mend: {mend}") from error
    finally:
        intake.store.close()
    return reading


def _take_all(intake: _Intake) -> None:
    """Take in the files that a table means; raises SourceError, MissingFile where one that it names is not there."""
    request, reading = intake.request, intake.reading
    floor, path = _floor(request, request.position), request.table_options.path
    found: Iterable[StoreEntry] = walk(intake.store, path, floor, request.failed, request.name_of)
    if request.whole:
        found = list(found)
    intake.take_in(found, request.known)
    if request.whole:
        # The known files still hold those that went: the names of the last photo are the position's.
        found = [file for file in found if file.name not in intake.missing]
        names = hashlib.sha256("\n".join(sorted(request.name_of(file.name) for file in found)).encode()).hexdigest()[:16]
        is_same, reading.position["files"] = names == reading.position.get("files"), names
        if intake.opened or not is_same:
            intake.take_in([file for file in found if request.name_of(file.name) not in intake.opened], {})
    intake.close()


class _Intake:
    """What a reading takes in, file by file: `_take` runs in several threads, `_book` in the order of the files."""

    def __init__(self, reading: Reading, store: Store) -> None:
        self.request, self.reading, self.store = reading.request, reading, store
        self.options: TableOptions = self.request.table_options
        self.spool = reading.held = Spool(self.request.spool, is_private=self.request.is_private)
        self.is_listed = self.options.records is not None
        self.documents = Documents(self.spool) if self.options.format == "json" and not self.is_listed else None
        self.files: list[str] = []
        # By what a file is called: the last day of its date, and its signature.
        self.opened: dict[str, tuple[date | None, str]] = {}
        self.missing: set[str] = set()
        self.is_empty, self.unreadable_count = True, 0
        # What several tables name by one path is fetched once, unless it is read where it is.
        is_shared = store.root is None and are_shared(self.options.path, [each.path for each in self.request.tables])
        self.shared = self.request.shared if is_shared else None

    def take_in(self, found: Iterable[StoreEntry], known: dict[str, str]) -> None:
        """Take what has changed of the files found, 8 at a time and at most 64 ahead; raises SourceError."""
        pool = ThreadPoolExecutor(THREADS)
        pending: deque[tuple[StoreEntry, Future[Taken | None]]] = deque()
        try:
            for file in found:
                pending.append((file, pool.submit(self._take, file, known.get(self.request.name_of(file.name)))))
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
                raise MissingFile(self.reading.refused_files[0][1])
            self._tell_absence()
        floor = _floor(self.request, self.reading.position) or date.min
        self.reading.taken = {name: signature for name, (_, signature) in self.opened.items()}
        failed = self.request.failed | self.reading.failed  # met again, however old
        self.reading.opened = {name: s for name, (last, s) in self.opened.items() if last is None or last >= floor or name in failed}
        # The files of a photo were taken in two goes.
        files = sorted(self.files) if self.request.whole else self.files
        form = "ndjson" if self.is_listed else self.options.format
        self.reading.parts = self.documents.parts() if self.documents else parts(form, files, self.reading, self.spool)

    def _tell_absence(self) -> None:
        """Tell that no file is there: raise SourceError, or warn where those that were read may well have been taken away."""
        known = len(self.request.known)
        told = f"no file is {self.options.path}{f' any more, where {known} were read' if known else ''}{self.told_names()}"
        where = f"{self.request.brick}.{self.request.table}"
        # A page without links may be one of maintenance.
        if self.request.whole or not known or not self.store.tells_all:
            raise SourceError(f"{where}: {told}. Mend: {'try later, or ' if known else ''}check the endpoint and `path`.")
        mend = "none where files that were read are taken away, else check the endpoint and `path`"
        self.reading.warnings.append(f"{where}: {told}. Mend: {mend}")

    def told_names(self) -> str:
        """Say what stands where the path of the table leads to nothing: names help who wrote it; nothing where the place tells none."""
        with contextlib.suppress(SourceError):
            if halted := halt(self.store, self.options.path):
                folder, names = halted
                held = f"{len(names)} names" if self.request.is_private else ", ".join(names[:5]) + (" and more" if len(names) > 5 else "")
                return f"; {self.store.place(folder)} holds {held or 'nothing'}"
        return ""

    def _take(self, file: StoreEntry, signature: str | None) -> Taken | None:
        """Read a file; None when it was read before and has not changed. What goes wrong is told without a name that is not told."""
        # Frames are written once: those of a dated folder whose listing tells no signature are not even asked for again.
        is_frame = self.documents and file.days and not file.signature
        if is_frame and signature and not signature.startswith(DOUBTFUL):
            return None
        known = signature and signature.removeprefix(DOUBTFUL)
        try:
            taken = self._read(file, known)
        except SourceError as error:
            for name in (file.name, urllib.parse.quote(file.name)):
                error.args = (str(error).replace(name, self.request.name_of(file.name)),)
            raise
        if taken and is_frame and not all(_is_object(text) for _, text in taken.content[0]):
            return replace(taken, signature=DOUBTFUL + taken.signature)
        return taken

    def _read(self, file: StoreEntry, known: str | None) -> Taken | None:
        def take(stream: BinaryIO) -> Any:
            return self._unpack(file, stream)

        if is_shape(self.options.format, file.name):
            name = self.request.name_of(file.name)
            return read_shapefile(
                self.store, file, known, self.spool, lambda all_: ([self._take_in("", name, all_, UTF_8, is_here=False)], None)
            )
        check_journal(self.options.format, self.store, file)
        return self.shared.read(self.store, file, known, take, self.reading) if self.shared else self.store.read(file, known, take)

    def _book(self, file: StoreEntry, reading: Future[Taken | None]) -> None:
        """Note what was taken of a file; raises SourceError for what makes the whole reading worthless."""
        taken, name = None, self.request.name_of(file.name)
        try:
            taken = reading.result()
        except MissingFile as error:
            if self.request.whole and (file.is_listed or file.is_named):
                raise
            if file.is_named:
                self.reading.refused_files.append((name, str(error)))
            self.missing.add(file.name)
            return
        except UnreadableFile as error:
            self.unreadable_count += 1
            if self.request.whole or not self.documents or self.unreadable_count > MOST_UNREADABLE:
                raise
            self.reading.refused_files.append((name, str(error)))
        self.is_empty = False
        # A folder dated in the future is read, and does not move the cursor: it would hide all that follows.
        if file.days and file.days[0] <= self.reading.read_at.date() + timedelta(days=1):
            position = self.reading.position
            position["folder_date"] = max(position.get("folder_date", ""), file.days[0].isoformat())
        if taken:
            items, fault = taken.content
            self.opened[name] = (file.days and file.days[1], taken.signature)
            self.reading.available_at = max(filter(None, (self.reading.available_at, taken.modified)), default=None)
            for item in items:
                if not self.documents:
                    self.files.append(item)
                elif item[0] not in self.documents.names:
                    self.documents.add(*item)
            if fault:
                self.reading.refused_files.append((name, fault))

    def _unpack(self, file: StoreEntry, stream: BinaryIO) -> tuple[list[Any], str | None]:
        """Give what a file holds (documents with their names, or names of files in the spool), and what is wrong with it."""
        items: list[Any] = []
        faults: list[str] = []
        name, encoding = self.request.name_of(file.name), self.options.encoding
        try:
            for inside, source in opened("", file.members, stream, self.spool, PACKED_TIMES, self.options.format):
                name = self.request.name_of(f"{file.name}{inside}")
                # What one member does wrong is no fault of the others.
                try:
                    items.append(self._take_in(file.name, name, source, encoding, is_here=source is stream))
                except (*FAULTS, OSError) as error:
                    if not inside and not isinstance(error, FAULTS):
                        raise
                    faults.append(_fault(name, of_content(error)))
        except FAULTS as error:
            faults.append(_fault(name, error))
        return items, "; ".join(faults[:3])[:600] or None

    def _take_in(self, own: str, name: str, source: Any, encoding: str, *, is_here: bool) -> Any:
        """Give a document with its name, or the name of a file that the spool has or that DuckDB reads where it is (`own`)."""
        if isinstance(source, Exception):
            raise source
        if self.documents:
            return name, source.read().decode(encoding).lstrip("\ufeff")
        if self.is_listed:
            with self.spool.create(name) as target:
                target.write(_listed(source.read(), encoding, str(self.options.records), is_private=self.request.is_private))
            return name
        is_text = self.options.format in TEXTS
        start = source.peek(4)[:4] if is_text and encoding == UTF_8 else b""
        if other := marked(start):
            raise ValueError(f"it is {other}, and is read as UTF-8. Mend: declare its `encoding: {other}`")
        is_marked_twice = is_text and source.peek(6)[:6] == MARK * 2
        if is_here and encoding == UTF_8 and self.options.format not in COPIED and not is_marked_twice and self.store.is_in_place(own):
            self.spool.stand(name, cast("Path", self.store.root), own)
            return name
        with self.spool.create(name) as target:
            if is_text and (encoding != UTF_8 or is_marked_twice):
                # Ten times faster than to have DuckDB read it with its extension for encodings.
                decoder, begins = codecs.getincrementaldecoder(encoding)(UNDECODED), True
                while block := source.read(1 << 20):
                    text = decoder.decode(block)
                    target.write((text.lstrip("\ufeff") if begins else text).encode("utf-8", UNDECODED))
                    begins = begins and not text
                target.write(decoder.decode(b"", final=True).encode("utf-8", UNDECODED))
            else:
                shutil.copyfileobj(source, target, 1 << 20)
        return name


def _fault(name: str, error: Exception) -> str:
    return f"{name[:100]} cannot be read: {error or type(error).__name__}"[:500]


def _listed(content: bytes, encoding: str, path: str, *, is_private: bool) -> bytes:
    """Give the rows of a JSON, one a line, each as it is written; raises ValueError where they do not stand at a path."""
    try:
        records = records_at(members_of(content if encoding == UTF_8 else content.decode(encoding).encode()), path)
    except NoAnswer as error:
        raise ValueError(f"{error.told if is_private else error}. Mend: check `records`") from None
    return b"".join(record + b"\n" for record in records)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _floor(request: Request, position: dict[str, Any]) -> date | None:
    """Give the first day whose folder is listed again from a position; None where folders have no date or none was read."""
    reached = position.get("folder_date")
    return None if request.whole or not reached else date.fromisoformat(reached) - timedelta(days=request.lookback_days)
