"""Rows of a CKAN DataStore, page by page in one order, and the catalogue of a CKAN portal."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from pydantic import Field, model_validator

from ingestion.connectors import Reading, Request, SourceError, Strict
from ingestion.connectors.answers import NoAnswer, at, members_of, records_at, value_of_json
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.catalog import Offer, Resource, named, offers_of, read_by, read_catalog, text, whole_number, written
from ingestion.connectors.pages import Answer, Ask, Page, asked_with, fault, note, read_pages, spooled, unsteady
from ingestion.connectors.since import Since, asked_since, moment_of
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import Client, client_of
from ingestion.formats import parts
from ingestion.formats.spool import Spool

KEPT = ("name", "format", "license", "last_modified", "hash")
# What tells that a resource is another one than it was; a file is pushed to the DataStore some time after it was changed.
DATES, SETTLED = ("last_modified", "hash", "size"), timedelta(days=1)
# Resources whose rows are written one by one, of which no date tells.
WRITTEN = "datastore"
OF_CATALOGUE = "metadata_created asc, id asc"
# What a portal answers that does not tell of itself.
UNTOLD = (200, 400, 401, 403, 404, 405, 409)
# What CKAN calls errors for which asking again is no mend.
LASTING = ("Validation Error", "Not Found Error", "Authorization Error", "Search Query Error")


class BrickOptions(WebOptions):
    """What a brick of a portal may say: how it is let in, and how much is asked of its host."""

    limits: Limits = POLITE


class TableOptions(Strict):
    """What a table may say: the resource whose rows it holds, with `filters`; or which `catalog`, with what a `search` of it says."""

    resource: str | None = Field(None, min_length=1)
    filters: dict[str, str | int | float | list[str | int | float]] = Field({})
    since: Since | None = None
    always: bool = False
    catalog: Literal["datasets", "resources"] | None = None
    search: dict[str, str] = Field({})
    limit: int = Field(1000, ge=1)

    @model_validator(mode="after")
    def _reads_one_thing(self) -> TableOptions:
        if (self.resource is None) == (self.catalog is None):
            raise ValueError("say either `resource`, whose rows are read, or `catalog` (datasets or resources)")
        if self.catalog and (self.filters or self.since or self.always):
            raise ValueError("`filters`, `since` and `always` are of the rows of a `resource`: of a catalogue, say `search`")
        if self.resource and self.search:
            raise ValueError("`search` is of a `catalog`: of the rows of a resource, say `filters`")
        if self.since and self.since.parameter in self.filters:
            raise ValueError(f"`since` and `filters` both mean {self.since.parameter}")
        return self


def read(request: Request) -> Reading:
    """Read the rows of a resource, or a catalogue; nothing where the resource says that it is the same. Raises SourceError."""
    options: TableOptions = request.table_options
    reading = Reading(request, dict(request.position))
    client = client_of(reading)
    try:
        if options.catalog:
            first, page_of = _catalogue(client, options.limit, options.search)
            read_catalog(client, first, page_of, options.catalog)
        else:
            _read_rows(client, options)
    except SourceError as error:
        if told := _words(error.text):
            where = f"{request.brick}.{request.table}: {client.shown(client.endpoint)}"
            mend = "give a key that may read it" if error.status in (401, 403) else "check `resource`, `filters` and `search`"
            raise SourceError(f"{where} answered {error.status}: {client.told(told)}. Mend: {mend}.", error.status) from error
        raise
    return reading


def catalog(reading: Reading) -> Iterator[Offer]:
    """Give what a portal offers; raises SourceError."""
    client = client_of(reading)
    return offers_of(client, *_catalogue(client, 1000, {}))


def _read_rows(client: Client, options: TableOptions) -> None:
    reading = client.reading
    request = reading.request
    told = _described(client, options)
    reading.metadata = {name: told[name] for name in KEPT if told.get(name)}
    state = {name: told.get(name) for name in DATES} | {"filters": options.filters}
    is_told = not options.always and told.get("url_type") != WRITTEN and bool(told.get("last_modified") or told.get("hash"))
    known = request.position.get("state")
    reading.position = {name: value for name, value in reading.position.items() if name != "state"}
    if is_told and known and state.items() <= known.items() and _total(client, options, options.filters) == known.get("total"):
        reading.position["state"] = known
        return
    filters = _since(client, options)
    first = _rows_asked(client, options, filters)
    spool, name = Spool(request.spool, is_private=request.is_private), f"{request.table}.ndjson"
    reading.held = spool
    last: list[bytes] = []
    pages = read_pages(
        client, first, lambda answer, ask, passed: _page(client, options, answer, ask, passed, last), lambda: spooled(spool, name)
    )
    assert pages is not None  # nothing conditional was asked
    if is_told and filters == options.filters and pages.announced is not None and _is_settled(told, reading.read_at):
        reading.position["state"] = {**state, "total": pages.announced}
    if note(pages, reading, "`resource` and `filters`"):
        reading.parts = parts("ndjson", [name], reading, spool)
        with contextlib.suppress(ValueError):
            reading.available_at = moment_of(str(told.get("last_modified")))


def _is_settled(told: dict[str, Any], now: datetime) -> bool:
    """Say whether a resource has been what it is for so long that its file has been pushed to the DataStore."""
    with contextlib.suppress(ValueError):
        return now - moment_of(str(told.get("last_modified"))).astimezone(UTC) > SETTLED
    return False


def _action(client: Client, name: str, **parameters: Any) -> Ask:
    place = urlsplit(client.endpoint)
    path = f"{place.path.removesuffix('/api/3/action')}/api/3/action/{name}"
    query = "&".join(filter(None, (place.query, urlencode(parameters, quote_via=quote))))
    return Ask(urlunsplit(place._replace(path=path, query=query)))


def _rows_asked(client: Client, options: TableOptions, filters: dict[str, Any], limit: int | None = None) -> Ask:
    """Ask for rows in the order in which the DataStore has numbered them."""
    asked = {"resource_id": options.resource, "limit": options.limit if limit is None else limit, "offset": 0, "sort": "_id"}
    told = {"filters": json.dumps(filters)} if filters else {}
    return _action(client, "datastore_search", **asked, include_total="true", **told)


def _result(client: Client, answer: Answer, ask: Ask) -> Any:
    """Give what stands under `result`; raises SourceError for an answer that says that it failed, under whatever status."""
    words = answer.body[:4096].decode("utf-8", "replace")
    is_lasting = any(each in words for each in LASTING)
    try:
        members = members_of(answer.body)
    except NoAnswer as error:
        mend = "check the endpoint, `resource`, `filters` and `search`, and the key" if is_lasting else "try later, or tell the producer"
        raise fault(client, ask, error, mend, may_pass=not is_lasting) from None
    if (result := at(members, "result")) is None:
        raise fault(client, ask, "holds no `result`", "check that the endpoint is a CKAN portal", may_pass=False)
    return result


def _asked(client: Client, ask: Ask) -> dict[str, Any]:
    """Ask for what is no page."""
    return client.fetch(ask.url, lambda stream, told: value_of_json(_result(client, Answer(stream.read(), told, 200), ask)))


def _described(client: Client, options: TableOptions) -> dict[str, Any]:
    """Give what the portal says of the resource; raises SourceError where its rows are not in the DataStore."""
    told = _asked(client, _action(client, "resource_show", id=options.resource))
    if isinstance(told, dict) and told.get("datastore_active") in (True, "True", "true"):
        return told
    request, url = client.reading.request, told.get("url") if isinstance(told, dict) else None
    where = f"{request.brick}.{request.table}: resource {options.resource} of {client.shown(client.endpoint)} is not in the DataStore"
    raise SourceError(
        f"{where}. Mend: connector `files` reads it at its own address, {client.shown(url) if url else 'which it does not say'}."
    )


def _total(client: Client, options: TableOptions, filters: dict[str, Any]) -> int | None:
    """Ask how many rows there are; None where the portal does not say, or estimates."""
    told = _asked(client, _rows_asked(client, options, filters, 0))
    total = told.get("total")
    return total if isinstance(total, int) and not told.get("total_was_estimated") else None


def _since(client: Client, options: TableOptions) -> dict[str, Any]:
    """Give the filters that ask for what is new: those of the table where the portal cannot filter by what is at or above a value.

    CKAN does from 2.12 on, and leaves out rows without a value: rows at or above it and rows below it must be all there are.
    """
    request = client.reading.request
    if len(str(request.position.get("cursor"))) > len("2025-01-01"):
        # The DataStore's instants have no zone: whichever is theirs, a day before holds it.
        request = replace(request, lookback_days=request.lookback_days + 1)
    value = asked_since(request, options.since) if options.since else None
    if options.since is None or value is None:
        return options.filters
    above, below = ({**options.filters, options.since.parameter: {test: value}} for test in ("gte", "lt"))
    try:
        totals = [_total(client, options, filters) for filters in (options.filters, above, below)]
    except SourceError as error:
        if error.status in (400, 409):
            return options.filters
        raise
    whole, *halves = [-1 if each is None else each for each in totals]
    return above if whole >= 0 and min(halves) >= 0 and sum(halves) == whole else options.filters


def _page(client: Client, options: TableOptions, answer: Answer, ask: Ask, passed: int, last: list[bytes]) -> Page:
    """Make a page of an answer; raises SourceError for one that is none.

    Each begins with the row that ended the one before: where that has moved, rows have come or gone meanwhile.
    """
    result = _result(client, answer, ask)
    try:
        records = records_at({"result": result}, "result.records")
    except NoAnswer as error:
        raise fault(client, ask, error) from None
    if passed:
        if records[:1] != last:
            raise unsteady(client, ask, "has other rows where the last page ended: it changed while it was read")
        del records[0]
    last[:] = records[-1:] or last
    told = {name: value_of_json(at({"result": result}, f"result.{name}")) for name in ("total", "total_was_estimated")}
    total = told["total"] if isinstance(told["total"], int) and not told["total_was_estimated"] else None
    _hold_to_filters(client, options, ask, records)
    count = len(records)
    is_last = not count or (total is not None and passed + count >= total and count < options.limit)
    following = None if is_last else asked_with(ask, offset=passed + count - 1, limit=options.limit + 1)
    return Page(b"".join(record + b"\n" for record in records), count, following, total)


def _hold_to_filters(client: Client, options: TableOptions, ask: Ask, records: list[bytes]) -> None:
    """Raise SourceError for a row that has another value than those asked for: the portal leaves the filter aside."""
    if not options.filters:
        return
    import msgspec

    meant = {name: {str(each) for each in (value if isinstance(value, list) else [value])} for name, value in options.filters.items()}
    for record in records:
        members = msgspec.json.decode(record, type=dict[str, msgspec.Raw])
        for name, values in meant.items():
            found = value_of_json(members.get(name))
            if str(found) not in values and not any(str(found).casefold() == each.casefold() or _is_equal(found, each) for each in values):
                told = f"gives rows whose `{name}` is not the one that is asked for: it leaves `filters` aside"
                raise fault(client, ask, told, "check its name, or ask for all of the resource", may_pass=False)


def _is_equal(found: Any, meant: str) -> bool:
    with contextlib.suppress(ValueError, TypeError):
        return float(found) == float(meant)
    return False


def _words(body: str) -> str | None:
    """Give what CKAN says in an answer that is an error; None where it says nothing."""
    with contextlib.suppress(ValueError, AttributeError):
        told = json.loads(body).get("error") or {}
        said = told.get("message") or {name: value for name, value in told.items() if name != "__type"}
        return (said if isinstance(said, str) else json.dumps(said, ensure_ascii=False))[:300]
    return None


def _catalogue(client: Client, limit: int, search: dict[str, str]) -> tuple[Ask, Callable[[Answer, Ask, int], Page]]:
    """Give what is asked first of the catalogue, and what makes pages of its answers."""
    first, site = _action(client, "package_search", **{"sort": OF_CATALOGUE, **search, "rows": limit, "start": 0}), _site(client)
    return first, lambda answer, ask, passed: _offers(client, limit, site, answer, ask, passed)


def _site(client: Client) -> str:
    """Give the address at which the portal says that its pages are: its API may be asked at another; the endpoint where it does not say."""
    told: Any = None
    try:
        told = _asked(client, _action(client, "status_show"))
    except SourceError as error:
        if error.status not in UNTOLD:
            raise
    site = text(told.get("site_url")) if isinstance(told, dict) else None
    return (site or client.shown(client.endpoint).removesuffix("/api/3/action")).rstrip("/")


def _offers(client: Client, limit: int, site: str, answer: Answer, ask: Ask, passed: int) -> Page:
    """Make a page of what package_search answers."""
    result = _result(client, answer, ask)
    try:
        found = [value_of_json(each) for each in records_at({"result": result}, "result.results")]
    except NoAnswer as error:
        raise fault(client, ask, error) from None
    offers = [_offer(client, site, each) for each in found if isinstance(each, dict)]
    if len(offers) < len(found):
        raise fault(client, ask, "holds datasets that are no objects", may_pass=False)
    total = value_of_json(at({"result": result}, "result.count"))
    total = total if isinstance(total, int) else None
    is_last = not found or (total is not None and passed + len(found) >= total and len(found) < limit)
    return Page(written(offers), len(offers), None if is_last else asked_with(ask, start=passed + len(found)), total)


def _offer(client: Client, site: str, told: dict[str, Any]) -> Offer:
    """Give a package as an offer: its authors and maintainers, who are persons, are left out."""
    extras = {each.get("key"): each.get("value") for each in _objects(told.get("extras"))}
    identifier = named(client, text(told.get("id")) or text(told.get("name")), "holds a dataset without `id` and `name`")
    licence = text(told.get("license_id")) or text(told.get("license_title")) or text(told.get("license_url"))
    organization = told.get("organization")
    titles = told.get("title_translated")
    frequency = told.get("frequency") or extras.get("frequency") or extras.get("accrual_periodicity")
    return Offer(
        id=identifier, title=text(told.get("title")) or text(told.get("name")), description=text(told.get("notes")),
        titles={str(name): str(value) for name, value in titles.items() if value} if isinstance(titles, dict) else {},
        kind=text(told.get("type")), licence=None if licence == "notspecified" else licence,
        producer=text(organization.get("title") or organization.get("name")) if isinstance(organization, dict) else None,
        created=text(told.get("metadata_created")), issued=text(told.get("issued") or extras.get("issued")),
        modified=text(told.get("metadata_modified")), frequency=text(frequency),
        keywords=tuple(filter(None, (text(each.get("display_name") or each.get("name")) for each in _objects(told.get("tags"))))),
        themes=tuple(filter(None, (text(each.get("title") or each.get("name")) for each in _objects(told.get("groups"))))),
        landing_page=f"{site}/dataset/{quote(str(told.get('name') or identifier))}",
        resources=tuple(_resource(each) for each in _objects(told.get("resources"))),
    )  # fmt: skip


def _resource(told: dict[str, Any]) -> Resource:
    url, identifier = text(told.get("url")), text(told.get("id"))
    form, media = text(told.get("format")), text(told.get("mimetype"))
    protocol, options = read_by(url, form, media)
    if told.get("datastore_active") in (True, "True", "true") and identifier:
        protocol, options = "ckan", {"resource": identifier}
    return Resource(
        url=url, id=identifier, title=text(told.get("name")), description=text(told.get("description")), format=form, media_type=media,
        byte_size=whole_number(told.get("size")), checksum=text(told.get("hash")), issued=text(told.get("created")),
        modified=text(told.get("last_modified")) or text(told.get("metadata_modified")), licence=text(told.get("license")),
        protocol=protocol, options=options,
    )  # fmt: skip


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
