"""A catalogue in DCAT: RDF/XML, Turtle or JSON-LD, a file or the pages that Hydra leads through, each parsed whole."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit, urlunsplit

from pydantic import Field

from ingestion.connectors import Reading, Request, Strict
from ingestion.connectors.answers import FAULTS_OF_OURS, NoAnswer
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.catalog import Kind, Offer, offers_of, read_catalog, written
from ingestion.connectors.pages import Answer, Ask, Page, fault, followed
from ingestion.connectors.rdf import followed_by, form_of, graph_of, offers_in, undescribed
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import Client, client_of

ACCEPT = {"Accept": "application/ld+json, application/rdf+xml;q=0.9, text/turtle;q=0.8, */*;q=0.1"}
# What a page has of its own: a link leaves it out when it leads to the first one.
OF_PAGE = frozenset({"page", "offset", "start", "cursor"})


class BrickOptions(WebOptions):
    """What a brick of a catalogue may say: how it is let in, and how much is asked of its host."""

    limits: Limits = POLITE


class TableOptions(Strict):
    """What a table may say: whether it holds datasets or resources, where the catalogue is, in which language it is read."""

    catalog: Kind
    path: str = ""
    parameters: dict[str, str] = Field({})
    language: str = "fr"
    announces: bool = True


def read(request: Request) -> Reading:
    """Read the datasets of a catalogue, or their distributions; raises SourceError."""
    options: TableOptions = request.table_options
    reading = Reading(request, dict(request.position))
    client = client_of(reading)
    first = _first(client, options)
    read_catalog(client, first, lambda answer, ask, _: _page(client, first, options, answer, ask), options.catalog, ACCEPT)
    return reading


def catalog(reading: Reading) -> Iterator[Offer]:
    """Give what a catalogue offers; raises SourceError."""
    client, options = client_of(reading), TableOptions.model_validate({"catalog": "datasets"})
    first = _first(client, options)
    return offers_of(client, first, lambda answer, ask, _: _page(client, first, options, answer, ask), ACCEPT)


def _first(client: Client, options: TableOptions) -> Ask:
    place = urlsplit(client.endpoint)
    path = f"{place.path}/{options.path.lstrip('/')}" if options.path else place.path
    return Ask(urlunsplit(place._replace(path=path, query="&".join(filter(None, (place.query, urlencode(options.parameters)))))))


def _page(client: Client, first: Ask, options: TableOptions, answer: Answer, ask: Ask) -> Page:
    """Make a page of an answer; raises SourceError for one that is none, or is not whole."""
    try:
        form = form_of(answer.body)
        graph = graph_of(answer.body, form, client.shown(ask.url))
        offers = offers_in(graph, options.language)
    except NoAnswer as error:
        is_ours = error.code in FAULTS_OF_OURS
        mend = "check the endpoint and `path`" if is_ours else "try later, or tell the producer what is wrong in it"
        raise fault(client, ask, error, mend, may_pass=not is_ours) from None
    if form == "turtle" and not answer.is_bounded:
        # Statements that were cut off at the end of one would be none the less a document.
        told = "does not say how long it is (no Content-Length), so that a part of it might be taken for the whole"
        raise fault(client, ask, told, "ask for RDF/XML or JSON-LD, which tell where they end", may_pass=False)
    links, totals = followed_by(graph)
    if len(links) > 1:
        raise fault(client, ask, f"is followed by {len(links)} pages at once", "tell the producer", may_pass=False)
    if not links and not totals and (absent := undescribed(graph)):
        told = f"names {len(absent)} datasets of which it tells nothing ({client.told(absent[0])}, ...)"
        raise fault(client, ask, told, "ask for an export that describes them", may_pass=False)
    following = followed(client, first, ask, links[0], OF_PAGE) if links else None
    total = next(iter(totals)) if options.announces and len(totals) == 1 else None
    return Page(written(offers), len(offers), following, total)
