"""The period that a mart is told over, defined once: its page, its questions and docs/questions.md all read this SELECT."""

from __future__ import annotations

from ingestion.lake import quoted
from redistribution.site.cards import Card

WHOLE = 0.9  # mean completeness from which a month is complete, and a figure told as such
WHOLE_YEAR = 0.98  # a year that lacks one of its twelve months is at 0.92
MARK = "{period}"  # stands for the SELECT in the query of a question


def whole_of(card: Card) -> float:
    """Give the completeness from which a period of a mart is complete."""
    return WHOLE_YEAR if card.is_yearly else WHOLE


def period_of(card: Card, held: set[str] | None = None, *, or_best: bool = False) -> str:
    """Write the SELECT of the periods that a mart is told over; no row where none is complete.

    The twelve months that end with the last complete one, so that each season counts once; the last complete year, for a mart
    by year. Complete is a period whose mean completeness reaches `whole_of`; any with rows is, where the mart has no
    completeness. `or_best`: where none is complete, those that end with the last month, or the year of which most is known,
    for nobody sums all that there is. `held` are the columns that there are, those of the card unless said.
    """
    assert card.time is not None
    time, completeness = _plain(card.time.name), card.completeness
    period = time if card.is_yearly or card.time.name.startswith("month") else f"cast(date_trunc('month', {time}) as date)"
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
    """Write the query of a question with the period of its mart, where it says `{period}`."""
    return sql.replace(MARK, f"({period_of(card)})") if MARK in sql else sql


def _plain(name: str) -> str:
    return name if name.isidentifier() else quoted(name)
