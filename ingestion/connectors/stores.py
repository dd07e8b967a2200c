"""Where files are: a folder, a web server, S3; the listing of their folders, and their reading."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import html
import io
import json
import os
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from stat import S_ISDIR
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from ingestion.connectors import MissingFile, Reading, SourceError, UnreadableFile
from ingestion.connectors.web import Client, client_of, instant

GLANCE = 1 << 16  # bytes of a file that are looked at without reading it


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """A file or folder in a listing; no signature where a listing does not tell.

    Of a file that a pattern means, `name` is from the endpoint, `days` are the first and last day that its date in the
    pattern means, `members` the patterns of what is meant of an archive; `is_listed` when a listing holds it, `is_named` when the pattern
    names it without wildcard: the absence of a file that is neither is no fault.
    """

    name: str
    is_folder: bool = False
    signature: str | None = None
    modified: datetime | None = None
    size: int = 0
    days: tuple[date, date] | None = None
    members: tuple[str, ...] = ()
    is_listed: bool = False
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What was made of a file, with the signature that tells whether it has changed since."""

    content: Any
    signature: str
    modified: datetime | None


class Store(ABC):
    """A place that holds files under names; `root` is where DuckDB can read them in place."""

    root: Path | None = None
    # Whether a listing tells all that is there, so that what it lacks is not there.
    tells_all = True

    def __init__(self) -> None:
        # By the name that is shown, the one that the place itself gives, where they differ: it may be no text.
        self._own: dict[str, str] = {}

    def is_in_place(self, name: str) -> bool:
        """Say whether DuckDB can read a file where it is."""
        return self.root is not None and name == self.own_name(name)

    def close(self) -> None:  # noqa: B027 (most keep nothing)
        """Let go of what was kept to ask the place."""

    def own_name(self, name: str) -> str:
        """Give the name that the place itself gives to a file or folder."""
        return self._own.get(name, name)

    def _note_name(self, folder: str, own_folder: str, own: str) -> str:
        """Note the own name of what a folder holds; give the one under which it is shown."""
        name = own.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        if (folder, name) != (own_folder, own):
            self._own[f"{folder}/{name}".lstrip("/")] = f"{own_folder}/{own}".lstrip("/")
        return name

    @abstractmethod
    def place(self, folder: str) -> str:
        """Give the address of a folder as a message shows it."""

    @abstractmethod
    def list(self, folder: str) -> Sequence[StoreEntry]:
        """List a folder ('' is the endpoint); raises MissingFile or SourceError."""

    def glance(self, name: str) -> tuple[bytes, datetime | None]:
        """Give what a file begins with, nothing where only its listing is asked, and when it changed; raises MissingFile or SourceError."""
        folder, _, own = name.rpartition("/")
        found = next((entry for entry in self.list(folder) if entry.name == own), None)
        if found is None:
            raise MissingFile(f"{self.place(name)} is not there. Mend: check the endpoint and the path in the brick.")
        return b"", found.modified

    @abstractmethod
    def read(self, file: StoreEntry, known: str | None, take: Callable[[BinaryIO], Any]) -> Taken | None:
        """Give what `take` makes of a file's bytes, or None when its signature still is `known`.

        `take` may be called again after a cut. Raises MissingFile, UnreadableFile or SourceError.
        """


def sandbox_clock(folder: Path) -> datetime | None:
    """Give the clock of the sandbox that laid a folder, by the marker beside its files; None where no sandbox did."""
    marker = folder / "SANDBOX.json"
    told = json.loads(marker.read_bytes()) if marker.is_file() else {}
    return datetime.fromisoformat(told["now"]).astimezone(UTC) if told.get("synthetic") else None


class FolderStore(Store):
    """A local folder, whose listings tell what has changed; its SANDBOX.json says that it is synthetic."""

    def __init__(self, reading: Reading, place: str) -> None:
        super().__init__()
        self._reading, self._place = reading, place
        self.root = folder = Path(place).absolute()
        if not folder.is_dir():
            raise SourceError(f"{reading.request.brick}: the folder {folder} is not there. Mend: check the endpoint.")
        if clock := sandbox_clock(folder):
            reading.note_sandbox(clock)

    def place(self, folder: str) -> str:
        """Give where a folder is."""
        return f"{self._place}/{folder}".rstrip("/")

    def list(self, folder: str) -> Sequence[StoreEntry]:
        """List a folder."""
        listed = []
        own = self.own_name(folder)
        with self._in_words(folder), os.scandir(Path(self._place, own)) as entries:
            for entry in entries:
                # A link to nothing, or a file that went away meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    listed.append(replace(_on_disk(entry), name=self._note_name(folder, own, entry.name)))
        return listed

    def read(self, file: StoreEntry, known: str | None, take: Callable[[BinaryIO], Any]) -> Taken | None:
        """Read a file."""
        with self._in_words(file.name):
            found = file if file.signature else self._find(file.name)
            if found.signature == known:
                return None
            with self._open(file.name) as stream:
                content = take(stream)
        self._reading.spend(found.size, 1)
        return Taken(content, found.signature or "", found.modified)

    def glance(self, name: str) -> tuple[bytes, datetime | None]:
        """Read what a file begins with."""
        with self._in_words(name):
            found = self._find(name)
            with self._open(name) as stream:
                return stream.read(GLANCE), found.modified

    def own_name(self, name: str) -> str:
        """Give the name of a file or folder, whose accents the disk may keep apart."""
        if name in self._own or name.isascii():
            return self._own.get(name, name)
        forms = (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
        return next((form for form in forms if Path(self._place, form).exists()), name)

    def _find(self, name: str) -> StoreEntry:
        return _on_disk(Path(self._place, self.own_name(name)))

    def _open(self, name: str) -> Any:
        return Path(self._place, self.own_name(name)).open("rb")

    @contextlib.contextmanager
    def _in_words(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # A full disk is no fault of the source.
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            where = f"{self._reading.request.brick}: {self._place}/{name}".rstrip("/")
            if isinstance(error, FileNotFoundError | NotADirectoryError) or "AWS Error NO_SUCH" in str(error):
                raise MissingFile(f"{where} is not there. Mend: check the endpoint and the path in the brick.") from error
            raise self._error(where, error) from error

    def _error(self, where: str, error: OSError) -> SourceError:
        return UnreadableFile(f"{where} cannot be read ({error.strerror}). Mend: check its rights.")


class S3Store(FolderStore):
    """A bucket or a prefix of one, by the standard variables of AWS."""

    def __init__(self, reading: Reading, place: str) -> None:
        from pyarrow import fs

        from ingestion.s3 import access

        super(FolderStore, self).__init__()
        self._reading, self._place, self._selector = reading, f"s3://{place.strip('/')}", fs.FileSelector
        self._fs = access().of_arrow()

    def list(self, folder: str) -> Sequence[StoreEntry]:
        """List the keys and prefixes right under a prefix."""
        self._reading.spend(request_count=1)
        with self._in_words(folder):
            infos = self._fs.get_file_info(self._selector(self._path(folder)))
        return [_store_entry(info.base_name, info.size or 0, info.mtime_ns or 0, is_folder=not info.is_file) for info in infos]

    def _find(self, name: str) -> StoreEntry:
        self._reading.spend(request_count=1)
        info = self._fs.get_file_info(self._path(name))
        if not info.is_file:
            raise FileNotFoundError
        return _store_entry(name, info.size, info.mtime_ns)

    def _open(self, name: str) -> Any:
        return io.BufferedReader(self._fs.open_input_stream(self._path(name)), 1 << 16)

    def _path(self, name: str) -> str:
        return f"{self._place}/{name}".removeprefix("s3://").rstrip("/")

    def _error(self, where: str, error: OSError) -> SourceError:
        told = str(error).partition(" Detail:")[0][:300]
        if re.search(r"ACCESS_DENIED|SIGNATURE|INVALID_ACCESS_KEY|UNAUTHORIZED|403|Forbidden|credentials", told, re.IGNORECASE):
            mend = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to those that may read"
            return SourceError(f"{where} is refused ({told}). Mend: {mend}.")
        mend = "check AWS_ENDPOINT_URL, AWS_REGION and the network"
        return UnreadableFile(f"{where} cannot be read ({told}). Mend: {mend}.", may_pass=True)


class HttpStore(Store):
    """A web server; folders are listed from the pages of links that nginx and Apache make of them."""

    tells_all = False

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client

    def place(self, folder: str) -> str:
        """Give the address of a folder."""
        return self.client.shown(self._url(f"{self.own_name(folder)}/" if folder else ""))

    def list(self, folder: str) -> Sequence[StoreEntry]:
        """List a folder by the links of its page that stand right under it."""
        own = self.own_name(folder)
        base = self._url(f"{own}/" if folder else "")
        page = self.client.fetch(base, lambda stream, _: stream.read()).decode("utf-8", "replace")
        under, entries = re.compile(re.escape(_unquoted(base)) + "([^/]+)(/?)", re.DOTALL), {}
        for href in re.findall(r"""<a\s[^>]*?href\s*=\s*["']?([^"'\s>]+)""", page, re.IGNORECASE):
            if match := under.fullmatch(_unquoted(urljoin(base, html.unescape(href)))):
                name = self._note_name(folder, own, match[1])
                entries[name] = StoreEntry(name, is_folder=bool(match[2]))
        if not entries and "<" not in page[:1000]:
            raise SourceError(f"{self.client.brick}: {self.client.shown(base)} gives no listing. Mend: name the files in `path`.")
        return list(entries.values())

    def read(self, file: StoreEntry, known: str | None, take: Callable[[BinaryIO], Any]) -> Taken | None:
        """Read a file unless its ETag or its date says that it is the same; without either, its content says."""

        def sink(stream: Any, answered: Any) -> Taken | None:
            signature = _signature(answered)
            if signature and signature == known:
                return None
            digest: Any = None if signature else hashlib.sha256()
            stream.raw.digest = digest
            content = take(stream)
            # To its end, else a cut would go unseen.
            while stream.read(1 << 20):
                pass
            signature = signature or f"sha256 {digest.hexdigest()}"
            return None if signature == known else Taken(content, signature, instant(answered.get("Last-Modified")))

        kind, _, value = (known or "").partition(" ")
        headers = {"etag": {"If-None-Match": value}, "modified": {"If-Modified-Since": value.rpartition(" ")[0]}}.get(kind)
        return self.client.fetch(self._url(file.name, is_named=file.is_named), sink, headers)

    def glance(self, name: str) -> tuple[bytes, datetime | None]:
        """Ask for a file, and leave it once its beginning is there."""
        given: tuple[bytes, datetime | None] = self.client.fetch(
            self._url(name, is_named=True), lambda stream, told: (stream.read(GLANCE), instant(told.get("Last-Modified")))
        )
        return given

    def _url(self, name: str, *, is_named: bool = False) -> str:
        parts = urlsplit(self.client.endpoint)
        # A name that the brick writes in full may carry a query.
        own = quote(self.own_name(name), safe="/?=&,:" if is_named else "/", errors="surrogateescape")
        path, _, query = f"{parts.path}/{own}".partition("?")
        return urlunsplit(parts._replace(path=path, query="&".join(filter(None, (query, parts.query)))))


def _unquoted(url: str) -> str:
    """Give the path of a URL, of which a byte may be no text."""
    return unquote(urlsplit(url).path, errors="surrogateescape")


def _on_disk(file: Path | os.DirEntry[str]) -> StoreEntry:
    stat = file.stat()
    return _store_entry(file.name, stat.st_size, stat.st_mtime_ns, is_folder=S_ISDIR(stat.st_mode))


def _store_entry(name: str, size: int, mtime_ns: int, *, is_folder: bool = False) -> StoreEntry:
    return StoreEntry(name, is_folder, f"{size} {mtime_ns}", datetime.fromtimestamp(mtime_ns / 1e9, UTC), size)


def open_store(reading: Reading) -> Store:
    """Give the place that a brick's endpoint names: a folder, file://, http(s)://, s3://, sftp:// or ftp(s)://; raises SourceError."""
    request = reading.request
    kind = request.endpoint.partition("://")[0] if "://" in request.endpoint else ""
    if kind in ("http", "https"):
        return HttpStore(client_of(reading))
    if kind == "s3":
        return S3Store(reading, request.endpoint.partition("://")[2])
    if kind == "sftp":
        from ingestion.connectors.sftp import SftpStore

        return SftpStore(reading)
    if kind in ("ftp", "ftps"):
        from ingestion.connectors.ftp import FtpStore

        return FtpStore(reading)
    if kind not in ("", "file"):
        mend = "an endpoint is a folder, file://, http(s)://, s3://, sftp:// or ftp(s)://"
        raise SourceError(f"{request.brick}: {kind}:// is not spoken. Mend: {mend}.")
    return FolderStore(reading, unquote(urlsplit(request.endpoint).path) if kind == "file" else request.endpoint)


def _signature(headers: Any) -> str | None:
    """Give what tells one version of a file from another: its ETag, else its date and length, else None."""
    if etag := headers.get("ETag"):
        return f"etag {etag}"
    modified = headers.get("Last-Modified")
    # The length is told even where there is none: what follows the last space is not of the date.
    return f"modified {modified} {headers.get('Content-Length', '')}" if modified else None
