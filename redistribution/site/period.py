"""The period that a mart is told over, defined once: its page, its questions and docs/questions.md all read this SELECT."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator

from ingestion.lake import quoted
from redistribution.site.cards import Card

Period = dt.date | int  # the first day of a month, or a year

COMPLETE_MONTH = 0.9  # mean completeness from which a month is complete, and a figure told as such
COMPLETE_YEAR = 0.98  # a year that lacks one of its twelve months is at 0.92
PLACEHOLDER = "{period}"  # stands for the SELECT in the query of a question, after the column that dates a row
USED = re.compile(r"([\w.]+)\s+(?:not\s+)?in\s*\{period\}|\{period\}", re.IGNORECASE)


def whole_of(card: Card) -> float:
    """Give the completeness from which a period of a mart is complete."""
    return COMPLETE_YEAR if card.is_yearly else COMPLETE_MONTH


def period_of(card: Card, held: set[str] | None = None, *, or_best: bool = False) -> str:
    """Write the SELECT of the periods that a mart is told over; no row where none is complete.

    The twelve months that end with the last complete one, so that each season counts once; the last complete year, for a mart
    by year. Complete is a period whose mean completeness reaches `whole_of`; any with rows is, where the mart has no
    completeness. `or_best`: where none is complete, those that end with the last month, or the year of which most is known,
    for nobody sums all that there is. `held` are the columns that there are, those of the card unless said.
    """
    assert card.time is not None
    time, completeness = _plain(card.time.name), card.completeness
    period = time if _is_of_periods(card) else _month_of(time)
    known = f"avg({_plain(completeness.name)})" if completeness and completeness.name in (held or card.columns) else None
    is_complete = f"{known} >= {whole_of(card)}" if known else "true"
    last, length = f"max(case when {is_complete} then {period} end) over ()", "1" if card.is_yearly else "interval 12 month"
    if or_best:
        most = f"{known} desc, " if card.is_yearly and known else ""
        last = f"coalesce({last}, first_value({period}) over (order by {most}{period} desc))"
    return (
        f"select period from (select {period} as period, {last} as last_period "
        f"from {_plain(card.name)} where {time} is not null group by {period}) as periods "
        f"where period <= last_period and period > last_period - {length}"
    )


def with_period(sql: str, card: Card) -> str:
    """Write the query of a question with the period of its mart, where it says `{period}`: of a mart by day, the days of those months."""
    if PLACEHOLDER not in sql:
        return sql
    period = period_of(card)
    if card.time and not _is_of_periods(card):
        time = _plain(card.time.name)
        period = f"select {time} from {_plain(card.name)} where {_month_of(time)} in ({period})"
    return sql.replace(PLACEHOLDER, f"({period})")


def misuses(sql: str, card: Card) -> Iterator[tuple[str, str]]:
    """Give what is wrong with each `{period}` of a query, and the mend: compared with another column, it leaves rows out in silence."""
    for used in USED.finditer(sql):
        if card.time is None:
            yield "says {period}, and no column of the mart dates a row", "take it away, or name that column: `display: {time: ...}`"
        elif (used[1] or "").rpartition(".")[2].lower() != card.time.name.lower():
            yield f"compares {used[1] or 'an expression'} with {{period}}", f"where {card.time.name} in {{period}}"


def periods_between(first: Period, last: Period, *, is_yearly: bool) -> list[Period]:
    """Give every period from one to another, those without any row included."""
    if is_yearly:
        return list(range(int(first), int(last) + 1))  # type: ignore[arg-type]
    found: list[Period] = [first]
    while found[-1] < last:  # type: ignore[operator]
        found.append(months_from(found[-1], 1))
    return found


def months_from(month: Period, count: int) -> dt.date:
    """Give the first day of the month that comes `count` months after another, before it when negative."""
    assert isinstance(month, dt.date)
    index = month.year * 12 + month.month - 1 + count
    return dt.date(index // 12, index % 12 + 1, 1)


def _is_of_periods(card: Card) -> bool:
    """Say whether what dates a row is the period itself, a year or the first day of a month; else it is a day."""
    return card.is_yearly or (card.time is not None and card.time.name.startswith("month"))


def _month_of(time: str) -> str:
    return f"cast(date_trunc('month', {time}) as date)"


def _plain(name: str) -> str:
    return name if name.isidentifier() else quoted(name)
