"""The place that a trial is given: a file, a folder or an address; what is read of it, and what else is asked of an address."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from ingestion.connectors import Reading, SourceError
from ingestion.connectors.web import Client, client_of
from ingestion.trial.recognise import Recognised, recognise
from ingestion.trial.sample import request_of

# How much of an address is read: what is larger is told, and of a text its beginning is tried.
MOST_BYTES, MOST_SECONDS, HEAD_BYTES = 64 << 20, 6.0, 64 << 20
PROBE_BYTES, PROBES_SECONDS = 4 << 20, 8.0
# What an address is asked besides, in this order, where its own answer tells no protocol; what stands in the query, or below its path.
PROBES = (
    ("", "service=WFS&request=GetCapabilities"),
    ("/conformance", "f=json"),
    ("", "f=json"),
    ("", "service=CSW&version=2.0.2&request=GetCapabilities"),
    ("/api/explore/v2.1/catalog/datasets", "limit=1"),
    ("/api/3/action/status_show", ""),
    ("/api/1/datasets/", "page_size=1"),
    ("/v1.1", ""),
    ("/gbfs.json", ""),
    ("/ngsi-ld/v1/entities", "limit=1"),
    ("/v2/entities", "limit=1"),
)
# What tells no protocol by itself.
VAGUE = ("html", "error", "ogc_error", "empty", "unknown", "ogc_api", "wms", "wmts", "json", "xml", "iso19139")


@dataclass
class Place:
    """What a trial was given, and what was read of it.

    `address` is as it may be shown, `endpoint` what a connector is given; `local` is the copy or the file, None where nothing was
    answered. `is_whole` is False where only the beginning was read.
    """

    address: str
    endpoint: str
    is_url: bool
    found: Recognised
    local: Path | None = None
    is_whole: bool = True
    size: int = 0
    seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def open_place(given: str, folder: Path, connection: Any) -> Place:
    """Open what was given and recognise it; raises SourceError where nothing can be had, with the mend."""
    return _open_url(given, folder, connection) if "://" in given else _open_path(given)


def _open_path(given: str) -> Place:
    path = Path(given).expanduser().absolute()
    if not path.exists():
        raise SourceError(f"{given}: there is no such file or folder. Mend: check the path; an address begins with http:// or https://")
    if path.is_dir():
        files = [each for each in sorted(path.rglob("*")) if each.is_file() and not each.name.startswith(".")]
        found = Recognised("folder", f"a folder of {len(files)} files", "files", members=tuple(str(f.relative_to(path)) for f in files))
        if not files:
            raise SourceError(f"{given}: the folder is empty. Mend: give one that holds files.")
        return Place(str(path), str(path), is_url=False, found=found, local=path)
    try:
        with path.open("rb") as file:
            body = file.read(HEAD_BYTES)
            # What an archive holds is told at its end.
            body += file.read() if body[:2] == b"PK" else b""
    except OSError as error:
        raise SourceError(f"{given} cannot be read: {error.strerror}. Mend: check its rights.") from None
    found = recognise(body)
    return Place(str(path), str(path.parent), is_url=False, found=found, local=path, size=path.stat().st_size)


def client_for(url: str, folder: Path, connection: Any) -> Client:
    """Give a client that asks once and does not wait long, as trials do."""
    spool = folder / "client"
    spool.mkdir(exist_ok=True)
    return client_of(Reading(request_of(url, "rest", {}, {}, connection=connection, spool=spool), {}))


def _open_url(given: str, folder: Path, connection: Any) -> Place:
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https"):
        mend = "a trial asks http:// and https://, and reads files and folders; of another protocol write the brick by hand"
        raise SourceError(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}: this protocol is not tried. Mend: {mend}")
    if "@" in parts.netloc:
        raise SourceError(f"{parts.hostname}: no user nor password stands in an address. Mend: leave them out; a brick says `auth`.")
    client = client_for(given, folder, connection)
    local = folder / (unquote(parts.path.rpartition("/")[2]) or "index").replace("/", "_")[:100]
    place = Place(client.shown(given), given, is_url=True, found=Recognised("unknown", "nothing that was answered"))
    begun = time.monotonic()
    try:
        _fetch(client, given, local, place)
    except SourceError as error:
        if error.status is None:
            raise
        place.found = Recognised("error", f"answered {error.status}", mend=str(error).partition("Mend: ")[2])
    place.seconds = time.monotonic() - begun
    if place.found.kind in VAGUE and not place.found.records:
        _probe(client, place)
    return place


def _fetch(client: Client, url: str, local: Path, place: Place) -> None:
    """Read an address to a file, its beginning alone where it is large or slow, and recognise it."""

    def sink(stream: Any, headers: Any) -> None:
        begun, size = time.monotonic(), 0
        with local.open("wb") as target:
            while block := stream.read(1 << 16):
                target.write(block)
                size += len(block)
                if size >= MOST_BYTES or time.monotonic() - begun > MOST_SECONDS:
                    place.is_whole = False
                    break
        place.size, place.headers = size, {name.lower(): value for name, value in headers.items()}

    client.fetch(url, sink, statuses=(200, 203, 204, 206))
    place.local = local
    with local.open("rb") as file:
        body = file.read(HEAD_BYTES)
        body += file.read() if body[:2] == b"PK" else b""
    place.found = recognise(body)


def _probe(client: Client, place: Place) -> None:
    """Ask an address for what each protocol answers to, until one does."""
    begun = time.monotonic()
    for url in _probes(place.endpoint):
        if time.monotonic() - begun > PROBES_SECONDS:
            break
        place.asked.append(client.shown(url))
        try:
            body = client.fetch(url, lambda stream, _: stream.read(PROBE_BYTES))
        except SourceError as error:
            if error.status is None:  # nobody is there to answer the others
                break
            continue
        found = recognise(body or b"")
        if found.connector and found.kind not in VAGUE:
            place.found, place.endpoint = found, url
            return


def _probes(url: str) -> Iterator[str]:
    """Give what to ask: below the address first, then below its host."""
    parts = urlsplit(url)
    own = [(n, v) for n, v in parse_qsl(parts.query, keep_blank_values=True) if n.lower() not in ("service", "request", "version", "f")]
    seen = {url}
    for path in dict.fromkeys((parts.path.rstrip("/"), "")):
        for below, query in PROBES:
            asked = "&".join(filter(None, (urlencode(own), query)))
            probe = urlunsplit(parts._replace(path=f"{path}{below}", query=asked, fragment=""))
            if probe not in seen:
                seen.add(probe)
                yield probe
