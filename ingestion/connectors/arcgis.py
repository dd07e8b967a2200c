"""Layers and tables of an ArcGIS FeatureServer or MapServer, by ranges of their object ids, in longitude and latitude."""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

from pydantic import Field

from ingestion.connectors import Reading, Request, SourceError, Strict
from ingestion.connectors.answers import FAULTS_OF_OURS, NoAnswer, members_of, value_of_json
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.pages import JUST_NOW, Answer, Ask, Page, asked_with, fault, note, read_pages, spooled, unsteady
from ingestion.connectors.since import Since, asked_since, moment_of
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import DENIED, Client, client_of, instant
from ingestion.formats import parts
from ingestion.formats.esri import LONGITUDE_LATITUDE, documents_of
from ingestion.formats.esri import moment_of as moment_of_ms
from ingestion.formats.esri_geometry import NoGeometry
from ingestion.formats.spool import Spool

OF_OID, OF_DATE, OF_DAY, OF_OFFSET = (f"esriFieldType{name}" for name in ("OID", "Date", "DateOnly", "TimestampOffset"))
OF_NUMBERS = tuple(f"esriFieldType{name}" for name in ("OID", "Integer", "SmallInteger", "BigInteger", "Double", "Single"))
KEPT = ("name", "description", "copyrightText", "geometryType", "currentVersion", "objectIdField")
# What says that records may be asked for in an order: the last one of servers before 10.3. Records a page, unless said.
ORDERED = ("supportsPagination", "supportsOrderBy", "supportsAdvancedQueries")
PAGE_RECORDS = 2000


class BrickOptions(WebOptions):
    """What a brick of an ArcGIS server may say: how it is let in, and how much is asked of its host."""

    limits: Limits = POLITE


class TableOptions(Strict):
    """What a table may say: the number of its layer, and which of its records and fields are asked for.

    `size` is how many records a page holds, no more than the server gives. `edit_date`: a layer whose last edit is the one that was
    known is not read again.
    """

    layer: int = Field(ge=0)
    where: str = "1=1"
    fields: list[str] = Field([])
    geometry: bool = True
    size: int = Field(PAGE_RECORDS, ge=1)
    edit_date: bool = True
    since: Since | None = None


@dataclass(frozen=True)
class Range(Ask):
    """Records that are asked for by their object ids: those above `after`, up to `upto`, `size` of them at most."""

    after: int = -(1 << 63)
    upto: int = 1 << 63
    size: int = 0


@dataclass
class Layer:
    """What a server says of a layer: how it is asked, and how its values are read."""

    oid: str | None
    types: dict[str, str]
    size: int
    is_ordered: bool
    is_paged: bool
    has_geometry: bool
    has_z: bool
    is_zoned: bool
    is_utc: bool
    edited: int | None
    own: dict[str, Any]
    editors: frozenset[str] = frozenset()
    ids: list[int] | None = None
    total: int | None = None
    read: int = 0
    doubts: list[str] = field(default_factory=list)


def read(request: Request) -> Reading:
    """Read a layer from the cursor on, nothing when it was not edited since; raises SourceError."""
    options: TableOptions = request.table_options
    reading = Reading(request, dict(request.position))
    client = client_of(reading)
    layer = _layer(client, options)
    reading.metadata = {name: layer.own[name] for name in KEPT if layer.own.get(name)}
    told = options.where if options.where.strip() else "1=1"
    asked = _digest(client, options)
    if state := _state(client, layer, options, told, asked):
        if state == request.position.get("edited"):
            return reading
        reading.available_at = moment_of_ms(layer.edited or 0)
    reading.position = {name: value for name, value in reading.position.items() if name != "edited"} | ({"edited": state} if state else {})
    clause = _since(request, options, layer)
    told = f"({told}) AND {clause}" if clause else told
    spool, name = Spool(request.spool, is_private=request.is_private), f"{request.table}.ndjson"
    reading.held = spool

    @contextlib.contextmanager
    def opened() -> Iterator[Callable[[bytes], None]]:
        # Counted anew when it is read anew.
        _count(client, layer, options, told)
        layer.doubts.clear()
        with spooled(spool, name) as take:
            yield take
        # In the order of their ids records may come and go while they are read: the number of those that are left tells.
        is_held = layer.oid and layer.ids is None and request.sample_rows is None
        if is_held and layer.read != layer.total and layer.read != (now := _number_of(client, options, told)):
            mend = "try later, when it does not change, or tell the producer"
            raise unsteady(client, first, f"says that it has {layer.total} records, then {now}, and gives {layer.read}", mend)

    first = _query(client, options, layer, told)
    read = read_pages(client, first, lambda answer, ask, passed: _page(client, layer, told, answer, cast("Range", ask), passed), opened)
    assert read is not None  # nothing conditional was asked
    read.announced = read.rows
    if note(read, reading, "`layer` and `where`"):
        reading.parts = parts("ndjson", [name], reading, spool)
    if layer.doubts:
        words = f"{len(layer.doubts)} polygons have rings that do not turn as ArcGIS documents: what lies in a ring was read as its hole"
        reading.warnings.append(f"{request.brick}.{request.table}: {words}. Mend: have the producer repair the geometry of the layer")
    return reading


def _url(client: Client, path: str, **parameters: Any) -> str:
    place = urlsplit(client.endpoint)
    query = "&".join(filter(None, (place.query, urlencode({"f": "json", **parameters}))))
    return urlunsplit(place._replace(path=f"{place.path}/{path}".rstrip("/"), query=query))


def _asked(client: Client, path: str, **parameters: Any) -> tuple[dict[str, Any], Any]:
    """Ask for a document, and give it with the headers of its answer; raises SourceError for what is none."""
    ask = Ask(_url(client, path, **parameters))

    def sink(stream: Any, headers: Any) -> tuple[dict[str, Any], Any]:
        members = _members(client, ask, stream.read())
        return {name: value_of_json(raw) for name, raw in members.items()}, headers

    given: tuple[dict[str, Any], Any] = client.fetch(ask.url, sink)
    return given


def _members(client: Client, ask: Ask, body: bytes) -> dict[str, Any]:
    """Give the members of an answer; raises SourceError for an error under 200, of a token that is refused with its own status."""
    try:
        members = members_of(body)
    except NoAnswer as error:
        if error.code in DENIED:
            raise SourceError(str(fault(client, ask, error, "give a user or a key that may read it")), error.code) from None
        is_ours = error.code in FAULTS_OF_OURS
        mend = "check `layer`, `where`, `fields` and `since`" if is_ours else "try later, or tell the producer"
        raise fault(client, ask, error, mend, may_pass=not is_ours) from None
    if not isinstance(members, dict):
        raise fault(client, ask, "answers an array, where an object is expected")
    return members


def _layer(client: Client, options: TableOptions) -> Layer:
    """Give what the server says of the layer; raises SourceError where it is none that can be read."""
    request = client.reading.request
    name = f"{request.brick}.{request.table}: {client.shown(client.endpoint)}/{options.layer}"
    try:
        own, headers = _asked(client, str(options.layer))
    except SourceError as error:
        if error.status not in (200, 400, 404) or error.may_pass:
            raise
        service, _ = _asked(client, "")
        held = [each for kind in ("layers", "tables") for each in service.get(kind) or [] if isinstance(each, dict)]
        names = ", ".join(f"{each.get('id')} {each.get('name')}" for each in held[:20])
        raise SourceError(f"{name} is none; the service has {names or 'none'}. Mend: `layer`.") from error
    if not isinstance(own.get("fields"), list):
        told = f"is a {own.get('type') or 'thing'} without fields, and holds no record"
        raise SourceError(f"{name} {told}. Mend: `layer`: a layer of features, or a table.")
    if "query" not in str(own.get("capabilities", "Query")).lower():
        raise SourceError(f"{name} may not be queried (capabilities: {own['capabilities']}). Mend: ask the producer for Query.")
    types = {str(each.get("name")): str(each.get("type")) for each in own["fields"] if isinstance(each, dict)}
    if absent := [each for each in options.fields if each not in types]:
        raise SourceError(f"{name} has no field {', '.join(absent)}; it has {', '.join(types)}. Mend: `fields`.")
    oid = own.get("objectIdField") or next((each for each, kind in types.items() if kind == OF_OID), None)
    advanced = own.get("advancedQueryCapabilities")
    more = {**own, **(advanced if isinstance(advanced, dict) else {})}
    most = own.get("maxRecordCount")
    editing = own.get("editingInfo")
    edited = editing.get("lastEditDate") if isinstance(editing, dict) else None
    now = instant(headers.get("Date")) or datetime.now(UTC)
    edited_at = moment_of_ms(edited) if isinstance(edited, int) else None
    is_settled = edited_at is not None and now - edited_at > JUST_NOW
    reference = own.get("dateFieldsTimeReference")
    zone = str(reference.get("timeZone") or "UTC") if isinstance(reference, dict) else "UTC"
    return Layer(
        oid, types, min(options.size, most) if isinstance(most, int) and most > 0 else options.size,
        is_ordered=any(more.get(name) is True for name in ORDERED), is_paged=more.get("supportsPagination") is True,
        has_geometry=bool(own.get("geometryType")) and options.geometry, has_z=own.get("hasZ") is True,
        is_zoned=own.get("datesInUnknownTimezone") is not True, is_utc=zone.upper() in ("UTC", "ETC/UTC", "GMT"),
        edited=edited if is_settled and options.edit_date else None, own=own, editors=_editors(own, options, request),
    )  # fmt: skip


def _editors(own: dict[str, Any], options: TableOptions, request: Request) -> frozenset[str]:
    """Give the fields that name who edited a record, persons that is, but for those that are asked for."""
    told = own.get("editFieldsInfo")
    names = {str(told.get(each)) for each in ("creatorField", "editorField")} if isinstance(told, dict) else set()
    return frozenset(names - {*request.columns, *request.formerly, *options.fields})


def _digest(client: Client, options: TableOptions) -> str:
    """Give a digest of what is asked, that tells no secret."""
    told = [client.shown(client.endpoint), options.model_dump(mode="json", exclude={"since", "size", "edit_date"})]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _state(client: Client, layer: Layer, options: TableOptions, told: str, asked: str) -> list[Any] | None:
    """Give what tells that a layer is as it was: when it was edited, and how many records it has; None where it does not say."""
    if layer.edited is None:
        return None
    return [layer.edited, _number_of(client, options, told), asked]


def _number_of(client: Client, options: TableOptions, told: str) -> int:
    """Ask how many records there are."""
    path = f"{options.layer}/query"
    counted, _ = _asked(client, path, where=told, returnCountOnly="true")
    count = counted.get("count")
    if not isinstance(count, int) or isinstance(count, bool):
        raise fault(client, Ask(_url(client, path)), "says nowhere how many records there are (returnCountOnly)", may_pass=False)
    return count


def _count(client: Client, layer: Layer, options: TableOptions, told: str) -> None:
    """Ask which records there are where they cannot be asked for in order, or how many."""
    path = f"{options.layer}/query"
    if layer.is_ordered or not layer.oid:
        layer.total = _number_of(client, options, told)
        return
    answer, _ = _asked(client, path, where=told, returnIdsOnly="true")
    ids = answer.get("objectIds") if "objectIds" in answer else 0
    if not isinstance(ids, list | None) or any(not isinstance(each, int) for each in ids or []):
        raise fault(client, Ask(_url(client, path)), "gives no list of object ids (returnIdsOnly)", may_pass=False)
    if answer.get("exceededTransferLimit") is True:
        raise fault(client, Ask(_url(client, path)), "gives some of its object ids only", "narrow `where`", may_pass=False)
    layer.ids = sorted(set(ids or []))
    layer.total = len(layer.ids)


def _query(client: Client, options: TableOptions, layer: Layer, told: str) -> Range:
    """Give what is asked first."""
    fields = [*options.fields, *([layer.oid] if layer.oid and layer.oid not in options.fields else [])] if options.fields else ["*"]
    asked: dict[str, Any] = {"where": told, "outFields": ",".join(fields), "returnGeometry": str(layer.has_geometry).lower()}
    if layer.has_geometry:
        asked |= {"outSR": LONGITUDE_LATITUDE, "returnZ": str(layer.has_z).lower(), "returnM": "false"}
    if layer.oid and layer.is_ordered:
        asked["orderByFields"] = f"{layer.oid} ASC"
        asked |= {"resultRecordCount": layer.size} if layer.is_paged else {}
    return Range(_url(client, f"{options.layer}/query", **asked))


def _since(request: Request, options: TableOptions, layer: Layer) -> str | None:
    """Give the clause that asks for records from the cursor on, and for those without it, as the type of its field is written in SQL."""
    since = options.since
    if since is None:
        return None
    name = f"{request.brick}.{request.table}"
    kind = layer.types.get(since.parameter)
    if kind is None:
        raise SourceError(f"{name}: the layer has no field {since.parameter}; it has {', '.join(layer.types)}. Mend: `since.parameter`.")
    if "template" in since.model_fields_set:
        return asked_since(request, since)
    value = asked_since(request, since.model_copy(update={"format": "%Y-%m-%dT%H:%M:%S%z"}))
    if value is None:
        return None
    if kind in OF_NUMBERS:
        return _from(since.parameter, f"{Decimal(value):f}")
    if kind not in (OF_DATE, OF_DAY, OF_OFFSET):
        return _from(since.parameter, f"'{value.replace(chr(39), chr(39) * 2)}'")
    try:
        moment = moment_of(value)
    except ValueError:
        raise SourceError(
            f"{name}: {value!r} is no instant, and {since.parameter} is a date. Mend: `since.initial`, or the cursor."
        ) from None
    # A literal is in the zone that the server keeps its dates in, and a day in that of the brick: a day earlier is before it in any.
    is_day = len(str(request.position.get("cursor"))) == len("2025-01-01")
    moment = moment.astimezone(UTC) - timedelta(days=0 if layer.is_utc and layer.is_zoned and not is_day else 1)
    text = f"DATE '{moment:%Y-%m-%d}'" if kind == OF_DAY else f"TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S}'"
    return _from(since.parameter, text)


def _from(field: str, value: str) -> str:
    return f"({field} >= {value} OR {field} IS NULL)"


def _page(client: Client, layer: Layer, told: str, answer: Answer, ask: Range, passed: int) -> Page:
    """Make a page of an answer; raises SourceError for one that is none."""
    members = _members(client, ask, answer.body)
    ids: list[int] = []
    dates = [name for name, kind in layer.types.items() if kind == OF_DATE]
    try:
        documents = documents_of(
            members, layer.oid, dates, ids, layer.doubts, layer.editors, has_geometry=layer.has_geometry, is_zoned=layer.is_zoned
        )
    except NoAnswer as error:
        raise fault(client, ask, error) from None
    except NoGeometry as error:
        raise fault(client, ask, f"answers what GeoJSON cannot hold: {error}", "`geometry: false`", may_pass=False) from None
    content, count, total = b"".join(documents), len(documents), layer.total or 0
    more = value_of_json(members.get("exceededTransferLimit")) is True or answer.status == 206
    if not layer.oid:
        if more or count < total:
            words = f"gives {count} of {total} records, and has no object id by which the others could be asked for"
            raise fault(client, ask, words, "narrow `where`, or have the producer publish an object id", may_pass=False)
        return Page(content, count, None, total)
    if layer.ids is not None:
        return _of_range(client, layer, told, ask, Page(content, count, None, total), ids, more=more)
    if any(other <= one for one, other in pairwise([ask.after, *ids])):
        raise unsteady(client, ask, f"gives records whose {layer.oid} comes twice, or is not in the order that was asked for")
    is_last = not count or not (more or passed + count < total)
    following = None if is_last else Range(asked_with(ask, where=f"({told}) AND {layer.oid} > {ids[-1]}").url, after=ids[-1])
    layer.read = passed + count
    return Page(content, count, following)


def _of_range(client: Client, layer: Layer, told: str, ask: Range, page: Page, ids: list[int], *, more: bool) -> Page:
    """Make a page of what a range of object ids gave, which is what the layer said that it holds; one that was capped is parted."""
    every, size = layer.ids or [], ask.size or layer.size
    begin, end = bisect.bisect_right(every, ask.after), bisect.bisect_right(every, ask.upto)
    # Servers before 10.1 do not say that they have capped what was asked first, whatever the range.
    more = more or (not ask.size and {*ids} < {*every[begin:end]})
    if sorted(ids) == every[begin:end] and not more:
        begin, content = end, page
    elif more and 0 < page.row_count < end - begin:
        size, content = min(size, page.row_count), page._replace(content=b"", row_count=0)
    else:
        words = f"gives {page.row_count} records where it said that {layer.oid} has {end - begin}, or others than these"
        raise unsteady(client, ask, words)
    if begin == len(every):
        return content
    # The last range has no end: what came since the ids were told is found, and all is read again.
    after, is_last = every[begin] - 1, begin + size >= len(every)
    upto = Range.upto if is_last else every[begin + size - 1]
    clause = f"({told}) AND {layer.oid} >= {every[begin]}" + ("" if is_last else f" AND {layer.oid} <= {upto}")
    return content._replace(following=Range(asked_with(ask, where=clause).url, after=after, upto=upto, size=size))
