"""DCAT: recorded catalogues in three forms, played by a web server (simulated), and what no parser is to be trusted with."""

from __future__ import annotations

import http.server
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import House, Site, column, table
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.connectors import SourceError
from ingestion.connectors.answers import NoAnswer
from ingestion.connectors.catalog import offers
from ingestion.connectors.rdf import followed_by, form_of, graph_of, offers_in

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data" / "protocols" / "dcat"
NO_DCAT = {
    # What stands beside the catalogues, and is none: why, in words.
    "ckanext-dcat_full_croissant_dataset.jsonld": "trailing comma in object",
    "gnui_generic-dataset+geo2france-plu.iso19139.xml": "is a record of ISO 19139, and no RDF",
    "gnui_geo2france.iso19139.reuse+ongules.xml": "is a record of ISO 19139, and no RDF",
    "gnui_geo2france.iso19139.reuse+ongules_dummy.xml": "is a record of ISO 19139, and no RDF",
    "gnui_geo2france.iso19139.scot.xml": "is a record of ISO 19139, and no RDF",
    "gnui_geo2france.iso19139.service+eaux-usees.xml": "is a record of ISO 19139, and no RDF",
    "gnui_georhena.iso19139.reuse+solaire.xml": "is a record of ISO 19139, and no RDF",
}
TURTLE = """
@prefix dcat: <http://www.w3.org/ns/dcat#> . @prefix dct: <http://purl.org/dc/terms/> . @prefix foaf: <http://xmlns.com/foaf/0.1/> .
@prefix spdx: <http://spdx.org/rdf/terms#> . @prefix locn: <http://www.w3.org/ns/locn#> . @prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
<http://h/c> a dcat:Catalog ; dcat:dataset <http://h/1>, [ a dcat:Dataset ; dct:title "Sans adresse" ; dct:identifier "b" ] .
<http://h/1> a dcat:Dataset ; dct:title "Trees"@en, "Arbres"@fr ; dct:issued "2026-01-01T00:00:00Z"^^xsd:dateTime ;
  dct:modified "2026-01-02"^^xsd:date, "2026-02-03"^^xsd:date ; dct:publisher [ a foaf:Organization ; foaf:name "Ville" ] ;
  dct:creator [ a foaf:Person ; foaf:name "Jeanne Doe" ] ; dcat:contactPoint [ dct:title "j@example.org" ] ;
  dct:accrualPeriodicity <http://publications.europa.eu/resource/authority/frequency/DAILY> ; dcat:keyword "b", "a" ;
  dct:spatial [ locn:geometry "POLYGON((-2 48, -1 48, -1 49, -2 48))" ] ;
  dcat:distribution <http://h/1/csv>, [ a dcat:Distribution ; dcat:accessURL <http://h/wfs> ; dct:format "WFS" ] .
<http://h/1/csv> a dcat:Distribution ; dcat:downloadURL <http://h/a> ; dcat:accessURL <http://h/page> ; dct:license <http://l/odbl> ;
  dct:format <http://publications.europa.eu/resource/authority/file-type/CSV> ; dcat:byteSize "0012"^^xsd:integer ;
  dcat:mediaType <https://www.iana.org/assignments/media-types/text/csv> ;
  spdx:checksum [ spdx:algorithm spdx:checksumAlgorithm_sha1 ; spdx:checksumValue "00ab" ] .
"""


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connectors.web.BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("ingestion.connectors.pages.PAUSE_SECONDS", 0.001)


def told_by(body: bytes) -> list[Any]:
    """Give the offers of a document."""
    return offers_in(graph_of(body, form_of(body), "http://h/x"))


def test_a_catalogue_is_two_tables(house: House, site: Site) -> None:
    site.put("/catalog.ttl", TURTLE)
    of_dataset = ("id", "title", "titles", "licence", "producer", "issued", "modified", "frequency", "keywords", "bbox", "resource_count")
    of_resource = ("dataset_id", "number", "url", "format", "media_type", "byte_size", "checksum", "licence", "protocol")
    kinds = dict.fromkeys(("titles", "keywords", "bbox"), "json") | dict.fromkeys(("number", "byte_size", "resource_count"), "bigint")
    tables = [
        table("datasets", [column(name, kinds.get(name, "string")) for name in of_dataset], ["id"], {"catalog": "datasets"}),
        table(
            "files", [column(name, kinds.get(name, "string")) for name in of_resource], ["dataset_id", "number"], {"catalog": "resources"}
        ),
    ]
    brick = house.brick("city", tables, f"{site.url}/catalog.ttl", connector="dcat")
    assert house.land(brick)
    assert house.rows(brick, "datasets", ", ".join(of_dataset), "1 desc") == [
        ("http://h/1", "Arbres", '{"en":"Trees","fr":"Arbres"}', None, "Ville", "2026-01-01T00:00:00Z", "2026-02-03",
         "http://publications.europa.eu/resource/authority/frequency/DAILY", '["a","b"]', "[-2.0,48.0,-1.0,49.0]", 2),
        ("b", "Sans adresse", "{}", None, None, None, None, None, "[]", None, 0),
    ]  # fmt: skip
    assert house.rows(brick, "files", ", ".join(of_resource), "2") == [
        ("http://h/1", 1, "http://h/a", "http://publications.europa.eu/resource/authority/file-type/CSV", "text/csv", 12, "sha1:00ab",
         "http://l/odbl", "files"),
        ("http://h/1", 2, "http://h/wfs", "WFS", None, None, None, None, "wfs"),
    ]  # fmt: skip
    assert not [row for row in house.rows(brick, "datasets") if "Jeanne" in str(row) or "j@" in str(row)]
    site.asked.clear()
    assert house.land(brick) is None
    assert {asked.status for asked in site.asked} == {304}


def test_recorded_catalogues_are_read_or_said_to_be_none() -> None:
    if not RECORDED.is_dir():
        pytest.skip("the recorded catalogues of ../shared/data are not there")
    counts = {}
    for path in sorted(each for each in RECORDED.iterdir() if each.is_file()):
        try:
            found = told_by(path.read_bytes())
        except NoAnswer as error:
            assert NO_DCAT[path.name] in str(error)
        else:
            # The same again, whatever a parser calls what has no name.
            assert found == told_by(path.read_bytes())
            counts[path.name] = (len(found), sum(len(each.resources) for each in found))
    assert not NO_DCAT.keys() & counts.keys()
    assert counts["udata_evian.json"] == (8, 34)
    assert counts["udata_catalog.xml"] == (4, 8)
    assert all(count for count, _ in counts.values())
    assert len(counts) > 15


def test_recorded_pages_lead_to_each_other(house: House, site: Site) -> None:
    if not RECORDED.is_dir():
        pytest.skip("the recorded catalogues of ../shared/data are not there")
    pages = {"": "udata_partial-collection-1.jsonld", "page=2": "udata_paged-collection-2.jsonld"}
    bodies = {query: (RECORDED / name).read_bytes() for query, name in pages.items()}
    site.pages["/catalog.jsonld"] = lambda asked: (200, {"Content-Type": "application/ld+json"}, bodies[asked["url"].partition("?")[2]])
    brick = house.brick(
        "city",
        [table("t", [column("id"), column("title")], ["id"], {"catalog": "datasets"})],
        f"{site.url}/catalog.jsonld",
        connector="dcat",
    )
    entry = house.land(brick)
    assert entry and entry["tables"]["t"]["kept"] == 4
    # It announces four: one page of them is no catalogue.
    bodies[""] = bodies[""].replace(b'"http://www.w3.org/ns/hydra/core#next"', b'"http://www.w3.org/ns/hydra/core#previous"')
    with pytest.raises(SourceError, match=r"announces 4 rows and gives 3"):
        house.land(brick)


FORMS = {
    "turtle": TURTLE.encode(),
    "xml": b"""<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dcat="http://www.w3.org/ns/dcat#"
        xmlns:dct="http://purl.org/dc/terms/"><dcat:Dataset rdf:about="http://h/1"><dct:title>A</dct:title></dcat:Dataset>
        <dcat:Dataset rdf:about="http://h/2"><dct:title>B</dct:title></dcat:Dataset></rdf:RDF>""",
    "json-ld": json.dumps(
        [{"@id": f"http://h/{n}", "@type": "http://www.w3.org/ns/dcat#Dataset", "http://purl.org/dc/terms/title": f"{n}"} for n in range(2)]
    ).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_document_that_is_cut_is_no_catalogue(site: Site, tmp_path: Path, form: str) -> None:
    whole = FORMS[form]
    assert form_of(whole) == form
    count = len(told_by(whole))

    @settings(max_examples=20, derandomize=True, deadline=None)
    @given(st.integers(1, len(whole.rstrip()) - 1))
    def is_refused(end: int) -> None:
        try:
            found = told_by(whole[:end])
        except NoAnswer:
            return
        # Statements of Turtle that are whole are a document: a server has to say how long it is.
        assert form == "turtle"
        assert len(found) <= count

    is_refused()
    # Cut on its way, it is asked again, and fails.
    site.pages["/c"] = (200, {"Content-Length": str(len(whole))}, whole[:-30])
    with pytest.raises(SourceError, match="catalogue"):
        list(offers("dcat", f"{site.url}/c", tmp_path))


def test_turtle_of_which_nothing_says_how_long_it_is_is_refused(tmp_path: Path) -> None:
    class Unbounded(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.end_headers()
            self.wfile.write(FORMS[self.path.lstrip("/")])

    with http.server.HTTPServer(("127.0.0.1", 0), Unbounded) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert len(list(offers("dcat", f"{url}/xml", tmp_path))) == 2
        with pytest.raises(SourceError, match=r"does not say how long it is .*Mend: ask for RDF/XML or JSON-LD"):
            list(offers("dcat", f"{url}/turtle", tmp_path))
        server.shutdown()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"@context": "https://example.org/context.jsonld", "@type": "dcat:Dataset"}', r"a context of the network \(https://example.org"),
        (b'{"@context": [{"@import": "https://example.org/c"}], "@type": "dcat:Dataset"}', "a context of the network"),
        (b'{"a": {"@context": {"b": {"@context": "http://e.org"}}}}', "a context of the network"),
        (b"<!DOCTYPE html><html><body>Maintenance</body></html>", "a page of HTML"),
        (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>', "a page of HTML"),
        (b'{"error": {"code": 503, "message": "busy"}}', "answers an error"),
        (b'<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><r>&a;</r>', "entities that are made of others, or of other files"),
        (b'<!DOCTYPE r [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]><r>&b;</r>', "entities that are made of others, or of other files"),
        (b"", "neither a dcat:Catalog nor a dcat:Dataset"),
        (b"<http://a> <http://b> <http://c> .", "neither a dcat:Catalog nor a dcat:Dataset"),
        (b"\xff\xfe not a document", "no whole document of turtle"),
        (b"[]", "neither a dcat:Catalog nor a dcat:Dataset"),
    ],
)
def test_what_is_none_says_why(body: bytes, told: str) -> None:
    with pytest.raises(NoAnswer, match=told):
        told_by(body)


def test_nothing_is_fetched_for_a_document(site: Site) -> None:
    site.put("/context.jsonld", "{}")
    external = f'<!DOCTYPE rdf:RDF SYSTEM "{site.url}/context.jsonld">'.encode()
    told_by(external + FORMS["xml"].partition(b"?>")[2])
    for known in ("https://schema.org/", "https://project-open-data.cio.gov/v1.1/schema/catalog.jsonld"):
        body = {"@context": known, "@type": "http://www.w3.org/ns/dcat#Dataset", "title": "a"}
        assert len(told_by(json.dumps(body).encode())) == 1
    with pytest.raises(NoAnswer):
        told_by(json.dumps({"@context": f"{site.url}/context.jsonld"}).encode())
    assert site.asked == []


def test_what_stands_in_a_named_graph_counts() -> None:
    named = {"@id": "http://h/g", "@graph": json.loads(FORMS["json-ld"])}
    assert len(told_by(json.dumps([named]).encode())) == 2


def test_digits_stay_as_they_are_written() -> None:
    spaces = {"d": "http://www.w3.org/ns/dcat#", "t": "http://purl.org/dc/terms/", "x": "http://www.w3.org/2001/XMLSchema#"}
    prefixes = "".join(f"@prefix {name}: <{space}> . " for name, space in spaces.items())
    body = f'{prefixes} <http://h/1> a d:Dataset ; t:title "0042"^^x:integer ; t:issued "2026-01-01T00:00:00Z"^^x:dateTime .'
    (offer,) = told_by(body.encode())
    assert (offer.title, offer.issued) == ("0042", "2026-01-01T00:00:00Z")
    told = {"@type": "http://www.w3.org/ns/dcat#Dataset", "http://purl.org/dc/terms/identifier": 1.5}
    assert told_by(json.dumps(told).replace("1.5", "1.50").encode())[0].id == "1.50"


def test_a_catalogue_that_only_names_its_datasets_is_none(house: House, site: Site) -> None:
    catalogue = "<http://h/c> a <http://www.w3.org/ns/dcat#Catalog> ; <http://www.w3.org/ns/dcat#dataset> <http://h/1>, <http://h/2> ."
    site.put("/c", f'{catalogue} <http://h/1> <http://purl.org/dc/terms/title> "A" .')
    brick = house.brick("city", [table("t", [column("id")], ["id"], {"catalog": "datasets"})], f"{site.url}/c", connector="dcat")
    with pytest.raises(SourceError, match=r"names 1 datasets of which it tells nothing \(http://h/2, \.\.\.\)"):
        house.land(brick)
    # One that is described is a dataset, whatever it calls itself.
    site.put("/c", f'{catalogue} <http://h/1> <http://purl.org/dc/terms/title> "A" . <http://h/2> <http://purl.org/dc/terms/title> "B" .')
    assert house.land(brick)
    assert house.rows(brick, "t", "id", "1") == [("http://h/1",), ("http://h/2",)]


def test_half_a_character_is_said() -> None:
    body = b'<http://h/1> a <http://www.w3.org/ns/dcat#Dataset> ; <http://purl.org/dc/terms/title> "\\uD800" .'
    with pytest.raises(NoAnswer, match=r"no character|no whole document"):
        told_by(body)


def test_pages_of_hydra_are_told() -> None:
    view = '<urn:v> <http://www.w3.org/ns/hydra/core#{}> <http://h/c?page=2> ; <http://www.w3.org/ns/hydra/core#totalItems> "007" .'
    for name in ("next", "nextPage"):
        assert followed_by(graph_of(view.format(name).encode(), "turtle", "")) == (["http://h/c?page=2"], {7})
