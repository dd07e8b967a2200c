"""Contexts of JSON-LD that are known by heart, by their address without its scheme: no document is fetched to read another."""

from __future__ import annotations

from typing import Any

_SPACES = {
    "dcat": "http://www.w3.org/ns/dcat#", "dct": "http://purl.org/dc/terms/", "dcterms": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/", "org": "http://www.w3.org/ns/org#", "skos": "http://www.w3.org/2004/02/skos/core#",
    "vcard": "http://www.w3.org/2006/vcard/ns#", "rdfs": "http://www.w3.org/2000/01/rdf-schema#", "xsd": "http://www.w3.org/2001/XMLSchema#",
    "pod": "https://project-open-data.cio.gov/v1.1/schema#",
}  # fmt: skip
_OF_DCT = (
    "title", "description", "issued", "modified", "identifier", "publisher", "license", "rights", "spatial", "temporal", "language",
    "format", "accrualPeriodicity", "conformsTo", "isPartOf", "references",
)  # fmt: skip
_OF_DCAT = (
    "dataset",
    "distribution",
    "keyword",
    "theme",
    "contactPoint",
    "landingPage",
    "mediaType",
    "accessURL",
    "downloadURL",
    "byteSize",
)
# DCAT-US 1.1 (Project Open Data), as ArcGIS Hub and others publish it.
_DCAT_US: dict[str, Any] = {
    **_SPACES, **{name: f"dct:{name}" for name in _OF_DCT}, **{name: f"dcat:{name}" for name in _OF_DCAT},
    "name": "foaf:name", "fn": "vcard:fn",
    "hasEmail": "vcard:hasEmail", "accessLevel": "pod:accessLevel", "bureauCode": "pod:bureauCode", "programCode": "pod:programCode",
    "subOrganizationOf": "org:subOrganizationOf", "describedBy": "pod:describedBy", "describedByType": "pod:describedByType",
}  # fmt: skip
KNOWN: dict[str, dict[str, Any]] = {
    "project-open-data.cio.gov/v1.1/schema/catalog.jsonld": _DCAT_US,
    "project-open-data.cio.gov/v1.1/schema/data.jsonld": _DCAT_US,
    "schema.org": {"@vocab": "http://schema.org/"},
    "schema.org/docs/jsonldcontext.jsonld": {"@vocab": "http://schema.org/"},
}
