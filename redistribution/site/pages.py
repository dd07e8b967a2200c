"""The pages as HTML: what a template says, in one language. Each is whole in itself: no request, no style or script but its own."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import html
import itertools
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from redistribution.meta import listed_of
from redistribution.site import draw, linked
from redistribution.site.cards import FEW_VALUES, Card, Column, Origin
from redistribution.site.figures import COUNT, FILE, MOST_POINTS, Answer, Chart, Entity, Figure, Figures, read_zones
from redistribution.site.linked import Download, Place, Standing
from redistribution.site.period import whole_of
from redistribution.site.words import Language, is_share, scaled

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).with_name("templates")
MOST_BYTES = 150_000  # of a page, downloads apart
ROWS_BYTES = 70_000  # of its longest table
ENTITIES_BYTES = 32_000
PRECISION = 0.001  # degrees to which zones are drawn, a hundred metres


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


class Pages:
    """Renders the pages of a site."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.languages = {code: Language(code) for code in place.languages}

    def render(self, name: str, language: Language, file: str, *, is_root: bool = False, **told: Any) -> bytes:
        """Render a template as a page of a language; the one at the root says the same as the home of the first language."""
        others = [other for other in self.languages.values() if other is not language]
        text = (
            _environment()
            .get_template(f"{name}.html")
            .render(
                l=language, file=file, others=others, languages=list(self.languages), territory=self.place.territory,
                access_class=self.place.access_class, is_synthetic=self.place.is_synthetic, root="" if is_root else "../",
                here=f"{language.code}/" if is_root else "", **_shared(), **told,
            )
        )  # fmt: skip
        return _with_words(language, text).encode()

    def mart(self, language: Language, standing: Standing, figures: Figures, downloads: Sequence[Download]) -> bytes:
        """Render the page of a mart; rows are left out until it is no larger than a page may be."""
        budget = ROWS_BYTES
        while True:
            content = self.render(
                "mart", language, f"{standing.card.name}.html", **_mart(language, standing, figures, downloads, budget, self.place)
            )
            if len(content) <= MOST_BYTES or budget < 1000:
                return content
            budget = budget * 2 // 3

    def home(
        self,
        language: Language,
        shown: Sequence[tuple[Standing, Figures]],
        withheld: Sequence[tuple[Card | str, str, str]],
        not_here: Sequence[Card],
        not_yet: Sequence[tuple[Card, Sequence[Origin]]],
        *,
        is_root: bool = False,
    ) -> bytes:
        """Render the home: the policies that have a mart, their questions and figures, what is withheld, what is not shown.

        `not_yet` are the marts without rows so far, each with its sources that were never read.
        """
        policies: dict[str, dict[str, Any]] = {}
        for standing, figures in shown:
            card = standing.card
            label = self.place.use_cases.get(card.use_case) or {language.code: language("other_policy")}
            policy = policies.setdefault(card.use_case, {"name": card.use_case, "label": label, "cards": [], "questions": []})
            policy["cards"].append(_summary(language, standing, figures))
            policy["questions"] += _questions(language, card, figures)
        told = [
            {
                "label": card.label if isinstance(card, Card) else {"en": card},
                "why": language("withheld_on", language.date(since), why),
            }
            for card, since, why in withheld
        ]
        absent = [
            {
                "label": card.label,
                "access_class": card.access_class,
                "why": _told(language, card, "reasons_not_open") or language("no_reason"),
            }
            for card in not_here
        ]
        awaited = []
        for card, unread in not_yet:
            titles = ", ".join(language.pick(origin.title) for origin in unread)
            awaited.append({"label": card.label, "why": language("not_read_yet", titles) if unread else language("no_row_yet")})
        return self.render(
            "home", language, "index.html", is_root=is_root, policies=list(policies.values()), withheld=told, not_here=absent,
            not_yet=awaited, linked=linked.catalogue(language, self.place, [standing for standing, _ in shown], is_root=is_root),
        )  # fmt: skip

    def bricks(self, language: Language, origins: Sequence[tuple[Origin, str | None]]) -> bytes:
        """Render the census; `origins` come with when they were last read. Stewards and addresses are for class internal and above."""
        is_inside = self.place.access_class in ("internal", "restricted")
        names = ["source", "producer", "licence", "cadence", "freshness", *(["status", "steward", "endpoint"] if is_inside else [])]
        rows = []
        for origin, read_at in origins:
            fresh = language("last_read", language.date(read_at)) if read_at else language("never_read")
            cells = [
                _cell(origin.producer),
                _cell(language.of("licences", origin.licence)),
                _cell(language.of("cadences", origin.cadence)),
                _cell(fresh, sort=read_at or ""),
            ]
            if is_inside:
                cells += [
                    _cell(language.of("statuses", origin.status)),
                    _cell(origin.steward or ""),
                    f"<td><code>{html.escape(origin.endpoint or '')}</code>",
                ]
            rows.append(f'<tr><th scope="row">{html.escape(language.pick(origin.title))}{"".join(cells)}')
        heads = [_head(language(name)) for name in names]
        return self.render("bricks", language, "bricks.html", heads=heads, rows=Markup("".join(rows)), caption="")

    def runs(
        self,
        language: Language,
        loads: Sequence[Mapping[str, Any]],
        titles: Mapping[str, Mapping[str, str]],
        publications: Sequence[Mapping[str, Any]],
    ) -> bytes:
        """Render the last loads and what they cost, and the builds that `publications` tell; rows set aside are for internal and above."""
        is_inside = self.place.access_class in ("internal", "restricted")
        names = ["source", "read_at", *(["verdict", "kept", "set_aside"] if is_inside else []), "bytes_read", "cpu", "energy_wh"]
        numbers, rows = {"kept", "set_aside", "bytes_read", "cpu", "energy_wh"}, []
        last = sorted(loads, key=lambda load: load["read_at"], reverse=True)[:200]
        for load in last:
            title = language.pick(titles.get(load["brick"], {"en": load["brick"]}))
            cells = [_cell(language.date(load["read_at"]), sort=load["read_at"])]
            if is_inside:
                counts = [sum(record[name] for record in load["tables"].values()) for name in ("kept", "refused")]
                cells += [_cell(language.of("verdicts", load["verdict"])), *(_cell(language.number(n), is_number=True) for n in counts)]
            spent = load.get("footprint") or {}
            cells += [_cell(_kilobytes(language, load.get("bytes_read")), is_number=True), *_spent(language, spent)]
            rows.append(f'<tr><th scope="row">{html.escape(title)}{"".join(cells)}')
        heads = [_head(language(name), language("kilobytes") if name == "bytes_read" else "", is_number=name in numbers) for name in names]
        caption = language("runs_caption", len(last), len(loads))
        built = sorted(publications, key=lambda entry: -entry["seq"])
        return self.render(
            "runs", language, "runs.html", heads=heads, rows=Markup("".join(rows)), caption=caption, builds=_builds(language, built)
        )


def _kilobytes(language: Language, count: int | None) -> str:
    return language.number(None if count is None else max(1, round(count / 1000)) if count else 0)


def _spent(language: Language, spent: Mapping[str, float]) -> list[str]:
    """Write the cells of what something cost."""
    figures = [language.number(spent.get("cpu_s"), 1), language.number(spent.get("energy_wh"), 3)]
    return [_cell(figure, is_number=True) for figure in figures]


def _builds(language: Language, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Give the table of the builds that led to a publication, the last first."""
    rows = []
    for entry in entries[:100]:
        cost, sizes = entry["build"], [size for record in entry["marts"].values() for size in record.get("sizes", {}).values()]
        figures = [
            language.number(int(cost["models"])), language.number(cost["models_s"], 1), language.number(cost["wall_s"], 1),
            _kilobytes(language, int(cost["warehouse_bytes"])), _kilobytes(language, sum(sizes)),
        ]  # fmt: skip
        cells = "".join([*(_cell(figure, is_number=True) for figure in figures), *_spent(language, cost)])
        rows.append(f'<tr><th scope="row" data-v="{html.escape(entry["at"])}">{language.date(entry["at"])}{cells}')
    if not rows:
        return None
    kilobytes = language("kilobytes")
    heads = [("models", ""), ("models_s", ""), ("wall_s", ""), ("warehouse_bytes", kilobytes), ("published_bytes", kilobytes)]
    heads += [("cpu", ""), ("energy_wh", "")]
    return {
        "heads": [_head(language("built_on")), *(_head(language(name), unit, is_number=True) for name, unit in heads)],
        "rows": Markup("".join(rows)),
        "caption": language("builds_caption", len(rows), len(entries)),
    }


def _mart(
    language: Language, standing: Standing, figures: Figures, downloads: Sequence[Download], budget: int, place: Place
) -> dict[str, Any]:
    card, record = standing.card, standing.record
    reasons = _told(language, card, "reasons_not_open")
    return {
        "card": card,
        "meta": lambda name: _told(language, card, name),
        "decision": _decision(card),
        "fresh": _fresh(language, standing, figures),
        "is_late": standing.is_late,
        "licences": ", ".join(sorted({language.of("licences", origin.licence) for origin in card.origins})),
        "withheld": language("verdict_withheld", language.date(standing.withheld[0]), standing.withheld[1]) if standing.withheld else None,
        "window": _window(language, card, figures),
        "period": figures.window,
        "figures": [_figure(language, card, figure, figures) for figure in figures.figures],
        "left_open": ", ".join(language.period(each) for each in figures.left_open),
        "questions": _questions(language, card, figures),
        "chart": _chart(language, card, figures.chart),
        "map": _map(language, card, figures, place),
        "entities": _entities(language, card, figures),
        "rows": _rows(language, card, figures, budget, has_receipt=standing.receipt is not None),
        "queries": [(language.pick(figure.column.label), figure.sql.replace(FILE, _file(card, downloads))) for figure in figures.figures],
        "downloads": [
            {
                "href": each.href, "name": each.name, "label": each.label,
                "size": f"{_kilobytes(language, each.size)} {language('kilobytes')}",
            }
            for each in downloads
        ],
        "no_csv": not any(each.href.endswith(".csv") for each in downloads),
        "linked": linked.dataset(language, place, standing, figures, downloads),
        "estimated": ", ".join(language.pick(column.label) for column in card.estimated),
        "label_of": lambda name: language.pick(card.columns[name].label) if name in card.columns else name,
        "unit_of": lambda unit: _unit(language, card, unit, is_told=True),
        "grain": ", ".join(_lower(language.pick(card.columns[name].label)) for name in card.grain if name in card.columns),
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


def _summary(language: Language, standing: Standing, figures: Figures) -> dict[str, Any]:
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
        "window": _window(language, card, figures),
        "spark": draw.spark(totals) if any(totals) else "",
        "fresh": _fresh(language, standing, figures),
        "is_late": standing.is_late,
        "access_class": card.access_class,
        "withheld": standing.withheld,
    }


def _completeness(language: Language, card: Card, figures: Figures) -> str:
    if figures.completeness is None:
        return _told(language, card, "completeness_why") or language("completeness_unknown")
    low, count = language.number(figures.low_rows), language.number(figures.in_window)
    return language("completeness_is", language.share(figures.completeness), low, count, language.share(whole_of(card)))


def _lower(text: str) -> str:
    """Write a title within a sentence; what is in capitals stays so."""
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def _file(card: Card, downloads: Sequence[Download]) -> str:
    """Name the file to download as DuckDB reads it where it was saved; all of them, of a mart of several."""
    names = [each.name for each in downloads if each.name.endswith(".parquet")]
    return f"'{names[0]}'" if len(names) == 1 else f"'{card.name}-*.parquet'"


def _decision(card: Card) -> dict[str, str]:
    return {key.removeprefix("decision_"): str(value) for key, value in card.meta.items() if key.startswith("decision_") and value}


def _told(language: Language, card: Card, name: str) -> str:
    """Give what the YAML of a mart says under a name, in the language of the page where it says it."""
    return language("semicolon").join(listed_of(card.meta.get(f"{name}_{language.code}") or card.meta.get(name)))


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


def _window(language: Language, card: Card, figures: Figures) -> str:
    if figures.window is None:
        return language("no_period")
    first, last = figures.window
    if isinstance(last, int):
        return language("in_year", last)
    assert isinstance(first, dt.date)
    is_year = (last.year * 12 + last.month) - (first.year * 12 + first.month) == 11
    return language("over_year" if is_year else "over_some", language.period(first), language.period(last))


def _figure(language: Language, card: Card, figure: Figure, figures: Figures) -> Shown:
    column, value = figure.column, figure.value
    unit, factor = scaled(column.unit, abs(value or 0))
    shown = _value(language, column, value, factor)
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
    label = language("count_title") if column is COUNT else language.pick(column.label)
    told_unit = "" if is_share(column) else _unit(language, card, unit)
    return Shown(column.name, label, "" if value is None else repr(value), shown, told_unit, told, marks, notes)


def _unit(language: Language, card: Card, unit: str | None, *, is_told: bool = False) -> str:
    """Write a unit in the language of the page. One that a column tells row by row is told beside its rows: not here, unless asked."""
    if unit is None:
        return ""
    if card.tells_unit(unit):
        return language("unit_of_column", language.pick(card.columns[unit].label)) if is_told else ""
    return language.pick(card.units[unit]) if unit in card.units else unit


def _value(language: Language, column: Column, value: float | None, factor: float = 1.0) -> str:
    if value is None:
        return language.nothing(column)
    if is_share(column):
        return language.share(value)
    return language.number(value if isinstance(value, int) and factor == 1 else value / factor)


def _questions(language: Language, card: Card, figures: Figures) -> list[dict[str, Any]]:
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
            told |= {"raw": str(value), "unit": _unit(language, card, unit), "change": ""}
            if is_figure and unit == "%":
                told |= {"shown": language.share(value / 100), "unit": ""}
            if is_figure and answer.before:
                told["change"] = language("change", language.share(value / answer.before - 1, is_signed=True))
        found.append(told)
    return found


def _chart(language: Language, card: Card, chart: Chart | None) -> dict[str, Any] | None:
    if chart is None:
        return None
    most = max([sum(values[i] or 0 for _, values in chart.series) for i in range(len(chart.periods))] or [0])
    unit, factor = scaled(chart.column.unit, most)
    label = language("count_title") if chart.column is COUNT else language.pick(chart.column.label)
    title = language("chart_title_year" if card.is_yearly else "chart_title", label)
    series = card.series
    names = [_series_name(language, series, name) or label for name, _ in chart.series]
    lines = [language(role) for role, _ in chart.lines]

    def tell(value: float | None) -> str:
        return _value(language, chart.column, value, factor)

    def tell_axis(value: float) -> str:
        """Write a limit of the axis, without the decimals that say nothing."""
        if is_share(chart.column):
            return language.number(round(100 * value)) + language("percent")
        return language.number(round(value / factor)) if value / factor == round(value / factor) else tell(value)

    keys = [_legend(name, f"s{i % 8}") for i, name in enumerate(names)]
    keys += [_legend(f"- - {name}", f"k{i}") for i, name in enumerate(lines)]
    keys += [_legend(language("hatched"))] if chart.incomplete else []
    rows = []
    for i, period in enumerate(chart.periods):
        values = [values[i] for _, values in [*chart.series, *chart.lines]]
        mark = f' <span class="mark">{language("incomplete")}</span>' if period in chart.incomplete else ""
        rows.append(
            f'<tr><th scope="row">{language.period(period)}{mark}' + "".join(_cell(tell(value), is_number=True) for value in values)
        )
    return {
        "title": title,
        "unit": "" if is_share(chart.column) else _unit(language, card, unit),
        "svg": draw.bars(chart, title, names, tell, tell_axis, language.period),
        "legend": keys,
        "names": names + lines,
        "rows": Markup("".join(rows)),
    }


def _legend(label: str, shade: str = "") -> dict[str, str]:
    """Give an entry of a legend: hatched unless it has a shade."""
    return {"label": label, "shade": shade, "fill": "" if shade else "url(#none)"}


def _head(label: str, unit: str | None = None, *, is_number: bool = False) -> dict[str, Any]:
    return {"label": label, "unit": unit or "", "is_number": is_number}


def _series_name(language: Language, series: Column | None, value: Any) -> str:
    return language.cell(series, value) if series and value is not None else ""


def _map(language: Language, card: Card, figures: Figures, place: Place) -> dict[str, Any] | None:
    """Draw the entities that have a place, by their first measure: points, or the zones that their codes are of."""
    zones = read_zones(place.zones, place.zones_digest, PRECISION)
    is_zoned = bool(zones) and any(zone.code.startswith(entity.key) for entity in figures.entities if entity.key for zone in zones)
    placed = [entity for entity in figures.entities if is_zoned or entity.position]
    if not placed or not figures.shown:
        return None
    # The shade of a zone is no sum: it would show how large the zone is.
    hinted = [i for i, each in enumerate(figures.shown) if each.name == card.display.get("map")]
    of = next(iter(hinted), next((i for i, each in enumerate(figures.shown) if is_zoned and each.aggregate == "mean"), 0))
    column = figures.shown[of]
    values = [value for entity in placed if (value := entity.values[of]) is not None]
    unit, factor = scaled(column.unit, max([abs(value) for value in values], default=0))
    cuts = draw.cuts_of(values)

    unit = "" if is_share(column) else _unit(language, card, unit)

    def told(entity: Entity) -> str:
        value = entity.values[of]
        return language("no_data") if value is None else f"{_value(language, column, value, factor)} {unit}".strip()

    label = language("count_title") if column is COUNT else language.pick(column.label)
    title = language("map", label, _window(language, card, figures))
    points = {
        entity.key: draw.Point(*(entity.position or (0.0, 0.0)), entity.name, entity.values[of], told(entity))
        for entity in (placed if is_zoned else placed[:MOST_POINTS])
    }
    limits = [_value(language, column, cut, factor) for cut in cuts]
    names = [f"< {limits[0]}", *(f"{a} – {b}" for a, b in itertools.pairwise(limits)), f"≥ {limits[-1]}"] if limits else [label]
    keys = [_legend(f"{name} {unit}".strip() if i == len(names) - 1 else name, f"q{i}") for i, name in enumerate(names)]
    lacks = any(entity.values[of] is None for entity in placed)
    lacks = lacks or (is_zoned and not all(any(zone.code.startswith(key) for key in points) for zone in zones))
    keys += [_legend(language("no_data"))] if lacks else []
    nothing = language("no_data")
    svg = draw.zones(zones, points, title, cuts, nothing) if is_zoned else draw.points(list(points.values()), title, cuts)
    return {"title": title, "svg": svg, "legend": keys, "note": language("made_up_zones") if is_zoned and place.are_zones_made_up else ""}


def _entities(language: Language, card: Card, figures: Figures) -> dict[str, Any] | None:
    if not figures.entities or card.entity is None or (card.time is None and card.series is None):
        return None  # each row is one of them already
    scales = [
        scaled(column.unit, max([abs(entity.values[i] or 0) for entity in figures.entities], default=0))
        for i, column in enumerate(figures.shown)
    ]
    subject = language.pick((card.entity_name or card.entity).label)
    heads = [_head(subject)]
    for column, (unit, _) in zip(figures.shown, scales, strict=True):
        label = language("count_title") if column is COUNT else language.pick(column.label)
        heads.append(_head(label, "" if is_share(column) else _unit(language, card, unit), is_number=True))
    has_change = any(entity.change is not None for entity in figures.entities)
    has_share = figures.completeness is not None
    heads += [_head(language("one_year_change"), is_number=True)] if has_change else []
    heads += [_head(language("completeness"), is_number=True)] if has_share else []
    rows, size = [], 0
    for entity in figures.entities[:500]:
        cells = [
            _cell(_value(language, column, value, factor), is_number=True)
            for column, value, (_, factor) in zip(figures.shown, entity.values, scales, strict=True)
        ]
        cells += [_cell(language.share(entity.change, is_signed=True), is_number=True)] if has_change else []
        mark = "◪ " if entity.completeness is not None and entity.completeness < whole_of(card) else ""
        cells += [_cell(mark + language.share(entity.completeness), is_number=True)] if has_share else []
        row = f'<tr><th scope="row">{html.escape(entity.name)}{"".join(cells)}'
        size += len(row.encode())
        if size > ENTITIES_BYTES:
            break
        rows.append(row)
    window = _window(language, card, figures)
    caption = language("by_caption", window[0].upper() + window[1:])
    if len(rows) < len(figures.entities):
        caption = f"{caption} {len(rows)} / {len(figures.entities)}."
    return {"title": language("by", _lower(subject)), "heads": heads, "rows": Markup("".join(rows)), "caption": caption}


def _rows(language: Language, card: Card, figures: Figures, budget: int, *, has_receipt: bool) -> dict[str, Any] | None:
    if not figures.rows:
        return None
    heads = [
        _head(language.pick(column.label), "" if is_share(column) else _unit(language, card, column.unit), is_number=column.is_number)
        for column in figures.columns
    ]
    written, size, in_window = [], 0, 0
    codes = _picked(figures)
    for row in figures.rows:
        cells = [_row_cell(language, card, column, value) for column, value in zip(figures.columns, row.values, strict=True)]
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
        "href": "#w" if in_window else "#r", "picks": [_series_name(language, figures.series, code) for code in codes],
        "pick": language.pick(figures.series.label) if figures.series else "",
        "has_not_concerned": any(column.empty_means == "not_concerned" for column in figures.columns),
    }  # fmt: skip


def _picked(figures: Figures) -> list[str]:
    """Give the codes by which the rows can be picked: those of the series, where there are two at least."""
    codes = sorted({row.pick for row in figures.rows if row.pick})
    return codes if 1 < len(codes) <= FEW_VALUES else []


def _row_cell(language: Language, card: Card, column: Column, value: Any) -> str:
    if isinstance(value, dt.date | dt.datetime):
        is_month = column.name.startswith("month")
        return _cell(language.period(value) if is_month else language.date(value), sort=value.isoformat())
    return _cell(language.cell(column, value), is_number=column.is_number)


def _origin(language: Language, origin: Origin, standing: Standing) -> dict[str, str]:
    refused, total = standing.refused.get(origin.name, (0, 0))
    counted = language("refused_are", language.number(refused), language.number(total), language.share(refused / total)) if total else ""
    return {
        "title": language.pick(origin.title), "producer": origin.producer, "licence": language.of("licences", origin.licence),
        "cadence": language.of("cadences", origin.cadence), "refused": counted,
    }  # fmt: skip


def _cell(text: str, *, is_number: bool = False, sort: str | None = None) -> str:
    """Write a cell; HTML needs no end of it."""
    order = f' data-v="{html.escape(sort)}"' if sort is not None else ""
    return f"<td{' class=n' if is_number else ''}{order}>{html.escape(text)}"


def _with_words(language: Language, text: str) -> str:
    """Explain the words of the trade that a page uses, at its end; a link beside its title leads there."""
    said = re.sub(r"<(style|script)\b.*?</\1>|<code>.*?</code>|<[^>]*>", " ", text, flags=re.DOTALL)
    found = [
        (word.partition("|")[0], told)
        for word, told in language.words["glossary"].items()
        if re.search(rf"\b({word.replace(' / ', '|')})(?!h)", said)
    ]
    parts: Any = _environment().get_template("parts.html").module
    link, words = (parts.words_link(language), parts.words(language, found)) if found else ("", "")
    return text.replace("<!--words-link-->", str(link), 1).replace("<!--words-->", str(words), 1)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def _shared() -> dict[str, Any]:
    css, js = ((TEMPLATES / name).read_text(encoding="utf-8").strip() for name in ("style.css", "page.js"))
    return {"css": Markup(css), "js": Markup(js), "css_hash": _hash(css), "js_hash": _hash(js)}


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
