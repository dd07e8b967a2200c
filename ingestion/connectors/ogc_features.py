"""Collections of an OGC API Features server (parts 1, 2 and 3): pages that lead to each other, in longitude and latitude."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from pydantic import Field

from ingestion.connectors import Reading, Request, SourceError, Strict
from ingestion.connectors.answers import NoAnswer, at, members_of, records_at, value_of_json
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.catalog import Offer, Resource, named, offers_of, text, written
from ingestion.connectors.pages import Answer, Ask, Page, asked_with, fault, followed, note, read_pages, spooled
from ingestion.connectors.since import Since, asked_since
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import Client, client_of, instant
from ingestion.formats import parts
from ingestion.formats.geojson import OF_FEATURE, crs_of, document_of, elsewhere, read_feature
from ingestion.formats.spool import Spool

JSON = "application/geo+json, application/json;q=0.9"
# Longitude and latitude, with a height or without: what is given unless another CRS is asked for.
CRS84 = ("http://www.opengis.net/def/crs/OGC/1.3/CRS84", "http://www.opengis.net/def/crs/OGC/0/CRS84h")
FILTERS = (
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/features-filter",
)
KEPT = ("title", "description", "license", "crs", "storageCrs", "extent")


class BrickOptions(WebOptions):
    """What a brick of features may say: how it is let in, and how much is asked of its host."""

    limits: Limits = POLITE


class TableOptions(Strict):
    """What a table may say: its collection, how many features a page holds, and which of them are asked for.

    `bbox` is west, south, east, north; `properties` are values that features must have; `filter` is CQL2, only where the server's
    conformance says that it filters.
    """

    collection: str = Field(min_length=1)
    limit: int = Field(1000, ge=1)
    bbox: tuple[float, float, float, float] | None = None
    datetime: str | None = None
    properties: dict[str, str | int | float] = Field({})
    filter: str | None = None
    since: Since | None = None


def read(request: Request) -> Reading:
    """Read a collection from the cursor on, as features whose geometry is in longitude and latitude; raises SourceError."""
    options: TableOptions = request.table_options
    reading = Reading(request, dict(request.position))
    client = client_of(reading, {"Accept": JSON})
    described = _described(client, options)
    reading.metadata = {name: described[name] for name in KEPT if described.get(name)}
    first = _first(client, options, request)
    spool, names = Spool(request.spool, is_private=request.is_private), [f"{request.table}.ndjson"]
    reading.held = spool
    declared = frozenset(name.removeprefix(OF_FEATURE) for name in (*request.columns, *request.formerly) if name.startswith(OF_FEATURE))
    pages = read_pages(
        client, first, lambda answer, ask, passed: _page(client, first, answer, ask, passed, declared), lambda: spooled(spool, names[0])
    )
    assert pages is not None  # nothing conditional was asked
    if note(pages, reading, "`collection`, and which of its features are asked for"):
        reading.parts = parts("ndjson", names, reading, spool)
        reading.available_at = instant(pages.validator.get("If-Modified-Since"))
    return reading


def catalog(reading: Reading) -> Iterator[Offer]:
    """Give the collections that a server offers; raises SourceError."""
    client = client_of(reading, {"Accept": "application/json"})
    first = Ask(_url(client, "collections", f="json"))
    return offers_of(client, first, lambda answer, ask, _: _collections(client, first, answer, ask))


def _collections(client: Client, first: Ask, answer: Answer, ask: Ask) -> Page:
    """Make a page of the collections of a server; raises SourceError for an answer that is none."""
    try:
        members = members_of(answer.body)
        found = [value_of_json(each) for each in records_at(members, "collections")]
    except NoAnswer as error:
        raise fault(client, ask, error) from None
    if not all(isinstance(each, dict) for each in found):
        raise fault(client, ask, "holds collections that are no objects", "tell the producer", may_pass=False)
    offers = [_offer(client, each) for each in found]
    links = [each for each in value_of_json(at(members, "links")) or [] if isinstance(each, dict) and each.get("rel") == "next"]
    following = followed(client, first, ask, str(links[0].get("href")), frozenset({"offset", "startindex", "limit"})) if links else None
    total = value_of_json(at(members, "numberMatched"))
    return Page(written(offers), len(offers), following, total if isinstance(total, int) else None)


def _offer(client: Client, told: dict[str, Any]) -> Offer:
    """Give a collection as an offer; this connector reads it where it has items that are features."""
    identifier = named(client, text(told.get("id")), "holds a collection without `id`")
    links = [each for each in told.get("links") or [] if isinstance(each, dict)]
    is_read = told.get("itemType", "feature") == "feature" and any(each.get("rel") == "items" for each in links)
    licences = [text(each.get("href")) for each in links if each.get("rel") == "license"]
    box: Any = None
    with contextlib.suppress(TypeError, KeyError, IndexError, ValueError):
        box = [float(each) for each in told["extent"]["spatial"]["bbox"][0]]
    resource = Resource(
        url=f"{client.shown(client.endpoint)}/collections/{quote(identifier, safe='')}", id=identifier,
        title=text(told.get("title")),
        kind=text(told.get("itemType")), protocol="ogc_features" if is_read else None,
        options={"collection": identifier} if is_read else {},
    )  # fmt: skip
    return Offer(
        id=identifier, title=text(told.get("title")), description=text(told.get("description")), kind="collection",
        licence=text(told.get("license")) or next(iter(licences), None),
        keywords=tuple(filter(None, map(text, told.get("keywords") or []))),
        bbox=(box[0], box[1], box[len(box) // 2], box[len(box) // 2 + 1]) if box and len(box) in (4, 6) else None, resources=(resource,),
    )  # fmt: skip


def _url(client: Client, path: str, **parameters: Any) -> str:
    parts_of = urlsplit(client.endpoint)
    query = "&".join(filter(None, (parts_of.query, urlencode(parameters, quote_via=quote, safe=",/:"))))
    return urlunsplit(parts_of._replace(path=f"{parts_of.path}/{path}".rstrip("/"), query=query))


def _asked(client: Client, path: str) -> dict[str, Any]:
    """Ask for a document of the server's own; raises SourceError for what is none."""
    ask = Ask(_url(client, path, f="json"))

    def sink(stream: Any, _: Any) -> Any:
        try:
            told = members_of(stream.read())
        except NoAnswer as error:
            raise fault(client, ask, error) from None
        return {name: value_of_json(raw) for name, raw in told.items()} if isinstance(told, dict) else {}

    given: dict[str, Any] = client.fetch(ask.url, sink, {"Accept": "application/json"})
    return given


def _described(client: Client, options: TableOptions) -> dict[str, Any]:
    """Give what the server says of the collection; raises SourceError where it knows none, or does not filter as it is asked to."""
    request = client.reading.request
    if options.filter:
        classes = _asked(client, "conformance").get("conformsTo") or []
        if not set(FILTERS) & set(classes):
            told = (
                f"{request.brick}.{request.table}: {client.shown(client.endpoint)} does not say that it filters (part 3 of its conformance)"
            )
            raise SourceError(f"{told}: it would leave `filter` aside, and give everything. Mend: `properties`, `bbox`, or none.")
    try:
        return _asked(client, f"collections/{quote(options.collection, safe='')}")
    except SourceError as error:
        if error.status not in (400, 404):
            raise
        held = _asked(client, "collections").get("collections") or []
        names = ", ".join(sorted(str(each.get("id")) for each in held if isinstance(each, dict))[:20])
        told = f"{request.brick}.{request.table}: {client.shown(client.endpoint)} knows no collection {options.collection}"
        raise SourceError(f"{told}; it has {names or 'none'}. Mend: `collection`.") from error


def _first(client: Client, options: TableOptions, request: Request) -> Ask:
    """Give what is asked first."""
    asked: dict[str, Any] = {"f": "json", "limit": options.limit, **options.properties}
    if options.bbox:
        asked["bbox"] = ",".join(map(str, options.bbox))  # to the last digit
    if options.datetime:
        asked["datetime"] = options.datetime
    if options.filter:
        asked |= {"filter": options.filter, "filter-lang": "cql2-text"}
    first = Ask(_url(client, f"collections/{quote(options.collection, safe='')}/items", **asked))
    value = asked_since(request, options.since) if options.since else None
    return asked_with(first, **{options.since.parameter: value}) if options.since and value is not None else first


def _page(client: Client, first: Ask, answer: Answer, ask: Ask, passed: int, own: frozenset[str]) -> Page:
    """Make a page of an answer; raises SourceError for one that is none, or is in another CRS than was asked for."""
    crs = (answer.headers.get("Content-Crs") or "").strip("<> ")
    if crs and crs not in CRS84:
        raise fault(client, ask, f"answers in {crs}, and not in longitude and latitude", "tell the producer", may_pass=False)
    try:
        members = members_of(answer.body)
        features = [read_feature(each) for each in records_at(members, "features")]
    except NoAnswer as error:
        raise fault(client, ask, error) from None
    if elsewhere(told := {"crs": value_of_json(at(members, "crs"))}, "CRS84"):
        raise fault(client, ask, f"answers in {crs_of(told)}, and not in longitude and latitude", "tell the producer", may_pass=False)
    _hold_to_filter(client, ask, features)
    content = b"".join(document_of(feature, own).encode() + b"\n" for feature in features)
    total = value_of_json(at(members, "numberMatched"))
    returned = at(members, "numberReturned")
    if returned is not None and value_of_json(returned) != len(features):
        raise fault(client, ask, f"says that it returns {value_of_json(returned)} features, and gives {len(features)}")
    link = None
    with contextlib.suppress(TypeError, AttributeError):
        links = value_of_json(at(members, "links")) or []
        links = [each for each in links if each.get("rel") == "next" and each.get("href")]
        # A server may write one link for each of its forms.
        link = next((each["href"] for each in links if "json" in str(each.get("type"))), links[0]["href"] if links else None)
    following = followed(client, first, ask, link, frozenset({"offset", "startindex", "limit"})) if link else None
    return Page(content, len(features), following, int(total) if str(total).isdigit() else None)


def _hold_to_filter(client: Client, ask: Ask, features: list[Any]) -> None:
    """Raise SourceError for a feature that has another value than the one asked for: the server leaves the filter aside."""
    for name, value in client.reading.request.table_options.properties.items():
        if any(mark in str(value) for mark in "*%"):
            continue  # which some servers read as a pattern
        found = {str(held[name]) for each in features if isinstance(held := _properties(each), dict) and held.get(name) is not None}
        if any(not _is_alike(each, str(value)) for each in found):
            told = f"gives features whose `{name}` is not the one that is asked for: it leaves `properties` aside"
            raise fault(client, ask, told, "check its name, or ask for all of the collection", may_pass=False)


def _properties(feature: Any) -> Any:
    return feature.get("properties") if isinstance(feature, dict) else None


def _is_alike(one: str, other: str) -> bool:
    """Say whether two texts are one value, as a number or whatever their case."""
    with contextlib.suppress(ArithmeticError):
        return Decimal(one) == Decimal(other)
    return one.casefold() == other.casefold()
