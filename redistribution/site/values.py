"""A value, its unit and its period as a page writes them, in its language: what is not known is said, never shown as nothing."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Mapping
from typing import Any

from redistribution.meta import listed_of
from redistribution.site.cards import Card, Column
from redistribution.site.figures import COUNT, Figures
from redistribution.site.words import Language, is_share


def value_of(language: Language, column: Column, value: float | None, factor: float = 1.0) -> str:
    """Write a figure of a column, scaled; what a missing one means is said."""
    if value is None:
        return language.nothing(column)
    if is_share(column):
        return language.share(value)
    return language.number(value if isinstance(value, int) and factor == 1 else value / factor)


def title_of(language: Language, column: Column) -> str:
    """Write the title of a measure, or of the count that stands for it."""
    return language("count_title") if column is COUNT else language.pick(column.label)


def unit_beside(language: Language, card: Card, column: Column, unit: str | None) -> str:
    """Write the unit beside figures of a column; a share carries its own."""
    return "" if is_share(column) else unit_of(language, card, unit)


def unit_of(language: Language, card: Card, unit: str | None, *, is_told: bool = False) -> str:
    """Write a unit in the language of the page. One that a column tells row by row is told beside its rows: not here, unless asked."""
    if unit is None:
        return ""
    if card.tells_unit(unit):
        return language("unit_of_column", language.pick(card.columns[unit].label)) if is_told else ""
    return language.pick(card.units[unit]) if unit in card.units else unit


def window_of(language: Language, card: Card, figures: Figures) -> str:
    """Say over which period figures are told."""
    if figures.window is None:
        return language("no_period")
    first, last = figures.window
    if isinstance(last, int):
        return language("in_year", last)
    assert isinstance(first, dt.date)
    is_year = (last.year * 12 + last.month) - (first.year * 12 + first.month) == 11
    return language("over_year" if is_year else "over_some", language.period(first), language.period(last))


def series_name(language: Language, series: Column | None, value: Any) -> str:
    """Write a value of the column of the series; nothing where there is none."""
    return language.cell(series, value) if series and value is not None else ""


def meta_text(language: Language, card: Card, name: str) -> str:
    """Give what the YAML of a mart says under a name, in the language of the page where it says it."""
    return language("semicolon").join(listed_of(card.meta.get(f"{name}_{language.code}") or card.meta.get(name)))


def within_sentence(text: str) -> str:
    """Write a title within a sentence; what is in capitals stays so."""
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def in_kilobytes(language: Language, count: int | None) -> str:
    """Write a number of bytes in kilobytes."""
    return language.number(None if count is None else max(1, round(count / 1000)) if count else 0)


def spent_cells(language: Language, spent: Mapping[str, float]) -> list[str]:
    """Write the cells of what something cost."""
    figures = [language.number(spent.get("cpu_s"), 1), language.number(spent.get("energy_wh"), 3)]
    return [cell(figure, is_number=True) for figure in figures]


def row_cell(language: Language, column: Column, value: Any) -> str:
    """Write the cell of a value of a row."""
    if isinstance(value, dt.date | dt.datetime):
        is_month = column.name.startswith("month")
        return cell(language.period(value) if is_month else language.date(value), sort=value.isoformat())
    return cell(language.cell(column, value), is_number=column.is_number)


def cell(text: str, *, is_number: bool = False, sort: str | None = None) -> str:
    """Write a cell; HTML needs no end of it."""
    order = f' data-v="{html.escape(sort)}"' if sort is not None else ""
    return f"<td{' class=n' if is_number else ''}{order}>{html.escape(text)}"


def heading(label: str, unit: str | None = None, *, is_number: bool = False) -> dict[str, Any]:
    """Give the head of a column of a table."""
    return {"label": label, "unit": unit or "", "is_number": is_number}


def legend_entry(label: str, shade: str = "") -> dict[str, str]:
    """Give an entry of a legend: hatched unless it has a shade."""
    return {"label": label, "shade": shade, "fill": "" if shade else "url(#none)"}
