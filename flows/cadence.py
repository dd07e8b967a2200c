"""When a brick is read: the cron of its cadence, the instant of its next run, and whether its source is late."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ingestion.brick import Brick, endpoint_of
from ingestion.census import read_bricks
from ingestion.declaration import BrickError
from ingestion.journal import Journal
from ingestion.territory import read_territory

# Minutes past the hour are spread so that two cadences never start together.
CRONS = {"hourly": "7 * * * *", "daily": "22 5 * * *", "weekly": "37 4 * * 1", "monthly": "52 3 2 * *"}


def scheduled() -> dict[str, list[Brick]]:
    """Give the bricks by cadence; those retired are left out."""
    due: dict[str, list[Brick]] = {}
    for brick in read_bricks().values():
        if brick.meta.status != "retired":
            due.setdefault(brick.meta.cadence, []).append(brick)
    return due


def next_run(brick: Brick, now: dt.datetime | None = None) -> str | None:
    """Give when a brick is due next (ISO, to the minute, in the territory's time zone); None when it is retired or not plugged in."""
    try:
        endpoint_of(brick)
    except BrickError:
        return None
    if brick.meta.status == "retired":
        return None
    from cronsim import CronSim

    zone = ZoneInfo(read_territory().time_zone)
    start = (now or dt.datetime.now(dt.UTC)).astimezone(zone)
    return next(CronSim(CRONS.get(brick.meta.cadence, brick.meta.cadence), start)).isoformat(timespec="minutes")


def pause(brick: Brick) -> float:
    """Give the seconds that its cadence leaves between the next two readings of a brick."""
    from cronsim import CronSim

    ticks = CronSim(CRONS.get(brick.meta.cadence, brick.meta.cadence), dt.datetime.now(ZoneInfo(read_territory().time_zone)))
    first, second = next(ticks), next(ticks)
    return (second - first).total_seconds()


class Promise(NamedTuple):
    """How many days ago a source last gave something, and whether that is longer than its freshness asks (of a retired one: never)."""

    last: str
    days: float
    is_late: bool


def promise_of(journal: Journal, brick: Brick) -> Promise | None:
    """Give how a brick stands beside its promise; None when it never landed. The clock of a synthetic lake is that of its last load."""
    last = max((load["read_at"] for load in journal.accepted(brick.name)), default=None)
    now = journal.as_of() if journal.is_synthetic else dt.datetime.now(dt.UTC).isoformat()
    if not last or not now:
        return None
    since = dt.datetime.fromisoformat(now) - dt.datetime.fromisoformat(last)
    limit = dt.timedelta(days=brick.config.freshness.error_after.days)
    return Promise(last, since / dt.timedelta(days=1), since > limit and brick.meta.status != "retired")


def lateness(journal: Journal, brick: Brick) -> str | None:
    """Say that a source has given nothing for longer than its freshness asks; None when it is on time, or never landed."""
    promise = promise_of(journal, brick)
    if promise is None or not promise.is_late:
        return None
    return f"nothing new since {promise.last[:16]}, more than {brick.config.freshness.error_after.days:g} days"
