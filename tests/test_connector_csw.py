"""CSW: recorded pages of GeoNetwork and records of ISO 19139, played by a server that pages as CSW 2.0.2 says (simulated)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest
from conftest import House, Site, column, table

from ingestion.connectors import SourceError
from ingestion.connectors.catalog import offers
from ingestion.connectors.iso19139 import offer_of

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "protocols"
RECORDED = SHARED / "csw"
ISO = {"gmd": "http://www.isotc211.org/2005/gmd", "gco": "http://www.isotc211.org/2005/gco"}
OF_RESOURCES = ("dataset_id", "number", "url", "kind", "protocol", "options")


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connectors.web.BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("ingestion.connectors.pages.PAUSE_SECONDS", 0.001)


def recorded(name: str) -> list[bytes]:
    """Give the records of a recorded page."""
    if not RECORDED.is_dir():
        pytest.skip("the recorded pages of ../shared/data are not there")
    root = ElementTree.fromstring((RECORDED / name).read_bytes())
    return [ElementTree.tostring(each) for each in next(root.iter("{http://www.opengis.net/cat/csw/2.0.2}SearchResults"))]


def record(identifier: str, within: str = "") -> bytes:
    """Write a record."""
    spaces = " ".join(f'xmlns:{name}="{space}"' for name, space in ISO.items())
    names = f"<gmd:fileIdentifier><gco:CharacterString>{identifier}</gco:CharacterString></gmd:fileIdentifier>"
    return f"<gmd:MD_Metadata {spaces} xmlns:xlink='http://www.w3.org/1999/xlink'>{names}{within}</gmd:MD_Metadata>".encode()


def play(site: Site, records: list[bytes], *, matched: int | None = None, returned: int | None = None, order: bool = True) -> None:
    """Have a server hold records; without `order`, it turns them round from page to page."""

    def answer(asked: Any) -> Any:
        told = {name.lower(): value[0] for name, value in parse_qs(asked["url"].partition("?")[2]).items()}
        start, count = int(told["startposition"]) - 1, int(told["maxrecords"])
        held = records if order or not start else [records[0], *records[:-1]]
        given = held[start : start + count]
        after = start + len(given) + 1 if start + len(given) < len(records) else 0
        numbers = (
            f'numberOfRecordsMatched="{matched or len(records)}" numberOfRecordsReturned="{len(given) if returned is None else returned}"'
        )
        begin = (
            f'<csw:GetRecordsResponse xmlns:csw="http://www.opengis.net/cat/csw/2.0.2"><csw:SearchResults {numbers} nextRecord="{after}">'
        )
        return 200, {"Content-Type": "application/xml"}, begin.encode() + b"".join(given) + b"</csw:SearchResults></csw:GetRecordsResponse>"

    site.pages["/csw"] = answer


def brick_of(house: House, site: Site, columns: tuple[str, ...], key: list[str], **options: Any) -> Any:
    kinds = {"number": "bigint", "options": "json", "bbox": "json", "keywords": "json", "themes": "json"}
    declared = [column(name, kinds.get(name, "string")) for name in columns]
    meta = {name: options.pop(name) for name in ("cursor",) if name in options}
    return house.brick(options.pop("name", "geo"), [table("records", declared, key, options, **meta)], f"{site.url}/csw", connector="csw")


def test_recorded_pages_are_read_to_the_last_record(house: House, site: Site) -> None:
    records = [*recorded("udata_geonetwork-iso19139-page-1.xml"), *recorded("udata_geoide-iso19139-single-dataset.xml")]
    play(site, records)
    names = ("id", "title", "kind", "licence", "producer", "created", "issued", "modified", "record_modified", "themes", "bbox")
    brick = brick_of(house, site, names, ["id"], catalog="datasets", max_records=2)
    entry = house.land(brick)
    assert entry and entry["tables"]["records"]["kept"] == 3
    rows = house.rows(brick, "records", ", ".join(names), "1")
    assert rows[1] == (
        "fr-120066022-ldd-56fce164-04b2-41ae-be87-9f256f39dd44", "Plan local d'urbanisme de la commune de Cartigny", "dataset",
        "Licence Ouverte 1.0 http://www.data.gouv.fr/Licence-Ouverte-Open-Licence.",
        "DDTM 80 (Direction Départementale des Territoires et de la Mer de la Somme)", "2013-03-08", "2017-10-07", None,
        "2019-03-25T22:55:41.312+01:00", '["planningCadastre"]', "[3.28133559,49.38547516,1.31279111,50.48188019]",  # as they wrote it
    )  # fmt: skip
    assert not [row for row in house.rows(brick, "records") if "@" in str(row) or "0364572400" in str(row)]
    links = brick_of(house, site, OF_RESOURCES, ["dataset_id", "number"], catalog="resources", max_records=2, name="links")
    assert house.land(links)
    urls = {row[0] for row in house.rows(links, "records", "url")}
    text = b"".join(records).decode()
    assert urls == {
        each.replace("&amp;", "&").strip()
        for part in re.findall("distributionInfo>.*?distributionInfo>", text, re.DOTALL)
        for each in re.findall(r"URL>\s*([^<\s][^<]*)<", part)
    }


def test_what_it_announces_is_what_it_gives(house: House, site: Site) -> None:
    records = [record(str(number)) for number in range(5)]
    brick = brick_of(house, site, ("id",), ["id"], catalog="datasets", max_records=2)
    play(site, records, matched=6)
    with pytest.raises(SourceError, match="announces 6 rows and gives 5"):
        house.land(brick)
    play(site, records, returned=3)
    with pytest.raises(SourceError, match=r"says that it returns 3 records, and gives 2 \(from record 1 on\)"):
        house.land(brick)
    play(site, records, order=False)
    with pytest.raises(SourceError, match=r"gives one page twice|came twice on pages that are numbered.*Mend: `sort_by`"):
        house.land(brick)
    play(site, [*records, record("")])
    with pytest.raises(SourceError, match="holds a record without an identifier"):
        house.land(brick)
    play(site, records)
    assert house.land(brick)
    assert house.rows(brick, "records", "id", "1") == [(str(number),) for number in range(5)]
    assert house.land(brick) is None


def test_the_cursor_and_a_constraint_are_asked_for(house: House, site: Site) -> None:
    stamp = "<gmd:dateStamp><gco:DateTime>2026-01-0{}T00:00:00</gco:DateTime></gmd:dateStamp>"
    play(site, [record(str(number), stamp.format(number)) for number in range(1, 4)])
    told = {"catalog": "datasets", "constraint": "type = 'dataset'", "sort_by": "Identifier:A", "cursor": "record_modified"}
    brick = brick_of(house, site, ("id", "record_modified"), ["id"], since={"parameter": "Modified"}, **told)
    assert house.land(brick)
    assert (site.asked[0].query["constraint"], site.asked[0].query["sortBy"]) == (["(type = 'dataset')"], ["Identifier:A"])
    house.land(brick)
    assert site.asked[-1].query["constraint"] == ["(type = 'dataset') AND Modified >= '2026-01-03T00:00:00'"]


@pytest.mark.parametrize("status", [200, 400])
def test_an_exception_is_told(house: House, site: Site, status: int) -> None:
    text = '<o:ExceptionReport xmlns:o="urn:o"><o:ExceptionText>no such schema</o:ExceptionText></o:ExceptionReport>'
    site.pages["/csw"] = (status, {"Content-Type": "application/xml"}, text.encode())
    with pytest.raises(SourceError, match=r"geo.records: .*refuses: no such schema. Mend: check the endpoint, `output_schema`"):
        house.land(brick_of(house, site, ("id",), ["id"], catalog="datasets"))


def test_a_catalogue_in_dcat(site: Site, house: House) -> None:
    documents = recorded("udata_geonetwork-dcat-page-1.xml")
    play(site, documents, returned=2, matched=2)
    brick = brick_of(house, site, ("id", "title", "resource_count"), ["id"], catalog="datasets", output_schema="dcat")
    assert house.land(brick)
    assert house.rows(brick, "records", "title, resource_count", "1") == [
        ("INSEE - Part des ménages présents depuis 5 ans ou plus dans leur logement actuel (2010)", "6"),
        ("Zonage du bassin urbain à dynamiser (BUD) de la Région Hauts-de-France - (2018-2020)", "2"),
    ]


def test_recorded_records_are_offers(tmp_path: Path) -> None:
    folder = SHARED / "dcat"
    if not folder.is_dir():
        pytest.skip("the recorded records of ../shared/data are not there")
    told = {}
    for path in sorted(folder.glob("*iso19139*")):
        root = ElementTree.fromstring(path.read_bytes())
        offer = offer_of(next(each for each in root.iter() if each.tag.endswith("MD_Metadata")))
        assert offer is not None and offer.title and offer.producer
        told[offer.id] = offer
    solar = told["015e6d20-0d69-4ae7-adfe-85c588aac141"]
    assert (solar.titles["ger"][:10], solar.licence, solar.frequency) == ("Produktion", "Licence CC BY", "notPlanned")
    scot = told["ee965118-2416-4d48-b07e-bbc696f002c2"]
    assert [(each.kind, each.protocol, each.options) for each in scot.resources[:3]] == [
        ("OGC:WMS", None, {}), ("OGC:WFS", "wfs", {"type_name": "scot_en_cours"}), ("WWW:DOWNLOAD:text/csv", "files", {"format": "csv"})
    ]  # fmt: skip
    assert scot.bbox == (1.36, 48.827, 4.08, 51.0911)


def test_entities_that_grow_are_refused(site: Site, tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "lol" * 100}">' for n in range(9))
    site.pages["/csw"] = (200, {}, f"<!DOCTYPE x [{entities}]><x>&a8;</x>".encode())
    with pytest.raises(SourceError, match="answers what is no XML"):
        list(offers("csw", f"{site.url}/csw", tmp_path))
