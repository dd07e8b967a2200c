"""Entities of NGSI-LD and NGSIv2 as documents: the value of each attribute under its name, what is told of it under `name.`."""

from __future__ import annotations

from typing import Any, Literal

from ingestion.connectors.answers import ON_ONE_LINE, NoAnswer, object_of, value_of_json

Version = Literal["ld", "v2"]
Form = Literal["normalized", "concise", "keyValues"]
# What an attribute of NGSI-LD is, and the member that holds its value (ETSI GS CIM 009, 4.5).
VALUES = {
    "Property": "value", "GeoProperty": "value", "Relationship": "object", "LanguageProperty": "languageMap", "VocabProperty": "vocab",
    "JsonProperty": "json", "ListProperty": "valueList", "ListRelationship": "objectList",
}  # fmt: skip
# What an entity has that is no attribute, and what tells of an attribute without being one.
OF_ENTITY = ("id", "type", "scope", "createdAt", "modifiedAt", "deletedAt", "expiresAt")
OF_ATTRIBUTE = (
    "observedAt",
    "unitCode",
    "datasetId",
    "instanceId",
    "createdAt",
    "modifiedAt",
    "deletedAt",
    "expiresAt",
    "objectType",
    "lang",
)
INSTANCES = "instances"


def document_of(entity: Any, version: Version, form: Form) -> bytes:
    """Give an entity as one document on one line, whose values stay as they are written.

    `temperature` is the value of a property, the object of a relationship, the geometry (GeoJSON), the map of languages;
    `temperature.observedAt`, `temperature.unitCode` what is told of it. Of an attribute that has several instances (`datasetId`), the
    value is that of the default one, and `temperature.instances` holds all. The `@context` is left out. Raises NoAnswer for what is
    no entity of that form.
    """
    import msgspec

    members = object_of(entity)
    if "id" not in members:
        told = "expanded JSON-LD, which was not asked for" if "@id" in members else "no entity: it has no `id`"
        raise NoAnswer(f"holds what is {told}", 400)
    flat: dict[str, bytes] = {}
    for name, raw in members.items():
        if name == "@context":
            continue
        if form == "keyValues" or name in OF_ENTITY[: 2 if version == "v2" else None]:
            _put(flat, name, _typed(raw))
        else:
            _unwrap(flat, name, raw, version, form)
    encode = msgspec.json.encode
    return (b"{" + b",".join(encode(name) + b":" + raw for name, raw in flat.items()) + b"}").translate(ON_ONE_LINE)


def _unwrap(flat: dict[str, bytes], name: str, raw: Any, version: Version, form: Form) -> None:
    """Put the value of an attribute, and what is told of it; raises NoAnswer for what is no attribute where nothing else may stand."""
    import msgspec

    begun = bytes(raw).lstrip()[:1]
    if begun == b"[" and version == "ld":
        items = msgspec.json.decode(raw, type=list[msgspec.Raw])
        told = [object_of(each) if bytes(each).lstrip()[:1] == b"{" else {} for each in items]
        if items and all(_place_of(each, version, form) for each in told):
            _put(flat, f"{name}.{INSTANCES}", bytes(raw))
            for each in told:
                if "datasetId" not in each:
                    _put_attribute(flat, name, each, version, form)
            return
    attribute = object_of(raw) if begun == b"{" else {}
    if _place_of(attribute, version, form):
        _put_attribute(flat, name, attribute, version, form)
    elif form == "concise":
        _put(flat, name, _typed(raw))
    else:
        raise NoAnswer(f"holds `{name}`, which is no attribute as it was asked for (normalized)", 400)


def _place_of(attribute: dict[str, Any], version: Version, form: Form) -> str | None:
    """Give the member that holds the value of an attribute; None for what is no attribute."""
    if version == "v2":
        return "value" if "value" in attribute else None
    kind = value_of_json(attribute.get("type"))
    place = VALUES.get(kind) if isinstance(kind, str) else None
    if place is None and form == "concise" and "type" not in attribute:
        return next((each for each in VALUES.values() if each in attribute), None)
    return place if place in attribute else None


def _put_attribute(flat: dict[str, bytes], name: str, attribute: dict[str, Any], version: Version, form: Form) -> None:
    place = str(_place_of(attribute, version, form))
    _put(flat, name, _typed(attribute[place]))
    for own, raw in attribute.items():
        if own in (place, "type"):
            continue
        if version == "v2":
            # What NGSIv2 tells of an attribute is its metadata, each of the same form.
            for each, told in object_of(raw).items() if own == "metadata" else [(own, raw)]:
                held = object_of(told) if bytes(told).lstrip()[:1] == b"{" else {}
                _put(flat, f"{name}.{each}", _typed(held.get("value", told)))
        elif own in OF_ATTRIBUTE or bytes(raw).lstrip()[:1] not in b"{[":
            _put(flat, f"{name}.{own}", bytes(raw))
        else:
            _unwrap(flat, f"{name}.{own}", raw, version, "concise")


def _typed(raw: Any) -> bytes:
    """Give a value without the type that JSON-LD writes around it: `{"@type": "DateTime", "@value": ...}`."""
    if bytes(raw).lstrip()[:1] == b"{":
        held = object_of(raw)
        if held.keys() == {"@type", "@value"}:
            return bytes(held["@value"])
    return bytes(raw)


def _put(flat: dict[str, bytes], name: str, raw: bytes) -> None:
    if name in flat:
        raise NoAnswer(f"holds an entity that tells `{name}` twice", 400)
    flat[name] = bytes(raw)
