"""What a place offers, and the options by which its connector reads each of it."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urljoin, urlsplit, urlunsplit

from ingestion.connectors import SourceError
from ingestion.connectors.archives import begins
from ingestion.trial.containers import layers_of, sheets_of, tables_of
from ingestion.trial.look import look_of
from ingestion.trial.place import HEAD_BYTES, Place
from ingestion.trial.recognise import Recognised, recognise

MOST_OFFERS = 500
LINKED = re.compile(r"(?i)\.(csv|tsv|ndjson|jsonl|json|geojson|parquet|xlsx?|ods|gpkg|fgb|zip|7z)(\.(gz|bz2|xz|zst))?$")
HOLDERS = {"spreadsheet": sheets_of, "geopackage": layers_of, "sqlite": tables_of}
SECRET = re.compile("(?i)key|token|secret|pass|auth|signature|^sig$|credential")  # a parameter whose value is nobody else's to know
NEXT = ("next", "nextLink", "next_link", "next_page_url", "links.next", "_links.next", "paging.next", "pagination.next", "meta.next")
TOTALS = ("total", "count", "total_count", "totalCount", "nhits", "numberMatched", "total_results", "meta.total", "pagination.total")


@dataclass(frozen=True)
class Offer:
    """One thing that a place offers: a table that a brick could have.

    `endpoint`, `of_brick` and `of_table` are what the brick would say; `at` is where a trial reads it, where that is another place (the
    copy of an address); `at_place` is an address that is to be opened first: what a catalogue says of it is little. `why_not` says why
    no brick can read it as it is, though a trial may.
    """

    name: str
    title: str
    connector: str
    endpoint: str
    of_table: dict[str, Any] = field(default_factory=dict)
    of_brick: dict[str, Any] = field(default_factory=dict)
    at: str = ""
    licence: str | None = None
    producer: str | None = None
    modified: str | None = None
    why_not: str = ""
    at_place: str = ""


def offers_of(place: Place, folder: Path) -> list[Offer]:
    """Say what a place offers; raises SourceError where it is nothing that a connector reads. `folder` is for what is read meanwhile."""
    found = place.found
    if found.kind == "html" and (linked := _linked(place)):
        return linked
    if not found.connector:
        asked = f" (asked besides: {len(place.asked)} addresses of known protocols)" if place.asked else ""
        raise SourceError(f"{place.address}: it is {found.told}{asked}. Mend: {found.mend or 'no connector reads it'}.")
    if found.kind == "folder":
        return [offer for name in found.members[:MOST_OFFERS] for offer in _of_file(place, name)]
    if not place.is_url and found.connector in ("rest", "files", "sql"):
        return _of_members(place) if found.members else _of_file(place, "")
    if found.connector == "files" and not (place.is_url and urlsplit(place.endpoint).query):
        return _of_members(place) if found.members else _of_file(place, Path(urlsplit(place.endpoint).path).name if place.is_url else "")
    if found.connector in ("rest", "files"):
        return [_of_answer(place)]
    from ingestion.trial.services import services_of

    return services_of(place, folder)


def _linked(place: Place) -> list[Offer]:
    """Give the files that a page leads to, as a listing of a folder or a page about data does."""
    if not place.is_url or place.local is None:
        return []
    page = place.local.read_bytes()[:HEAD_BYTES].decode("utf-8", "replace")
    found = dict.fromkeys(urljoin(place.endpoint, html.unescape(link)) for link in re.findall(r'(?i)<a\b[^>]*?href="([^"#]+)"', page))
    return [
        Offer(unquote(urlsplit(url).path.rpartition("/")[2]), unquote(urlsplit(url).path), "files", url, at_place=url)
        for url in found
        if LINKED.search(urlsplit(url).path) and urlsplit(url).scheme in ("http", "https")
    ][:MOST_OFFERS]


def _of_file(place: Place, name: str) -> list[Offer]:
    """Give a file as an offer; none where it is nothing that is read."""
    at, own = _beside(place), name or (place.local.name if place.local else "")
    path = Path(at, own if not place.is_url else (place.local or Path(own)).name)
    with path.open("rb") as file:
        body = file.read(HEAD_BYTES)
        body += file.read() if body[:2] == b"PK" else b""
    found = recognise(body) if place.found.kind == "folder" else place.found
    endpoint = place.endpoint.rpartition("/")[0] if place.is_url else at
    if found.members:
        return [_member(each, path.name, endpoint, at, found, body) for each in found.members[:MOST_OFFERS]]
    if found.connector == "rest" and not place.is_url:
        return [_rows_in_a_file(path, found)]
    if holder := HOLDERS.get(found.kind if found.kind == "sqlite" else str(found.format)):
        return _of_holder(path, holder(path), endpoint, at, found, is_url=place.is_url)
    if found.connector != "files":
        return []
    table: dict[str, Any] = {"format": found.format, "path": unquote(own)}
    if found.format == "csv":
        table |= look_of(begins(body, HEAD_BYTES) or body)
    return [Offer(own, own, "files", endpoint, table, at=at)]


def _of_holder(
    path: Path, held: list[tuple[str, dict[str, Any]]], endpoint: str, at: str, found: Recognised, *, is_url: bool
) -> list[Offer]:
    """Give the sheets, the layers or the tables that a file holds as offers."""
    if found.kind == "sqlite":
        why = "a database at an address is not read in place. Mend: copy it to a folder, and try it there" if is_url else ""
        return [
            Offer(name, f"{name} of {path.name}", "sql", f"sqlite://{quote(str(path))}", options, why_not=why) for name, options in held
        ]
    titled = len(held) > 1
    return [
        Offer(
            name if titled else path.name,
            f"{name} of {path.name}" if titled else path.name,
            "files",
            endpoint,
            {"path": path.name, **options},
            at=at,
        )
        for name, options in held
    ]


def _beside(place: Place) -> str:
    """Give the folder in which a file of the place stands on this machine."""
    if place.local is None:
        raise SourceError(f"{place.address}: nothing was answered. Mend: check the address.")
    return str(place.local if place.local.is_dir() else place.local.parent)


def _of_members(place: Place) -> list[Offer]:
    if place.local is None:
        return []
    endpoint = place.endpoint.rpartition("/")[0] if place.is_url else place.endpoint
    body = place.local.read_bytes()
    return [_member(name, place.local.name, endpoint, _beside(place), place.found, body) for name in place.found.members[:MOST_OFFERS]]


def _member(name: str, archive: str, endpoint: str, at: str, found: Recognised, body: bytes) -> Offer:
    """Give a member of an archive as an offer."""
    import io
    import zipfile

    from ingestion.trial.recognise import BY_SUFFIX

    form = "csv" if found.kind == "gtfs" else BY_SUFFIX.get(name.rpartition(".")[2].lower(), found.format)
    table: dict[str, Any] = {"format": form, "path": f"{archive}/{name}"}
    if form == "csv":
        with zipfile.ZipFile(io.BytesIO(body)) as held, held.open(name) as member:
            table |= look_of(member.read(1 << 20))
    return Offer(name, f"{name} of {archive}", "files", endpoint, table, at=at)


def _rows_in_a_file(path: Path, found: Recognised) -> Offer:
    """Give the rows of one JSON as an offer; raises SourceError for what stands in a file and is read at an address alone."""
    if found.format != "json":
        raise SourceError(f"{path}: it is {found.told}, which is read at an address alone. Mend: give the one that answers it.")
    return Offer(path.name, path.name, "files", str(path.parent), {"format": "json", "path": path.name, "records": found.records})


def _of_answer(place: Place) -> Offer:
    """Give what an API answers as an offer of `rest`: where its rows are, what it announces, how it leads on."""
    found, parts = place.found, urlsplit(place.endpoint)
    path, (named, secret, parameters) = parts.path.lstrip("/"), _parameters(parts.query)
    endpoint, at = (urlunsplit(parts._replace(path="", query=query, fragment="")) for query in (named, secret))
    form = found.format if found.format in ("json", "ndjson", "csv", "xml", "geojson") else None
    name = unquote(parts.path.rstrip("/").rpartition("/")[2]) or (parts.hostname or "rows")
    if form is None:
        why = f"it is {found.told} behind a query, which no connector reads. Mend: ask for its address without a query"
        return Offer(
            name,
            name,
            "files",
            place.endpoint,
            {"format": found.format, "path": Path(str(place.local)).name},
            at=_beside(place),
            why_not=why,
        )
    table: dict[str, Any] = {"path": path, "format": form, "records": found.records, "parameters": parameters}
    if form == "csv" and place.local:
        look = look_of(place.local.read_bytes()[:HEAD_BYTES])
        table |= look
    if form == "json" and place.local:
        table |= _paging(json.loads(place.local.read_bytes().decode("utf-8-sig")), place.headers)
    return Offer(name, name, "rest", endpoint, table, at=at)


def _parameters(query: str) -> tuple[str, str, dict[str, Any]]:
    """Part a query: what is secret, by the name of the variable that is to hold it and as it is, and the rest, by parameter."""
    named, secret, others = list[str](), list[tuple[str, str]](), dict[str, Any]()
    for name, value in parse_qsl(query, keep_blank_values=True):
        if SECRET.search(name):
            secret.append((name, value))
            named.append(f"{name}={{{re.sub('[^A-Z0-9]+', '_', name.upper()).strip('_') or 'KEY'}}}")
        elif name in others:
            others[name] = [*(others[name] if isinstance(others[name], list) else [others[name]]), value]
        else:
            others[name] = value
    return "&".join(named), urlencode(secret), others


def _paging(told: Any, headers: dict[str, str]) -> dict[str, Any]:
    """Give the options by which the answers of an API lead on, as far as its first one tells."""
    if 'rel="next"' in headers.get("link", ""):
        return {"paging": {"kind": "link_header"}}
    if not isinstance(told, dict):
        return {}

    def at(path: str) -> Any:
        value: Any = told
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    said: dict[str, Any] = {}
    if path := next((path for path in NEXT if isinstance(at(path), str)), None):
        said["paging"] = {"kind": "next_link", "path": path}
    if total := next((path for path in TOTALS if isinstance(at(path), int) and not isinstance(at(path), bool)), None):
        said["total"] = total
    return said


def chosen(offers: list[Offer], name: str | None) -> Offer:
    """Give the offer of a name, the first one where none is asked for; raises SourceError naming those that there are."""
    if name is None:
        return offers[0]
    found = [offer for offer in offers if offer.name == name] or [offer for offer in offers if name.casefold() in offer.name.casefold()]
    if len(found) == 1:
        return found[0]
    told = "several are called so" if found else "none is called so"
    raise SourceError(f"{name}: {told}. Mend: one of {', '.join(offer.name for offer in (found or offers)[:20])}")
