"""The chart and the map of a mart: no bar stands for what does not sum, and what is incomplete or lacks is hatched."""

from __future__ import annotations

import itertools
from typing import Any

from markupsafe import Markup

from redistribution.site import draw
from redistribution.site.cards import Card
from redistribution.site.figures import MOST_POINTS, Chart, Entity, Figures
from redistribution.site.linked import Place
from redistribution.site.values import cell, legend_entry, series_name, title_of, unit_beside, value_of, window_of
from redistribution.site.words import Language, is_share, scaled
from redistribution.site.zones import read_zones

PRECISION = 0.001  # degrees to which zones are drawn, a hundred metres


def chart_of(language: Language, card: Card, chart: Chart | None) -> dict[str, Any] | None:
    """Draw a measure by period, and lay the same figures in a table; None for a mart without a time."""
    if chart is None:
        return None
    most = max([sum(values[i] or 0 for _, values in chart.series) for i in range(len(chart.periods))] or [0])
    unit, factor = scaled(chart.column.unit, most)
    label = title_of(language, chart.column)
    title = language("chart_title_year" if card.is_yearly else "chart_title", label)
    series = card.series
    names = [series_name(language, series, name) or label for name, _ in chart.series]
    lines = [language(role) for role, _ in chart.lines]

    def tell(value: float | None) -> str:
        return value_of(language, chart.column, value, factor)

    def tell_axis(value: float) -> str:
        """Write a limit of the axis, without the decimals that say nothing."""
        if is_share(chart.column):
            return language.number(round(100 * value)) + language("percent")
        return language.number(round(value / factor)) if value / factor == round(value / factor) else tell(value)

    keys = [legend_entry(name, f"s{i % 8}") for i, name in enumerate(names)]
    keys += [legend_entry(f"- - {name}", f"k{i}") for i, name in enumerate(lines)]
    keys += [legend_entry(language("hatched"))] if chart.incomplete else []
    rows = []
    for i, period in enumerate(chart.periods):
        values = [values[i] for _, values in [*chart.series, *chart.lines]]
        mark = f' <span class="mark">{language("incomplete")}</span>' if period in chart.incomplete else ""
        rows.append(f'<tr><th scope="row">{language.period(period)}{mark}' + "".join(cell(tell(value), is_number=True) for value in values))
    return {
        "title": title,
        "unit": unit_beside(language, card, chart.column, unit),
        "svg": draw.bars(chart, title, names, tell, tell_axis, language.period),
        "legend": keys,
        "names": names + lines,
        "rows": Markup("".join(rows)),
    }


def map_of(language: Language, card: Card, figures: Figures, place: Place) -> dict[str, Any] | None:
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

    unit = unit_beside(language, card, column, unit)

    def told(entity: Entity) -> str:
        value = entity.values[of]
        return language("no_data") if value is None else f"{value_of(language, column, value, factor)} {unit}".strip()

    label = title_of(language, column)
    title = language("map", label, window_of(language, card, figures))
    points = {
        entity.key: draw.Point(*(entity.position or (0.0, 0.0)), entity.name, entity.values[of], told(entity))
        for entity in (placed if is_zoned else placed[:MOST_POINTS])
    }
    limits = [value_of(language, column, cut, factor) for cut in cuts]
    names = [f"< {limits[0]}", *(f"{a} – {b}" for a, b in itertools.pairwise(limits)), f"≥ {limits[-1]}"] if limits else [label]
    keys = [legend_entry(f"{name} {unit}".strip() if i == len(names) - 1 else name, f"q{i}") for i, name in enumerate(names)]
    lacks = any(entity.values[of] is None for entity in placed)
    lacks = lacks or (is_zoned and not all(any(zone.code.startswith(key) for key in points) for zone in zones))
    keys += [legend_entry(language("no_data"))] if lacks else []
    nothing = language("no_data")
    svg = draw.zones(zones, points, title, cuts, nothing) if is_zoned else draw.points(list(points.values()), title, cuts)
    return {"title": title, "svg": svg, "legend": keys, "note": language("made_up_zones") if is_zoned and place.are_zones_made_up else ""}
