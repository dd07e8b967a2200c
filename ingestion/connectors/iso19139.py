"""A record of ISO 19139 or ISO 19115-3, as an offer: what it says of a dataset, and no person by name."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from ingestion.connectors.catalog import Offer, Resource, read_by

# Names of elements are told without their namespace: the two standards have most of them in common.
RECORDS = ("MD_Metadata", "MI_Metadata")
HREF = "{http://www.w3.org/1999/xlink}href"
LICENCE = re.compile(r"licen[cs]e|etalab|odbl|creative ?commons|\bcc[- ](?:by|0)|\bcc0", re.IGNORECASE)
CORNERS = ("westBoundLongitude", "southBoundLatitude", "eastBoundLongitude", "northBoundLatitude")
ROLES = ("owner", "publisher", "custodian", "author", "originator", "resourceProvider", "distributor", "pointOfContact")
OF_LICENCE = ("useLimitation", "otherConstraints")


def offer_of(record: Element) -> Offer | None:
    """Give what a record tells of; None for one that has no identifier."""
    identifier = _first(record, "fileIdentifier") or _first(record, "metadataIdentifier/MD_Identifier/code")
    if identifier is None:
        return None
    told = next(iter(_at(record, "identificationInfo/*")), Element("none"))
    citation = next(iter(_at(told, "citation/CI_Citation")), None)
    dates = _dates(citation)
    constraints = tuple(
        dict.fromkeys(text for each in _at(told, "resourceConstraints/*") for name in OF_LICENCE for text in _texts(each, name))
    )
    keywords = [text for each in _at(told, "descriptiveKeywords/MD_Keywords") for text in _texts(each, "keyword")]
    return Offer(
        id=identifier, title=_first(citation, "title"), titles=_by_language(record, citation), description=_first(told, "abstract"),
        kind=_code(record, "hierarchyLevel") or _code(record, "metadataScope/MD_MetadataScope/resourceScope") or None,
        licence=_licence(told), constraints=constraints, producer=_producer(record, told),
        created=dates.get("creation"), issued=dates.get("publication"), modified=dates.get("revision"),
        record_modified=_first(record, "dateStamp") or _dates(record, "dateInfo").get("revision"),
        frequency=_code(told, "resourceMaintenance/MD_MaintenanceInformation/maintenanceAndUpdateFrequency") or None,
        keywords=tuple(dict.fromkeys(keywords)), themes=tuple(_texts(told, "topicCategory")),
        spatial=tuple(_texts(told, "extent/EX_Extent/description")), bbox=_bbox(told), resources=tuple(_resources(record)),
    )  # fmt: skip


def _at(element: Element | None, path: str) -> list[Element]:
    """Give what stands at a path of names, whatever their namespaces."""
    return [] if element is None else element.findall("/".join(f"{{*}}{name}" for name in path.split("/")))


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _text(element: Element) -> str | None:
    """Give what an element says: its text or that of the one within, a word of a list of codes where there is no text."""
    for each in (element, *element):
        if told := (each.text or "").strip():
            return told
    codes = [each.get("codeListValue", "").strip() for each in (element, *element)]
    return next(filter(None, codes), None)


def _texts(element: Element | None, path: str) -> list[str]:
    return [text for each in _at(element, path) if (text := _text(each))]


def _first(element: Element | None, path: str) -> str | None:
    return next(iter(_texts(element, path)), None)


def _code(element: Element, path: str) -> str:
    """Give a word of a list of codes, rather than what a record calls it."""
    found = [each.get("codeListValue", "") for held in _at(element, path) for each in held]
    return next(filter(None, found), _first(element, path) or "")


def _dates(element: Element | None, path: str = "date") -> dict[str, str]:
    """Give dates as they are written by what they are of: of several revisions, the last."""
    told: dict[str, str] = {}
    for each in _at(element, f"{path}/CI_Date"):
        kind, date = _code(each, "dateType"), _first(each, "date")
        if date and (kind not in told or (kind == "revision" and date > told[kind])):
            told[kind] = date
    return told


def _by_language(record: Element, citation: Element | None) -> dict[str, str]:
    """Give the title by language, where a record is of several (PT_FreeText); languages are those of its locales."""
    locales = {
        each.get("id", ""): _code(each, "languageCode") or _code(each, "language") for each in record.iter() if _local(each) == "PT_Locale"
    }
    told = {}
    for each in _at(citation, "title/PT_FreeText/textGroup/LocalisedCharacterString"):
        name = each.get("locale", "").removeprefix("#")
        if each.text and each.text.strip():
            told[locales.get(name) or name.lower()] = each.text.strip()
    own = _code(record, "language") or _code(record, "defaultLocale/PT_Locale/language")
    title = _first(citation, "title")
    return {**({own: title} if own and title else {}), **told} if told else {}


def _licence(told: Element) -> str | None:
    """Give the licence: the address of one, or the first text that calls itself one."""
    found = [each for held in _at(told, "resourceConstraints/*") for name in OF_LICENCE for each in _at(held, name)]
    for each in found:
        for anchor in each:
            href, words = anchor.get(HREF, ""), anchor.text or ""
            if href and LICENCE.search(f"{href} {words}"):
                return href
    return next((text for each in found if (text := _text(each)) and LICENCE.search(text)), None)


def _producer(record: Element, told: Element) -> str | None:
    """Give the organisation that answers for a dataset, by its role; never who works there."""
    held = [*_at(told, "pointOfContact/*"), *_at(record, "contact/*")]
    named = [
        (_code(each, "role"), name)
        for each in held
        if (name := _first(each, "organisationName") or _first(each, "party/CI_Organisation/name"))
    ]
    by_role = sorted(named, key=lambda each: ROLES.index(each[0]) if each[0] in ROLES else len(ROLES))
    return next((name for _, name in by_role), None)


def _bbox(told: Element) -> tuple[float, float, float, float] | None:
    """Give the box that holds all boxes of a record; None where one is no box of longitudes and latitudes."""
    boxes = []
    for each in told.iter():
        if _local(each) == "EX_GeographicBoundingBox":
            with contextlib.suppress(ValueError):
                west, south, east, north = (float((_first(each, name) or "").replace(",", ".")) for name in CORNERS)
                boxes.append((west, south, east, north))
                if not all(map(math.isfinite, boxes[-1])) or not (
                    -90 <= south <= north <= 90 and -180 <= west <= 180 and -180 <= east <= 180
                ):
                    return None
    if not boxes or (len(boxes) > 1 and any(west > east for west, _, east, _ in boxes)):
        return None  # what crosses 180 degrees is added to nothing
    wests, souths, easts, norths = zip(*boxes, strict=True)
    return min(wests), min(souths), max(easts), max(norths)


def _resources(record: Element) -> Iterator[Resource]:
    """Give the links of a record, each once."""
    forms = [name for each in record.iter() if _local(each) == "MD_Format" for name in [_form(each)] if name]
    form = forms[0] if len(set(forms)) == 1 else None
    seen: set[tuple[str | None, ...]] = set()
    for held in _at(record, "distributionInfo"):
        for each in held.iter():
            if _local(each) != "CI_OnlineResource" or not (url := _first(each, "linkage")):
                continue
            kind, title = _first(each, "protocol"), _first(each, "name")
            media = next((part.get("type") for part in each.iter() if _local(part) == "MimeFileType"), None)
            if (url, kind, title) in seen:
                continue
            seen.add((url, kind, title))
            protocol, options = read_by(url, kind, media, form)
            if title and protocol in ("wfs", "ogc_features") and not re.search(r"\s", title):
                options = {"type_name" if protocol == "wfs" else "collection": title}
            yield Resource(
                url=url, title=title, description=_first(each, "description"), kind=kind, format=form, media_type=media, protocol=protocol,
                options=options,
            )  # fmt: skip


def _form(element: Element) -> str | None:
    return _first(element, "name") or _first(element, "formatSpecificationCitation/CI_Citation/title")
