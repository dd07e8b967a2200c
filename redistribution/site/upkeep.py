"""The census of bricks, the last loads and the builds: what a class may not see of them is not on its pages."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from redistribution.site.cards import Origin
from redistribution.site.linked import Place
from redistribution.site.values import cell, heading, in_kilobytes, spent_cells
from redistribution.site.words import Language


def census_table(language: Language, place: Place, origins: Sequence[tuple[Origin, str | None]]) -> dict[str, Any]:
    """Lay out the census; `origins` come with when they were last read; stewards and addresses are for class internal and above."""
    is_inside = place.access_class in ("internal", "restricted")
    names = ["source", "producer", "licence", "cadence", "freshness", *(["status", "steward", "endpoint"] if is_inside else [])]
    rows = []
    for origin, read_at in origins:
        fresh = language("last_read", language.date(read_at)) if read_at else language("never_read")
        cells = [
            cell(origin.producer),
            cell(language.of("licences", origin.licence)),
            cell(language.of("cadences", origin.cadence)),
            cell(fresh, sort=read_at or ""),
        ]
        if is_inside:
            cells += [
                cell(language.of("statuses", origin.status)),
                cell(origin.steward or ""),
                f"<td><code>{html.escape(origin.endpoint or '')}</code>",
            ]
        rows.append(f'<tr><th scope="row">{html.escape(language.pick(origin.title))}{"".join(cells)}')
    heads = [heading(language(name)) for name in names]
    return {"heads": heads, "rows": Markup("".join(rows)), "caption": ""}


def loads_table(
    language: Language, place: Place, loads: Sequence[Mapping[str, Any]], titles: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Lay out the last loads and what they cost; rows set aside are for class internal and above."""
    is_inside = place.access_class in ("internal", "restricted")
    names = ["source", "read_at", *(["verdict", "kept", "set_aside"] if is_inside else []), "bytes_read", "cpu", "energy_wh"]
    numbers, rows = {"kept", "set_aside", "bytes_read", "cpu", "energy_wh"}, []
    last = sorted(loads, key=lambda load: load["read_at"], reverse=True)[:200]
    for load in last:
        title = language.pick(titles.get(load["brick"], {"en": load["brick"]}))
        cells = [cell(language.date(load["read_at"]), sort=load["read_at"])]
        if is_inside:
            counts = [sum(record[name] for record in load["tables"].values()) for name in ("kept", "refused")]
            cells += [cell(language.of("verdicts", load["verdict"])), *(cell(language.number(n), is_number=True) for n in counts)]
        spent = load.get("footprint") or {}
        cells += [cell(in_kilobytes(language, load.get("bytes_read")), is_number=True), *spent_cells(language, spent)]
        rows.append(f'<tr><th scope="row">{html.escape(title)}{"".join(cells)}')
    heads = [heading(language(name), language("kilobytes") if name == "bytes_read" else "", is_number=name in numbers) for name in names]
    caption = language("runs_caption", len(last), len(loads))
    return {"heads": heads, "rows": Markup("".join(rows)), "caption": caption}


def builds_table(language: Language, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Lay out the builds that led to a publication, the last first; None for none."""
    rows = []
    for entry in entries[:100]:
        cost, sizes = entry["build"], [size for record in entry["marts"].values() for size in record.get("sizes", {}).values()]
        figures = [
            language.number(int(cost["models"])), language.number(cost["models_s"], 1), language.number(cost["wall_s"], 1),
            in_kilobytes(language, int(cost["warehouse_bytes"])), in_kilobytes(language, sum(sizes)),
        ]  # fmt: skip
        cells = "".join([*(cell(figure, is_number=True) for figure in figures), *spent_cells(language, cost)])
        rows.append(f'<tr><th scope="row" data-v="{html.escape(entry["at"])}">{language.date(entry["at"])}{cells}')
    if not rows:
        return None
    kilobytes = language("kilobytes")
    heads = [("models", ""), ("models_s", ""), ("wall_s", ""), ("warehouse_bytes", kilobytes), ("published_bytes", kilobytes)]
    heads += [("cpu", ""), ("energy_wh", "")]
    return {
        "heads": [heading(language("built_on")), *(heading(language(name), unit, is_number=True) for name, unit in heads)],
        "rows": Markup("".join(rows)),
        "caption": language("builds_caption", len(rows), len(entries)),
    }
