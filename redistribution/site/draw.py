"""SVG drawn on the server: bars by period, points on a map. Colours are classes of the style sheet; nothing is styled in line."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from redistribution.site.figures import Chart
from redistribution.site.period import Period
from redistribution.site.zones import Zone

WIDTH, HEIGHT = 640, 330
LETTER, BOTTOM, TOP = 13, 58, 22  # room for the letters of a phone, larger
CLASSES = 5  # of a map
FIRST = 8  # names of a map that a phone shows too


@dataclass(frozen=True)
class Point:
    """A point of a map: where, what it is called, its value told in words; None for what has no data."""

    longitude: float
    latitude: float
    name: str
    value: float | None
    told: str


def bars(
    chart: Chart,
    title: str,
    names: Sequence[str],
    tell: Callable[[float | None], str],
    tell_axis: Callable[[float], str],
    period: Callable[[Period], str],
) -> Markup:
    """Draw stacked bars by period; those that are incomplete, or lack, are hatched."""
    count = len(chart.periods)
    stacks = [sum(max(values[i] or 0, 0) for _, values in chart.series) for i in range(count)]
    step, top = nice(max([*stacks, *(v for _, line in chart.lines for v in line if v), 0]) or 1)
    limits = [tell_axis(i * step) for i in range(round(top / step) + 1)]
    left = 12 + LETTER * max(len(each) for each in limits)
    width = (WIDTH - left) / max(count, 1)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)

    parts = []
    for i, limit in enumerate(limits):
        parts.append(f'<path class="grid" d="M{left:.0f} {y(i * step):.1f}H{WIDTH}"/>')
        parts.append(f'<text x="{left - 6:.0f}" y="{y(i * step) + 4:.1f}" class="e{" wide" if i % 2 else ""}">{limit}</text>')
    for i, each in enumerate(chart.periods):
        x, base = left + i * width + width * 0.06, 0.0
        for number, (_, values) in enumerate(chart.series):
            if (value := values[i] or 0) > 0:
                told = html.escape(f"{names[number]}, {period(each)}, {tell(value)}".removeprefix(", "))
                shape = f'x="{x:.1f}" y="{y(base + value):.1f}" width="{width * 0.88:.1f}" height="{y(base) - y(base + value):.1f}"'
                parts.append(f'<rect class="s{number % 8}" {shape}><title>{told}</title></rect>')
                base += value
        if each in chart.incomplete:
            height = y(0) - (y(base) if base else y(top))
            shape = f'x="{x:.1f}" y="{y(0) - height:.1f}" width="{width * 0.88:.1f}" height="{height:.1f}"'
            parts.append(f'<rect fill="url(#{"part" if base else "none"})" {shape}><title>{html.escape(period(each))}</title></rect>')
        parts += _tick(chart, i, left + i * width + width / 2, period)
    for number, (_, line) in enumerate(chart.lines):
        dots = [(left + i * width + width / 2, y(value)) for i, value in enumerate(line) if value is not None]
        if dots:
            path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in dots)
            parts.append(f'<path class="line l{number}" d="{path}"/>')
    return _svg(WIDTH, HEIGHT, title, "bars", parts)


def _tick(chart: Chart, i: int, x: float, period: Callable[[Period], str]) -> list[str]:
    each, y = chart.periods[i], HEIGHT - BOTTOM + 21
    if isinstance(each, int):
        every = max(1, math.ceil(len(chart.periods) / 12))
        return [f'<text x="{x:.1f}" y="{y}" class="m">{each}</text>'] if i % every == 0 else []
    parts = []
    if each.month in (1, 4, 7, 10) or len(chart.periods) <= 8:
        wide = "" if each.month in (1, 7) else " wide"
        parts.append(f'<text x="{x:.1f}" y="{y}" class="m{wide}">{html.escape(period(each).split()[0])}</text>')
    if each.month == 1 or (i == 0 and each.month < 9):
        parts.append(f'<text x="{x:.1f}" y="{y + 24}" class="m b">{each.year}</text>')
    return parts


def spark(values: Sequence[float | None]) -> Markup:
    """Draw a few bars without words, beside a figure that says what they are."""
    most, width = max([v for v in values if v] or [1]), 160 / max(len(values), 1)
    shapes = [
        f'<rect x="{i * width:.1f}" y="{40 - 40 * max(v, 0) / most:.1f}" width="{width * 0.8:.1f}" height="{40 * max(v, 0) / most:.1f}"/>'
        for i, v in enumerate(values)
        if v
    ]
    return Markup(f'<svg class="spark" viewBox="0 0 160 40" aria-hidden="true" focusable="false">{"".join(shapes)}</svg>')


def points(of: Sequence[Point], title: str, cuts: Sequence[float]) -> Markup:
    """Draw points on a map, the larger the value, the larger and the darker; hatched where there is none."""
    ratio = math.cos(math.radians(sum(p.latitude for p in of) / len(of)))
    x0, x1 = min(p.longitude for p in of) * ratio, max(p.longitude for p in of) * ratio
    y0, y1 = min(p.latitude for p in of), max(p.latitude for p in of)
    side = max(x1 - x0, y1 - y0, 0.02)
    scale = (WIDTH - 150) / max(x1 - x0, side * 0.6)
    height = min(max((y1 - y0) * scale + 110, 300), 620)
    scale = min(scale, (height - 110) / max(y1 - y0, 1e-9))
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    most = max([p.value for p in of if p.value] or [1])

    def place(p: Point) -> tuple[float, float]:
        return WIDTH / 2 + (p.longitude * ratio - middle_x) * scale, (height - 34) / 2 - (p.latitude - middle_y) * scale

    parts = [f'<rect class="sea" width="{WIDTH}" height="{height - 34:.0f}"/>']
    taken: list[tuple[float, float, float, float]] = []
    labels = []
    ordered = sorted(of, key=lambda p: -(p.value or 0))
    for p in ordered:
        x, y = place(p)
        radius = 7 if p.value is None else 6 + 16 * math.sqrt(max(p.value, 0) / most)
        taken.append((x - radius, y - radius, x + radius, y + radius))
        shade = "none" if p.value is None else f"q{class_of(p.value, cuts)}"
        fill = ' fill="url(#none)"' if p.value is None else ""
        title_of = html.escape(f"{p.name}, {p.told}")
        parts.append(f'<circle class="{shade}"{fill} cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{title_of}</title></circle>')
    shown = 0
    for p in ordered:
        x, y = place(p)
        name = p.name if len(p.name) <= 26 else p.name[:25] + "…"
        half, radius = len(name) * 5.6, 7 if p.value is None else 6 + 16 * math.sqrt(max(p.value, 0) / most)  # as wide as on a phone
        for top in (y - radius - 24, y + radius + 3):
            box = (x - half, top, x + half, top + 22)
            is_inside = box[0] > 0 and box[2] < WIDTH and box[1] > 0 and box[3] < height - 34
            if is_inside and not any(_crossed(box, other) for other in taken):
                taken.append(box)
                labels.append(f'<text x="{x:.1f}" y="{top + 16:.1f}"{"" if shown < FIRST else " class=wide"}>{html.escape(name)}</text>')
                shown += 1
                break
    kilometre = scale / 111.32
    length = next((each for each in (20, 10, 5, 2, 1, 0.5) if each * kilometre <= 160), 0.2)
    bar = f'<path class="scale" d="M12 {height - 20:.0f}v6h{length * kilometre:.1f}v-6"/>'
    bar += f'<text x="{20 + length * kilometre:.1f}" y="{height - 12:.0f}">{length:g} km</text>'
    return _svg(WIDTH, height, title, "map", [*parts, '<g class="names">', *labels, "</g>", bar])


def zones(of: Sequence[Zone], told: Mapping[str, Point], title: str, cuts: Sequence[float], nothing: str) -> Markup:
    """Draw zones on a map, each in the shade of what `told` says of its code, or of the code that it begins with; hatched for nothing.

    What has data is named first, and what is hatched where there is room left; a phone, whose letters are larger, shows the first names.
    """
    places = [place for zone in of for ring in zone.rings for place in ring]
    ratio = math.cos(math.radians(sum(latitude for _, latitude in places) / len(places)))
    x0, y1 = min(longitude for longitude, _ in places) * ratio, max(latitude for _, latitude in places)
    wide = max(longitude for longitude, _ in places) * ratio - x0
    high = y1 - min(latitude for _, latitude in places)
    scale = min(WIDTH / max(wide, 1e-9), 620 / max(high, 1e-9))
    left = (WIDTH - wide * scale) / 2
    shapes: dict[str, list[str]] = {}
    middles: dict[str, tuple[float, float, int]] = {}
    names: dict[str, str] = {}
    for zone in of:
        code = next((each for each in told if each and zone.code.startswith(each)), f"-{zone.code}")
        names[code] = told[code].name if code in told else zone.name
        for ring in zone.rings:
            dots = [(left + (longitude * ratio - x0) * scale, (y1 - latitude) * scale) for longitude, latitude in ring]
            shapes.setdefault(code, []).append("M" + " ".join(f"{x:.0f} {y:.0f}" for x, y in dots[:-1]) + "z")
            x, y, count = middles.get(code, (0.0, 0.0, 0))
            middles[code] = (x + sum(x for x, _ in dots), y + sum(y for _, y in dots), count + len(dots))
    parts: list[str] = []
    labels: list[str] = []
    taken: list[tuple[float, float, float, float]] = []
    shown = 0
    ordered = sorted(shapes, key=lambda code: (code not in told, -(told[code].value or 0) if code in told else 0))
    for code in ordered:
        point, name = told.get(code), names[code]
        value = point.value if point else None
        fill = 'fill="url(#none)"' if value is None else f'class="q{class_of(value, cuts)}"'
        words = f"<title>{html.escape(', '.join(filter(None, (name, point.told if point else nothing))))}</title>"
        parts.append(f'<path {fill} d="{"".join(shapes[code])}">{words}</path>')
        if name:
            x, y = (middles[code][0] / middles[code][2], middles[code][1] / middles[code][2])
            is_first = shown < FIRST
            half = len(name) * (6.2 if is_first else 3.4)
            for shift in (0, -14, 14):
                box = (x - half, y + shift - 18, x + half, y + shift + 7)
                if box[0] > 0 and box[2] < WIDTH and not any(_crossed(box, other) for other in taken):
                    labels.append(f'<text x="{x:.0f}" y="{y + shift:.0f}"{"" if is_first else " class=wide"}>{html.escape(name)}</text>')
                    taken.append(box)
                    shown += 1
                    break
    return _svg(WIDTH, high * scale, title, "map", [*parts, '<g class="names">', *labels, "</g>"])


def cuts_of(values: Sequence[float]) -> list[float]:
    """Give round limits that part values into classes of about as many each."""
    ordered = sorted(values)
    if len(ordered) < 3:
        return []
    found = []
    for k in range(1, CLASSES):
        value = ordered[min(len(ordered) - 1, len(ordered) * k // CLASSES)]
        if value > 0:
            rounding = 10 ** (math.floor(math.log10(value)) - 1)
            found.append(round(value / rounding) * rounding)
    return sorted({each for each in found if ordered[0] < each <= ordered[-1]})


def class_of(value: float, cuts: Sequence[float]) -> int:
    """Give the class of a value: how many limits it has reached."""
    return sum(value >= each for each in cuts)


def nice(most: float) -> tuple[float, float]:
    """Give a round step for an axis up to `most`, and where the axis ends."""
    power = 10 ** math.floor(math.log10(most / 4))
    step = next(k * power for k in (1, 2, 2.5, 5, 10) if most / (k * power) <= 5)
    return step, step * math.ceil(most / step - 1e-9)


def _crossed(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _svg(width: float, height: float, title: str, kind: str, parts: Sequence[str]) -> Markup:
    label = html.escape(title, quote=True)
    return Markup(f'<svg class="{kind}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{label}">{"".join(parts)}</svg>')
