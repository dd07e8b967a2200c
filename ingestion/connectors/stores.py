"""Where files are: a folder, a web server, S3; their listing by a pattern with dates, and their reading."""

from __future__ import annotations

import calendar
import contextlib
import errno
import hashlib
import html
import io
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from ingestion.connectors import Reading, SourceError
from ingestion.connectors.web import Client, HttpError, MeteredStream, instant, shown

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

DATE_CODES = {"%Y": r"\d{4}", "%m": r"\d{2}", "%d": r"\d{2}"}
DATED = re.compile("%[Ymd]")
WILD = re.compile(r"(\*|%[Ymd])")


class MissingFile(SourceError):
    """A file or folder that is not there."""


class UnreadableFile(SourceError):
    """One file that the source fails to give, while others may do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder in a listing; no signature where a listing does not tell.

    Of a file that a pattern means, `name` is from the endpoint, `days` are the first and last day that its date in the
    pattern means, `members` what is meant of an archive; `is_named` when the pattern names it without wildcard, so that
    its absence is a fault.
    """

    name: str
    is_folder: bool = False
    signature: str | None = None
    modified: datetime | None = None
    size: int = 0
    days: tuple[date, date] | None = None
    members: str | None = None
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What was made of a file, with the signature that tells whether it has changed since."""

    content: Any
    signature: str
    modified: datetime | None = None


class Store(ABC):
    """A place that holds files under names; `root` is where DuckDB can read them in place."""

    root: Path | None = None

    @abstractmethod
    def list(self, folder: str) -> Sequence[Entry]:
        """List a folder ('' is the endpoint); raises MissingFile or SourceError."""

    @abstractmethod
    def read(self, file: Entry, known: str | None, take: Callable[[BinaryIO], Any] | None = None) -> Taken | None:
        """Give what `take` makes of a file's bytes, or None when its signature still is `known`.

        `take` may be called again after a cut; without it, only whether the file has changed is asked for. Raises
        MissingFile, UnreadableFile or SourceError.
        """

    def find(self, name: str) -> Entry:
        """Give the entry of a name that a pattern holds in full; raises MissingFile where it costs nothing to know."""
        return Entry(name)


class FolderStore(Store):
    """A local folder, whose listings tell what has changed; its SANDBOX.json says that it is synthetic."""

    def __init__(self, reading: Reading, place: str) -> None:
        self._reading, self._place = reading, place
        self.root = folder = Path(place).absolute()
        if not folder.is_dir():
            raise SourceError(f"{reading.request.brick}: the folder {folder} is not there. Mend: check the endpoint.")
        marker = folder / "SANDBOX.json"
        if marker.is_file() and (told := json.loads(marker.read_bytes())).get("synthetic"):
            reading.note_sandbox(datetime.fromisoformat(told["now"]).astimezone(UTC))

    def list(self, folder: str) -> Sequence[Entry]:
        """List a folder."""
        listed = []
        with self._told(folder), os.scandir(Path(self._place, folder)) as entries:
            for entry in entries:
                # A link to nothing, or a file that went away meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    listed.append(self._entry(entry.name, entry.stat(), is_folder=entry.is_dir()))
        return listed

    def find(self, name: str) -> Entry:
        """Look a file up."""
        with self._told(name):
            return self._entry(name, Path(self._place, name).stat())

    def read(self, file: Entry, known: str | None, take: Callable[[BinaryIO], Any] | None = None) -> Taken | None:
        """Read a file."""
        if file.signature is None:
            raise self._error(file.name, FileNotFoundError())
        if file.signature == known:
            return None
        content = None
        if take:
            with self._told(file.name), self._open(file.name) as stream:
                content = take(stream)
            self._reading.spend(file.size, 1)
        return Taken(content, file.signature, file.modified)

    def _open(self, name: str) -> Any:
        return Path(self._place, name).open("rb")

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # A full disk is no fault of the source.
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise self._error(name, error) from error

    @staticmethod
    def _entry(name: str, stat: os.stat_result, *, is_folder: bool = False) -> Entry:
        return Entry(name, is_folder, f"{stat.st_size} {stat.st_mtime_ns}", datetime.fromtimestamp(stat.st_mtime, UTC), stat.st_size)

    def _error(self, name: str, error: OSError) -> SourceError:
        where = f"{self._reading.request.brick}: {Path(self._place, name)}"
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return MissingFile(f"{where} is not there. Mend: check the endpoint and the path in the brick.")
        return UnreadableFile(f"{where} cannot be read ({error.strerror}). Mend: check its rights.")


class S3Store(FolderStore):
    """A bucket or a prefix of one, by the standard variables of AWS."""

    def __init__(self, reading: Reading, place: str) -> None:
        from pyarrow import fs

        self._reading, self._place, env = reading, place.strip("/"), os.environ.get
        self._selector = fs.FileSelector
        self._fs = fs.S3FileSystem(
            # Without a key, the SDK would look for one in the network.
            anonymous=not env("AWS_ACCESS_KEY_ID"),
            region=env("AWS_REGION") or env("AWS_DEFAULT_REGION") or "us-east-1",
            endpoint_override=env("AWS_ENDPOINT_URL_S3") or env("AWS_ENDPOINT_URL"),
            connect_timeout=10,
            request_timeout=60,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=5),
        )

    def list(self, folder: str) -> Sequence[Entry]:
        """List the keys and prefixes right under a prefix."""
        self._reading.spend(request_count=1)
        with self._told(folder):
            return [self._object(info) for info in self._fs.get_file_info(self._selector(self._path(folder)))]

    def find(self, name: str) -> Entry:
        """Look a key up."""
        self._reading.spend(request_count=1)
        with self._told(name):
            info = self._fs.get_file_info(self._path(name))
        if not info.is_file:
            raise self._error(name, FileNotFoundError())
        return self._object(info)

    def _open(self, name: str) -> Any:
        return io.BufferedReader(self._fs.open_input_stream(self._path(name)), 1 << 16)

    def _path(self, name: str) -> str:
        return f"{self._place}/{name}".rstrip("/")

    @staticmethod
    def _object(info: Any) -> Entry:
        if not info.is_file:
            return Entry(info.base_name, is_folder=True)
        return Entry(info.base_name, False, f"{info.size} {info.mtime_ns}", info.mtime and info.mtime.astimezone(UTC), info.size)

    def _error(self, name: str, error: OSError) -> SourceError:
        told = str(error).partition(" Detail:")[0][:300]
        where = f"{self._reading.request.brick}: s3://{self._path(name)}"
        if isinstance(error, FileNotFoundError) or "NO_SUCH" in told:
            return MissingFile(f"{where} is not there. Mend: check the endpoint and the path in the brick.")
        if re.search(r"ACCESS_DENIED|SIGNATURE|INVALID_ACCESS_KEY|UNAUTHORIZED|403|Forbidden|credentials", told, re.IGNORECASE):
            mend = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to those that may read"
            return SourceError(f"{where} is refused ({told}). Mend: {mend}.")
        kind = SourceError if re.search(r"NETWORK|curlCode|timed? ?out", told, re.IGNORECASE) else UnreadableFile
        return kind(f"{where} cannot be read ({told}). Mend: check AWS_ENDPOINT_URL, AWS_REGION and the network.")


class HttpStore(Store):
    """A web server; folders are listed from the pages of links that nginx and Apache make of them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, folder: str) -> Sequence[Entry]:
        """List a folder by the links of its page that stand right under it."""
        base = self._url(f"{folder}/" if folder else "")
        try:
            page = self._client.fetch(base, lambda response: response.read()).decode("utf-8", "replace")
        except HttpError as error:
            raise self._error(error) from error
        above, names = unquote(urlsplit(base).path), {}
        for href in re.findall(r"""<a\s[^>]*?href\s*=\s*["']?([^"'\s>]+)""", page, re.IGNORECASE):
            link = html.unescape(href)
            path = unquote(urlsplit(urljoin(base, link)).path)
            name = path[len(above) :].rstrip("/") if path.startswith(above) and "?" not in link else ""
            if name not in ("", ".", "..") and "/" not in name:
                names[name] = path.endswith("/")
        if not names and "<" not in page[:1000]:
            raise SourceError(f"{self._client.brick}: {shown(base)} gives no listing. Mend: name the files in `path`.")
        return [Entry(name, is_folder) for name, is_folder in names.items()]

    def read(self, file: Entry, known: str | None, take: Callable[[BinaryIO], Any] | None = None) -> Taken | None:
        """Read a file unless its ETag or its date says that it is the same; without either, its content says."""

        def sink(response: BaseHTTPResponse) -> Taken | None:
            signature = _signature(response)
            if response.status == 304:
                # So that the connection is kept.
                response.drain_conn()
            if response.status == 304 or (signature and signature == known):
                return None
            if signature and not take:
                return Taken(None, signature)
            raw = MeteredStream(response, self._client.reading, None if signature else hashlib.sha256())
            stream = io.BufferedReader(raw, 1 << 16)
            content = take(stream) if take else None
            # To its end, else a cut would go unseen.
            while stream.read(1 << 20):
                pass
            signature = signature or f"sha256 {raw.digest.hexdigest()}"
            return None if signature == known else Taken(content, signature, instant(response.headers.get("Last-Modified")))

        kind, _, value = (known or "").partition(" ")
        headers = {"etag": {"If-None-Match": value}, "modified": {"If-Modified-Since": value.rpartition(" ")[0]}}.get(kind, {})
        try:
            return self._client.fetch(self._url(file.name, is_named=file.is_named), sink, headers)
        except HttpError as error:
            raise self._error(error) from error

    def _url(self, name: str, *, is_named: bool = False) -> str:
        parts = urlsplit(self._client.endpoint)
        # A name that the brick writes in full may carry a query.
        path, _, query = f"{parts.path}/{quote(name, safe='/?=&,:' if is_named else '/')}".partition("?")
        return urlunsplit(parts._replace(path=path, query="&".join(filter(None, (query, parts.query)))))

    @staticmethod
    def _error(error: HttpError) -> SourceError:
        if error.status in (404, 410):
            return MissingFile(str(error))
        return UnreadableFile(str(error)) if error.is_cut or (error.status or 0) >= 500 else error


def _signature(response: BaseHTTPResponse) -> str | None:
    """Give what tells one version of a file from another: its ETag, else its date and length, else None."""
    headers = response.headers
    if etag := headers.get("ETag"):
        return f"etag {etag}"
    modified = headers.get("Last-Modified")
    # The length is told even where there is none: what follows the last space is not of the date.
    return f"modified {modified} {headers.get('Content-Length', '')}" if modified else None


def walk(store: Store, pattern: str, floor: date | None) -> Iterator[Entry]:
    """Give the files that a pattern means, in the order of their names within each alternative.

    Only folders that a wildcard or a date stands for are listed, and none whose date is before `floor`. Raises
    SourceError, and MissingFile when the folder where the listing starts is not there.
    """
    alternatives = expand_braces(pattern)
    seen: set[tuple[str, str | None]] = set()
    for alternative in alternatives:
        # What follows a component that ends in .zip means members of it, all of them when nothing does.
        archive = re.fullmatch(r"(.*?\.zip)(?:/(.*))?", alternative, re.IGNORECASE | re.DOTALL)
        path, members = (archive[1], archive[2] or "**") if archive else (alternative, None)
        for found in _walk(store, floor, members, "", list(filter(None, path.split("/")))):
            if (found.name, members) not in seen:
                yield found
                # Millions of names are remembered only where they may come again.
                if len(alternatives) > 1:
                    seen.add((found.name, members))


def _walk(store: Store, floor: date | None, members: str | None, folder: str, path: list[str], codes: Any = None) -> Iterator[Entry]:
    """Give the files of a path under a folder; `codes` is what the dates above hold, None when nothing above was wild."""
    head, *rest = path
    name = f"{folder}/{head}".lstrip("/")
    if not WILD.search(head):
        if rest:
            yield from _walk(store, floor, members, name, rest, codes)
            return
        try:
            entry = store.find(name)
        except MissingFile:
            if codes is not None:
                return
            # Whoever reads it says that it is missing, and goes on with the others.
            entry = Entry(name)
        yield replace(entry, name=name, days=_days(codes), members=members, is_named=codes is None)
        return
    try:
        entries = sorted(store.list(folder), key=lambda entry: entry.name)
    except MissingFile:
        if codes is None:
            raise
        return
    shape = _shape(head)
    for entry in entries:
        match = shape.fullmatch(entry.name)
        if not match or (entry.name.startswith(".") and not head.startswith(".")) or entry.is_folder != bool(rest):
            continue
        met = {**(codes or {}), **match.groupdict()}
        days = _days(met)
        is_other_date = (codes or {}).items() - met.items() or ("Y" in met and days is None)
        if is_other_date or (days and floor and days[1] < floor):
            continue
        name = f"{folder}/{entry.name}".lstrip("/")
        if rest:
            yield from _walk(store, floor, members, name, rest, met)
        else:
            yield replace(entry, name=name, days=days, members=members)


def expand_braces(pattern: str) -> list[str]:
    """Give the alternatives of a pattern: `a{b,c}` is `ab` and `ac`; braces may be nested."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        return [pattern]
    before, after = pattern[: match.start()], pattern[match.end() :]
    alternatives = (full for choice in match[1].split(",") for full in expand_braces(before + choice + after))
    return list(dict.fromkeys(alternatives))


def matches(members: str, name: str) -> bool:
    """Say whether a member of an archive is meant."""
    if members == "**":
        return not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    return _shape(members).fullmatch(name) is not None


def _shape(component: str) -> re.Pattern[str]:
    """Make a regular expression of `*`, %Y, %m and %d; a code met again must hold the same text."""
    written = ""
    for piece in WILD.split(component):
        if digits := DATE_CODES.get(piece):
            group = f"(?P<{piece[1]}>"
            written += f"(?P={piece[1]})" if group in written else f"{group}{digits})"
        else:
            written += "[^/]*" if piece == "*" else re.escape(piece)
    return re.compile(written, re.DOTALL)


def _days(codes: dict[str, str] | None) -> tuple[date, date] | None:
    """Give the first and last day that a year, a year and month, or a whole date mean; None when it is no date."""
    if not codes or "Y" not in codes:
        return None
    year, last_month = int(codes["Y"]), int(codes.get("m", 12))
    try:
        first = date(year, int(codes.get("m", 1)), int(codes.get("d", 1)))
        return first, first if "d" in codes else date(year, last_month, calendar.monthrange(year, last_month)[1])
    except ValueError:
        return None
