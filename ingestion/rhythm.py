"""How often a brick is read, and how long is too long: what a YAML says of time spans."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from ingestion.connectors import Strict

CADENCES = ("hourly", "daily", "weekly", "monthly")
CRON = r"^(([\dA-Z]{1,3}|\*)([-/,]([\dA-Z]{1,3}|\*))*( |$)){5}$"


def _cadence(text: str) -> str:
    """Raise ValueError for what is no cadence: no name of one, no cron, or one that no clock has or that never comes."""
    if text in CADENCES:
        return text
    if not re.search(CRON, text):
        raise ValueError(
            f"'{text}' is none of {', '.join(CADENCES)}, nor five cron fields, as in 30 5 * * 1 (minute hour day month weekday)"
        )
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(text, dt.datetime(2024, 1, 1)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"'{text}' is no cron that comes: {error or 'no such day'}. Mend: minute hour day month weekday") from None
    return text


Cadence = Annotated[
    str,
    AfterValidator(_cadence),
    WithJsonSchema({"anyOf": [{"enum": list(CADENCES), "type": "string"}, {"pattern": CRON, "type": "string"}]}),
]


class Period(Strict):
    """A length of time."""

    EXAMPLE: ClassVar[str] = "{count: 2, period: day}"
    count: int = Field(gt=0)
    period: Literal["minute", "hour", "day", "week", "month", "year"]

    @property
    def days(self) -> float:
        """Length in days, a month being 30 and a year 365."""
        return self.count * {"minute": 1 / 1440, "hour": 1 / 24, "day": 1, "week": 7, "month": 30, "year": 365}[self.period]


class Freshness(Strict):
    """When dbt says that a source is late."""

    EXAMPLE: ClassVar[str] = "{warn_after: {count: 2, period: day}, error_after: {count: 7, period: day}}"
    warn_after: Period
    error_after: Period
