"""Feature types of a WFS (1.1, 2.0), in GeoJSON or GML: pages by index, in longitude and latitude, whole or a clear fault."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit, urlunsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from pydantic import Field, model_validator

from ingestion.connectors import Reading, Request, SourceError, Strict
from ingestion.connectors.answers import NoAnswer, at, members_of, records_at, value_of_json
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.capabilities import offers_of_wfs
from ingestion.connectors.catalog import Offer, offers_of, written
from ingestion.connectors.pages import Answer, Ask, Page, Pages, asked_with, fault, note, read_pages, spooled, twice_in, where
from ingestion.connectors.since import Since, asked_since
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import Client, client_of
from ingestion.formats import parts
from ingestion.formats.geojson import OF_FEATURE, document_of, read_feature
from ingestion.formats.spool import Spool

# By version: what names the type, the size of a page, a filter and a property in it, the namespace of filters.
SAID = {
    "2.0.0": ("TYPENAMES", "COUNT", "fes:Filter", "fes:ValueReference", "http://www.opengis.net/fes/2.0"),
    "1.1.0": ("TYPENAME", "MAXFEATURES", "ogc:Filter", "ogc:PropertyName", "http://www.opengis.net/ogc"),
}
WGS84 = "urn:ogc:def:crs:EPSG::4326"
# GDAL decodes what was read, and asks for nothing itself: no schema is fetched, no file is left, digits and zeros stay text. From 1.1 on,
# EPSG:4326 is latitude and longitude, however it is written.
GML_OPTIONS = {"DOWNLOAD_SCHEMA": "NO", "WRITE_GFS": "NO", "EXPOSE_GML_ID": "YES", "CONSIDER_EPSG_AS_URN": "YES"}


class BrickOptions(WebOptions):
    """What a brick of a WFS may say: how it is let in, and how much is asked of its host."""

    limits: Limits = POLITE


class TableOptions(Strict):
    """What a table may say: its feature type, how many features a page holds, in what order and form, and which are asked for."""

    type_name: str = Field(min_length=1)
    version: Literal["2.0.0", "1.1.0"] = "2.0.0"
    count: int = Field(1000, ge=1)
    output_format: str = "application/json"
    sort_by: str | None = None
    bbox: tuple[float, float, float, float] | None = None
    properties: dict[str, str | int | float] = Field({})
    since: Since | None = None
    parameters: dict[str, str] = Field({})

    @property
    def is_json(self) -> bool:
        """Whether features come as GeoJSON, else as GML."""
        return "json" in self.output_format.lower()

    @model_validator(mode="after")
    def _asks_one_thing(self) -> TableOptions:
        if self.bbox and (self.properties or self.since):
            raise ValueError("a WFS takes `bbox` or a filter (`properties`, `since`), not both: give the box up, or the filter")
        return self


def read(request: Request) -> Reading:
    """Read a feature type from the cursor on; raises SourceError, with what the server offers where it refuses what is asked."""
    options: TableOptions = request.table_options
    reading = Reading(request, dict(request.position))
    client = client_of(reading)
    first = _first(client, options, request)
    spool, name = Spool(request.spool, is_private=request.is_private), f"{request.table}.ndjson"
    reading.held = spool
    announced = None if options.is_json else _hits(client, first)

    def page_of(answer: Answer, ask: Ask, passed: int) -> Page:
        return _page(client, options, answer, ask, passed)

    try:
        pages = read_pages(client, first, page_of, lambda: spooled(spool, name), doubt=lambda read: _doubt(read, reading, spool, name))
    except SourceError as error:
        if told := _refusal(error.text.encode()):
            raise _refused(client, options, first, told) from error
        raise
    assert pages is not None  # nothing conditional was asked
    if announced is not None and pages.rows < announced:
        told = f"announces {announced} features (resultType=hits) and gives {pages.rows}"
        raise SourceError(f"{where(client, first)} {told}. Mend: try later, or tell the producer.")
    if not note(pages, reading, "`type_name`, and which of its features are asked for"):
        return reading
    reading.parts = parts("ndjson", [name], reading, spool)
    if pages.doubted:
        reading.warnings.append(f"{request.brick}.{request.table}: {pages.doubted}. Mend: `sort_by` a property that no two share")
    if not request.position:
        reading.metadata = _placed(client, options, reading)
    return reading


def catalog(reading: Reading) -> Iterator[Offer]:
    """Give the feature types that a server offers; raises SourceError."""
    client = client_of(reading)
    first = Ask(_url(client, {"SERVICE": "WFS", "VERSION": "2.0.0", "REQUEST": "GetCapabilities"}))

    def page_of(answer: Answer, ask: Ask, _: int) -> Page:
        try:
            told = list(offers_of_wfs(ElementTree.fromstring(answer.body), client.shown(client.endpoint)))
        except ElementTree.ParseError as error:
            raise fault(client, ask, f"answers what is no XML, or was cut ({error})") from None
        if not told and (refusal := _refusal(answer.body)):
            raise fault(client, ask, f"refuses: {refusal}", may_pass=False)
        return Page(written(told), len(told))

    return offers_of(client, first, page_of)


def _first(client: Client, options: TableOptions, request: Request) -> Ask:
    """Give what is asked first."""
    names, count, filter_, property_, space = SAID[options.version]
    asked = {
        "SERVICE": "WFS", "VERSION": options.version, "REQUEST": "GetFeature", names: options.type_name, count: options.count,
        "STARTINDEX": 0, "OUTPUTFORMAT": options.output_format, "SRSNAME": "EPSG:4326" if options.is_json else WGS84,
    }  # fmt: skip
    if options.sort_by:
        asked["SORTBY"] = options.sort_by
    if options.bbox:
        west, south, east, north = options.bbox
        asked["BBOX"] = f"{south},{west},{north},{east},{WGS84}"
    prefix = filter_.partition(":")[0]

    def test(operator: str, name: str, value: Any) -> str:
        literal = f"<{prefix}:Literal>{escape(str(value))}</{prefix}:Literal>"
        return f"<{prefix}:{operator}><{property_}>{escape(name)}</{property_}>{literal}</{prefix}:{operator}>"

    tests = [test("PropertyIsEqualTo", name, value) for name, value in options.properties.items()]
    if options.since and (value := asked_since(request, options.since)) is not None:
        # What has no value there is not asked for: of PropertyIsNull, MapServer makes everything, or nothing.
        tests.append(test("PropertyIsGreaterThanOrEqualTo", options.since.parameter, value))
    if tests:
        body = f"<{prefix}:And>{''.join(tests)}</{prefix}:And>" if len(tests) > 1 else tests[0]
        asked["FILTER"] = f'<{filter_} xmlns:{prefix}="{space}">{body}</{filter_}>'
    return Ask(_url(client, {**options.parameters, **asked}))


def _url(client: Client, asked: dict[str, Any]) -> str:
    place = urlsplit(client.endpoint)
    query = "&".join(filter(None, (place.query, urlencode(asked, quote_via=quote))))
    return urlunsplit(place._replace(query=query))


def _hits(client: Client, first: Ask) -> int | None:
    """Ask how many features there are; a server with a cap says fewer than it gives, so that it is the least, not the number."""
    ask = asked_with(first, RESULTTYPE="hits")
    body: bytes = client.fetch(ask.url, lambda stream, _: stream.read(1 << 16))
    told = re.search(rb'number(?:Matched|OfFeatures)\s*=\s*"([0-9]+)"', body)
    return int(told[1]) if told else None


def _page(client: Client, options: TableOptions, answer: Answer, ask: Ask, passed: int) -> Page:
    """Make a page of an answer; raises SourceError for one that is none, with what the server says."""
    if told := _refusal(answer.body[:4096]):
        raise _refused(client, options, ask, told)
    try:
        features, total = _of_json(answer.body) if options.is_json else _of_gml(answer.body)
    except NoAnswer as error:
        raise fault(client, ask, error) from None
    own = frozenset(name.removeprefix(OF_FEATURE) for name in client.reading.request.columns if name.startswith(OF_FEATURE))
    records = [document_of(feature, own).encode() + b"\n" for feature in features]
    # Until a page is empty: a server may give fewer than it was asked for, and announce its cap as the number of features.
    following = asked_with(ask, STARTINDEX=passed + len(records)) if records else None
    return Page(b"".join(records), len(records), following, total)


def _refusal(body: bytes) -> str | None:
    """Give what an exception of a WFS says; None where the answer is none."""
    told = re.search(rb"<(?:\w+:)?(?:ExceptionText|ServiceException)\b[^>]*>(.*?)</", body, re.DOTALL)
    return " ".join(told[1].decode("utf-8", "replace").split())[:300] if told else None


def _refused(client: Client, options: TableOptions, ask: Ask, told: str) -> SourceError:
    told = "" if client.reading.request.is_private else f": {client.told(told)}"
    return SourceError(f"{where(client, ask)} refuses{told}. Mend: {_offered(client, options)}.")


def _of_json(body: bytes) -> tuple[list[Any], int | None]:
    members = members_of(body)
    told = [value_of_json(raw) for name in ("numberMatched", "totalFeatures") if (raw := at(members, name)) is not None]
    return [read_feature(each) for each in records_at(members, "features")], next((each for each in told if isinstance(each, int)), None)


def _of_gml(body: bytes) -> tuple[list[Any], int | None]:
    """Give the features of a GML collection, each value as text, its geometry in longitude and latitude; raises NoAnswer."""
    head = body[:4096]
    if b"FeatureCollection" not in head:
        raise NoAnswer("answers what is no collection of features")
    try:
        ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise NoAnswer(f"answers what is no XML, or was cut ({error})") from None
    returned = re.search(rb'number(?:Returned|OfFeatures)\s*=\s*"([0-9]+)"', head)
    matched = re.search(rb'numberMatched\s*=\s*"([0-9]+)"', head)
    features = list(_decoded(body)) if re.search(rb"<(?:\w+:)?(?:member|featureMembers?)\b[^>/]*>", body) else []
    if returned and int(returned[1]) != len(features):
        raise NoAnswer(f"says that it returns {int(returned[1])} features, and gives {len(features)}")
    return features, int(matched[1]) if matched else None


def _decoded(body: bytes) -> Iterator[Any]:
    """Have GDAL decode GML, and give its features as GeoJSON has them."""
    import pyogrio

    pyogrio.set_gdal_config_options({"GML_FIELDTYPES": "ALWAYS_STRING"})
    meta, table = pyogrio.raw.read_arrow(io.BytesIO(body), **GML_OPTIONS)
    column = meta["geometry_name"] or "wkb_geometry"
    has_place = column in table.column_names
    places = _as_geojson(table[column].to_pylist()) if has_place else [None] * len(table)
    rows = table.drop_columns([column]) if has_place else table
    for row, place in zip(rows.to_pylist(), places, strict=True):
        own = {name: value for name, value in row.items() if name not in ("gml_id", "fid")}
        identifier = row.get("gml_id") or row.get("fid")
        yield {"type": "Feature", "id": identifier, "geometry": json.loads(place) if place else None, "properties": own}


def _as_geojson(places: list[bytes | None]) -> list[str | None]:
    """Write geometries as GeoJSON."""
    import duckdb
    import pyarrow as pa

    from ingestion.lake import VERIFIED, load_extension

    with duckdb.connect(config=VERIFIED) as connection:
        load_extension(connection, "spatial")
        wkb = pa.table({"place": pa.array(places, pa.binary())})
        connection.register("wkb", wkb)
        return [row[0] for row in connection.execute("select st_asgeojson(st_geomfromwkb(place::wkb_blob))::varchar from wkb").fetchall()]


def _doubt(read: Pages, reading: Reading, spool: Spool, name: str) -> str | None:
    """Say that numbered pages hold a feature twice: without an order, a server may give one twice, and another never."""
    if read.pages < 3:  # the last one is empty
        return None
    twice = twice_in([name], "ndjson", reading, spool)
    return f"{twice} features came twice on pages that are numbered: the server keeps no order" if twice else None


def _capabilities(client: Client, options: TableOptions) -> ElementTree.Element | None:
    asked = {**options.parameters, "SERVICE": "WFS", "VERSION": options.version, "REQUEST": "GetCapabilities"}
    try:
        body: bytes = client.fetch(_url(client, asked), lambda stream, _: stream.read())
        return ElementTree.fromstring(body)
    except (SourceError, ElementTree.ParseError):
        return None


def _offered(client: Client, options: TableOptions) -> str:
    """Say what a server offers, as a mend."""
    if (told := _capabilities(client, options)) is None:
        return "check the endpoint, `type_name` and `output_format`"
    names = [each.findtext("{*}Name") or "" for each in told.iter() if each.tag.rpartition("}")[2] == "FeatureType"]
    if not any(name == options.type_name or name.rpartition(":")[2] == options.type_name for name in names):
        return f"`type_name` is one of {', '.join(names[:20]) or 'none'}"
    forms = [
        value.text or ""
        for parameter in told.iter()
        if parameter.tag.rpartition("}")[2] == "Parameter" and parameter.get("name", "").lower() == "outputformat"
        for value in parameter.iter()
        if value.tag.rpartition("}")[2] == "Value"
    ]
    return f"check the filter; `output_format` is one of {', '.join(dict.fromkeys(forms)) or 'those of its capabilities'}"


def _placed(client: Client, options: TableOptions, reading: Reading) -> dict[str, Any]:
    """Give what the capabilities say of the type, once features are seen to stand where they say; raises SourceError.

    Servers differ in the order of longitude and latitude: features outside of the type's own box, and inside once the two are
    swapped, are swapped.
    """
    told = _capabilities(client, options)
    types = [] if told is None else [each for each in told.iter() if each.tag.rpartition("}")[2] == "FeatureType"]
    own = next(
        (each for each in types if (each.findtext("{*}Name") or "").rpartition(":")[2] == options.type_name.rpartition(":")[2]), None
    )
    if own is None:
        return {}
    corners = [own.findtext(f"{{*}}WGS84BoundingBox/{{*}}{name}Corner") for name in ("Lower", "Upper")]
    meta = {"title": own.findtext("{*}Title"), "crs": own.findtext("{*}DefaultCRS") or own.findtext("{*}DefaultSRS")}
    if all(corners):
        (west, south), (east, north) = ([float(value) for value in str(corner).split()] for corner in corners)
        place = "try(regexp_extract_all(_doc->>'$.geometry.coordinates', '-?[0-9.]+(?:[eE][-+]?[0-9]+)?')::double[])"
        asked = f"select place[1], place[2] from (select {place} as place from ({reading.parts[0].relation})) where len(place) > 1"
        found = reading.request.connection.execute(f"{asked} limit 1000").fetchall()
        margin = 0.01 + 0.05 * max(east - west, north - south)

        def inside(x: float, y: float) -> bool:
            return west - margin <= x <= east + margin and south - margin <= y <= north + margin

        swapped = [(x, y) for x, y in found if not inside(x, y) and inside(y, x)]
        if swapped:
            where_ = f"{reading.request.brick}.{reading.request.table}: features stand at latitude and longitude, not the other way round"
            raise SourceError(f"{where_}. Mend: another `version` or `output_format` ({_offered(client, options)}).")
    return {name: value for name, value in meta.items() if value}
