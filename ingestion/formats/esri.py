"""Records of ArcGIS as documents: values as they are written, dates as instants, geometries as GeoJSON in longitude and latitude."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ingestion.connectors import OF_SOURCE
from ingestion.connectors.answers import ON_ONE_LINE, NoAnswer, object_of, value_of_json
from ingestion.formats.esri_geometry import NoGeometry, geojson_of

# Longitude and latitude, as ArcGIS numbers it.
LONGITUDE_LATITUDE = 4326
EPOCH, BEYOND_ALL = datetime(1970, 1, 1, tzinfo=UTC), 10**15


def documents_of(
    members: dict[str, Any],
    oid: str | None,
    dates: Collection[str],
    ids: list[int],
    doubts: list[str],
    left_out: Collection[str] = (),
    *,
    has_geometry: bool,
    is_zoned: bool,
) -> list[bytes]:
    """Give the records of an answer, each as a line.

    `ids` takes their object ids, `doubts` a word for each geometry that can be read in two ways; `dates` are the fields of
    milliseconds, of a known zone when `is_zoned`; fields that are `left_out` are. Raises
    NoAnswer for what are no records, NoGeometry for what GeoJSON cannot hold.
    """
    import msgspec

    if "features" not in members:
        raise NoAnswer("holds no `features`", 400, f"it holds {', '.join(sorted(members)[:10]) or 'nothing'}")
    try:
        features = msgspec.json.decode(members["features"], type=_features())
    except (msgspec.DecodeError, RecursionError) as error:
        raise NoAnswer(f"holds features that are none ({error})") from None
    has_z = value_of_json(members.get("hasZ")) is True
    told = value_of_json(members.get("spatialReference"))
    encode = msgspec.json.encode
    documents = []
    for feature in features:
        values = {name: raw for name, raw in object_of(feature.attributes).items() if name not in left_out}
        if oid:
            ids.append(_object_id(values, oid))
        for name in dates:
            if name in values:
                values[name] = _moment(bytes(values[name]), is_zoned=is_zoned)
        if has_geometry:
            geometry = geojson_of(feature.geometry, has_z=has_z, doubts=doubts)
            _hold_to_crs(told, geometry)
            _set_aside("geometry", values)
            values["geometry"] = encode(geometry)
        members_of_it = b",".join(encode(name) + b":" + bytes(raw) for name, raw in values.items())
        documents.append((b"{" + members_of_it + b"}").translate(ON_ONE_LINE) + b"\n")
    return documents


@functools.cache
def _features() -> Any:
    """Give what features are read as: their attributes as they are written."""
    import msgspec

    feature: Any = msgspec.defstruct("Feature", [("attributes", msgspec.Raw), ("geometry", Any, None)])
    return list[feature]


def moment_of(milliseconds: int) -> datetime | None:
    """Give the instant that is so many milliseconds from 1970 on, None for what is too far to be one."""
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def _object_id(values: dict[str, Any], oid: str) -> int:
    told = value_of_json(values.get(oid))
    if not isinstance(told, int) or isinstance(told, bool):
        raise NoAnswer(f"holds a record whose object id ({oid}) is no whole number")
    return told


def _moment(raw: bytes, *, is_zoned: bool) -> bytes:
    """Write milliseconds since 1970 as an instant in UTC (ISO 8601), of an unknown zone without one; what is none stays as it is."""
    try:
        told = Decimal(raw.decode())
        moment = moment_of(int(told)) if abs(told) < BEYOND_ALL else None
    except (ValueError, ArithmeticError):
        return raw
    if moment is None:
        return raw
    return f'"{moment.replace(tzinfo=None).isoformat(timespec="milliseconds")}{"Z" if is_zoned else ""}"'.encode()


def _set_aside(name: str, values: dict[str, Any]) -> None:
    """Have a field that is called as the geometry lands be called otherwise."""
    for own in [each for each in values if each.casefold() == name]:
        free = f"{own}{OF_SOURCE}"
        while free in values:
            free += OF_SOURCE
        values[free] = values.pop(own)


def _hold_to_crs(told: Any, geometry: dict[str, Any] | None) -> None:
    """Raise NoGeometry for a geometry that is not in longitude and latitude, as was asked: by what its answer says, else by what it is."""
    if geometry is None:
        return
    if isinstance(told, dict) and told:
        if LONGITUDE_LATITUDE not in (told.get("wkid"), told.get("latestWkid")):
            raise NoGeometry(f"it is in the spatial reference {json.dumps(told)[:80]}, and not in longitude and latitude (4326)")
        return
    place = geometry["coordinates"]
    while isinstance(place[0], list):
        place = place[0]
    if abs(place[0]) > 360 or abs(place[1]) > 90:
        raise NoGeometry("it is not in longitude and latitude (4326), and says nowhere in what it is")
