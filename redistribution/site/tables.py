"""The tables of a mart, of its entities and of its rows: how much of them is shown is said, and each row leads to its receipt."""

from __future__ import annotations

import html
import shlex
from typing import Any

from markupsafe import Markup

from redistribution.site.cards import FEW_VALUES, Card
from redistribution.site.figures import Figures
from redistribution.site.period import whole_of
from redistribution.site.values import (
    cell,
    heading,
    row_cell,
    series_name,
    title_of,
    unit_beside,
    value_of,
    window_of,
    within_sentence,
)
from redistribution.site.words import Language, scaled

ENTITIES_BYTES = 32_000


def entities_table(language: Language, card: Card, figures: Figures) -> dict[str, Any] | None:
    """Lay out the entities over the window, the largest first; None where each row is one of them already."""
    if not figures.entities or card.entity is None or (card.time is None and card.series is None):
        return None
    scales = [
        scaled(column.unit, max([abs(entity.values[i] or 0) for entity in figures.entities], default=0))
        for i, column in enumerate(figures.shown)
    ]
    subject = language.pick((card.entity_name or card.entity).label)
    heads = [heading(subject)]
    for column, (unit, _) in zip(figures.shown, scales, strict=True):
        label = title_of(language, column)
        heads.append(heading(label, unit_beside(language, card, column, unit), is_number=True))
    has_change = any(entity.change is not None for entity in figures.entities)
    has_share = figures.completeness is not None
    heads += [heading(language("one_year_change"), is_number=True)] if has_change else []
    heads += [heading(language("completeness"), is_number=True)] if has_share else []
    rows, size = [], 0
    for entity in figures.entities[:500]:
        cells = [
            cell(value_of(language, column, value, factor), is_number=True)
            for column, value, (_, factor) in zip(figures.shown, entity.values, scales, strict=True)
        ]
        cells += [cell(language.share(entity.change, is_signed=True), is_number=True)] if has_change else []
        mark = "◪ " if entity.completeness is not None and entity.completeness < whole_of(card) else ""
        cells += [cell(mark + language.share(entity.completeness), is_number=True)] if has_share else []
        row = f'<tr><th scope="row">{html.escape(entity.name)}{"".join(cells)}'
        size += len(row.encode())
        if size > ENTITIES_BYTES:
            break
        rows.append(row)
    window = window_of(language, card, figures)
    caption = language("by_caption", window[0].upper() + window[1:])
    if len(rows) < len(figures.entities):
        caption = f"{caption} {len(rows)} / {len(figures.entities)}."
    return {"title": language("by", within_sentence(subject)), "heads": heads, "rows": Markup("".join(rows)), "caption": caption}


def rows_table(language: Language, card: Card, figures: Figures, budget: int, *, has_receipt: bool) -> dict[str, Any] | None:
    """Lay out the latest rows, as many as `budget` bytes hold."""
    if not figures.rows:
        return None
    heads = [
        heading(language.pick(column.label), unit_beside(language, card, column, column.unit), is_number=column.is_number)
        for column in figures.columns
    ]
    written, size, in_window = [], 0, 0
    codes = _picked(figures)
    for row in figures.rows:
        cells = [row_cell(language, column, value) for column, value in zip(figures.columns, row.values, strict=True)]
        head, told = cells[0].split(">", 1)
        if has_receipt:
            typed = html.escape(" ".join(shlex.quote(each) for each in row.key))
            told = f'<a href="#x" title="{typed}">{told}</a>'
        marks = f" class=c{codes.index(row.pick) + 1}" if row.pick in codes else ""
        marks += " id=w" if row.is_in_window and not in_window else ""
        text = f"<tr{marks}>{head.replace('<td', '<th scope=row', 1)}>{told}{''.join(cells[1:])}"
        size += len(text.encode())
        if size > budget:
            break
        written.append(text)
        in_window += row.is_in_window
    is_all = len(written) == figures.row_count
    caption = (
        language("all_rows_caption", language.number(figures.row_count))
        if is_all
        else language("rows_caption", language.number(len(written)), language.number(figures.row_count))
    )
    if figures.window and in_window:
        caption = f"{caption} {language('of_window', language.number(in_window), language.number(figures.in_window))}"
    shown = {column.name for column in figures.columns}
    left = [language.pick(column.label) for column in card.columns.values() if column.name not in shown]
    return {
        "heads": heads, "rows": Markup("".join(written)), "caption": caption, "left": ", ".join(left),
        "href": "#w" if in_window else "#r", "picks": [series_name(language, figures.series, code) for code in codes],
        "pick": language.pick(figures.series.label) if figures.series else "",
        "has_not_concerned": any(column.empty_means == "not_concerned" for column in figures.columns),
    }  # fmt: skip


def _picked(figures: Figures) -> list[str]:
    """Give the codes by which the rows can be picked: those of the series, where there are two at least."""
    codes = sorted({row.pick for row in figures.rows if row.pick})
    return codes if 1 < len(codes) <= FEW_VALUES else []
