"""Where files are: a folder, a web server, S3; their listing by a pattern with dates, and their reading."""

from __future__ import annotations

import calendar
import hashlib
import html
import io
import itertools
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from ingestion.connectors import SourceError
from ingestion.connectors.web import Client, HttpError, Meter, MeteredStream, instant, shown

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

GROUPS = {"Y": r"\d{4}", "m": r"\d{2}", "d": r"\d{2}"}


class MissingFile(SourceError):
    """A file or folder that is not there."""


class UnreadableFile(SourceError):
    """One file that the source fails to give, while others may do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder in a listing; no signature where a listing does not tell."""

    name: str
    is_folder: bool = False
    signature: str | None = None
    modified: datetime | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A file that a pattern means, by its name from the endpoint.

    `days` are the first and last day that its date in the pattern means, `members` what is meant of an archive;
    `is_named` when the pattern names it without wildcard, so that its absence is a fault.
    """

    name: str
    entry: Entry
    days: tuple[date, date] | None = None
    members: str | None = None
    is_named: bool = True


@dataclass(frozen=True, slots=True)
class Taken:
    """What was made of a file, with the signature that tells whether it has changed since."""

    content: Any
    signature: str
    modified: datetime | None


class Store(ABC):
    """A place that holds files under names; `sandbox_at` is its clock when what it holds is synthetic."""

    sandbox_at: datetime | None = None
    root: Path | None = None

    @abstractmethod
    def list(self, folder: str) -> Sequence[Entry]:
        """List a folder ('' is the endpoint); raises MissingFile or SourceError."""

    @abstractmethod
    def read(self, found: Found, known: str | None, take: Callable[[BinaryIO], Any]) -> Taken | None:
        """Give what `take` makes of a file's bytes, or None when its signature still is `known`.

        `take` may be called again after a cut. Raises MissingFile, UnreadableFile or SourceError.
        """

    def find(self, name: str) -> Entry:
        """Give the entry of a name that a pattern holds in full; raises MissingFile where it costs nothing to know."""
        return Entry(name)

    def is_changed(self, found: Found, known: str | None) -> bool:
        """Say whether a file's signature is not `known` any more."""
        return found.entry.signature != known


class FolderStore(Store):
    """A local folder; its SANDBOX.json says that it is synthetic."""

    def __init__(self, brick: str, folder: Path, meter: Meter) -> None:
        self.brick, self._folder, self._meter = brick, folder.absolute(), meter
        self.root = self._folder
        marker = self._folder / "SANDBOX.json"
        if marker.is_file() and (told := json.loads(marker.read_bytes())).get("synthetic"):
            self.sandbox_at = datetime.fromisoformat(told["now"]).astimezone(UTC)

    def list(self, folder: str) -> Sequence[Entry]:
        """List a folder."""
        try:
            with os.scandir(self._folder / folder) as entries:
                return [listed for entry in entries if (listed := self._listed(entry))]
        except OSError as error:
            raise self._error(folder, error) from error

    def find(self, name: str) -> Entry:
        """Look a file up."""
        try:
            return self._entry(name, (self._folder / name).stat())
        except OSError as error:
            raise self._error(name, error) from error

    def read(self, found: Found, known: str | None, take: Callable[[BinaryIO], Any]) -> Taken | None:
        """Read a file."""
        entry = found.entry
        if entry.signature is None:
            raise self._error(found.name, FileNotFoundError())
        if entry.signature == known:
            return None
        try:
            file = (self._folder / found.name).open("rb")
        except OSError as error:
            raise self._error(found.name, error) from error
        with file:
            content = take(file)
        self._meter.add(entry.size, 1)
        return Taken(content, entry.signature, entry.modified)

    def _listed(self, entry: os.DirEntry[str]) -> Entry | None:
        try:
            return self._entry(entry.name, entry.stat(), is_folder=entry.is_dir())
        except OSError:
            # A link to nothing, or a file that went away meanwhile.
            return None

    def _entry(self, name: str, stat: os.stat_result, *, is_folder: bool = False) -> Entry:
        modified = datetime.fromtimestamp(stat.st_mtime, UTC)
        return Entry(name, is_folder, f"{stat.st_size} {stat.st_mtime_ns}", modified, stat.st_size)

    def _error(self, name: str, error: OSError) -> SourceError:
        where = self._folder / name
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return MissingFile(f"{self.brick}: {where} is not there. Mend: check the endpoint and the path in the brick.")
        return UnreadableFile(f"{self.brick}: {where} cannot be read ({error.strerror}). Mend: check its rights.")


class HttpStore(Store):
    """A web server; folders are listed from the pages of links that nginx and Apache make of them."""

    def __init__(self, client: Client, meter: Meter) -> None:
        self._client, self._meter = client, meter
        self._parts = urlsplit(client.endpoint)

    @property
    def sandbox_at(self) -> datetime | None:  # type: ignore[override]
        """The clock of a synthetic source, once it has answered."""
        return self._client.sandbox_at

    def list(self, folder: str) -> Sequence[Entry]:
        """List a folder by the links of its page that stand right under it."""
        base = self._url(f"{folder}/" if folder else "")
        base = base if urlsplit(base).path.endswith("/") else urlunsplit(urlsplit(base)._replace(path=f"{self._parts.path}/"))
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

    def read(self, found: Found, known: str | None, take: Callable[[BinaryIO], Any]) -> Taken | None:
        """Read a file unless its ETag or its date says that it is the same; without either, its content says."""

        def sink(response: BaseHTTPResponse) -> Taken | None:
            signature = _http_signature(response)
            if response.status == 304 or (signature and signature == known):
                response.close()
                return None
            raw = MeteredStream(response, self._meter, None if signature else hashlib.sha256())
            stream = io.BufferedReader(raw, 1 << 16)
            content = take(stream)
            # To its end, else a cut would go unseen.
            while stream.read(1 << 20):
                pass
            signature = signature or f"sha256 {raw.digest.hexdigest()}"
            return None if signature == known else Taken(content, signature, instant(response.headers.get("Last-Modified")))

        taken: Taken | None = self._ask(found, known, sink)
        return taken

    def is_changed(self, found: Found, known: str | None) -> bool:
        """Ask for a file on condition that it has changed, and stop at the first bytes."""

        def sink(response: BaseHTTPResponse) -> bool:
            if response.status == 304:
                return False
            signature = _http_signature(response)
            if signature is None:
                signature = f"sha256 {hashlib.sha256(response.read()).hexdigest()}"
            response.close()
            return signature != known

        return bool(self._ask(found, known, sink))

    def _ask(self, found: Found, known: str | None, sink: Callable[[BaseHTTPResponse], Any]) -> Any:
        kind, _, value = (known or "").partition(" ")
        date_part = value.rpartition(" ")[0]
        headers = {"etag": {"If-None-Match": value}, "modified": {"If-Modified-Since": date_part}}.get(kind, {})
        try:
            return self._client.fetch(self._url(found.name, is_named=found.is_named), sink, headers)
        except HttpError as error:
            raise self._error(error) from error

    def _url(self, name: str, *, is_named: bool = False) -> str:
        # A name that the brick writes in full may carry a query.
        path = self._parts.path + ("/" + quote(name, safe="/?=&,:" if is_named else "/") if name else "")
        path, _, query = path.partition("?")
        return urlunsplit(self._parts._replace(path=path, query="&".join(filter(None, (query, self._parts.query)))))

    @staticmethod
    def _error(error: HttpError) -> SourceError:
        if error.status in (404, 410):
            return MissingFile(str(error))
        return UnreadableFile(str(error)) if error.is_cut or (error.status or 0) >= 500 else error


class S3Store(Store):
    """A bucket or a prefix of one, by the standard variables of AWS."""

    def __init__(self, brick: str, place: str, meter: Meter) -> None:
        from pyarrow import fs

        self.brick, self._place, self._meter = brick, place.strip("/"), meter
        env = os.environ.get
        key, endpoint = env("AWS_ACCESS_KEY_ID"), urlsplit(env("AWS_ENDPOINT_URL_S3") or env("AWS_ENDPOINT_URL") or "")
        server = {"scheme": endpoint.scheme, "endpoint_override": endpoint.netloc} if endpoint.netloc else {}
        secrets = {
            "access_key": key,
            "secret_key": env("AWS_SECRET_ACCESS_KEY"),
            "session_token": env("AWS_SESSION_TOKEN"),
        }
        self._fs = fs.S3FileSystem(
            **(secrets if key else {"anonymous": True}),  # type: ignore[dict-item]
            **server,
            region=env("AWS_REGION") or env("AWS_DEFAULT_REGION") or "us-east-1",
            connect_timeout=10,
            request_timeout=60,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=5),
        )

    def list(self, folder: str) -> Sequence[Entry]:
        """List the keys and prefixes right under a prefix."""
        from pyarrow import fs

        self._meter.add(request_count=1)
        try:
            infos = self._fs.get_file_info(fs.FileSelector(self._path(folder), recursive=False))
        except OSError as error:
            raise self._error(folder, error) from error
        return [self._entry(info, info.base_name) for info in infos]

    def find(self, name: str) -> Entry:
        """Look a key up."""
        self._meter.add(request_count=1)
        try:
            info = self._fs.get_file_info(self._path(name))
        except OSError as error:
            raise self._error(name, error) from error
        if not info.is_file:
            raise self._error(name, FileNotFoundError())
        return self._entry(info, name)

    def read(self, found: Found, known: str | None, take: Callable[[BinaryIO], Any]) -> Taken | None:
        """Read an object."""
        entry = found.entry
        if entry.signature is None:
            raise self._error(found.name, FileNotFoundError())
        if entry.signature == known:
            return None
        self._meter.add(request_count=1)
        try:
            with self._fs.open_input_stream(self._path(found.name)) as source:
                content = take(io.BufferedReader(MeteredStream(source, self._meter), 1 << 16))
        except OSError as error:
            raise self._error(found.name, error) from error
        return Taken(content, entry.signature, entry.modified)

    def _path(self, name: str) -> str:
        return f"{self._place}/{name}".rstrip("/")

    @staticmethod
    def _entry(info: Any, name: str) -> Entry:
        is_folder = not info.is_file
        modified = None if is_folder or info.mtime is None else info.mtime.astimezone(UTC)
        return Entry(name, is_folder, None if is_folder else f"{info.size} {info.mtime_ns}", modified, info.size or 0)

    def _error(self, name: str, error: OSError) -> SourceError:
        told = str(error).partition(" Detail:")[0][:300]
        where = f"{self.brick}: s3://{self._path(name)}"
        if isinstance(error, FileNotFoundError) or "NO_SUCH" in told:
            return MissingFile(f"{where} is not there. Mend: check the endpoint and the path in the brick.")
        if re.search(r"ACCESS_DENIED|SIGNATURE|INVALID_ACCESS_KEY|UNAUTHORIZED|403|Forbidden|credentials", told, re.IGNORECASE):
            return SourceError(
                f"{where} is refused ({told}). Mend: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to those that may read."
            )
        kind = SourceError if re.search(r"NETWORK|curlCode|timed? ?out", told, re.IGNORECASE) else UnreadableFile
        return kind(f"{where} cannot be read ({told}). Mend: check AWS_ENDPOINT_URL, AWS_REGION and the network.")


def walk(store: Store, pattern: str, floor: date | None) -> Iterator[Found]:
    """Give the files that a pattern means, in the order of their names within each alternative.

    Only folders that a wildcard or a date stands for are listed, and none whose date is before `floor`. Raises
    SourceError, and MissingFile when the folder where the listing starts is not there.
    """
    alternatives = expand_braces(pattern)
    seen: set[tuple[str, str | None]] = set()
    for alternative in alternatives:
        path, members = split_archive(alternative)
        for found in _walk(store, "", path.strip("/").split("/"), {}, floor, members, is_named=True):
            if (found.name, members) in seen:
                continue
            yield found
            # Millions of names are remembered only where they may come again.
            if len(alternatives) > 1:
                seen.add((found.name, members))


def _walk(
    store: Store,
    folder: str,
    components: list[str],
    dated: dict[str, str],
    floor: date | None,
    members: str | None,
    *,
    is_named: bool,
) -> Iterator[Found]:
    literal = list(itertools.takewhile(lambda component: not is_wild(component), components))
    if literal:
        name = "/".join(filter(None, (folder, *(component.replace("%%", "%") for component in literal))))
        if len(literal) < len(components):
            yield from _walk(store, name, components[len(literal) :], dated, floor, members, is_named=is_named)
            return
        try:
            yield Found(name, store.find(name), _days(dated), members, is_named)
        except MissingFile:
            if is_named:
                # Whoever reads it says that it is missing, and goes on with the others.
                yield Found(name, Entry(name), None, members)
        return
    head, rest = components[0], components[1:]
    shape = _shape(head)
    try:
        entries = sorted(store.list(folder), key=lambda entry: entry.name)
    except MissingFile:
        if is_named:
            raise
        return
    for entry in entries:
        match = shape.fullmatch(entry.name)
        if not match or (entry.name.startswith(".") and not head.startswith(".")) or entry.is_folder != bool(rest):
            continue
        codes = dated | match.groupdict()
        days = _days(codes)
        is_other_date = any(dated.get(code, value) != value for code, value in match.groupdict().items())
        if is_other_date or (days is None and "Y" in codes) or (days and floor and days[1] < floor):
            continue
        name = f"{folder}/{entry.name}" if folder else entry.name
        if rest:
            yield from _walk(store, name, rest, codes, floor, members, is_named=False)
        else:
            yield Found(name, entry, days, members, is_named=False)


def expand_braces(pattern: str) -> list[str]:
    """Give the alternatives of a pattern: `a{b,c}` is `ab` and `ac`; braces may be nested."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        return [pattern]
    before, after = pattern[: match.start()], pattern[match.end() :]
    alternatives = (full for choice in match[1].split(",") for full in expand_braces(before + choice + after))
    return list(dict.fromkeys(alternatives))


def split_archive(path: str) -> tuple[str, str | None]:
    """Cut a path after its component that ends in .zip; what follows means members of it, all of them when empty."""
    components = path.split("/")
    for index, component in enumerate(components):
        if component.lower().endswith(".zip"):
            return "/".join(components[: index + 1]), "/".join(components[index + 1 :]) or "**"
    return path, None


def is_wild(component: str) -> bool:
    """Say whether a component of a path stands for several names."""
    return "*" in component or re.search(r"%[Ymd]", component.replace("%%", "")) is not None


def is_dated(pattern: str) -> bool:
    """Say whether a pattern holds a date."""
    return re.search(r"%[Ymd]", pattern.replace("%%", "")) is not None


def matches(members: str, name: str) -> bool:
    """Say whether a member of an archive is meant."""
    if members == "**":
        return not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    return _shape(members).fullmatch(name) is not None


def _shape(component: str) -> re.Pattern[str]:
    """Make a regular expression of `*`, %Y, %m, %d and %%; a code met again must hold the same text."""
    seen: set[str] = set()
    written = ""
    for piece in re.findall(r"%[Ymd%]|\*|[^%*]+|%", component):
        code = piece[1:] if len(piece) == 2 and piece[0] == "%" else ""
        if code in GROUPS:
            written += f"(?P={code})" if code in seen else f"(?P<{code}>{GROUPS[code]})"
            seen.add(code)
        else:
            written += "[^/]*" if piece == "*" else re.escape("%" if code == "%" else piece)
    return re.compile(written, re.DOTALL)


def _days(codes: dict[str, str]) -> tuple[date, date] | None:
    """Give the first and last day that a year, a year and month, or a whole date mean; None when it is no date."""
    if "Y" not in codes:
        return None
    year = int(codes["Y"])
    month, last_month = int(codes.get("m", 1)), int(codes.get("m", 12))
    try:
        last_day = codes.get("d") or calendar.monthrange(year, last_month)[1]
        return date(year, month, int(codes.get("d", 1))), date(year, last_month, int(last_day))
    except ValueError:
        return None


def _http_signature(response: BaseHTTPResponse) -> str | None:
    """Give what tells one version of a file from another: its ETag, else its date and length, else None."""
    headers = response.headers
    if etag := headers.get("ETag"):
        return f"etag {etag}"
    modified = headers.get("Last-Modified")
    return f"modified {modified} {headers.get('Content-Length', '')}".rstrip() if modified else None
