"""What a catalogue offers, in one shape whatever its protocol: as two tables of a brick, and as a list for the census."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from ingestion.connectors import Reading, Request, SourceError, connector
from ingestion.connectors.answers import NoAnswer
from ingestion.connectors.pages import Answer, Ask, Page, Pages, note, read_pages, spooled, twice_in, where
from ingestion.connectors.web import Client
from ingestion.formats import parts
from ingestion.formats.spool import Spool

Kind = Literal["datasets", "resources"]
# The connectors that tell what their server offers: each has `catalog(reading) -> Iterator[Offer]`, which asks and lands nothing.
CATALOGUES = ("ckan", "csw", "dcat", "ogc_features", "opendatasoft", "sensorthings", "udata", "wfs")
# How a resource is read, by what a catalogue calls its format, media type or kind of link: letters and digits alone, small.
FORMATS = {
    **dict.fromkeys(("csv", "tsv", "textcsv", "textplaincsv"), "csv"),
    **dict.fromkeys(("ndjson", "jsonl", "applicationxndjson"), "ndjson"),
    **dict.fromkeys(("geojson", "applicationgeojson", "applicationvndgeojson"), "geojson"),
    **dict.fromkeys(("json", "applicationjson"), "json"),
    **dict.fromkeys(("parquet", "geoparquet", "applicationparquet", "applicationvndapacheparquet"), "parquet"),
}
SERVICES = (
    ("ogcapi", "ogc_features"), ("oapif", "ogc_features"), ("wfs", "wfs"), ("sensorthings", "sensorthings"), ("gbfs", "gbfs"),
    ("gtfsrt", "gtfs_rt"), ("arcgis", "arcgis"), ("esrirest", "arcgis"), ("esrigeoservices", "arcgis"), ("ngsi", "ngsi"),
)  # fmt: skip
# What is drawn, or read by persons.
UNREAD = "(?:ogc|opengis)?(?:wms|wmts|wcs|tms|xyz)|html|texthtml|pdf|applicationpdf|png|jpe?g|imagepng|imagejpe?g|doc$|docx$|odt$"


@dataclass(frozen=True)
class Resource:
    """What a dataset is had by: its address, what the catalogue says of it, and the connector that would read it, with its options.

    `kind` is what the catalogue calls such a link (a protocol, a type); `protocol` is a guess from what is declared, None where
    nothing is known to read it.
    """

    url: str | None
    id: str | None = None
    title: str | None = None
    description: str | None = None
    kind: str | None = None
    format: str | None = None
    media_type: str | None = None
    byte_size: int | None = None
    checksum: str | None = None
    issued: str | None = None
    modified: str | None = None
    licence: str | None = None
    protocol: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Offer:
    """A dataset of a catalogue, as it tells of it: dates as they are written, no person by name.

    `titles` holds the title by language, where it says one; `record_modified` is when what is told of it changed; `bbox` is west,
    south, east, north.
    """

    id: str
    title: str | None = None
    titles: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None
    kind: str | None = None
    licence: str | None = None
    constraints: tuple[str, ...] = ()
    producer: str | None = None
    created: str | None = None
    issued: str | None = None
    modified: str | None = None
    record_modified: str | None = None
    frequency: str | None = None
    keywords: tuple[str, ...] = ()
    themes: tuple[str, ...] = ()
    spatial: tuple[str, ...] = ()
    bbox: tuple[float, float, float, float] | None = None
    landing_page: str | None = None
    resources: tuple[Resource, ...] = ()


def offers(
    protocol: str, endpoint: str, spool: Path, brick_options: Mapping[str, Any] | None = None, most: int | None = None
) -> Iterator[Offer]:
    """Give what a catalogue or a server offers, of which no brick is known yet; raises SourceError.

    `protocol` is one of CATALOGUES, `spool` an empty folder, `brick_options` what a brick would say of how it is let in. Of `most`
    datasets or more, no further page is asked for.
    """
    import duckdb

    module = connector(protocol)
    options = module.BrickOptions.model_validate(brick_options or {})
    request = Request.alone(
        "catalogue", protocol, endpoint, brick_options=options, connection=duckdb.connect(), spool=spool, sample_rows=most
    )
    given: Iterator[Offer] = module.catalog(Reading(request, {}))
    return given


def offers_of(
    client: Client, first: Ask, page_of: Callable[[Answer, Ask, int], Page], headers: Mapping[str, str] | None = None
) -> Iterator[Offer]:
    """Read the pages of a catalogue, and give what they offer."""
    spool = Spool(client.reading.request.spool, is_private=client.reading.request.is_private)
    read_pages(client, first, page_of, lambda: spooled(spool, "offers.ndjson"), headers=headers)
    with spool.path("offers.ndjson").open("rb") as file:
        for line in file:
            yield _offer(line)


def read_catalog(
    client: Client,
    first: Ask,
    page_of: Callable[[Answer, Ask, int], Page],
    kind: Kind,
    headers: Mapping[str, str] | None = None,
    order: str | None = None,
) -> None:
    """Read the pages of a catalogue into the reading of a client, as a table of its datasets, or of their resources.

    `page_of` gives pages of `written` offers. The number that the source announces is that of its datasets. `order` is the mend of
    numbered pages that hold a dataset twice: another one is missed then. Raises SourceError.
    """
    reading, request = client.reading, client.reading.request
    spool = reading.held = Spool(request.spool, is_private=request.is_private)

    def doubt(read: Pages) -> str | None:
        twice = twice_in(["offers.ndjson"], "ndjson", reading, spool) if order and read.pages > 1 else 0
        return (
            f"{twice} datasets came twice on pages that are numbered: the server keeps no order, and leaves others out" if twice else None
        )

    told = json.dumps([client.told(first.url), request.table_options.model_dump(mode="json")], sort_keys=True)
    asked = hashlib.sha256(told.encode()).hexdigest()[:16]
    held = request.position.get("validator", {}) if request.position.get("asked") == asked else {}
    read = read_pages(client, first, page_of, lambda: spooled(spool, "offers.ndjson"), held, headers, doubt)
    if read is None:
        return
    if read.doubted:
        raise SourceError(f"{where(client, first)}: {read.doubted}. Mend: {order}.")
    reading.position = {name: value for name, value in reading.position.items() if name not in ("validator", "asked")}
    if read.validator:
        reading.position |= {"validator": read.validator, "asked": asked}
    name, read.digest = f"{request.table}.ndjson", hashlib.sha256()
    if kind == "resources":
        read.announced = None  # which has been held to what came
    with spool.path("offers.ndjson").open("rb") as file, spool.create(name) as target:
        read.rows = 0
        for row in _rows(map(_offer, file), kind):
            read.digest.update(row)
            read.rows += target.write(row) > 0
    if note(read, reading, f"the endpoint, and which {kind} are asked for"):
        reading.parts = parts("ndjson", [name], reading, spool)


def written(given: Iterable[Offer]) -> bytes:
    """Write offers as the content of a page; raises NoAnswer for what is no text."""
    import msgspec

    try:
        return b"".join(msgspec.json.encode(asdict(each)) + b"\n" for each in given)
    except UnicodeEncodeError as error:
        raise NoAnswer(f"holds what is no character ({error.reason})") from None


def _offer(line: bytes) -> Offer:
    import msgspec

    return msgspec.json.decode(line, type=Offer)


def _rows(given: Iterable[Offer], kind: Kind) -> Iterator[bytes]:
    """Write the rows of a table: a dataset each, or a resource each under the `dataset_id` of its own, in the order of the catalogue."""
    import msgspec

    for offer in given:
        if kind == "datasets":
            row = asdict(offer) | {"resource_count": len(offer.resources)}
            del row["resources"]
            yield msgspec.json.encode(row) + b"\n"
            continue
        for number, resource in enumerate(offer.resources, 1):
            row = {"dataset_id": offer.id, "number": number, **asdict(resource)}
            yield msgspec.json.encode(row | {"licence": resource.licence or offer.licence}) + b"\n"


def read_by(url: str | None, *told: str | None) -> tuple[str | None, dict[str, Any]]:
    """Guess the connector that reads a resource, and its options, of what a catalogue says of it (format, media type, kind of link, name).

    What is said first counts most; the end of the address, where nothing is said that is known. (None, {}) for what none reads.
    """
    prefixes = r"^.*/(?:file-type|media-types|servicetype/ogc)/|^www:(?:download|link)[-0-9.]*(?:http-*[a-z]*)?:?|;.*$"
    words = [re.sub(r"[^a-z0-9]", "", re.sub(prefixes, "", each.lower())) for each in told if each]
    for word in words:
        if re.match(UNREAD, word):
            return None, {}
        if form := FORMATS.get(word):
            return "files", {"format": form}
        if service := next((protocol for mark, protocol in SERVICES if word.startswith(mark) or word.startswith(f"ogc{mark}")), None):
            return service, {}
    path, _, query = (url or "").lower().partition("?")
    if asked := re.search(r"(?:^|&)outputformat=([^&]*)", query):
        form = FORMATS.get(re.sub(r"[^a-z0-9]", "", asked[1]))
        return ("files", {"format": form}) if form else (None, {})
    if end := re.search(r"\.(csv|tsv|ndjson|jsonl|geojson|json|parquet)(?:\.gz|\.zip)?$", path):
        return "files", {"format": FORMATS[end[1]]}
    if "/wfs" in path or "service=wfs" in query:
        return "wfs", {}
    return ("arcgis", {}) if re.search(r"/(?:feature|map)server(?:/\d+)?/?$", path) else (None, {})


def whole_number(value: Any) -> int | None:
    """Give a size that a catalogue tells as a number, or a text; None for what is none."""
    with contextlib.suppress(ArithmeticError, ValueError):
        number = Decimal(str(value).strip())
        if not isinstance(value, bool) and number >= 0 and number == int(number):
            return int(number)
    return None


def text(value: Any) -> str | None:
    """Give a text without blanks around it; None for an empty one, and for what is no text or number."""
    told = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    return told or None


def named(client: Client, identifier: str | None, told: str) -> str:
    """Give the identifier of a dataset; raises SourceError for one that has none: its rows could not be told apart."""
    if identifier:
        return identifier
    request = client.reading.request
    raise SourceError(f"{request.brick}.{request.table}: {client.shown(client.endpoint)} {told}. Mend: tell the producer.")
