"""The capabilities of a WFS, as what it offers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from ingestion.connectors.catalog import Offer, Resource

# What servers write where nothing is limited, or nobody has said.
NOTHING = ("", "none", "unknown", "aucun", "aucune", "no conditions apply", "unspecified")


def offers_of_wfs(told: Element, endpoint: str) -> Iterator[Offer]:
    """Give the feature types of a server, each with what connector `wfs` is to ask: in GeoJSON where the server writes it."""
    version = told.get("version", "2.0.0")
    forms = list(_texts(told, "Parameter", "outputFormat"))
    options = {"version": "1.1.0"} if version.startswith("1.1") else {}
    if forms and not any(form.lower() == "application/json" for form in forms):
        # Of several, GeoJSON under another name before GML.
        options["output_format"] = next((form for form in forms if "json" in form.lower()), forms[0])
    fees, limits = (_first(told, f"{{*}}ServiceIdentification/{{*}}{name}") for name in ("Fees", "AccessConstraints"))
    producer = _first(told, "{*}ServiceProvider/{*}ProviderName")
    for each in told.iter():
        name = _first(each, "{*}Name") if _local(each) == "FeatureType" else None
        if name:
            title = _first(each, "{*}Title")
            keywords = (word.text.strip() for word in each.findall("{*}Keywords/{*}Keyword") if word.text and word.text.strip())
            resource = Resource(url=endpoint, id=name, title=title, kind="OGC:WFS", protocol="wfs", options={"type_name": name, **options})
            yield Offer(
                id=name, title=title, description=_first(each, "{*}Abstract"), kind="feature type", producer=producer,
                constraints=tuple(filter(None, (fees, limits))), keywords=tuple(keywords), bbox=_box(each), resources=(resource,),
            )  # fmt: skip


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _first(element: Element, path: str) -> str | None:
    told = (element.findtext(path) or "").strip()
    return None if told.lower() in NOTHING else told


def _texts(told: Element, kind: str, name: str) -> Iterator[str]:
    """Give the values of a parameter of the operation that gives features."""
    for operation in told.iter():
        if _local(operation) == "Operation" and operation.get("name") == "GetFeature":
            for each in operation.iter():
                if _local(each) == kind and each.get("name", "").lower() == name.lower():
                    yield from (value.text.strip() for value in each.iter() if _local(value) == "Value" and value.text)


def _box(element: Element) -> tuple[float, float, float, float] | None:
    with contextlib.suppress(ValueError, AttributeError):
        west, south = (float(each) for each in str(_first(element, "{*}WGS84BoundingBox/{*}LowerCorner")).split())
        east, north = (float(each) for each in str(_first(element, "{*}WGS84BoundingBox/{*}UpperCorner")).split())
        return west, south, east, north
    return None
