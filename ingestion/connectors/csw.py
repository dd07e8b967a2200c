"""The catalogue of a CSW 2.0.2 (GeoNetwork, pycsw): records in ISO 19139, ISO 19115-3 or DCAT, page by page, whole or a clear fault."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit, urlunsplit
from xml.etree import ElementTree

from pydantic import Field

from ingestion.connectors import Reading, Request, SourceError, Strict
from ingestion.connectors.answers import NoAnswer
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.catalog import Kind, Offer, offers_of, read_catalog, written
from ingestion.connectors.iso19139 import RECORDS, offer_of
from ingestion.connectors.pages import Answer, Ask, Page, asked_with, fault, unsteady, where
from ingestion.connectors.since import Since, asked_since
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import Client, client_of

SCHEMAS = {
    "iso19139": ("gmd:MD_Metadata", "http://www.isotc211.org/2005/gmd"),
    "iso19115-3": ("mdb:MD_Metadata", "http://standards.iso.org/iso/19115/-3/mdb/2.0"),
    "dcat": ("gmd:MD_Metadata", "http://www.w3.org/ns/dcat#"),
}
FAULT = re.compile(rb"<(?:\w+:)?ExceptionText\b[^>]*>(.*?)</", re.DOTALL)


class BrickOptions(WebOptions):
    """What a brick of a catalogue may say: how it is let in, and how much is asked of its host."""

    limits: Limits = POLITE


class TableOptions(Strict):
    """What a table may say: whether it holds datasets or resources, how records are written, which are asked for, in what order."""

    catalog: Kind
    output_schema: Literal["iso19139", "iso19115-3", "dcat"] = "iso19139"
    max_records: int = Field(50, ge=1)
    constraint: str | None = None
    since: Since | None = None
    sort_by: str | None = None
    parameters: dict[str, str] = Field({})


def read(request: Request) -> Reading:
    """Read the records of a catalogue from the cursor on, or their links; raises SourceError."""
    options: TableOptions = request.table_options
    reading = Reading(request, dict(request.position))
    client = client_of(reading)
    first = _first(client, options, request)
    order = "`sort_by` a property that no two share (`Identifier:A`, `apiso:Identifier:A`)"
    try:
        read_catalog(client, first, lambda answer, ask, passed: _page(client, options, answer, ask, passed), options.catalog, order=order)
    except SourceError as error:
        if told := _refusal(error.text.encode()):
            raise _refused(client, first, told) from error
        raise
    return reading


def catalog(reading: Reading) -> Iterator[Offer]:
    """Give what a catalogue offers, by ISO 19139; raises SourceError."""
    client, options = client_of(reading), TableOptions.model_validate({"catalog": "datasets"})
    first = _first(client, options, client.reading.request)
    return offers_of(client, first, lambda answer, ask, passed: _page(client, options, answer, ask, passed))


def _first(client: Client, options: TableOptions, request: Request) -> Ask:
    place, (names, schema) = urlsplit(client.endpoint), SCHEMAS[options.output_schema]
    value = asked_since(request, options.since) if options.since else None
    tests = [f"({options.constraint})"] if options.constraint else []
    tests += [f"{options.since.parameter} >= '{value}'"] if options.since and value is not None else []
    asked = {
        "service": "CSW", "version": "2.0.2", "request": "GetRecords", "resultType": "results", "elementSetName": "full",
        "typeNames": names, "outputSchema": schema, "maxRecords": options.max_records, "startPosition": 1, **options.parameters,
    }  # fmt: skip
    if tests:
        asked |= {"constraintLanguage": "CQL_TEXT", "constraint_language_version": "1.1.0", "constraint": " AND ".join(tests)}
    if options.sort_by:
        asked["sortBy"] = options.sort_by
    query = "&".join(filter(None, (place.query, urlencode(asked, quote_via=quote))))
    return Ask(urlunsplit(place._replace(query=query)))


def _page(client: Client, options: TableOptions, answer: Answer, ask: Ask, passed: int) -> Page:
    """Make a page of an answer; raises SourceError for one that is none, or holds another number of records than it says."""
    if told := _refusal(answer.body[:4096]):
        raise _refused(client, ask, told)
    try:
        found, offers = _records(answer.body, options)
    except NoAnswer as error:
        raise fault(client, ask, error) from None
    numbers = {name: int(value) for name, value in found.items() if name != "elementSet" and value.isdigit()}
    total, returned = numbers.get("numberOfRecordsMatched"), numbers.get("numberOfRecordsReturned")
    if returned is not None and returned != len(offers):
        told = f"says that it returns {returned} records, and gives {len(offers)} (from record {passed + 1} on)"
        raise fault(client, ask, told, "tell the producer which record its server does not write, or leave it out by `constraint`")
    reached, following = passed + len(offers), numbers.get("nextRecord")
    if following and reached < (total or 0) and following not in (reached, reached + 1):
        # Some servers tell the record that comes next, some the last one that came.
        raise unsteady(client, ask, f"says that record {following} comes after record {reached}")
    is_last = not offers or (total is not None and reached >= total and len(offers) < options.max_records)
    return Page(written(offers), len(offers), None if is_last else asked_with(ask, startPosition=reached + 1), total)


def _records(body: bytes, options: TableOptions) -> tuple[dict[str, str], list[Offer]]:
    """Give what an answer says of its records, and what each tells of; raises NoAnswer."""
    try:
        root = ElementTree.fromstring(body)  # expat bounds entities
    except ElementTree.ParseError as error:
        raise NoAnswer(f"answers what is no XML, or was cut ({error})") from None
    found = next((each for each in root.iter() if each.tag.rpartition("}")[2] == "SearchResults"), None)
    if found is None:
        raise NoAnswer(f"answers <{root.tag.rpartition('}')[2]}>, which holds no SearchResults")
    if options.output_schema == "dcat":
        from ingestion.connectors.rdf import graph_of, offers_in

        documents = [ElementTree.tostring(each) for each in found]
        return dict(found.attrib), [each for text in documents for each in offers_in(graph_of(text, "xml", ""), services=True)]
    offers = []
    for number, record in enumerate(found, 1):
        name = record.tag.rpartition("}")[2]
        if name not in RECORDS:
            raise NoAnswer(f"answers <{name}> where a record of {options.output_schema} is asked for", 400)
        if (offer := offer_of(record)) is None:
            raise NoAnswer(f"holds a record without an identifier, the {number}th of its page")
        offers.append(offer)
    return dict(found.attrib), offers


def _refusal(body: bytes) -> str | None:
    """Give what an exception of a server says; None where the answer is none."""
    told = FAULT.search(body)
    return " ".join(told[1].decode("utf-8", "replace").split())[:300] if told else None


def _refused(client: Client, ask: Ask, told: str) -> SourceError:
    told = "" if client.reading.request.is_private else f": {client.told(told)}"
    mend = "check the endpoint, `output_schema`, `constraint` and `sort_by`"
    return SourceError(f"{where(client, ask)} refuses{told}. Mend: {mend}.")
