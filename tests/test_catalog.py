"""What servers offer, for those who look for bricks: recorded answers, and stubs (simulated)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Site

from ingestion.connectors import CONNECTORS, SourceError, connector
from ingestion.connectors.catalog import CATALOGUES, offers, read_by, whole_number

CAPABILITIES = ("wfs__capabilities-pigma-1-1-0.xml", "wfs__capabilities-states-2-0-0.xml", "gnui_insee-wfs-getcapabilities.xml")
RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data" / "protocols"


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connectors.web.BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("ingestion.connectors.pages.PAUSE_SECONDS", 0.001)


def recorded(name: str) -> bytes:
    """Give a recorded answer."""
    if not (RECORDED / name).exists():
        pytest.skip("the recorded answers of ../shared/data are not there")
    return (RECORDED / name).read_bytes()


def test_catalogues_are_the_connectors_that_tell_what_they_offer() -> None:
    assert {name for name in CONNECTORS if hasattr(connector(name), "catalog")} == set(CATALOGUES)


def test_collections_that_have_features_are_read_by_this_connector(site: Site, tmp_path: Path) -> None:
    site.put("/collections", recorded("ogcapi/ogc-api__sample-data__collections.json"))
    found = {each.id: each for each in offers("ogc_features", site.url, tmp_path)}
    assert found["airports"].resources[0].options == {"collection": "airports"}
    assert found["airports"].bbox is not None
    assert {each.resources[0].protocol for each in found.values()} <= {"ogc_features", None}
    told = json.loads(recorded("ogcapi/ogc-api__sample-data__collections.json"))["collections"]
    assert set(found) == {each["id"] for each in told}


@pytest.mark.parametrize("name", CAPABILITIES)
def test_feature_types_are_what_connector_wfs_asks_for(site: Site, tmp_path: Path, name: str) -> None:
    site.put("/ows", body := recorded(f"wfs/{name}"))
    found = list(offers("wfs", f"{site.url}/ows", tmp_path))
    assert len(found) == body.count(b"</FeatureType>") + body.count(b"</wfs:FeatureType>") > 0
    module = connector("wfs")
    for offer in found:
        (resource,) = offer.resources
        options = module.TableOptions.model_validate(resource.options)
        assert options.type_name == offer.id
        assert options.is_json
        assert (options.version == "1.1.0") == ("1-1-0" in name)
    assert all(each.bbox and -180 <= each.bbox[0] <= each.bbox[2] <= 180 for each in found)


def test_a_portal_of_opendatasoft_is_read_to_its_last_dataset(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "hidden-key")
    held = [
        {"dataset_id": f"d{n}", "has_records": bool(n), "attachments": [{"id": "notice", "mimetype": "text/csv", "title": "Notice"}],
         "metas": {"default": {"title": f"Jeu {n}", "license": "ODbL", "keyword": "vert", "theme": ["a", "b"]}, "dcat": None}}
        for n in range(3)
    ]  # fmt: skip
    total = 3

    def answer(asked: Any) -> Any:
        offset = int(asked["url"].partition("offset=")[2])
        assert asked["Authorization"] == "Apikey hidden-key"
        return 200, {}, json.dumps({"total_count": total, "results": held[offset : offset + 2]}).encode()

    site.pages["/api/explore/v2.1/catalog/datasets"] = answer
    found = list(offers("opendatasoft", site.url, tmp_path, {"api_key_env": "A_KEY"}))
    assert [(each.id, each.title, each.licence, each.keywords, each.themes) for each in found] == [
        (f"d{n}", f"Jeu {n}", "ODbL", ("vert",), ("a", "b")) for n in range(3)
    ]
    told = [(each.protocol, each.options) for each in found[1].resources]
    assert told == [("opendatasoft", {"dataset": "d1"}), ("files", {"format": "csv"})]
    assert [each.protocol for each in found[0].resources] == ["files"]
    assert "hidden" not in repr(found)
    total = 4
    with pytest.raises(SourceError, match="announces 4 rows and gives 3"):
        list(offers("opendatasoft", site.url, tmp_path, {"api_key_env": "A_KEY"}))


def test_entities_of_a_sensorthings_server(site: Site, tmp_path: Path) -> None:
    site.put("/v1.1", json.dumps({"value": [{"name": "Things", "url": "http://h/v1.1/Things"}, {"name": "Observations", "url": "x"}]}))
    found = list(offers("sensorthings", f"{site.url}/v1.1", tmp_path))
    assert [each.resources[0].options for each in found] == [{"entities": "Things"}, {"entities": "Observations"}]
    site.put("/v1.1", "<html>none</html>")
    with pytest.raises(SourceError, match="a page of HTML"):
        list(offers("sensorthings", f"{site.url}/v1.1", tmp_path))


def test_no_secret_of_an_endpoint_is_offered(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "hidden-key")
    site.put("/v1.1", json.dumps({"value": [{"name": "Things"}]}))
    site.put("/collections", json.dumps({"collections": [{"id": "a", "links": [{"rel": "items", "href": "x"}]}]}))
    for protocol, path in (("sensorthings", "/v1.1"), ("ogc_features", "")):
        (offer,) = offers(protocol, f"{site.url}{path}?key={{A_KEY}}", tmp_path)
        assert "hidden" not in repr(offer)
        assert site.asked[-1].query["key"] == ["hidden-key"]


@pytest.mark.parametrize(
    ("url", "told", "protocol", "options"),
    [
        ("http://h/a", ["CSV"], "files", {"format": "csv"}),
        ("http://h/a", ["text/csv; charset=utf-8"], "files", {"format": "csv"}),
        ("http://h/a.csv.gz", [], "files", {"format": "csv"}),
        ("http://h/a", ["http://publications.europa.eu/resource/authority/file-type/GEOJSON"], "files", {"format": "geojson"}),
        ("http://h/a", ["https://www.iana.org/assignments/media-types/application/json"], "files", {"format": "json"}),
        ("http://h/a", ["OGC:WFS-2.0.0-http-get-feature"], "wfs", {}),
        ("http://h/ows?service=WFS&request=GetFeature&outputFormat=csv", ["WWW:LINK-1.0-http--link"], "files", {"format": "csv"}),
        ("http://h/ows?service=WFS&request=GetFeature&outputFormat=shape-zip", [], None, {}),
        ("http://h/ows?SERVICE=WFS", [], "wfs", {}),
        ("http://h/rest/services/a/FeatureServer/0", [], "arcgis", {}),
        ("http://h/wfs", ["OGC:WMS"], None, {}),
        ("http://h/a.csv", ["HTML"], None, {}),
        ("http://h/a", ["OGC API - Features"], "ogc_features", {}),
        (None, [None], None, {}),
        ("http://h/a.pdf", [], None, {}),
    ],
)
def test_what_reads_a_resource_is_guessed_from_what_is_declared(
    url: str | None, told: list[Any], protocol: str | None, options: Any
) -> None:
    assert read_by(url, *told) == (protocol, options)


@pytest.mark.parametrize(
    ("told", "value"),
    [("12", 12), (12, 12), ("0012", 12), (12.0, 12), ("5120.0", 5120), ("1.5", None), ("-1", None), ("nan", None), ("inf", None),
     (None, None),
     (True, None), ("12 Ko", None), (9007199254740993, 9007199254740993), ("9007199254740993.0", 9007199254740993)],
)  # fmt: skip
def test_a_size_is_a_whole_number_or_none(told: Any, value: int | None) -> None:
    assert whole_number(told) == value
