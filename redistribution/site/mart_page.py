"""What the page of a mart says: no figure stands without what it lacks, what is estimated of it, and the query that gives it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redistribution.site import draw, linked
from redistribution.site.cards import Card, Origin
from redistribution.site.drawn import chart_of, map_of
from redistribution.site.figures import COUNT, FILE, Answer, Figure, Figures
from redistribution.site.linked import Download, Place, Standing
from redistribution.site.period import whole_of
from redistribution.site.tables import entities_table, rows_table
from redistribution.site.values import in_kilobytes, meta_text, title_of, unit_beside, unit_of, value_of, window_of, within_sentence
from redistribution.site.words import Language, scaled


def mart_page(
    language: Language, standing: Standing, figures: Figures, downloads: Sequence[Download], budget: int, place: Place
) -> dict[str, Any]:
    """Give all that the template of a mart's page shows; its rows take `budget` bytes at most."""
    card, record = standing.card, standing.record
    reasons = meta_text(language, card, "reasons_not_open")
    return {
        "card": card,
        "meta": lambda name: meta_text(language, card, name),
        "decision": _decision(card),
        "fresh": _fresh(language, standing, figures),
        "is_late": standing.is_late,
        "licences": ", ".join(sorted({language.of("licences", origin.licence) for origin in card.origins})),
        "withheld": language("verdict_withheld", language.date(standing.withheld[0]), standing.withheld[1]) if standing.withheld else None,
        "window": window_of(language, card, figures),
        "period": figures.window,
        "figures": [_figure(language, card, figure, figures) for figure in figures.figures],
        "left_open": ", ".join(language.period(each) for each in figures.left_open),
        "questions": questions_of(language, card, figures),
        "chart": chart_of(language, card, figures.chart),
        "map": map_of(language, card, figures, place),
        "entities": entities_table(language, card, figures),
        "rows": rows_table(language, card, figures, budget, has_receipt=standing.receipt is not None),
        "queries": [(language.pick(figure.column.label), figure.sql.replace(FILE, file_of(card, downloads))) for figure in figures.figures],
        "downloads": [
            {
                "href": each.href, "name": each.name, "label": each.label,
                "size": f"{in_kilobytes(language, each.size)} {language('kilobytes')}",
            }
            for each in downloads
        ],
        "no_csv": not any(each.href.endswith(".csv") for each in downloads),
        "linked": linked.dataset(language, place, standing, figures, downloads),
        "estimated": ", ".join(language.pick(column.label) for column in card.estimated),
        "label_of": lambda name: language.pick(card.columns[name].label) if name in card.columns else name,
        "unit_of": lambda unit: unit_of(language, card, unit, is_told=True),
        "grain": ", ".join(within_sentence(language.pick(card.columns[name].label)) for name in card.grain if name in card.columns),
        "reasons": reasons,
        "origins": [_origin(language, origin, standing) for origin in card.origins],
        "verdict": language("verdict_accepted", language.date(standing.at), record["accepted_because"])
        if record.get("accepted_because")
        else language("verdict_published", language.date(standing.at)),
        "completeness": _completeness(language, card, figures),
        "warnings": (record.get("profile") or {}).get("warnings", []),
        "lineage": [(language.of("layers", layer), names) for layer, names in card.lineage.items()],
        "receipt": {
            "seq": standing.seq, "run": standing.run_id, "digest": standing.digest, "href": standing.receipt,
            "key": " ".join(name.upper() for name in card.grain),
        },
    }  # fmt: skip


def mart_summary(language: Language, standing: Standing, figures: Figures) -> dict[str, Any]:
    """Give what the home shows of a mart."""
    card, chart = standing.card, figures.chart
    first = figures.figures[0] if figures.figures else None
    totals = [
        sum(values[i] or 0 for _, values in chart.series) if chart and chart.column.aggregate == "sum" else None
        for i in range(len(chart.periods) if chart else 0)
    ]
    return {
        "name": card.name,
        "page": f"{card.name}.html",
        "label": card.label,
        "description": card.description,
        "decision": _decision(card),
        "figure": _figure(language, card, first, figures) if first else None,
        "window": window_of(language, card, figures),
        "spark": draw.spark(totals) if any(totals) else "",
        "fresh": _fresh(language, standing, figures),
        "is_late": standing.is_late,
        "access_class": card.access_class,
        "withheld": standing.withheld,
    }


def questions_of(language: Language, card: Card, figures: Figures) -> list[dict[str, Any]]:
    """Give the questions that a mart answers, with their answers where they have one."""
    found = []
    answers: Iterable[Answer | None] = figures.answers
    for number, (question, answer) in enumerate(zip(card.meta.get("questions") or (), answers, strict=False)):
        text = question.get(language.code) or question.get("en") or ""
        told: dict[str, Any] = {"text": text, "page": f"{card.name}.html", "id": f"{card.name}.{number}", "shown": None}
        if answer and answer.value is not None:
            value = answer.value
            is_figure = not isinstance(value, bool | str) and isinstance(value, int | float)
            unit, factor = scaled(answer.unit, abs(value)) if is_figure else (answer.unit or "", 1.0)
            told["shown"] = language.number(value if factor == 1 else value / factor) if is_figure else str(value)
            told |= {"raw": str(value), "unit": unit_of(language, card, unit), "change": ""}
            if is_figure and unit == "%":
                told |= {"shown": language.share(value / 100), "unit": ""}
            if is_figure and answer.before:
                told["change"] = language("change", language.share(value / answer.before - 1, is_signed=True))
        found.append(told)
    return found


@dataclass
class Shown:
    """A figure as it is shown."""

    name: str
    label: str
    raw: str
    shown: str
    unit: str
    change: str
    marks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_low(self) -> bool:
        """Whether it is to look as what it is: incomplete or estimated."""
        return bool(self.marks)


def _figure(language: Language, card: Card, figure: Figure, figures: Figures) -> Shown:
    column, value = figure.column, figure.value
    unit, factor = scaled(column.unit, abs(value or 0))
    shown = value_of(language, column, value, factor)
    told = language("change", language.share(figure.change, is_signed=True)) if figure.change is not None else language("no_change")
    marks = []
    if figures.completeness is not None and figures.completeness < whole_of(card) and column is not COUNT:
        marks.append(f"{language('incomplete')}{language('colon')}{language('incomplete_because', language.share(figures.completeness))}")
    notes = []
    if figure.lacking and column.empty_means == "not_concerned":
        notes.append(language.count("not_concerned_rows", figure.lacking))
    elif figure.lacking:
        marks.append(f"{language('incomplete')}{language('colon')}{language.count('lacking', figure.lacking)}")
    if column.nature == "estimated":
        marks.append(language("estimated"))
    label = title_of(language, column)
    told_unit = unit_beside(language, card, column, unit)
    return Shown(column.name, label, "" if value is None else repr(value), shown, told_unit, told, marks, notes)


def _completeness(language: Language, card: Card, figures: Figures) -> str:
    if figures.completeness is None:
        return meta_text(language, card, "completeness_why") or language("completeness_unknown")
    low, count = language.number(figures.low_rows), language.number(figures.in_window)
    return language("completeness_is", language.share(figures.completeness), low, count, language.share(whole_of(card)))


def _fresh(language: Language, standing: Standing, figures: Figures) -> str:
    published = language("published_on", language.date(standing.at))
    if figures.until is None:
        return published[0].upper() + published[1:]
    until = figures.until if isinstance(figures.until, int) else None
    if until is None:
        day = figures.until
        assert isinstance(day, dt.date)
        is_month = standing.card.time is not None and standing.card.time.name.startswith("month")
        return f"{language('data_until', language.period(day) if is_month else language.date(day))}, {published}"
    return f"{language('data_until', until)}, {published}"


def file_of(card: Card, downloads: Sequence[Download]) -> str:
    """Name the file to download as DuckDB reads it where it was saved; all of them, of a mart of several."""
    names = [each.name for each in downloads if each.name.endswith(".parquet")]
    return f"'{names[0]}'" if len(names) == 1 else f"'{card.name}-*.parquet'"


def _decision(card: Card) -> dict[str, str]:
    return {key.removeprefix("decision_"): str(value) for key, value in card.meta.items() if key.startswith("decision_") and value}


def _origin(language: Language, origin: Origin, standing: Standing) -> dict[str, str]:
    refused, total = standing.refused.get(origin.name, (0, 0))
    counted = language("refused_are", language.number(refused), language.number(total), language.share(refused / total)) if total else ""
    return {
        "title": language.pick(origin.title), "producer": origin.producer, "licence": language.of("licences", origin.licence),
        "cadence": language.of("cadences", origin.cadence), "refused": counted,
    }  # fmt: skip
