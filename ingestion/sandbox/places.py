"""What stands where in the synthetic territory, as public sources tell of it: trees, IRIS, lighting, drop-off centres, car parks."""

from __future__ import annotations

import datetime as dt
import json
from functools import cache
from typing import Any

import numpy as np

from ingestion.sandbox.answers import Row
from ingestion.sandbox.world import World, read_communes
from ingestion.sandbox.zones import zones

BOX = (-2.1, 47.8, -1.3, 48.5)
"""West, south, east and north of what is served of the metropole."""
TREES, FIRST_PLANTED = 260, dt.date(1930, 1, 1)
CUT_ABOVE = 10_000
"""Inhabitants from which a commune is cut into IRIS; the others are one each, whose code ends in 0000."""
ELSEWHERE = (("35288", "Saint-Malo", -2.0257, 48.6493), ("22050", "Dinan", -2.0486, 48.4548))
"""Communes that sources of a region or of France hold beside those of the metropole, and where they stand."""
PRACTICES = {"E": "d_extinct", "R": "d_renov", "A": "d_abandon", "D": "d_extens"}
"""What happened to the lighting of a commune, as Cerema codes it, and the column of its months."""
CENTRES, PARKS = ("35238", "35051", "35047", "35278", "35281"), ("Hoche", "Kleber", "Dinan", "Vilaine", "Gare Sud", "Arsenal")


@cache
def outlines() -> dict[str, tuple[str, list[list[float]]]]:
    """Name and outline (counterclockwise, closed, longitude and latitude) of each commune, by its code: those of the zones."""
    told = json.loads(zones())["features"]
    return {each["properties"]["code"]: (each["properties"]["name"], each["geometry"]["coordinates"][0]) for each in told}


def square(longitude: float, latitude: float) -> list[list[float]]:
    """Give a small outline about a point, as those of `outlines`."""
    corners = ((-0.02, -0.01), (0.02, -0.01), (0.02, 0.01), (-0.02, 0.01), (-0.02, -0.01))
    return [[round(longitude + x, 5), round(latitude + y, 5)] for x, y in corners]


def point(commune: dict[str, str], east: float, north: float) -> tuple[float, float]:
    """Give a place near the point of a commune; `east` and `north` are from 0 to 1."""
    return round(float(commune["longitude"]) + (east - 0.5) * 0.03, 6), round(float(commune["latitude"]) + (north - 0.5) * 0.02, 6)


def trees(world: World) -> list[Row]:
    """Trees of the public space that are planted by `until`, with their identifier and place: one in ten has no date."""
    communes = read_communes()
    weights = np.cumsum([int(row["municipal_population"]) for row in communes])
    which = np.arange(TREES)
    drawn = np.searchsorted(weights / weights[-1], world.draw("tree", which), side="right")
    east, north, when, kind, dated = (world.draw(tag, which) for tag in ("tree e", "tree n", "planted", "tree kind", "dated"))
    days = (when * (dt.date(2026, 12, 31) - FIRST_PLANTED).days).astype(int)
    rows = []
    for n in range(TREES):
        commune, planted = communes[int(drawn[n])], FIRST_PLANTED + dt.timedelta(days=int(days[n]))
        if planted > world.until:
            continue
        rows.append({
            "id": f"arbre.{n + 1}", "place": point(commune, float(east[n]), float(north[n])), "code_insee": commune["commune_code"],
            "fonction": "Alignement" if kind[n] < 0.55 else "Ornement",
            "date_plantation": planted.isoformat() if dated[n] > 0.1 else None,
        })  # fmt: skip
    return rows


def iris() -> list[Row]:
    """IRIS with their outlines: a commune of `CUT_ABOVE` inhabitants is cut from its point, edge by edge; one stands elsewhere."""
    rows = []
    for commune in read_communes():
        name, ring = outlines()[commune["commune_code"]]
        middle = [float(commune["longitude"]), float(commune["latitude"])]
        is_cut = int(commune["municipal_population"]) >= CUT_ABOVE
        parts = [[middle, *ring[i : i + 2], middle] for i in range(len(ring) - 1)] if is_cut else [ring]
        for n, part in enumerate(parts, 1):
            code = f"{100 * is_cut + n * is_cut:04d}"
            rows.append({"code_insee": commune["commune_code"], "nom_commune": name, "iris": code,
                         "code_iris": commune["commune_code"] + code, "nom_iris": f"{name} {n} (fictif)" if is_cut else name,
                         "type_iris": "H" if is_cut else "Z", "ring": part})  # fmt: skip
    for code, name, longitude, latitude in ELSEWHERE[:1]:
        rows.append({"code_insee": code, "nom_commune": name, "iris": "0000", "code_iris": f"{code}0000", "nom_iris": name,
                     "type_iris": "Z", "ring": square(longitude, latitude)})  # fmt: skip
    return rows


def lighting(world: World) -> list[Row]:
    """What is seen of the lighting of communes at night from 2014 to 2023: nothing of most, one change or two of others."""
    rows = []
    shapes = {**outlines(), **{code: (name, square(x, y)) for code, name, x, y in ELSEWHERE}}
    for n, (code, (_, ring)) in enumerate(sorted(shapes.items())):
        first, second, month = (float(world.draw("lighting", n, k)) for k in range(3))
        kinds = "" if first < 0.4 else "EE" if first < 0.5 else "ERAD"[int(second * 4)]
        row: Row = dict.fromkeys(PRACTICES.values())
        for k, kind in enumerate(kinds):
            months = f"{2014 + int(month * 8) + k}-{1 + int(second * 12):02d}"
            row[PRACTICES[kind]] = ",".join(filter(None, (row[PRACTICES[kind]], months)))
        told = "".join(dict.fromkeys(kinds)) or ("HT" if first < 0.05 else "X")
        rows.append({"fid": n + 1, "code_insee": code, "changes_EP": told, **row, "ring": ring})
    return rows


def drop_off_centres(_: World) -> list[Row]:
    """Where inhabitants of the metropole bring their waste, as its open data portal tells of it."""
    communes = {row["commune_code"]: row for row in read_communes()}
    rows = []
    for n, code in enumerate(CENTRES):
        longitude, latitude = point(communes[code], 0.9, 0.1)
        rows.append({"nom_court": f"Déchèterie de {communes[code]['name']} (fictive)", "adresse": f"{n + 1} rue du Tri",
                     "ann_ouv": 1990 + 5 * n, "horaires": "Lundi : 9h-12h/Mardi : 14h-18h",
                     "geo_point_2d": {"lon": longitude, "lat": latitude}})  # fmt: skip
    return rows


def car_parks(world: World) -> list[Row]:
    """Places that are free in car parks at `until`, 23:00 UTC; one is closed."""
    (rennes,) = (row for row in read_communes() if row["commune_code"] == "35238")
    rows: list[dict[str, Any]] = []
    for n, name in enumerate(PARKS):
        longitude, latitude = point(rennes, 0.3 + 0.1 * n, 0.7 - 0.1 * n)
        is_open, places = n != 1, 150 + 120 * n
        free = int(places * float(world.draw("parking", n, world.until.toordinal()))) if is_open else 0
        rows.append({"key": name, "status": "OUVERT" if is_open else "FERME", "max": places, "free": free,
                     "tarif_15": "0.5", "tarif_1h": "1.8", "geo": {"lon": longitude, "lat": latitude}})  # fmt: skip
    return rows
