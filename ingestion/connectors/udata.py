"""The catalogue of a udata portal (data.gouv.fr), by its API 1: datasets and their resources, as its links lead on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from pydantic import Field

from ingestion.connectors import Reading, Request, Strict
from ingestion.connectors.answers import NoAnswer, at, members_of, records_at, value_of_json
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.catalog import Kind, Offer, Resource, named, offers_of, read_by, read_catalog, text, whole_number, written
from ingestion.connectors.pages import Answer, Ask, Page, fault, followed
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import Client, client_of

PAGE_SIZE = 100


class BrickOptions(WebOptions):
    """What a brick of a portal may say: how it is let in, and how much is asked of its host."""

    limits: Limits = POLITE


class TableOptions(Strict):
    """What a table may say: whether it holds datasets or resources, which datasets a `search` means, and how many a page holds."""

    catalog: Kind
    search: dict[str, str] = Field({})
    page_size: int = Field(PAGE_SIZE, ge=1)


def read(request: Request) -> Reading:
    """Read the datasets of a portal, or their resources; raises SourceError."""
    options: TableOptions = request.table_options
    reading = Reading(request, dict(request.position))
    client = client_of(reading)
    first = _first(client, options.search, options.page_size)
    read_catalog(client, first, lambda answer, ask, _: _page(client, first, answer, ask), options.catalog)
    return reading


def catalog(reading: Reading) -> Iterator[Offer]:
    """Give what a portal offers; raises SourceError."""
    client = client_of(reading)
    first = _first(client, {}, PAGE_SIZE)
    return offers_of(client, first, lambda answer, ask, _: _page(client, first, answer, ask))


def _first(client: Client, search: dict[str, str], size: int) -> Ask:
    """Ask for the datasets by when they were made: one that comes meanwhile comes last."""
    place = urlsplit(client.endpoint)
    query = "&".join(filter(None, (place.query, urlencode({"sort": "created", **search, "page": 1, "page_size": size}))))
    return Ask(urlunsplit(place._replace(path=f"{place.path.removesuffix('/api/1')}/api/1/datasets/", query=query)))


def _page(client: Client, first: Ask, answer: Answer, ask: Ask) -> Page:
    """Make a page of an answer; raises SourceError for one that is none."""
    try:
        members = members_of(answer.body)
        found = [value_of_json(each) for each in records_at(members, "data")]
    except NoAnswer as error:
        raise fault(client, ask, error) from None
    if not all(isinstance(each, dict) for each in found):
        raise fault(client, ask, "holds datasets that are no objects", may_pass=False)
    link, total = value_of_json(at(members, "next_page")), value_of_json(at(members, "total"))
    following = followed(client, first, ask, link, frozenset({"page"})) if isinstance(link, str) and link.strip() else None
    return Page(written(_offer(client, each) for each in found), len(found), following, total if isinstance(total, int) else None)


def _offer(client: Client, told: dict[str, Any]) -> Offer:
    """Give a dataset as an offer: its owner, who is a person, is left out."""
    spatial, organization = _object(told.get("spatial")), _object(told.get("organization"))
    zones = [each.get("id") if isinstance(each, dict) else each for each in spatial.get("zones") or []]
    return Offer(
        id=named(client, text(told.get("id")), "holds a dataset without `id`"), title=text(told.get("title")),
        description=text(told.get("description")), kind="dataset", licence=text(told.get("license")),
        producer=text(organization.get("name")), created=text(told.get("created_at")),
        modified=text(told.get("last_update")) or text(told.get("last_modified")),
        frequency=text(told.get("frequency")) or text(_object(told.get("frequency")).get("id")),
        keywords=tuple(filter(None, map(text, told.get("tags") or []))), spatial=tuple(filter(None, map(text, zones))),
        landing_page=text(told.get("self_web_url")) or text(told.get("page")) or text(told.get("uri")),
        resources=tuple(_resource(each) for each in told.get("resources") or [] if isinstance(each, dict)),
    )  # fmt: skip


def _resource(told: dict[str, Any]) -> Resource:
    url, checksum = text(told.get("url")), _object(told.get("checksum"))
    form, media = text(told.get("format")), text(told.get("mime"))
    protocol, options = read_by(url, form, media)
    return Resource(
        url=url, id=text(told.get("id")), title=text(told.get("title")), description=text(told.get("description")), format=form,
        media_type=media, byte_size=whole_number(told.get("filesize")),
        checksum=":".join(filter(None, (text(checksum.get("type")), text(checksum.get("value"))))) or None,
        issued=text(told.get("created_at")), modified=text(told.get("last_modified")), protocol=protocol, options=options,
    )  # fmt: skip


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
