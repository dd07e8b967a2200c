"""Geometries as ArcGIS writes them, as GeoJSON: which ring is a hole of which is told by its direction, and by what it lies in."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

Position = list[float]
Ring = list[Position]
Box = tuple[float, float, float, float]
NO_RING = -1  # around one that lies in no other


class NoGeometry(ValueError):
    """What GeoJSON has no geometry for."""


def geojson_of(told: Any, *, has_z: bool = False, doubts: list[str] | None = None) -> dict[str, Any] | None:
    """Give a geometry as GeoJSON (RFC 7946: exterior rings counterclockwise), None for an empty one.

    A measure (m) is left out, and so is a height that is no number. `doubts` takes a word for a polygon whose rings do not turn as
    ArcGIS documents: what lies within a ring is its hole then. Raises NoGeometry for true curves, and for what is no geometry.
    """
    if not isinstance(told, dict) or not told:
        if told is None or told == {}:
            return None
        raise NoGeometry("a geometry is no object")
    if curved := {"curveRings", "curvePaths", "c", "a", "b"} & told.keys():
        raise NoGeometry(f"a geometry is of true curves ({', '.join(sorted(curved))}), which were not asked for")
    has_z = told.get("hasZ", has_z)
    if "x" in told:
        place = _position([told["x"], told.get("y"), *([told["z"]] if "z" in told else [])], has_z="z" in told)
        return {"type": "Point", "coordinates": place} if place else None
    if "points" in told:
        places = [place for each in _listed(told["points"]) if (place := _position(each, has_z=has_z))]
        return {"type": "MultiPoint", "coordinates": places} if places else None
    if "paths" in told:
        lines = [line for each in _listed(told["paths"]) if len(line := _line(each, has_z=has_z)) > 1]
        return _one_or_many("LineString", lines)
    if "rings" in told:
        rings = [_closed(ring) for each in _listed(told["rings"]) if len(ring := _line(each, has_z=has_z)) > 2]
        return _one_or_many("Polygon", polygons_of(rings, doubts if doubts is not None else []))
    raise NoGeometry(f"a geometry holds neither x, points, paths nor rings ({', '.join(sorted(told))[:60]})")


def polygons_of(rings: list[Ring], doubts: list[str]) -> list[list[Ring]]:
    """Give polygons, each an exterior ring (counterclockwise) and its holes (clockwise), of rings in any order.

    In ArcGIS an exterior is clockwise and a hole counterclockwise. Where a hole lies in no exterior, or an exterior in another one that
    is not parted from it by a hole, the rings do not turn so: then every second one, from outside in, is a hole.
    """
    if len(rings) == 1:
        return [[_turned(rings[0], is_clockwise=False)]]
    areas = [_area(ring) for ring in rings]
    boxes = [_box(ring) for ring in rings]
    # From the largest on, each ring lies in rings that were placed before it: the smallest of these is its own.
    order = sorted(range(len(rings)), key=lambda number: -abs(areas[number]))
    parent, depth = dict[int, int](), {NO_RING: -1}
    for at, number in enumerate(order):
        around = (each for each in reversed(order[:at]) if _holds(boxes[each], boxes[number]) and lies_in(rings[number], rings[each]))
        parent[number] = next(around, NO_RING)
        depth[number] = depth[parent[number]] + 1
    if any((areas[number] > 0) != (depth[number] % 2 == 1) for number in order if areas[number]):
        doubts.append("rings")
    held = {number: [_turned(rings[number], is_clockwise=False)] for number in range(len(rings)) if depth[number] % 2 == 0}
    for number in range(len(rings)):
        if depth[number] % 2:
            held[parent[number]].append(_turned(rings[number], is_clockwise=True))
    return list(held.values())


def lies_in(inner: Ring, outer: Ring) -> bool:
    """Say whether a ring lies in another that it may touch: by a point of it that is not on the other's line."""
    middles = [[(one[0] + other[0]) / 2, (one[1] + other[1]) / 2] for one, other in pairwise(inner)]
    for place in (*inner, *middles):
        if (side := _side(place, outer)) is not None:
            return side
    return True


def _side(place: Position, ring: Ring) -> bool | None:
    """Say whether a place is within a ring; None where it is on its line."""
    x, y = place[0], place[1]
    is_within = False
    for one, other in pairwise(ring):
        x1, y1, x2, y2 = one[0], one[1], other[0], other[1]
        turn = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        if turn == 0 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
            return None
        if (y1 > y) != (y2 > y) and (turn > 0) == (y2 > y1):
            is_within = not is_within
    return is_within


def _area(ring: Ring) -> float:
    """Give twice the area of a ring, from its first point on so that no digit is lost: above 0 when it is counterclockwise."""
    x0, y0 = ring[0][0], ring[0][1]
    return math.fsum((one[0] - x0) * (other[1] - y0) - (other[0] - x0) * (one[1] - y0) for one, other in pairwise(ring))


def _box(ring: Ring) -> Box:
    xs, ys = [each[0] for each in ring], [each[1] for each in ring]
    return min(xs), min(ys), max(xs), max(ys)


def _holds(outer: Box, inner: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


def _turned(ring: Ring, *, is_clockwise: bool) -> Ring:
    return ring[::-1] if (_area(ring) < 0) != is_clockwise else ring


def _closed(ring: Ring) -> Ring:
    return ring if ring[0][:2] == ring[-1][:2] else [*ring, ring[0]]


def _listed(told: Any) -> list[Any]:
    if not isinstance(told, list | None):
        raise NoGeometry("what should be a list of positions, or of lists of them, is none")
    return told or []


def _line(told: Any, *, has_z: bool) -> Ring:
    return [place for each in _listed(told) if (place := _position(each, has_z=has_z))]


def _position(told: Any, *, has_z: bool) -> Position | None:
    """Give a position, None for one that is empty (of which a coordinate is null, or NaN)."""
    if isinstance(told, dict):
        raise NoGeometry("a geometry is of true curves, which were not asked for")
    if not isinstance(told, list) or len(told) < 2:
        raise NoGeometry("a position is no list of numbers")
    place = [_number(each) for each in told[: 2 + has_z]]
    if place[0] is None or place[1] is None:
        return None
    return [each for each in place if each is not None]


def _number(told: Any) -> float | None:
    if told is None or told == "NaN":
        return None
    if isinstance(told, bool) or not isinstance(told, int | float):
        raise NoGeometry("a coordinate is no number")
    return told


def _one_or_many(kind: str, parts: list[Any]) -> dict[str, Any] | None:
    if not parts:
        return None
    return {"type": kind, "coordinates": parts[0]} if len(parts) == 1 else {"type": f"Multi{kind}", "coordinates": parts}
