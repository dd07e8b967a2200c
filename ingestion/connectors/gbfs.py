"""Feeds of shared vehicles, GBFS 1 to 3, by the index that names them: asked for no sooner than they are made anew."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from ingestion.connectors import Reading, Request, SourceError, Strict
from ingestion.connectors.answers import NoAnswer, at, members_of, object_of, records_at, value_of_json
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.pages import Answer, Ask, Page, fault, note, read_pages, spooled, where
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import Client, client_of
from ingestion.formats import parts
from ingestion.formats.geojson import document_of, read_feature
from ingestion.formats.spool import Spool

# Where the rows of each feed are; '' for the one that is a row itself.
FEEDS = {
    "gbfs_versions": "versions", "system_information": "", "vehicle_types": "vehicle_types", "station_information": "stations",
    "station_status": "stations", "free_bike_status": "bikes", "vehicle_status": "vehicles", "system_hours": "rental_hours",
    "system_calendar": "calendars", "system_regions": "regions", "system_pricing_plans": "plans", "system_alerts": "alerts",
    "geofencing_zones": "geofencing_zones.features",
}  # fmt: skip
Feed = Literal[
    "gbfs_versions", "system_information", "vehicle_types", "station_information", "station_status", "free_bike_status", "vehicle_status",
    "system_hours", "system_calendar", "system_regions", "system_pricing_plans", "system_alerts", "geofencing_zones",
]  # fmt: skip
# Feeds of single vehicles, and what in them follows one from trip to trip; a number of ours is the key in its place.
OF_VEHICLES = ("free_bike_status", "vehicle_status")
TRACKS = ("bike_id", "vehicle_id", "rental_uris")
NUMBER, UPDATED = "vehicle_number", "feed_last_updated"
# A feed is asked for once a day at least, whatever it says: a `ttl` in milliseconds would stop it for good.
LONGEST_TTL = timedelta(days=1)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


class BrickOptions(WebOptions):
    """What a brick of feeds may say: how it is let in, how much is asked of its host, and its language, of GBFS 1 and 2."""

    language: str | None = None
    limits: Limits = POLITE


class TableOptions(Strict):
    """What a table says: the feed that it is, by the name that the index gives it."""

    feed: Feed


@dataclass
class Told:
    """What a feed says of itself: when its rows were made, for how many seconds they hold, and the version that it is written in."""

    updated: datetime | None = None
    text: str = ""
    ttl: float = 0
    version: str = ""
    rules: Any = None


def read(request: Request) -> Reading:
    """Read a feed when it may be another one than it was; raises SourceError."""
    options: TableOptions = request.table_options
    reading = Reading(request, dict(request.position))
    if tracking := sorted({*request.columns, *request.formerly} & set(TRACKS)) if options.feed in OF_VEHICLES else []:
        told = f"{request.brick}.{request.table}: {', '.join(tracking)} follows a vehicle from trip to trip, and never lands"
        raise SourceError(f"{told}. Mend: leave it out; `{NUMBER}` tells the vehicles of one reading apart.")
    client = client_of(reading)
    asked = hashlib.sha256(
        f"{client.shown(client.endpoint)} {options.feed} {request.brick_options.language} {UPDATED in request.columns}".encode()
    ).hexdigest()[:16]
    known = request.position if request.position.get("asked") == asked else {}
    now = datetime.now(UTC)
    if (due := known.get("due")) and now < datetime.fromisoformat(due):
        return reading
    ask = _feed(client, options, _index(client, request))
    spool, name, told_of = Spool(request.spool, is_private=request.is_private), f"{request.table}.ndjson", Told()
    reading.held = spool
    read = read_pages(
        client, ask, lambda answer, ask, _: _page(client, options, told_of, answer, ask), lambda: spooled(spool, name),
        known.get("validator", {}),
    )  # fmt: skip
    if read is None:
        return reading
    if told_of.updated and (before := known.get("updated")) and told_of.updated < datetime.fromisoformat(before) <= now:
        return reading  # one of several servers is behind, and gives what was read before
    reading.position = {**reading.position, "asked": asked, "validator": read.validator, **_holding(told_of, now)}
    reading.metadata = {"version": told_of.version, "ttl": told_of.ttl, "last_updated": told_of.text}
    if told_of.rules is not None:
        reading.metadata["global_rules"] = told_of.rules  # which are of no zone, and in no row
    if note(read, reading, "`feed`"):
        reading.parts = parts("ndjson", [name], reading, spool)
    reading.available_at = told_of.updated
    if not told_of.updated:
        words = f"{request.brick}.{request.table}: the feed says {told_of.text[:40]!r} for `last_updated`, which is no instant of GBFS"
        reading.warnings.append(f"{words} {told_of.version}. Mend: tell the producer")
    return reading


def _holding(told: Told, now: datetime) -> dict[str, str | None]:
    """Give until when the feed says that it is the same, and since when."""
    holds = timedelta(seconds=min(told.ttl, LONGEST_TTL.total_seconds()))
    # What has been held for some time is made anew sooner; what should have been, at any time.
    due = min(now, told.updated or now) + holds
    return {"due": due.isoformat() if due > now else None, "updated": told.updated.isoformat() if told.updated else None}


def _index(client: Client, request: Request) -> dict[str, dict[str, str]]:
    """Give the URL of each feed by language ('' where there are none), asked once for all tables of a landing."""
    ask = Ask(client.endpoint)

    def sink(stream: Any, _: Any) -> dict[str, dict[str, str]]:
        try:
            data = value_of_json(at(members_of(stream.read()), "data"))
        except NoAnswer as error:
            raise fault(client, ask, error) from None
        by_language = {"": data} if isinstance(data, dict) and "feeds" in data else data
        try:
            return {name: {each["name"]: each["url"] for each in held["feeds"]} for name, held in by_language.items()}
        except (TypeError, KeyError, AttributeError):
            raise fault(
                client, ask, "is no index of GBFS: it names no feeds", "the endpoint is the URL of gbfs.json", may_pass=False
            ) from None

    def make() -> dict[str, dict[str, str]]:
        given: dict[str, dict[str, str]] = client.fetch(ask.url, sink)
        return given

    return request.shared.once("gbfs index", make) if request.shared else make()


def _feed(client: Client, options: TableOptions, index: dict[str, dict[str, str]]) -> Ask:
    """Give what is asked for a feed; raises SourceError where the index names none, or leads where no key is to be sent."""
    request = client.reading.request
    language, first = request.brick_options.language, Ask(client.endpoint)
    names = ", ".join(sorted(index))
    if "" in index:
        feeds = index[""]
    elif language in index or (language is None and len(index) == 1):
        feeds = index[language or names]
    else:
        told = f"{where(client, first)} is written in {names or 'no language'}" + (f", not in {language}" if language else "")
        raise SourceError(f"{told}. Mend: say in the brick's options which `language` is to be read.")
    url = feeds.get(options.feed)
    if url is None:
        told = f"{where(client, first)} names no feed {options.feed}; it names {', '.join(sorted(feeds)) or 'none'}"
        raise SourceError(f"{told}. Mend: `feed` (free_bike_status is called vehicle_status in GBFS 3).")
    own, target = urlsplit(client.endpoint), urlsplit(urljoin(client.endpoint, url))
    if (own.scheme, own.netloc) != (target.scheme, target.netloc) and client.has_secrets:
        told = f"{where(client, first)} leads to another host for {options.feed} ({target.scheme}://{target.netloc})"
        raise SourceError(f"{told}. Mend: an endpoint at that host; no key is sent elsewhere.")
    query = "&".join(filter(None, (target.query, own.query if own.netloc == target.netloc and not target.query else "")))
    return Ask(target._replace(query=query).geturl())


def _page(client: Client, options: TableOptions, told: Told, answer: Answer, ask: Ask) -> Page:
    """Make the one page of a feed; raises SourceError for what is none."""
    request = client.reading.request
    try:
        members = members_of(answer.body)
        place = FEEDS[options.feed]
        records = records_at(members, f"data.{place}" if place else "data")
    except NoAnswer as error:
        raise fault(client, ask, error) from None
    ttl, version, updated = (value_of_json(at(members, name)) for name in ("ttl", "version", "last_updated"))
    told.updated, told.text, told.version = _moment(updated), str(updated), str(version or "1.0")
    told.ttl = float(ttl) if isinstance(ttl, int | float) and not isinstance(ttl, bool) and ttl > 0 else 0
    if options.feed == "geofencing_zones":
        told.rules = value_of_json(at(members, "data.global_rules"))
        records = [document_of(read_feature(each), frozenset()).encode() for each in records]
    if options.feed in OF_VEHICLES:
        try:
            records = _untracked(records)
        except NoAnswer as error:
            raise fault(client, ask, error) from None
    if UPDATED in request.columns:
        stamp = f"{told.updated:%Y-%m-%dT%H:%M:%SZ}" if told.updated else told.text
        records = [_with(each, UPDATED, stamp) for each in records]
    return Page(b"".join(record + b"\n" for record in records), len(records))


def _moment(told: Any) -> datetime | None:
    """Read an instant as GBFS 3 (RFC 3339) or those before it (seconds since 1970) write it; None for what is none."""
    try:
        moment = datetime.fromisoformat(told) if isinstance(told, str) else datetime.fromtimestamp(told, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return moment.astimezone(UTC) if moment.tzinfo and EARLIEST < moment < datetime.now(UTC) + 365 * LONGEST_TTL else None


def _untracked(records: list[bytes]) -> list[bytes]:
    """Give vehicles without what follows one from trip to trip, in an order that tells nothing, each with a number."""
    import msgspec

    kept, encode = [], msgspec.json.encode
    for record in records:
        told = object_of(record)
        members = [(name, raw) for name, raw in told.items() if name not in TRACKS]
        kept.append(b"{" + b",".join(encode(name) + b":" + bytes(raw) for name, raw in members) + b"}")
    return [_with(record, NUMBER, number) for number, record in enumerate(sorted(kept), 1)]


def _with(record: bytes, name: str, value: Any) -> bytes:
    """Give a record that begins with a member of ours."""
    rest = record.strip()[1:].lstrip()
    return json.dumps({name: value}).encode()[:-1] + (b"" if rest == b"}" else b", ") + rest
