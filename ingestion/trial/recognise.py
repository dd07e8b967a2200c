"""What an answer or a file is, told by its first bytes, its root and its keys: never by its address."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import dataclass, replace
from typing import Any

from ingestion.connectors.archives import begins
from ingestion.formats.options import marked

# What begins with these bytes; what it is; the format of `files` that reads it, None where none does.
MAGIC: tuple[tuple[bytes, str, str | None], ...] = (
    (b"PAR1", "Parquet", "parquet"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an older Excel workbook", "spreadsheet"),
    (b"fgb\x03", "FlatGeobuf", "flatgeobuf"),
    (b"\0\0\x27\x0a", "a Shapefile", "shapefile"),
    (b"II*\0", "a raster (TIFF), which a brick sums up by outlines", None),
    (b"MM\0*", "a raster (TIFF), which a brick sums up by outlines", None),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive, whose members `files` reads", None),
    (b"Rar!", "a RAR archive", None),
    (b"%PDF-", "a PDF", None),
    (b"ORC", "ORC", None),
    (b"\x89PNG", "a picture", None),
    (b"\xff\xd8\xff", "a picture", None),
)  # fmt: skip
# The format of `files` by the end of a member's name.
BY_SUFFIX = {
    "csv": "csv",
    "txt": "csv",
    "tsv": "csv",
    "ndjson": "ndjson",
    "jsonl": "ndjson",
    "json": "json",
    "geojson": "geojson",
    "parquet": "parquet",
}
# What its address says of a body is tried last: what a file's first line holds where it is a table.
SEPARATED = re.compile(r"[;,\t|]")
OF_JSON_SHOWN, SHORT_LINE, LOOKED_AT = 6, 200, 1 << 20
UNPACKED_BYTES = 4 << 20
UPLINKS = ({"DevEUI_uplink"}, {"end_device_ids"}, {"deviceInfo", "fCnt"})
OF_GEOJSON = ("FeatureCollection", "GeometryCollection", "MultiPoint", "MultiPolygon", "LineString", "MultiLineString")
REALTIME = re.compile(rb"\n[\x05-\x40]\n\x03[12]\.\d")  # a header that says its version first
ENTITY_SETS = ("Things", "Datastreams", "Sensors", "Observations", "Locations", "ObservedProperties", "FeaturesOfInterest")


@dataclass(frozen=True)
class Recognised:
    """What was recognised: a `kind` in one word, `told` in words, the `connector` that reads it (None: none does).

    `format` is that of `files` or `rest`; `members` are the patterns of what an archive holds; `records` is where the rows of a JSON
    stand; `mend` says what to do where no connector reads it.
    """

    kind: str
    told: str
    connector: str | None = None
    format: str | None = None
    members: tuple[str, ...] = ()
    records: str = ""
    mend: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it is a file of rows, wherever it comes from."""
        return self.connector == "files"


REFERENCE = "reference only: no connector reads it"
KNOWN = {
    found.kind: found
    for found in (
        Recognised("empty", "nothing: it holds no byte but blanks", mend="check the address"),
        Recognised("html", "a page of HTML, for a person", mend="look on the page for the address of the data or of its API"),
        Recognised("wfs", "a WFS", "wfs"),
        Recognised("wms", "a WMS: pictures of maps", mend=REFERENCE),
        Recognised("wmts", "a WMTS: pictures of maps", mend=REFERENCE),
        Recognised("csw", "a catalogue (CSW)", "csw"),
        Recognised("ogc_error", "an OGC service that refuses", mend="check the parameters, or give the address of the service alone"),
        Recognised("dcat", "a catalogue (DCAT)", "dcat"),
        Recognised("iso19139", "the metadata of a dataset (ISO 19139)", mend="give the address of its catalogue (csw)"),
        Recognised("gml", "GML without its service", mend="give the address of the WFS that gave it"),
        Recognised("siri", "SIRI: passages in real time", "rest", "xml"),
        Recognised("netex", "NeTEx: timetables", mend="ask for GTFS, which `files` reads"),
        Recognised("datex2", "DATEX II: road traffic", "rest", "xml"),
        Recognised("stac", "a catalogue of pictures (STAC)", mend=REFERENCE),
        Recognised("error", "an error", mend="check the address, and give its key where it wants one"),
        Recognised("ogc_features", "an OGC API Features", "ogc_features"),
        Recognised("ogc_api", "an OGC API that gives no features", mend=REFERENCE),
        Recognised("geojson", "GeoJSON", "files", "geojson"),
        Recognised("gbfs", "a GBFS feed", "gbfs"),
        Recognised("gtfs_rt", "a GTFS Realtime feed", "gtfs_rt"),
        Recognised("sensorthings", "a SensorThings API", "sensorthings"),
        Recognised("arcgis", "an ArcGIS server", "arcgis"),
        Recognised("lorawan", "a frame of a LoRaWAN network, which pushes", "webhook"),
        Recognised("ckan", "a CKAN portal", "ckan"),
        Recognised("opendatasoft", "an Opendatasoft portal", "opendatasoft"),
        Recognised("udata", "a udata portal (data.gouv.fr)", "udata"),
        Recognised("ngsi", "entities of a context broker (NGSI)", "ngsi"),
    )
}


def recognise(body: bytes) -> Recognised:
    """Recognise a body, or its first mebibytes.

    Raises nothing: what is not recognised is `unknown`, with what was seen.
    """
    if not body.strip():
        return KNOWN["empty"]
    if body[:2] == b"PK":
        return _of_zip(body)
    if (inner := begins(body, UNPACKED_BYTES)) is not None:
        return _of_packed(inner)
    if body[:15] == b"SQLite format 3":
        if body[68:72] in (b"GPKG", b"GP10", b"GP11"):
            return Recognised("geopackage", "a GeoPackage", "files", "geopackage")
        return Recognised("sqlite", "a database of SQLite", "sql")
    for begin, told, form in MAGIC:
        if body.startswith(begin):
            mend = "" if form else "ask its producer for CSV, GeoJSON or Parquet, or unpack it first"
            return Recognised(form or told.split()[-1].lower(), told, "files" if form else None, form, mend=mend)
    if REALTIME.match(body):
        return KNOWN["gtfs_rt"]
    text = _text(body)
    if text is None:
        return Recognised("unknown", "bytes that are no text, nor a format that is known", mend="ask its producer what it is")
    if not text:
        return KNOWN["empty"]
    for reader in (_of_xml, _of_json, _of_rdf, _of_table):
        if found := reader(text):
            return found
    return Recognised("unknown", f"a text that is no table: {text.strip()[:60]!r}", mend="ask its producer what it is")


def _text(body: bytes) -> str | None:
    """Give a body as a text, None where it is none: zeros in a text are UTF-16, or no text."""
    if encoding := marked(body):
        return body.decode(encoding, "replace").lstrip("\ufeff \t\r\n")
    return None if b"\0" in body[:4096] else body.decode("utf-8-sig", "replace").lstrip("\ufeff \t\r\n")


def _of_zip(body: bytes) -> Recognised:
    try:
        names = [info.filename for info in zipfile.ZipFile(io.BytesIO(body)).infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        told = "a zip that cannot be opened: it was cut, or is damaged"
        return Recognised("zip", told, mend="ask for it again, or tell its producer")
    held = {name.lower() for name in names}
    if {"stops.txt", "trips.txt"} <= {name.rpartition("/")[2] for name in held}:
        return Recognised("gtfs", "a GTFS feed (timetables)", "files", "csv", tuple(n for n in names if n.endswith(".txt")))
    if any(name.startswith("xl/") for name in held):
        return Recognised("xlsx", "an Excel workbook", "files", "spreadsheet")
    if "content.xml" in held and "mimetype" in held:
        return Recognised("ods", "a spreadsheet of OpenDocument", "files", "spreadsheet")
    if any(name.endswith(".shp") for name in held):
        return Recognised("shapefile", "a Shapefile", "files", "shapefile")
    known = [name for name in names if name.rpartition(".")[2].lower() in BY_SUFFIX and not name.startswith("__MACOSX")]
    if not known:
        suffixes = sorted({name.rpartition(".")[2].lower() for name in names})[:5]
        return Recognised("zip", f"a zip of {', '.join(suffixes) or 'nothing'}", mend="ask its producer for CSV, GeoJSON or Parquet")
    form = BY_SUFFIX[known[0].rpartition(".")[2].lower()]
    return Recognised("zip", f"a zip of {len(names)} files", "files", form, tuple(known))


def _of_packed(inner: bytes) -> Recognised:
    if not inner:
        told = "a packed stream that cannot be opened: it was cut, or is damaged"
        return Recognised("packed", told, mend="ask for it again, or tell its producer")
    found = recognise(inner)
    return replace(found, told=f"{found.told}, packed")


def _of_xml(text: str) -> Recognised | None:
    if text[:1] != "<":
        return None
    body = re.sub(r"<!--.*?-->", "", text[:LOOKED_AT], flags=re.DOTALL)
    met = re.search(r"<(?![?!])(?:[\w.-]+:)?([\w.-]+)([^>]*)", body)
    root, attributes = (met[1], met[2]) if met else ("", "")
    tests = (
        (root.lower() == "html" or "<!doctype html" in text[:200].lower(), "html"),
        (root == "WFS_Capabilities" or (root == "FeatureCollection" and "wfs" in attributes), "wfs"),
        (root == "schema" and "opengis.net/gml" in attributes, "wfs"),
        (root in ("WMS_Capabilities", "WMT_MS_Capabilities"), "wms"),
        (root in ("Capabilities", "GetRecordsResponse", "GetRecordByIdResponse") and "csw" in attributes, "csw"),
        (root == "Capabilities" and "wmts" in attributes, "wmts"),
        (root in ("ServiceExceptionReport", "ExceptionReport"), "ogc_error"),
        (root == "RDF" and "dcat#" in text, "dcat"),
        (root in ("MD_Metadata", "MI_Metadata"), "iso19139"),
        (root == "FeatureCollection", "gml"),
        (root == "Siri", "siri"),
        (root == "PublicationDelivery", "netex"),
        (root in ("d2LogicalModel", "messageContainer"), "datex2"),
    )
    rows = _row_of_xml(body)
    if kind := next((kind for test, kind in tests if test), None):
        found = KNOWN[kind]
        if kind == "ogc_error":
            return replace(found, told=f"{found.told}: {_words(body)}")
        return replace(found, records=rows) if found.connector == "rest" else found
    if rows:
        return Recognised("xml", f"XML, <{root}>, of which <{rows}> is a row", "rest", "xml", records=rows)
    return Recognised("xml", f"XML, <{root}>, in which nothing repeats", mend="a brick of `rest` says in `records` which element is a row")


def _words(body: str) -> str:
    return " ".join(re.sub("<[^>]+>", " ", body).split())[:120]


def _row_of_xml(body: str) -> str:
    """Give the element that is most often opened below the root and holds others: a row."""
    opened: dict[str, int] = {}
    for name in re.findall(r"<(?:[\w.-]+:)?([\w.-]+)(?:\s[^>]*)?>\s*(?=<[^/])", body)[1:]:
        opened[name] = opened.get(name, 0) + 1
    return max(opened, key=lambda name: opened[name]) if opened and max(opened.values()) > 1 else ""


def _of_rdf(text: str) -> Recognised | None:
    if not re.search(r"(?m)^\s*@?prefix\s", text[:3000], re.IGNORECASE):
        return None
    if "dcat#" in text:
        return KNOWN["dcat"]
    return Recognised("rdf", "RDF that is no catalogue", mend="ask its producer for CSV or JSON")


def _of_table(text: str) -> Recognised | None:
    lines = [line for line in text[:LOOKED_AT].splitlines()[:30] if line.strip()]
    if any(SEPARATED.search(line) for line in lines):
        return Recognised("csv", "a table (CSV)", "files", "csv")
    # One column is a table where its lines are short.
    return Recognised("csv", "a table of one column", "files", "csv") if len(lines) > 1 and max(map(len, lines)) < SHORT_LINE else None


def _of_json(text: str) -> Recognised | None:
    if text[:1] not in "{[":
        return None
    try:
        told = json.loads(text)
    except ValueError:
        first, _, others = text.partition("\n")
        if first[:1] == "{" and others and _is_json(first):
            return Recognised("ndjson", "a JSON object a line (NDJSON)", "files", "ndjson")
        return _of_begun(text)
    return of_members(told) if isinstance(told, dict) else _of_list(told)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _of_begun(text: str) -> Recognised:
    """Recognise a JSON whose end is not here: a large one of which the beginning was read, or one that was cut."""
    head = text[:4000]
    if re.search(r'"type"\s*:\s*"FeatureCollection"', head):
        return Recognised("geojson", "GeoJSON", "files", "geojson")
    return Recognised("json", "JSON that ends too early, or is none", mend="ask for it again, or tell its producer")


def _of_list(rows: list[Any]) -> Recognised:
    first = rows[0] if rows and isinstance(rows[0], dict) else {}
    if not first:
        return Recognised("json", f"a JSON list of {len(rows)} values that are no objects", mend="a table is made of objects")
    kinds = [str(kind) for row in rows if isinstance(row, dict) for kind in _listed(row.get("@type"))]
    tests = (
        (is_entity(first) or any("ngsi" in kind for kind in kinds), "ngsi"),
        (any("dcat" in kind for kind in kinds), "dcat"),
        (is_package(first), "ckan"),
    )
    if kind := next((kind for test, kind in tests if test), None):
        return KNOWN[kind]
    return Recognised("json", f"a JSON list of {len(rows)} objects", "rest", "json")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def is_entity(told: dict[str, Any]) -> bool:
    """Say whether an object is an entity of NGSI: an id, a type, and attributes that say what they are, or a context beside them."""
    if not {"id", "type"} <= told.keys() or "stac_version" in told or "geometry" in told:
        return False
    if "ngsi" in json.dumps(told.get("@context", "")).lower() or str(told["id"]).startswith(("urn:ngsi", "urn:ngsi-ld")):
        return True
    if re.fullmatch("([A-Z][a-z0-9]+){2,}", str(told["type"])) and told["type"] not in OF_GEOJSON:
        return True  # as key-values: NoiseLevelObserved
    kinds = ("Property", "GeoProperty", "Relationship", "LanguageProperty")
    attributes = [value for name, value in told.items() if name not in ("id", "type", "@context") and isinstance(value, dict)]
    return any(value.get("type") in kinds or {"type", "value"} <= value.keys() for value in attributes)


def is_package(told: dict[str, Any]) -> bool:
    """Say whether an object is a dataset as CKAN writes it."""
    return "resources" in told and bool(
        {"owner_org", "metadata_created", "license_id", "license_title", "package_id", "notes"} & told.keys()
    )


def _links(told: dict[str, Any]) -> set[str]:
    """Give what the links of an object are for."""
    links = told.get("links")
    links = links if isinstance(links, list) else []
    return {str(link.get("rel", "")).rpartition("/")[2] for link in links if isinstance(link, dict)}


def of_members(told: dict[str, Any]) -> Recognised:
    """Recognise a JSON object by its keys."""
    keys, context = set(told), json.dumps(told.get("@context", ""))
    conforms, kinds = str(told.get("conformsTo", "")), " ".join(map(str, _listed(told.get("@type"))))
    first = next((value[0] for value in told.values() if isinstance(value, list) and value and isinstance(value[0], dict)), {})
    is_collection = told.get("type") == "FeatureCollection"
    words = f"{context} {kinds} {conforms} {json.dumps(told.get('@graph', ''))[:20_000]}"
    tests = (
        ("stac_version" in {**told, **first} or "stacspec" in conforms, "stac"),
        (bool(keys & {"error", "exception"}) and not keys & {"features", "value", "results", "result"}, "error"),
        (is_collection and ("totalFeatures" in keys or "service=wfs" in str(told.get("links")).lower()), "wfs"),
        ("ogcapi-features" in conforms or "wfs3" in conforms, "ogc_features"),
        ("opengis.net" in conforms, "ogc_api"),
        (isinstance(told.get("collections"), list) and "links" in keys, "ogc_features"),
        (not is_collection and _links(told) & {"conformance", "items", "data"} != set(), "ogc_features"),
        (is_collection and ("numberMatched" in keys or _links(told) & {"self", "next"} != set()), "ogc_features"),
        (is_collection, "geojson"),
        ({"last_updated", "ttl", "data"} <= keys, "gbfs"),
        (bool(keys & {"@iot.nextLink", "@iot.count", "serverSettings"}) or "@iot.id" in {**first, **told}, "sensorthings"),
        (first.get("name") in ENTITY_SETS and "url" in first, "sensorthings"),
        ("currentVersion" in keys and bool(keys & {"services", "layers", "maxRecordCount", "folders"}), "arcgis"),
        ("features" in keys and bool(keys & {"objectIdFieldName", "fieldAliases", "spatialReference"}), "arcgis"),
        (any(uplink <= keys for uplink in UPLINKS), "lorawan"),
        ("result" in keys and "success" in keys, "ckan"),
        (is_package(told), "ckan"),
        ({"total_count", "results"} <= keys or "dataset_id" in keys, "opendatasoft"),
        ("datasetid" in keys and bool(keys & {"recordid", "metas"}), "opendatasoft"),
        ({"data", "page", "page_size", "total"} <= keys, "udata"),
        ("dcat" in words or "project-open-data" in words, "dcat"),
        (is_entity(told), "ngsi"),
    )
    if kind := next((kind for test, kind in tests if test), None):
        found = KNOWN[kind]
        detail = {"error": str(told.get("error") or told.get("exception"))[:120], "gbfs": f"version {told.get('version', '1')}"}.get(kind)
        return replace(found, told=f"{found.told}: {detail}") if detail else found
    if records := records_of(told):
        return Recognised("json", f"JSON, rows under `{records}`", "rest", "json", records=records)
    shown = ", ".join(sorted(map(str, keys))[:OF_JSON_SHOWN]) or "no key"
    return Recognised("json", f"a JSON object ({shown}) in which no list of objects stands", mend="look for the address of its rows")


def records_of(told: Any, depth: int = 3) -> str:
    """Give where the rows of a JSON object stand: the path, keys parted by dots, to its longest list of objects; '' for none."""
    found: list[tuple[int, str]] = []

    def walk(value: Any, path: str, left: int) -> None:
        for name, inner in value.items() if isinstance(value, dict) else ():
            here = f"{path}.{name}" if path else str(name)
            if isinstance(inner, list) and inner and isinstance(inner[0], dict):
                found.append((len(inner), here))
            elif isinstance(inner, dict) and left > 1:
                walk(inner, here, left - 1)

    walk(told, "", depth)
    return max(found, key=lambda each: (each[0], -len(each[1])))[1] if found else ""
