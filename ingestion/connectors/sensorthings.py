"""Entities of a SensorThings 1.1 server: Things, Datastreams, Observations, by the links that it gives, as objects or as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from pydantic import Field

from ingestion.connectors import Reading, Request, Strict
from ingestion.connectors.answers import NoAnswer, members_of, records_at, value_of_json
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.catalog import Offer, Resource, named, offers_of, text, written
from ingestion.connectors.pages import Answer, Ask, Page, fault, followed, note, read_pages, spooled
from ingestion.connectors.since import Since, asked_since
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import Client, client_of
from ingestion.formats import parts
from ingestion.formats.deeper import with_columns
from ingestion.formats.spool import Spool

COUNT, LINK, OF_STREAM = "@iot.count", "@iot.nextLink", "Datastream@iot.navigationLink"


class BrickOptions(WebOptions):
    """What a brick of a SensorThings server may say: how it is let in, and how much is asked of its host."""

    limits: Limits = POLITE


class TableOptions(Strict):
    """What a table may say: its entities (`Observations`, `Datastreams(7)/Observations`), and which of them, in the words of OData.

    `columns` names what stands deeper in an entity, keys parted by slashes: `{stream: Datastream/@iot.id}`. With `data_array`,
    observations come as arrays, each with `Datastream@iot.navigationLink`.
    """

    entities: str = Field(min_length=1)
    select: str | None = None
    expand: str | None = None
    filter: str | None = None
    order_by: str | None = None
    top: int = Field(100, ge=1)
    data_array: bool = False
    since: Since | None = None
    columns: dict[str, str] = Field({})


def read(request: Request) -> Reading:
    """Read entities from the cursor on; raises SourceError."""
    options: TableOptions = request.table_options
    reading = Reading(request, dict(request.position))
    client = client_of(reading)
    first = _first(client, options, request)
    spool, name = Spool(request.spool, is_private=request.is_private), f"{request.table}.ndjson"
    reading.held = spool
    pages = read_pages(client, first, lambda answer, ask, _: _page(client, first, options, answer, ask), lambda: spooled(spool, name))
    assert pages is not None  # nothing conditional was asked
    if note(pages, reading, "`entities`, and which of them are asked for"):
        deeper = {column: tuple(path.split("/")) for column, path in options.columns.items()}
        reading.parts = [with_columns(part, deeper) for part in parts("ndjson", [name], reading, spool)]
    return reading


def catalog(reading: Reading) -> Iterator[Offer]:
    """Give the kinds of entities that a server offers; raises SourceError."""
    client = client_of(reading, {"Accept": "application/json"})
    return offers_of(client, Ask(client.endpoint), lambda answer, ask, _: _kinds(client, answer, ask))


def _kinds(client: Client, answer: Answer, ask: Ask) -> Page:
    """Make a page of the root of a server; raises SourceError for an answer that is none."""
    try:
        found = [value_of_json(each) for each in records_at(members_of(answer.body), "value")]
    except NoAnswer as error:
        raise fault(client, ask, error) from None
    names = [
        named(client, text(each.get("name")) if isinstance(each, dict) else None, "holds a kind of entities without `name`")
        for each in found
    ]
    url = client.shown(client.endpoint)
    offers = [
        Offer(
            id=each,
            title=each,
            kind="entities",
            resources=(Resource(url=f"{url}/{each}", protocol="sensorthings", options={"entities": each}),),
        )
        for each in names
    ]
    return Page(written(offers), len(offers))


def _first(client: Client, options: TableOptions, request: Request) -> Ask:
    """Give what is asked first."""
    place = urlsplit(client.endpoint)
    value = asked_since(request, options.since) if options.since else None
    tests = [f"({options.filter})"] if options.filter else []
    tests += [f"{options.since.parameter} ge {value}"] if options.since and value is not None else []
    asked = {
        "$top": options.top, "$count": "true", "$select": options.select, "$expand": options.expand, "$filter": " and ".join(tests),
        "$orderby": options.order_by, "$resultFormat": "dataArray" if options.data_array else None,
    }  # fmt: skip
    query = urlencode({name: told for name, told in asked.items() if told}, quote_via=quote, safe="$/:,()'@")
    own = quote(options.entities, safe="/()'$")
    return Ask(urlunsplit(place._replace(path=f"{place.path}/{own}", query="&".join(filter(None, (place.query, query))))))


def _page(client: Client, first: Ask, options: TableOptions, answer: Answer, ask: Ask) -> Page:
    """Make a page of an answer; raises SourceError for one that is none."""
    try:
        members = members_of(answer.body)
        records = records_at(members, "value")
        if options.data_array:
            records = [row for group in records for row in _rows_of(group)]
    except NoAnswer as error:
        raise fault(client, ask, error) from None
    told: Any = members if isinstance(members, dict) else {}
    count = value_of_json(told[COUNT]) if COUNT in told else None
    link = value_of_json(told[LINK]) if LINK in told else None
    own = frozenset({"$skip", "$top", "$skiptoken", "$count"})
    following = followed(client, first, ask, link, own) if isinstance(link, str) and link.strip() else None
    return Page(b"".join(record + b"\n" for record in records), len(records), following, count if isinstance(count, int) else None)


def _rows_of(group: bytes) -> list[bytes]:
    """Give the observations that an array of a datastream holds, as objects whose values stay as they are written.

    Raises NoAnswer for an array whose rows have not as many values as it has components.
    """
    import msgspec

    told: dict[str, Any] = msgspec.json.decode(group, type=dict[str, msgspec.Raw])
    if "components" not in told or "dataArray" not in told:
        raise NoAnswer("holds no arrays of observations, which were asked for (resultFormat=dataArray)")
    names = [msgspec.json.encode(name) for name in msgspec.json.decode(told["components"], type=list[str])]
    stream = b"%b:%b" % (msgspec.json.encode(OF_STREAM), bytes(told.get(OF_STREAM, b"null")))
    rows = []
    for row in msgspec.json.decode(told["dataArray"], type=list[list[msgspec.Raw]]):
        if len(row) != len(names):
            raise NoAnswer(f"holds an array of {len(row)} values under {len(names)} components")
        rows.append(b"{" + b",".join([stream, *(name + b":" + bytes(value) for name, value in zip(names, row, strict=True))]) + b"}")
    return rows
