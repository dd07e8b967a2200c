"""Draws the zones of the synthetic territory: one a commune, made up from its point; no real border."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

SIDES, MARGIN = 24, 0.07  # of the outline that holds the territory; degrees of latitude between it and the furthest point
ARTICLES = {"2": "Le ", "3": "La ", "5": "L'"}

Place = tuple[float, float]


def zones() -> str:
    """Give the GeoJSON of the zones: in each what is nearer to its commune's point than to any other, with `code` and `name`."""
    with Path(__file__).with_name("communes.csv").open(encoding="utf-8") as file:
        communes = list(csv.DictReader(file))
    places = [(float(row["longitude"]), float(row["latitude"])) for row in communes]
    ratio = math.cos(math.radians(sum(latitude for _, latitude in places) / len(places)))
    flat = [(longitude * ratio, latitude) for longitude, latitude in places]
    x, y = (sum(place[i] for place in flat) / len(flat) for i in (0, 1))
    reach = max(math.dist((x, y), place) for place in flat) + MARGIN
    angles = [2 * math.pi * i / SIDES for i in range(SIDES)]
    outline = [(x + reach * math.cos(angle), y + reach * math.sin(angle)) for angle in angles]
    features = []
    for row, own in zip(communes, flat, strict=True):
        cell = outline
        for other in flat:
            if other != own:
                cell = _nearer(cell, own, other)
        ring = [[round(px / ratio, 5), round(py, 5)] for px, py in [*cell, cell[0]]]
        name = ARTICLES.get(row["tncc"], "") + row["nccenr"]
        properties = {"code": row["commune_code"], "name": name, "synthetic": True}
        features.append({"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}})
    return json.dumps({"type": "FeatureCollection", "name": "synthetic communes", "features": features}, ensure_ascii=False)


def _nearer(cell: list[Place], own: Place, other: Place) -> list[Place]:
    """Cut a convex cell by the line between two points, and keep the side of the first."""
    middle, across = [(own[i] + other[i]) / 2 for i in (0, 1)], [other[i] - own[i] for i in (0, 1)]

    def beyond(place: Place) -> float:
        return (place[0] - middle[0]) * across[0] + (place[1] - middle[1]) * across[1]

    kept: list[Place] = []
    for i, here in enumerate(cell):
        there = cell[(i + 1) % len(cell)]
        a, b = beyond(here), beyond(there)
        if a <= 0:
            kept.append(here)
        if (a < 0 < b) or (b < 0 < a):
            part = a / (a - b)
            kept.append((here[0] + part * (there[0] - here[0]), here[1] + part * (there[1] - here[1])))
    return kept
