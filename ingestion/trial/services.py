"""What a server of a known protocol offers, each as the options of a brick; where its address begins, whatever page of it was given."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from ingestion.connectors import SourceError
from ingestion.connectors.catalog import CATALOGUES, offers
from ingestion.trial.offers import MOST_OFFERS, Offer
from ingestion.trial.place import Place

# What of an address is below the root of its server, by protocol; of the others, all of it.
BELOW = {
    "ogc_features": r"/(collections|conformance|api)(/.*)?$",
    "opendatasoft": r"/(api/|explore|catalog).*$",
    "ckan": r"/(api/(3/)?action|dataset).*$",
    "udata": r"/(api/1|fr/|en/|datasets).*$",
    "sensorthings": r"(?<=/v1\.[01])/.*$",
    "ngsi": r"((?<=/v1)|(?<=/v2))/.*$",
    "arcgis": r"(?<=Server)/[0-9]+(/query)?$|/query$",
}
# What an OGC service is asked for by: the rest of a query is its own (`map`).
OF_OGC = ("service", "request", "version", "typename", "typenames", "outputformat", "count", "maxfeatures", "startindex", "resulttype", "f")
PORTALS = ("ckan", "csw", "dcat", "opendatasoft", "udata")  # of which a table is chosen before one is sampled


def root_of(url: str, protocol: str) -> tuple[str, dict[str, str]]:
    """Give the address of a server whatever page of it was given, and what of the query stays."""
    parts = urlsplit(url)
    path = re.sub(BELOW[protocol], "", parts.path) if protocol in BELOW else parts.path
    kept = {name: value for name, value in parse_qsl(parts.query) if name.lower() not in OF_OGC}
    return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", "")), kept


def services_of(place: Place, folder: Path) -> list[Offer]:
    """Say what a server offers; raises SourceError where it offers nothing, or nothing that is read."""
    protocol = str(place.found.connector)
    if not place.is_url:
        told = f"{place.address}: it is {place.found.told}, as a server answers it: a recorded answer is no source"
        raise SourceError(f"{told}. Mend: give the address of the server (`{protocol}` reads it).")
    root, kept = root_of(place.endpoint, protocol)
    spool = folder / "catalogue"
    spool.mkdir()
    readers = {"gbfs": _feeds, "arcgis": _layers, "ngsi": _entities, "gtfs_rt": _updates}
    found = readers[protocol](place, root, kept) if protocol in readers else _offered(protocol, root, kept, spool)
    given = [offer for _, offer in zip(range(MOST_OFFERS), found, strict=False)]
    if not given:
        told = f"{place.address}: it is {place.found.told}, which offers nothing that is read"
        raise SourceError(f"{told}. Mend: try it later, or another one.")
    return given


def _offered(protocol: str, root: str, kept: dict[str, str], spool: Path) -> Iterator[Offer]:
    if protocol not in CATALOGUES:
        raise SourceError(f"{root}: `{protocol}` is pushed, or read by what its maker says. Mend: write its brick by hand.")
    endpoint = f"{root}?{'&'.join(f'{name}={value}' for name, value in kept.items())}" if kept and protocol == "wfs" else root
    for offer in offers(protocol, endpoint, spool, most=MOST_OFFERS):
        told: dict[str, Any] = {"licence": offer.licence, "producer": offer.producer, "modified": offer.modified}
        for number, each in enumerate(offer.resources, 1):
            name, title = offer.title or offer.id, " / ".join(dict.fromkeys(filter(None, (offer.title or offer.id, each.title))))
            if each.protocol == protocol:  # its own rows
                table = dict(each.options) | ({"parameters": kept} if kept and protocol == "wfs" else {})
                yield Offer(next(iter(map(str, each.options.values())), name), title, protocol, root, table, **told)
            elif each.protocol and each.url and each.url.startswith("http"):
                own = name if len(offer.resources) == 1 else f"{name} ({each.title or number})"
                yield Offer(own, title, each.protocol, each.url, dict(each.options), at_place=each.url, **told)


def _body(place: Place) -> dict[str, Any]:
    """Give what a place answered, as JSON; nothing where it is none."""
    try:
        told = json.loads(place.local.read_bytes().decode("utf-8-sig")) if place.local else {}
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {"rows": told}


def _feeds(place: Place, root: str, kept: dict[str, str]) -> Iterator[Offer]:
    data = _body(place).get("data") or {}
    listed = data.get("feeds") or next((each.get("feeds") for each in data.values() if isinstance(each, dict)), None)
    if not listed:
        index = f"{root.rpartition('/')[0]}/gbfs.json"
        raise SourceError(f"{place.address}: it is one feed of {place.found.told}. Mend: give its index, often {index}")
    for feed in listed:
        if (name := str(feed.get("name"))) not in ("gbfs_versions", "gbfs"):
            yield Offer(name, name.replace("_", " "), "gbfs", place.endpoint, {"feed": name})


def _layers(place: Place, root: str, kept: dict[str, str]) -> Iterator[Offer]:
    told = _body(place)
    if number := re.search(r"Server/([0-9]+)", urlsplit(place.endpoint).path):
        yield Offer(f"layer {number[1]}", str(told.get("name") or f"layer {number[1]}"), "arcgis", root, {"layer": int(number[1])})
        return
    if services := [f"{each.get('name')}/{each.get('type')}" for each in told.get("services") or () if "Server" in str(each.get("type"))]:
        raise SourceError(f"{place.address}: it is a folder of services. Mend: give one of them: {', '.join(services[:10])}")
    for each in [*(told.get("layers") or ()), *(told.get("tables") or ())]:
        if isinstance(each.get("id"), int) and not each.get("subLayerIds"):
            yield Offer(str(each.get("name") or each["id"]), str(each.get("name") or each["id"]), "arcgis", root, {"layer": each["id"]})


def _entities(place: Place, root: str, kept: dict[str, str]) -> Iterator[Offer]:
    told = _body(place)
    rows = told.get("rows") if isinstance(told.get("rows"), list) else [told]
    is_v2 = "/v2" in urlsplit(place.endpoint).path
    for kind in dict.fromkeys(str(row.get("type")) for row in rows or () if isinstance(row, dict) and row.get("type")):
        brick = {"version": "v2"} if is_v2 else {}
        yield Offer(kind.rpartition("/")[2], kind, "ngsi", root, {"type": kind}, brick)


def _updates(place: Place, root: str, kept: dict[str, str]) -> Iterator[Offer]:
    for each in ("trip_updates", "alerts"):
        yield Offer(each, each.replace("_", " "), "gtfs_rt", place.endpoint, {"entities": each})
