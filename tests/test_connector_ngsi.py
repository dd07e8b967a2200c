"""NGSI-LD and NGSIv2: published payloads, played by a server of the tests (simulated: no broker is to be had here)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import House, Site, column, table

from ingestion.connectors import SourceError
from ingestion.connectors.answers import NoAnswer
from ingestion.declaration import BrickError
from ingestion.formats.ngsi import document_of

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "protocols" / "ngsi"
FORMS: dict[str, tuple[Any, Any]] = {
    "-normalized.json": ("v2", "normalized"), "-normalized.jsonld": ("ld", "normalized"), "example.json": ("v2", "keyValues"),
    "example.jsonld": ("ld", "keyValues"),
}  # fmt: skip


def unwrapped(entity: Any, version: Any = "ld", form: Any = "normalized") -> Any:
    return json.loads(document_of(json.dumps(entity).encode(), version, form))


def play(site: Site, entities: list[Any], version: str = "ld", most: int = 2) -> None:
    """Answer as a broker does, which gives `most` entities at once, whatever is asked."""
    path, header = ("/ngsi-ld/v1/entities", "NGSILD-Results-Count") if version == "ld" else ("/v2/entities", "Fiware-Total-Count")

    def answer(asked: Any) -> Any:
        start = int(parse_qs(urlsplit(asked["url"]).query)["offset"][0])
        return 200, {"Content-Type": "application/json", header: str(len(entities))}, json.dumps(entities[start : start + most]).encode()

    site.pages[path] = answer


def brick_of(house: House, site: Site, columns: list[str], brick: dict[str, Any] | None = None, **options: Any) -> Any:
    meta = {name: options.pop(name) for name in ("cursor",) if name in options}
    version = (brick or {}).get("version", "ld")
    declared = [column(name) for name in columns]
    endpoint = site.url + ("/ngsi-ld/v1" if version == "ld" else "/v2")
    return house.brick("ville", [table("capteurs", declared, ["id"], {"type": "Device", **options}, **meta)], endpoint, connector="ngsi",
                       options=brick or {})  # fmt: skip


@pytest.mark.parametrize(("suffix", "form"), FORMS.items(), ids=FORMS)
def test_published_payloads_are_unwrapped(suffix: str, form: tuple[Any, Any]) -> None:
    if not REAL.is_dir():
        pytest.skip("the published payloads of ../shared/data are not there")
    paths = sorted(REAL.glob(f"*{suffix}"))
    assert len(paths) > 5
    for path in paths:
        entity = json.loads(path.read_text())
        told = json.loads(document_of(path.read_bytes(), *form))
        assert (told["id"], told["type"]) == (entity["id"], entity["type"])
        for name, attribute in entity.items():
            if name in ("id", "type", "@context"):
                continue
            value = attribute
            if form[1] == "normalized":
                value = attribute.get("value", attribute.get("object"))
            if isinstance(value, dict) and value.keys() == {"@type", "@value"}:
                value = value["@value"]
            assert told[name] == value, (path.name, name)
            for own in ("observedAt", "unitCode"):
                if form == ("ld", "normalized") and own in attribute:
                    assert told[f"{name}.{own}"] == attribute[own]


def test_forms_of_one_entity_are_one_document() -> None:
    if not REAL.is_dir():
        pytest.skip("the published payloads of ../shared/data are not there")
    normalized, short = (json.loads(document_of((REAL / f"WeatherObserved__example{end}").read_bytes(), "ld", form))
                         for end, form in (("-normalized.jsonld", "normalized"), (".jsonld", "keyValues")))  # fmt: skip
    assert normalized == short


def test_each_kind_of_attribute() -> None:
    entity = {
        "id": "urn:x:1", "type": ["A", "B"], "@context": "https://h/c.jsonld", "modifiedAt": "2024-01-01T00:00:00Z", "scope": "/a",
        "n": {"type": "Property", "value": 1.50, "observedAt": "2024-01-01T00:00:00Z", "unitCode": "GQ",
              "accuracy": {"type": "Property", "value": 0.1, "unitCode": "P1"}, "by": {"type": "Relationship", "object": "urn:x:2"}},
        "r": {"type": "Relationship", "object": ["urn:x:2", "urn:x:3"], "objectType": "A"},
        "l": {"type": "LanguageProperty", "languageMap": {"fr": "rue", "en": "street"}},
        "v": {"type": "VocabProperty", "vocab": "open"}, "j": {"type": "JsonProperty", "json": {"a": {"type": "Property", "value": 1}}},
        "g": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1, 2]}},
        "m": [{"type": "Property", "value": 1}, {"type": "Property", "value": 2, "datasetId": "urn:d:2"}],
        "o": [{"type": "Property", "value": 2, "datasetId": "urn:d:2"}],
    }  # fmt: skip
    told = unwrapped(entity)
    assert told == {
        "id": "urn:x:1", "type": ["A", "B"], "modifiedAt": "2024-01-01T00:00:00Z", "scope": "/a",
        "n": 1.5, "n.observedAt": "2024-01-01T00:00:00Z", "n.unitCode": "GQ", "n.accuracy": 0.1, "n.accuracy.unitCode": "P1",
        "n.by": "urn:x:2",
        "r": ["urn:x:2", "urn:x:3"], "r.objectType": "A", "l": {"fr": "rue", "en": "street"}, "v": "open",
        "j": {"a": {"type": "Property", "value": 1}}, "g": {"type": "Point", "coordinates": [1, 2]},
        "m": 1, "m.instances": entity["m"], "o.instances": entity["o"],
    }  # fmt: skip
    concise = {
        "id": "1",
        "n": {"value": 1, "observedAt": "x"},
        "p": 2,
        "g": {"type": "Point", "coordinates": [1, 2]},
        "t": ["a"],
        "r": {"object": "u"},
    }
    assert unwrapped(concise, form="concise") == {
        "id": "1", "n": 1, "n.observedAt": "x", "p": 2, "g": {"type": "Point", "coordinates": [1, 2]}, "t": ["a"], "r": "u",
    }  # fmt: skip
    metadata = {"unitCode": {"type": "Text", "value": "GQ"}}
    assert unwrapped({"id": "1", "n": {"type": "Number", "value": 1, "metadata": metadata}}, "v2") == {
        "id": "1",
        "n": 1,
        "n.unitCode": "GQ",
    }


@pytest.mark.parametrize(
    ("entity", "version", "told"),
    [
        ({"id": "1", "n": 3}, "ld", "holds `n`, which is no attribute as it was asked for"),
        ({"id": "1", "n": {"type": "Number", "value": 3}}, "ld", "holds `n`, which is no attribute as it was asked for"),
        ({"id": "1", "n": 3}, "v2", "holds `n`, which is no attribute as it was asked for"),
        ({"@id": "1"}, "ld", "holds what is expanded JSON-LD"),
        ({"n": {"type": "Property", "value": 3}}, "ld", "holds what is no entity"),
        ({"id": "1", "n.u": {"type": "Property", "value": 3}, "n": {"type": "Property", "value": 3, "u": 1}}, "ld", "tells `n.u` twice"),
    ],
)
def test_what_is_no_entity_of_the_form_is_told(entity: Any, version: Any, told: str) -> None:
    with pytest.raises(NoAnswer, match=told.replace(".", r"\.")):
        unwrapped(entity, version)


def test_entities_land_with_what_is_told_of_them(house: House, site: Site) -> None:
    entities = [
        {"id": f"urn:{n}", "type": "Device", "t": {"type": "Property", "value": 1, "observedAt": "2024-01-01T00:00:00Z"}} for n in range(5)
    ]
    play(site, entities)
    brick = brick_of(
        house, site, ["id", "t", "t.observedAt"], {"tenant": "rennes"}, q="t>0", attrs=["t"], context="https://h/c.jsonld",
        since={"parameter": "t.observedAt"}, cursor="t.observedAt",
    )  # fmt: skip
    entry = house.land(brick)
    assert entry and entry["tables"]["capteurs"]["kept"] == 5
    assert house.rows(brick, "capteurs", 't, "t.observedAt"')[0] == ("1", "2024-01-01T00:00:00Z")
    first = site.asked[0]
    assert {name: first.query[name][0] for name in first.query} == {
        "type": "Device", "q": "t>0", "attrs": "t", "count": "true", "limit": "100", "offset": "0",
    }  # fmt: skip
    assert (first.headers["Ngsild-Tenant"], first.headers["Accept"]) == ("rennes", "application/json")
    assert first.headers["Link"] == '<https://h/c.jsonld>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'
    house.land(brick)
    assert site.asked[-1].query["q"] == ["t>0;t.observedAt>=2024-01-01T00:00:00Z"]


def test_the_instants_of_the_broker_are_asked_for_where_they_are_declared(house: House, site: Site) -> None:
    entities = [{"id": "1", "type": "Device", "dateModified": {"type": "DateTime", "value": "2024-01-01T00:00:00Z"}}]
    play(site, entities, "v2")
    brick = brick_of(house, site, ["id", "dateModified"], {"version": "v2", "tenant": "rennes", "service_path": "/air"})
    assert house.land(brick)
    asked = site.asked[0]
    assert (asked.query["attrs"], asked.query["options"]) == (["dateModified,*"], ["count"])
    assert (asked.headers["Fiware-Service"], asked.headers["Fiware-Servicepath"]) == ("rennes", "/air")
    play(site, [{"id": "1", "type": "Device", "modifiedAt": "2024-01-01T00:00:00Z"}])
    house.land(brick_of(house, site, ["id", "modifiedAt"]))
    assert site.asked[-1].query["options"] == ["sysAttrs"]


def test_entities_of_one_id_and_two_types_are_two(house: House, site: Site) -> None:
    play(site, [{"id": "1", "type": name} for name in ("A", "B", "C")], "v2")
    entry = house.land(brick_of(house, site, ["id", "type"], {"version": "v2"}))
    assert entry and entry["tables"]["capteurs"]["kept"] == 3


def test_an_entity_that_moves_from_page_to_page_is_no_other(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connectors.pages.PAUSE_SECONDS", 0.001)
    play(site, [{"id": each, "type": "Device"} for each in ("1", "2", "1")])
    with pytest.raises(SourceError, match="gives 1 entities twice over its pages: others are missed"):
        house.land(brick_of(house, site, ["id"]))


def test_what_a_broker_does_not_say_or_is_not_asked_is_told(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connectors.web.BACKOFF_SECONDS", 0.001)
    site.pages["/ngsi-ld/v1/entities"] = (200, {}, b'[{"id": "1", "type": "Device"}]')
    with pytest.raises(SourceError, match=r"says nowhere how many entities there are \(NGSILD-Results-Count\)"):
        house.land(brick_of(house, site, ["id"]))
    site.pages["/ngsi-ld/v1/entities"] = (200, {"NGSILD-Results-Count": "1"}, b'{"type": "FeatureCollection", "features": []}')
    with pytest.raises(SourceError, match="answers an object, and no list of entities"):
        house.land(brick_of(house, site, ["id"]))
    with pytest.raises(BrickError, match="`service_path` is of `version: v2`"):
        brick_of(house, site, ["id"], {"service_path": "/"})
