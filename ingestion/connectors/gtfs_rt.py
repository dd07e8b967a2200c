"""Feeds of GTFS Realtime: updates of trips and alerts, never the positions of vehicles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import field_validator

from ingestion.connectors import Reading, Request, SourceError, Strict
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.pages import PAGE_BYTES, Answer, Ask, Pages, fault, note, spooled, where
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import Client, client_of
from ingestion.formats import parts
from ingestion.formats.spool import UNDECODED, Spool

FEED_AT = "feed_timestamp"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What has begun to be spoken: another one may mean other things.
VERSIONS = ("1", "2")
EARLIEST, AHEAD = datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=365)
OF_TRIP = ("trip_id", "route_id", "direction_id", "start_date", "start_time", "schedule_relationship")


class BrickOptions(WebOptions):
    """What a brick of realtime feeds may say: how it is let in, and how much is asked of its host."""

    limits: Limits = POLITE


class TableOptions(Strict):
    """What a table says: the path of its feed below the endpoint, and what of it is its rows.

    `trip_updates`: a row for each stop of a trip that is told of; `alerts`: a row for each alert.
    """

    path: str = ""
    entities: Literal["trip_updates", "alerts"]

    @field_validator("entities", mode="before")
    @classmethod
    def _tracks_nobody(cls, told: Any) -> Any:
        if told in ("vehicle_positions", "vehicles", "vehicle"):
            raise ValueError("positions of vehicles are never read: they follow a driver; trip_updates tell how late a trip is")
        return told


def read(request: Request) -> Reading:
    """Read a feed, whole; raises SourceError for what is none, or tells differences only."""
    options: TableOptions = request.table_options
    reading = Reading(request, dict(request.position))
    client = client_of(reading)
    place = urlsplit(client.endpoint)
    path = f"{place.path}/{quote(options.path.lstrip('/'), safe='/:@!$&()*+,;=-._~%')}" if options.path else place.path
    ask = Ask(place._replace(path=path).geturl())
    name = f"{request.brick}.{request.table}"

    def fetch() -> tuple[Any, Reading]:
        return client.fetch(ask.url, lambda stream, headers: _feed(client, ask, stream, headers)), reading

    # One feed may hold what several tables are: all of them see the same of it.
    feed, asking = request.shared.once(f"gtfs_rt {ask.url}", fetch) if request.shared else fetch()
    if asking.is_synthetic:
        reading.note_sandbox(asking.read_at)
    told = feed.header.timestamp if feed.header.HasField("timestamp") else None
    made = _moment(told)
    reading.metadata = {"gtfs_realtime_version": feed.header.gtfs_realtime_version, "timestamp": told}
    now, before = datetime.now(UTC), request.position.get("made")
    if made and before and made < datetime.fromisoformat(before) <= now:
        return reading  # one of several servers is behind, and gives what was read before
    if made is None:
        words = f"{name}: the feed says {told} for when it was made, which is no instant in seconds since 1970"
        reading.warnings.append(f"{words}. Mend: tell the producer")
    if gone := sum(entity.is_deleted for entity in feed.entity):
        words = f"{name}: {gone} entities of a whole feed are said to be deleted, and left out"
        reading.warnings.append(f"{words}. Mend: tell the producer: whatever a whole feed does not hold is deleted")
    reading.available_at = made
    reading.position = {**reading.position, "made": made.isoformat() if made else None}
    stamp = {FEED_AT: _instant(told)} if FEED_AT in request.columns else {}
    rows = _stops(feed) if options.entities == "trip_updates" else _alerts(feed)
    spool, file, read = Spool(request.spool, is_private=request.is_private), f"{request.table}.ndjson", Pages(pages=1)
    reading.held = spool
    with spooled(spool, file) as take:
        for row in rows:
            line = _line({**stamp, **row})
            read.digest.update(line)
            read.rows += 1
            take(line)
    if note(read, reading, "`path` and `entities`"):
        reading.parts = parts("ndjson", [file], reading, spool)
    return reading


def _line(row: dict[str, Any]) -> bytes:
    """Write a row as a line; of bytes that are no text, which protobuf lets through, one that landing refuses."""
    told = json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=lambda raw: raw.decode("utf-8", UNDECODED))
    return told.encode("utf-8", UNDECODED) + b"\n"


def _feed(client: Client, ask: Ask, stream: Any, headers: Any) -> Any:
    """Read a feed message; raises SourceError for what is none, was cut, or cannot be known not to have been."""
    from google.protobuf.message import DecodeError
    from google.transit.gtfs_realtime_pb2 import FeedHeader, FeedMessage

    body = stream.read(PAGE_BYTES + 1)
    if len(body) > PAGE_BYTES:
        raise SourceError(f"{where(client, ask)} answers more than {PAGE_BYTES >> 20} MB. Mend: check `path`.")
    if not Answer(body, headers, 200).is_bounded:
        # A feed that is cut between two of its entities is a feed.
        raise fault(client, ask, "says nowhere how long its answer is: a cut could not be seen", "have the producer send Content-Length")
    feed = FeedMessage()
    try:
        feed.ParseFromString(body)
    except DecodeError:
        begun = "a page of HTML, or XML" if body.lstrip()[:1] == b"<" else f"{len(body)} bytes"
        raise fault(client, ask, f"is no feed of GTFS Realtime, or was cut ({begun})") from None
    header = feed.header
    if body and not feed.IsInitialized():
        raise fault(client, ask, f"lacks what a feed must hold ({', '.join(feed.FindInitializationErrors()[:3])})")
    version = str(header.gtfs_realtime_version)
    if version.partition(".")[0] not in VERSIONS:
        told = f"is no feed of GTFS Realtime 1 or 2 ({len(body)} bytes, version {version[:20]!r})"
        raise fault(client, ask, told, "check `path`; a feed of GTFS (stops.txt, ...) is read by `files`")
    if header.incrementality == FeedHeader.DIFFERENTIAL:
        told = "tells differences only (incrementality DIFFERENTIAL): what it does not hold may still be so"
        raise fault(client, ask, told, "ask the producer for the whole feed (FULL_DATASET)", may_pass=False)
    return feed


def _stops(feed: Any) -> Iterator[dict[str, Any]]:
    """Give a row for each stop of each trip that is told of, from 1, and one, 0, for a trip that tells of none; what is not said is null.

    The vehicle that makes the trip is left out: it is followed by it.
    """
    for entity in feed.entity:
        if entity.is_deleted or not entity.HasField("trip_update"):
            continue
        update = entity.trip_update
        trip = _set(update.trip, OF_TRIP)
        told = {"trip_schedule_relationship": trip.pop("schedule_relationship")}
        told |= {f"trip_{name}": value for name, value in _set(update, ("timestamp", "delay")).items()}
        told["trip_timestamp"] = _instant(told["trip_timestamp"])
        head = {"id": entity.id, **trip, **told, "trip_properties": plain(update.trip_properties) or None}
        for number, stop in enumerate(update.stop_time_update or [None], 1):
            yield {**head, "stop_number": number if stop is not None else 0, **_stop(stop)}


def _stop(stop: Any) -> dict[str, Any]:
    """Give the columns of a stop of a trip, each null where there is none."""
    names = ("stop_sequence", "stop_id", "schedule_relationship", "departure_occupancy_status")
    told = _set(stop, names)
    told["stop_schedule_relationship"] = told.pop("schedule_relationship")
    for name in ("arrival", "departure"):
        event = getattr(stop, name) if stop is not None and stop.HasField(name) else None
        of_event = _set(event, ("delay", "time", "uncertainty", "scheduled_time"))
        for each in ("time", "scheduled_time"):
            of_event[each] = _instant(of_event[each])
        told |= {f"{name}_{each}": value for each, value in of_event.items()}
    return {**told, "stop_time_properties": (plain(stop.stop_time_properties) if stop is not None else None) or None}


def _alerts(feed: Any) -> Iterator[dict[str, Any]]:
    """Give a row for each alert, with its lists: when it is active, whom it is for, its texts by language."""
    for entity in feed.entity:
        if not entity.is_deleted and entity.HasField("alert"):
            alert = entity.alert
            told = plain(alert)
            names = (field.name for field in alert.DESCRIPTOR.fields)
            yield {"id": entity.id, **{name: told.get(name) for name in names}}


def plain(message: Any) -> dict[str, Any]:
    """Give what is set in a message, by name: instants in UTC, enumerations in words, texts as lists of `{text, language}`."""
    told: dict[str, Any] = {}
    for field, value in message.ListFields():
        values = list(value) if field.is_repeated else [value]
        if field.message_type is not None:
            kind = field.message_type.name
            values = [[plain(part) for part in each.translation] if kind == "TranslatedString" else plain(each) for each in values]
        elif field.enum_type is not None:
            values = [field.enum_type.values_by_number[each].name for each in values]
        elif message.DESCRIPTOR.name == "TimeRange":
            values = [_instant(each) for each in values]
        told[field.name] = values if field.is_repeated else values[0]
    return {
        **told,
        **_unknown(message, [field for field in message.DESCRIPTOR.fields if field.enum_type is not None and field.name not in told]),
    }


def _set(message: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Give fields of a message, null where they are not set: nothing is said then, which is no 0."""
    if message is None:
        return dict.fromkeys(names)
    fields = message.DESCRIPTOR.fields_by_name
    told: dict[str, Any] = {}
    for name in names:
        field, value = fields[name], getattr(message, name) if message.HasField(name) else None
        if field.enum_type is not None:
            told[name] = field.enum_type.values_by_number[value].name if value is not None else _unknown(message, [field]).get(name)
        else:
            told[name] = value
    return told


def _unknown(message: Any, fields: list[Any]) -> dict[str, str]:
    """Give the numbers of enumerated fields that are newer than what is known of them here: they would pass for not said."""
    if not fields:
        return {}
    from google.protobuf.unknown_fields import UnknownFieldSet

    held = {each.field_number: each.data for each in UnknownFieldSet(message)}
    return {field.name: str(held[field.number]) for field in fields if field.number in held}


def _moment(seconds: int | None) -> datetime | None:
    """Give an instant in UTC, None for what is none that a feed may have been made at."""
    try:
        moment = EPOCH + timedelta(seconds=seconds or 0)
    except OverflowError:
        return None
    return moment if EARLIEST < moment < datetime.now(UTC) + AHEAD else None


def _instant(seconds: int | None) -> str | int | None:
    """Write an instant in UTC (ISO 8601); what is too far to be one stays a number, which landing refuses."""
    if seconds is None:
        return None
    try:
        return f"{(EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()}Z"
    except OverflowError:
        return seconds
