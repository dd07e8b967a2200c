"""Hours since 1970, the clocks of Paris, and what kind of day it is there: by rule, for any year."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

PARIS = ZoneInfo("Europe/Paris")
# Zone B school holidays, [first day, day of return), from summer 2023 to summer 2026; later years repeat the last one.
_VACATIONS = tuple(
    """
    2023-07-08 2023-09-04 2023-10-21 2023-11-06 2023-12-23 2024-01-08 2024-02-24 2024-03-11 2024-04-20
    2024-05-06 2024-07-06 2024-09-02 2024-10-19 2024-11-04 2024-12-21 2025-01-06 2025-02-08 2025-02-24
    2025-04-05 2025-04-22 2025-07-05 2025-09-01 2025-10-18 2025-11-03 2025-12-20 2026-01-05 2026-02-14
    2026-03-02 2026-04-11 2026-04-27 2026-07-04 2026-09-01
    """.split()  # noqa: SIM905
)


def epoch_hour(day: dt.date) -> int:
    """Hours from 1970 to midnight UTC of that day."""
    return (day - dt.date(1970, 1, 1)).days * 24


def to_instant(hour: float) -> dt.datetime:
    """The instant, in UTC, of a number of hours since 1970."""
    return dt.datetime.fromtimestamp(round(hour * 3600), dt.UTC)


def local_hours(hours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hours since 1970 on the clocks of Paris, for UTC hours: the last Sundays of March and October at 01:00 UTC."""
    years = range(int(hours.min()) // 8766 + 1969, int(hours.max()) // 8766 + 1972)
    changes = []
    for year in years:
        for month in (3, 10):
            last = dt.date(year, month, 31)
            changes.append(epoch_hour(last - dt.timedelta(days=(last.weekday() + 1) % 7)) + 1)
    return hours + 1 + np.searchsorted(np.array(changes), hours, side="right") % 2


def day_kind(day: dt.date) -> int:
    """0 for a weekday, 1 Saturday, 2 Sunday or bank holiday, 3 weekday of school holidays (zone B)."""
    golden, century = day.year % 19, day.year // 100
    epact = (century - century // 4 - (8 * century + 13) // 25 + 19 * golden + 15) % 30
    moon = epact - (epact // 28) * (1 - (29 // (epact + 1)) * ((21 - golden) // 11))
    sunday = moon - (day.year + day.year // 4 + moon + 2 - century + century // 4) % 7
    easter = dt.date(day.year, 3, 28) + dt.timedelta(days=sunday)
    fixed = {(1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25)}
    if day.weekday() == 6 or (day.month, day.day) in fixed or (day - easter).days in (1, 39, 50):
        return 2
    if day.weekday() == 5:
        return 1
    while day >= dt.date(2026, 9, 1):
        day -= dt.timedelta(days=364)
    return 3 if any(a <= day.isoformat() < b for a, b in zip(_VACATIONS[::2], _VACATIONS[1::2], strict=True)) else 0
