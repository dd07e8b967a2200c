"""The map of what is connected to what: bricks and tools by kind, staging, marts by use case, ways out; a function of the files alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from flows.lineage import Lineage, Node
from ingestion.brick import Brick
from ingestion.census import Census
from ingestion.tool import Tool

KINDS = ("source", "processing", "storage", "redistribution")
WORDS = {
    "source": ("Sources", "Sources"), "processing": ("Traitements", "Processing"), "storage": ("Stockages", "Storage"),
    "redistribution": ("Restitutions", "Redistribution"), "bricks": ("Briques et outils", "Bricks and tools"),
    "staging": ("Préparation", "Staging"), "marts": ("Tables de décision", "Decision marts"), "out": ("Sorties", "Ways out"),
    "table": ("table", "table"), "tables": ("tables", "tables"), "readers": ("SQL et fichiers", "SQL and files"),
    "class": ("classe", "class"),
    "brick": ("brique, dont des lignes sont copiées", "brick, whose rows are copied"),
    "tool": ("outil, dont rien n'est copié", "tool, of which nothing is copied"),
    "census": ("Recensement", "Census"), "candidate": ("candidate", "candidate"), "tested": ("à l'essai", "tested"),
    "adopted": ("adoptée", "adopted"), "retired": ("retirée", "retired"),
}  # fmt: skip
CLASSES = ("open", "partner", "internal", "restricted")
# Told apart by those who do not see every colour (Okabe and Ito), and dark enough on white.
COLOURS = ("#0072b2", "#b35900", "#00785a", "#a0487c", "#7a6a00", "#3a7ca5", "#444444")
FILLS = {"candidate": "#ffffff", "tested": "#eef3f8", "adopted": "#e2f2e4", "retired": "#e6e6e6"}
LEFT, TOP, ROW, GAP = 90, 78, 36, 16  # the margin in which links stand, the headings, a row, the room before a group
HEIGHT = 30  # of a box
WIDTHS = {"bricks": 310, "staging": 150, "marts": 370, "out": 160, "exposures": 170}
BETWEEN = {"staging": 26, "marts": 150, "out": 60, "exposures": 60}  # the room before each column
LETTER = {11.5: 6.1, 9: 5.5}  # the width of a letter of each size, a little more than most fonts have


@dataclass
class Map:
    """A drawing under way: where each box stands, what is written, how far down it goes."""

    language: str
    boxes: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # by id: left, top, width
    shapes: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def word(self, name: str) -> str:
        """Give a word of the map in its language."""
        return WORDS[name][0 if self.language == "fr" else 1]

    def heading(self, name: str, left: float) -> None:
        """Write the heading of a column, in both languages."""
        french, english = WORDS[name]
        both = french if french == english else f"{french} · {english}"
        self.shapes.append(f'<text x="{left:g}" y="{TOP - 22}" class="h">{escape(both)}</text>')

    def group(self, text: str, left: float, top: float, colour: str = "#334") -> None:
        """Write the heading of a group."""
        self.shapes.append(f'<text x="{left:g}" y="{top + 12:g}" class="g" style="fill:{colour}">{escape(text)}</text>')

    def box(self, name: str, column: str, top: float, lines: tuple[str, str], told: str, *, style: str = "", dashed: bool = False) -> None:
        """Draw a box of a column, with its title and its name; all of it is told where it is pointed at."""
        left, width = _left(column), WIDTHS[column]
        self.boxes[name] = left, top, width
        dash = ' stroke-dasharray="5 3"' if dashed else ""
        texts = [
            f'<text x="{left + 9:g}" y="{top + y:g}" class="{kind}">{escape(_cut(text, width - 18, size))}</text>'
            for text, y, kind, size in zip(lines, (13, 25), ("t", "n"), LETTER, strict=True)
            if text
        ]
        rect = f'<rect x="{left:g}" y="{top:g}" width="{width}" height="{HEIGHT}" rx="5" {style or FILLED}{dash}/>'
        self.shapes.append(f"<g id={quoteattr(name)}><title>{escape(told)}</title>{rect}{''.join(texts)}</g>")

    def line(self, start: str, end: str, colour: str = "#5b6573", *, is_marked: bool = False) -> None:
        """Draw what goes from a box to one of a column on its right."""
        (left, top, width), (to_left, to_top, _) = self.boxes[start], self.boxes[end]
        x, y, z, w = left + width, top + HEIGHT / 2, to_left, to_top + HEIGHT / 2
        bend = max(30.0, (z - x) / 2)
        mark = ' marker-end="url(#a)"' if is_marked else ""
        path = f"M{x:g} {y:g}C{x + bend:g} {y:g} {z - bend:g} {w:g} {z:g} {w:g}"
        self.lines.append(f'<path d="{path}" stroke="{colour}"{mark} data-from={quoteattr(start)} data-to={quoteattr(end)}/>')

    def arc(self, start: str, end: str) -> None:
        """Draw what one of the first column gives to another, in the margin on its left."""
        (left, top, _), (_, to_top, _) = self.boxes[start], self.boxes[end]
        y, w = top + HEIGHT / 2, to_top + HEIGHT / 2
        out = left - min(LEFT - 8.0, 20 + abs(w - y) / 6)
        path = f"M{left:g} {y:g}C{out:g} {y:g} {out:g} {w:g} {left - 1:g} {w:g}"
        ends = f"data-from={quoteattr(start)} data-to={quoteattr(end)}"
        self.lines.append(f'<path d="{path}" stroke="#8a4b08" stroke-dasharray="4 2" marker-end="url(#b)" {ends}/>')


FILLED = 'fill="#fbfbfb" stroke="#5b6573"'


def draw(census: Census, lineage: Lineage, exposures: Mapping[str, Mapping[str, Any]], language: str, title: str) -> str:
    """Give the SVG of a census, what is made of it and where it goes; titles of boxes are in a language, headings in French and English."""
    drawn = Map(language)
    cases = _use_cases(lineage)
    colours = {case: COLOURS[number % len(COLOURS)] for number, case in enumerate(cases)}
    marts = sorted(lineage.marts.values(), key=lambda mart: (cases.index(mart.use_case or ""), mart.name))
    bottom = max(_bricks(drawn, census, lineage, marts), _marts(drawn, marts, colours), _ways_out(drawn, marts, exposures))
    for mart in marts:
        for brick in sorted({brick for brick, _ in lineage.tables_of(mart.name)}):
            if f"staging.{brick}" in drawn.boxes:
                drawn.line(f"staging.{brick}", f"mart.{mart.name}", colours[mart.use_case or ""])
    for name in ("bricks", "staging", "marts", "out"):
        drawn.heading(name, _left(name))
    bottom = _legend(drawn, bottom + 18)
    return _svg(drawn, title, _left("exposures") + WIDTHS["exposures"] + 20, bottom)


def links(census: Census) -> list[tuple[str, str]]:
    """Give what gives to what apart from us, as (from, to): what one `feeds`, and what it `reads_from`, told once."""
    told = {(name, to) for name, each in census.all.items() for to in each.meta.feeds}
    told |= {(of, name) for name, each in census.all.items() for of in each.meta.reads_from}
    return sorted(told)


def _bricks(drawn: Map, census: Census, lineage: Lineage, marts: list[Node]) -> float:
    """Draw bricks and tools by kind, each brick with its staging beside it; give where they end."""
    places = {mart.name: place for place, mart in enumerate(marts)}
    top: float = TOP
    for kind in KINDS:
        own = [each for each in census.all.values() if each.meta.kind == kind]
        if not own:
            continue
        drawn.group(drawn.word(kind), _left("bricks"), top)
        top += GAP + 4
        for each in sorted(own, key=lambda each: (isinstance(each, Tool), _weight(each, lineage, places), each.name)):
            _brick(drawn, each, lineage, top)
            top += ROW
        top += GAP
    for start, end in links(census):
        drawn.arc(f"brick.{start}", f"brick.{end}")
    return top


def _weight(each: Brick | Tool, lineage: Lineage, places: Mapping[str, int]) -> float:
    """Give how far down the marts of a brick stand on average: bricks in that order have fewer lines that cross."""
    on = [places[mart] for mart in lineage.marts_on(each.name)]
    return sum(on) / len(on) if on else len(places)


def _brick(drawn: Map, each: Brick | Tool, lineage: Lineage, top: float) -> None:
    meta, is_tool = each.meta, isinstance(each, Tool)
    title = _title(meta.titles, drawn.language)
    second = f"{each.name} · {', '.join(meta.protocols)} · {drawn.word(meta.status)}"
    told = "\n".join([*meta.titles.values(), second, each.description])
    style = f'fill="{FILLS[meta.status]}" stroke="#334"'
    drawn.box(f"brick.{each.name}", "bricks", top, (title, second), told, style=style, dashed=is_tool)
    if isinstance(each, Brick):
        names = [table.name for table in each.tables]
        built = {table for node in lineage.nodes.values() if node.layer == "staging" for brick, table in node.tables if brick == each.name}
        if built:
            counted = f"{len(built)} {drawn.word('tables' if len(built) > 1 else 'table')}"
            drawn.box(f"staging.{each.name}", "staging", top, (counted, ", ".join(sorted(built))), "\n".join(names))
            drawn.line(f"brick.{each.name}", f"staging.{each.name}", is_marked=True)


def _marts(drawn: Map, marts: list[Node], colours: Mapping[str, str]) -> float:
    """Draw marts by use case; give where they end."""
    from ingestion.territory import read_territory

    titles, top, before = read_territory().use_cases, float(TOP), None
    for mart in marts:
        case = mart.use_case or ""
        if case != before:
            top += GAP if before is not None else 0
            drawn.group(
                _cut(_title(titles.get(case, {}), drawn.language, case), WIDTHS["marts"] - 60, 11.5), _left("marts"), top, colours[case]
            )
            top, before = top + GAP + 4, case
        access = str(mart.meta.get("access_class"))
        told = "\n".join([*mart.titles.values(), mart.name, f"{drawn.word('class')} {access}"])
        style = f'fill="#fffaf0" stroke="{colours[case]}"'
        drawn.box(
            f"mart.{mart.name}",
            "marts",
            top,
            (_title(mart.titles, drawn.language, mart.name), f"{mart.name} · {access}"),
            told,
            style=style,
        )
        top += ROW
    return top


def _ways_out(drawn: Map, marts: list[Node], exposures: Mapping[str, Mapping[str, Any]]) -> float:
    """Draw a box for the catalogue and the files of each class, and one for each exposure; give where they end."""
    held = {name: [mart.name for mart in marts if mart.meta.get("access_class") == name] for name in CLASSES}
    top: float = TOP + GAP + 4
    for name, own in held.items():
        if own:
            drawn.box(f"out.{name}", "out", top, (drawn.word("readers"), f"{drawn.word('class')} {name}"), "\n".join(own))
            top += ROW * 2
            for mart in own:
                drawn.line(f"mart.{mart}", f"out.{name}", "#9aa4b1")
    ends, top = top, float(TOP + GAP + 4)
    for name, exposure in sorted(exposures.items()):
        told = f"{exposure.get('label') or name}\n{exposure.get('description', '')}"
        drawn.box(f"exposure.{name}", "exposures", top, (str(exposure.get("label") or name), f"{name} · {exposure.get('type', '')}"), told)
        top += ROW
        reads = {str(each) for each in exposure.get("depends_on") or ()}
        for access, own in held.items():
            if any(f"ref('{mart}')" in reads for mart in own):
                drawn.line(f"out.{access}", f"exposure.{name}", is_marked=True)
    return max(ends, top)


def _legend(drawn: Map, top: float) -> float:
    """Say what shapes and colours mean; give where it ends."""
    left: float = _left("bricks")
    for name, dashed in (("brick", ""), ("tool", ' stroke-dasharray="5 3"')):
        drawn.shapes.append(f'<rect x="{left:g}" y="{top:g}" width="26" height="14" rx="3" fill="#fff" stroke="#334"{dashed}/>')
        drawn.shapes.append(f'<text x="{left + 33:g}" y="{top + 11:g}" class="n">{escape(" · ".join(dict.fromkeys(WORDS[name])))}</text>')
        left += 60 + LETTER[9] * len(" · ".join(WORDS[name]))
    for status, fill in FILLS.items():
        drawn.shapes.append(f'<rect x="{left:g}" y="{top:g}" width="14" height="14" rx="3" fill="{fill}" stroke="#334"/>')
        both = " · ".join(dict.fromkeys(WORDS[status]))
        drawn.shapes.append(f'<text x="{left + 20:g}" y="{top + 11:g}" class="n">{escape(both)}</text>')
        left += 44 + LETTER[9] * len(both)
    return top + 30


def _svg(drawn: Map, title: str, width: float, height: float) -> str:
    style = (
        "text{font-family:'DejaVu Sans',Arial,sans-serif;fill:#112}.h{font-size:14px;font-weight:bold}"
        ".g{font-size:12px;font-weight:bold}.t{font-size:11.5px}.n{font-size:9px;fill:#48525f}"
        ".e path{fill:none;stroke-width:1.3;opacity:.6}"
    )
    arrows = "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="{colour}"/></marker>'
        for name, colour in (("a", "#5b6573"), ("b", "#8a4b08"))
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
    return "\n".join([
        f"{head}aria-label={quoteattr(title)}>",
        f"<title>{escape(title)}</title><defs><style>{style}</style>{arrows}</defs>",
        f'<rect width="{width:g}" height="{height:g}" fill="#fff"/>',
        f'<text x="{_left("bricks"):g}" y="26" font-size="17" font-weight="bold">{escape(title)}</text>',
        '<g class="e">', *drawn.lines, "</g>", *drawn.shapes, "</svg>", "",
    ])  # fmt: skip


def _use_cases(lineage: Lineage) -> list[str]:
    """Name the use cases that have marts, in the order of the territory's."""
    from ingestion.territory import read_territory

    declared, found = list(read_territory().use_cases), {mart.use_case or "" for mart in lineage.marts.values()}
    return [*(case for case in declared if case in found), *sorted(found - set(declared))]


def _left(column: str) -> float:
    """Give where a column begins."""
    left = float(LEFT)
    for name, width in WIDTHS.items():
        if name == column:
            break
        left += width + BETWEEN[list(WIDTHS)[list(WIDTHS).index(name) + 1]]
    return left


def _title(titles: Mapping[str, str], language: str, otherwise: str = "-") -> str:
    return titles.get(language) or next(iter(titles.values()), otherwise)


def _cut(text: str, width: float, size: float) -> str:
    most = int(width / LETTER[size])
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
