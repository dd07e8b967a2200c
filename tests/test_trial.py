"""A source that no brick describes yet: it is recognised by what it holds, nothing of it is lost, and its brick lands as it is written."""

from __future__ import annotations

import bz2
import csv
import datetime as dt
import gzip
import io
import json
import lzma
import random
import re
import string
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from backports import zstd
from conftest import House, Site, column, table
from hypothesis import given, settings
from hypothesis import strategies as st
from test_examples import PLAYED, ROOTED

from flows.cli import main
from ingestion.census import read_brick
from ingestion.connectors import SourceError
from ingestion.declaration import BrickError
from ingestion.lake import PROJECT
from ingestion.trial.look import look_of
from ingestion.trial.personal import looks_personal
from ingestion.trial.recognise import recognise
from ingestion.trial.trial import trying
from ingestion.trial.writing import brick_yaml, staging_sql, staging_yaml
from ingestion.words import folded

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded payloads are not on this machine")


@pytest.fixture
def site() -> Any:
    """Give a web server."""
    served = Site()
    yield served
    served.stop()


def zipped(**members: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return held.getvalue()


BODIES: dict[str, Any] = {
    "ogc_features": {"conformsTo": ["http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core"]},
    "stac": {"stac_version": "1.0.0", "id": "a", "links": [{"rel": "items", "href": "/items"}]},
    "geojson": {"type": "FeatureCollection", "features": []},
    "gbfs": {"last_updated": 1, "ttl": 0, "version": "2.3", "data": {"feeds": []}},
    "sensorthings": {"value": [{"name": "Things", "url": "http://here/Things"}]},
    "arcgis": {"currentVersion": 11.1, "services": []},
    "ckan": {"help": "", "success": True, "result": {}},
    "opendatasoft": {"total_count": 0, "results": []},
    "udata": {"data": [], "page": 1, "page_size": 20, "total": 0},
    "ngsi": [{"id": "urn:ngsi-ld:Bin:1", "type": "Bin", "level": {"type": "Property", "value": 1}}],
    "error": {"error": {"code": 498, "message": "Invalid token"}},
    "wfs": '<?xml version="1.0"?><!-- c --><wfs:WFS_Capabilities xmlns:wfs="http://www.opengis.net/wfs/2.0"/>',
    "wms": "<WMS_Capabilities/>",
    "csw": '<csw:Capabilities xmlns:csw="http://www.opengis.net/cat/csw/2.0.2"/>',
    "ogc_error": "<ows:ExceptionReport><ows:Exception>no such layer</ows:Exception></ows:ExceptionReport>",
    "dcat": "@prefix dcat: <http://www.w3.org/ns/dcat#> .\n<a> a dcat:Catalog .",
    "html": "<!DOCTYPE html><html><body>hello</body></html>",
    "json": [{"a": 1}],
    "xml": "<rows><row><a>1</a></row><row><a>2</a></row></rows>",
    "ndjson": '{"a": 1}\n{"a": 2}\n',
    "csv": "a;b\n1;2\n",
    "parquet": b"PAR1....",
    "gtfs": zipped(stops__txt="stop_id\n1\n", trips__txt="trip_id\n1\n"),
    "empty": b"  \n",
    "unknown": bytes(range(256)),
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_is_recognised_by_what_it_holds(kind: str) -> None:
    body = BODIES[kind]
    told = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    assert recognise(told).kind == kind


@shared
@pytest.mark.parametrize(
    ("folder", "kinds", "others"),
    [
        ("gbfs", {"gbfs"}, 0),
        ("csw", {"csw"}, 0),
        ("wms", {"wms"}, 0),
        ("stac", {"stac"}, 0),
        ("hubeau", {"json"}, 0),
        ("wfs", {"wfs", "ogc_error"}, 2),  # GeoJSON with links as OGC API has them
        ("sensorthings", {"sensorthings"}, 1),  # a JSON that is none
        ("ngsi", {"ngsi"}, 16),  # as GeoJSON features, key-values of one word, a context alone
        ("dcat", {"dcat", "iso19139"}, 1),  # a JSON that ends too early
        ("ods", {"opendatasoft"}, 0),
    ],
)
def test_recorded_payloads_are_recognised(folder: str, kinds: set[str], others: int) -> None:
    files = [path for path in sorted((SHARED / "protocols" / folder).rglob("*")) if path.is_file() and path.suffix != ".ttl"]
    missed = [path.name for path in files if recognise(path.read_bytes()).kind not in kinds]
    assert len(missed) <= others, missed


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["features", "links", "@type", "dcat"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "id", "links", "@type", "@context", "conformsTo", "value", "data", "results", "resources", "@graph"]),
        inner, max_size=4,
    ), max_leaves=8,
).map(lambda told: json.dumps(told).encode()))  # fmt: skip
def test_nothing_breaks_recognition(body: bytes) -> None:
    found = recognise(body)
    assert found.connector or found.mend


# Columns whose values a reader that guesses would change, by what a brick is to say of them.
def _codes(random_: random.Random) -> str:
    return f"{random_.randrange(100_000):05d}"


MADE: dict[str, tuple[str, Any]] = {
    "code_commune": ("string", _codes),
    "siret": ("string", lambda r: f"{r.randrange(10**14):014d}"),
    "ref": ("string", lambda r: str(r.randrange(10, 99))),
    "effectif": ("bigint", lambda r: str(r.randrange(-5, 10**6))),
    "taux": ("double", lambda r: f"{r.uniform(-10, 10):.3f}"),
    "montant": ("double", lambda r: f"{r.uniform(-10, 10):.2f}".replace(".", ",")),
    "jour": ("date", lambda r: (dt.date(2020, 1, 1) + dt.timedelta(r.randrange(2000))).strftime("%d/%m/%Y")),
    "depuis": ("date", lambda r: (dt.date(2020, 1, 1) + dt.timedelta(r.randrange(2000))).isoformat()),
    "vu_le": ("timestamptz", lambda r: (dt.datetime(2020, 1, 1) + dt.timedelta(seconds=r.randrange(10**8))).isoformat() + "+02:00"),
    "libelle": ("string", lambda r: "".join(r.choices("aéœ \"';,|\n", k=r.randrange(1, 9))) + "z"),
    "actif": ("boolean", lambda r: r.choice(["true", "false"])),
    "identifiant": ("string", lambda r: f"2016-01-01T00:00:00-{r.randrange(20, 95)}"),
}


def made(seed: int, encoding: str, separator: str, title: bool) -> tuple[bytes, list[str], list[list[str]]]:
    """Make a table of a number, the key, and of columns of all kinds; as a CSV, its header and its rows."""
    drawn = random.Random(seed)
    names = drawn.sample(list(MADE), drawn.randrange(2, len(MADE)))
    if {"taux", "montant"} <= set(names):  # decimals are written in one way
        names.remove("taux")
    empty = {name: drawn.choice(["", "", "n/a"]) if MADE[name][0] in ("bigint", "double") else "" for name in names}
    rows = [
        [f"{place:04d}", *(empty[name] if drawn.random() < 0.1 else MADE[name][1](drawn) for name in names)]
        for place in range(drawn.randrange(30, 200))
    ]
    held = io.StringIO()
    if title:
        held.write("Export des équipements\r\n\r\n")
    csv.writer(held, delimiter=separator).writerows([["numero_objet", *names], *rows])
    return held.getvalue().encode(encoding, "replace"), ["numero_objet", *names], rows


def drafted(house: House, place: str, **asked: Any) -> Any:
    """Try a place, write its brick in the house, and give it with what was tried."""
    with trying(place, "essai", **asked) as trial:
        assert trial.draft, trial.bad
        path = house.folder / "bricks" / "essai.yml"
        path.write_text(brick_yaml(trial.draft), encoding="utf-8")
        return trial, read_brick(path)


def nothing_is_lost(house: House, seed: int, encoding: str, separator: str, *, title: bool) -> None:
    content, names, rows = made(seed, encoding, separator, title)
    house.drop("essai.csv", content)
    trial, brick = drafted(house, str(house.drops / "essai.csv"))
    told = {column.name: column.data_type for column in brick.tables[0].columns}
    assert told == {"numero_objet": "string"} | {name: MADE[name][0] for name in names[1:]}
    assert trial.draft.key == ("numero_objet",)
    entry = house.land(brick)
    record = entry["tables"]["essai"]
    assert (record["kept"], record["refused"]) == (len(rows), 0)
    landed = house.rows(brick, "essai", ", ".join(f'"{name}"::varchar' for name in names), "numero_objet")
    for row, own in zip(landed, rows, strict=True):
        for name, value, text in zip(names, row, own, strict=True):
            kind = told[name]
            text = text.encode(encoding, "replace").decode(encoding)
            if text in ("", "n/a") and kind != "string":
                assert value is None
            elif kind == "string":
                assert (value or "") == text, (name, value, text)
            elif kind in ("bigint", "double"):
                assert float(value) == float(text.replace(",", ".")), (name, value, text)
            elif kind == "date":
                assert value == ("-".join(reversed(text.split("/"))) if "/" in text else text)


def lands_as_it_is_written(tmp_path_factory: pytest.TempPathFactory, examples: int, *, derandomize: bool) -> None:
    """Try so many drawn tables, in any encoding and with any separator."""

    @settings(max_examples=examples, deadline=None, derandomize=derandomize)
    @given(st.integers(0, 10**9), st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]), st.sampled_from(";,\t|"), st.booleans())
    def lands(seed: int, encoding: str, separator: str, title: bool) -> None:
        with pytest.MonkeyPatch.context() as patch:
            nothing_is_lost(House(tmp_path_factory.mktemp("house"), patch), seed, encoding, separator, title=title)

    lands()


def test_a_draft_lands_every_value_as_it_is_written(tmp_path_factory: pytest.TempPathFactory) -> None:
    lands_as_it_is_written(tmp_path_factory, 12, derandomize=True)


@pytest.mark.soak
def test_many_drafts_land_every_value_as_it_is_written(tmp_path_factory: pytest.TempPathFactory) -> None:
    lands_as_it_is_written(tmp_path_factory, 300, derandomize=False)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd.compress])
def test_what_is_packed_is_tried_as_what_it_packs(house: House, pack: Any) -> None:
    house.drop("t.csv.packed", pack("id;v\n".encode("cp1252") + b"".join(b"\xe9%03d;%d,5\n" % (n, n) for n in range(40))))
    trial, brick = drafted(house, str(house.drops / "t.csv.packed"))
    assert (trial.offer.of_table["encoding"], trial.landed["kept"]) == ("cp1252", 40)
    assert house.land(brick)["tables"]["t"]["kept"] == 40


def test_a_header_without_names_is_seen(house: House) -> None:
    assert look_of(b"12;2024-01-01;x\n13;2024-01-02;y\n") == {"separator": ";", "header": False}


def typed(house: House, header: str, rows: list[str]) -> Any:
    house.drop("t.csv", f"objet;{header}\n" + "\n".join(f"o{n};{row}" for n, row in enumerate(rows)))
    return drafted(house, str(house.drops / "t.csv"))


def test_what_may_be_read_in_two_ways_is_kept_as_it_is_written(house: House) -> None:
    trial, brick = typed(house, "somme;compteur;vu", [f"{n},{n}00;{10**19 + n};0{n % 9 + 1}/02/2024 10:00" for n in range(1, 40)][:9] * 3)
    assert [column.data_type for column in brick.tables[0].columns] == ["string", "string", "string", "timestamptz"]
    assert "thousands in English" in trial.profiles[1].note
    assert "more than 15 digits" in trial.profiles[2].note
    assert "the other way round" in trial.profiles[3].note


def test_a_word_for_a_missing_value_is_no_value_of_another_column(house: House) -> None:
    rows = [f"{'NA' if n % 7 == 0 else n};{('NA', 'FR', 'BE')[n % 3]}" for n in range(1, 40)]
    trial, brick = typed(house, "mesure;pays", rows)
    assert "null_values" not in brick.tables[0].meta.options
    house.land(brick)
    assert {row[0] for row in house.rows(brick, "t", "pays")} == {"NA", "FR", "BE"}
    assert "a value of another column" in trial.profiles[1].note


def test_an_address_within_a_document_is_seen(house: House) -> None:
    rows = ['"{""nom"": ""x"", ""contact"": ""jeanne@exemple.bzh""}"' for _ in range(30)]
    trial, brick = typed(house, "details", rows)
    assert "hold an e-mail address" in str(trial.profiles[1].personal)
    assert brick.tables[0].named("details").meta.mask == "drop"


@pytest.mark.parametrize("seed", range(10))
def test_the_key_that_was_planted_is_found(house: House, seed: int) -> None:
    drawn = random.Random(seed)
    stations, hours = [f"{n:03d}" for n in range(7)], [f"2024-01-{day:02d}T{hour:02d}:00:00Z" for day in (1, 2) for hour in range(24)]
    rows = [(s, h, str(drawn.randrange(3)), f"{drawn.gauss(10, 3):.1f}") for s in stations for h in hours]
    drawn.shuffle(rows)
    house.drop("mesures.csv", "\n".join(";".join(row) for row in [("station_id", "mesure_le", "statut", "valeur"), *rows]))
    with trying(str(house.drops / "mesures.csv")) as trial:
        assert trial.keys[0] == ("station_id", "mesure_le")
        assert trial.cursors == ["mesure_le"]


PERSONAL = (
    "email", "EMAIL", "gsm",
    "prenom", "Prénom", "nom_de_naissance", "Nom du contact", "contact_name", "e-mail", "adresse_mail", "Courriel", "telephone",
    "tel_portable", "NIR", "IBAN", "date_naissance", "dateNaissance", "lieu_de_naissance", "immatriculation", "numero_badge", "idBadge",
    "code_puce", "adresse_ip", "user_id",
    "created_by", "last_edited_user", "civilite", "sexe", "vehicle_id", "conducteur", "nom_conducteur", "PRM", "id_pdl", "locataire",
)  # fmt: skip
NOT_PERSONAL = (
    "nom", "nom_commune", "nom_voie", "nom_station", "libelle", "adresse", "code_postal", "code_insee", "date_maj", "date_debut",
    "valeur", "nombre",
    "type", "categorie", "surface_m2", "producteur", "organisme", "site", "siret", "telemetrie", "genre_botanique",
    "carte_scolaire", "mobilier",
    "portail", "annee_construction", "id_arbre", "hauteur", "longitude", "etat", "reseau", "usage", "naissances_domiciliees", "mode", "ipc",
)  # fmt: skip


def test_what_looks_personal_is_told_and_nothing_else() -> None:
    assert [name for name in PERSONAL if not looks_personal(folded(name), set(), None)] == []
    assert [name for name in NOT_PERSONAL if looks_personal(folded(name), set(), None)] == []
    assert looks_personal("nom", {"prenom"}, None)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("jeanne.le.goff{n}@exemple.bzh", "e-mail"),
        ("06 12 34 56 {n:02d}", "telephone"),
        ("+336123456{n:02d}", "telephone"),
        ("2 84 05 35 238 123 {n:02d}", "social security"),
        ("AB-1{n:02d}-CD", "number plates"),
        ("FR76 3000 6000 0112 3456 7890 1{n:02d}", "IBAN"),
        ("192.168.1.{n}", "IP addresses"),
        ("Mme Le Goff {n}", "title"),
    ],
)
def test_what_values_are_is_told_and_dropped(house: House, value: str, why: str) -> None:
    rows = "\n".join(f"{n};{value.format(n=n)}" for n in range(10, 40))
    house.drop("t.csv", f"objet;zz\n{rows}\n")
    trial, brick = drafted(house, str(house.drops / "t.csv"))
    assert why in str(trial.profiles[1].personal)
    assert not trial.profiles[1].lowest
    assert brick.tables[0].named("zz").meta.mask == "drop"


def test_the_reference_communes_are_joined(house: House) -> None:
    house.drop("t.csv", "\n".join(["lieu;ou", *(f"l{n};{35000 + n % 3}" for n in range(40))]))
    with trying(str(house.drops / "t.csv"), communes={"35000", "35001", "35002"}) as trial:
        assert trial.profiles[1].place == "commune: 100% of its values are codes of the reference"


def test_a_file_at_an_address_is_a_brick_of_files(house: House, site: Site) -> None:
    site.put("/open/bins.csv", "id;kg\n" + "\n".join(f"{n:03d};{n},5" for n in range(50)))
    trial, brick = drafted(house, f"{site.url}/open/bins.csv")
    assert (brick.meta.connector, brick.meta.endpoint) == ("files", f"{site.url}/open")
    entry = house.land(brick)
    assert entry["tables"]["bins"]["kept"] == 50
    assert house.rows(brick, "bins", "id, kg", "1")[1] == ("001", 1.5)
    assert "no licence is told" in trial.bad[0]


def test_an_api_at_an_address_is_a_brick_of_rest_with_its_pages(house: House, site: Site) -> None:
    rows = [{"code": f"{n:04d}", "debit": n / 2} for n in range(60)]

    def page(request: Any) -> Any:
        number = int((re.search(r"page=(\d+)", request["url"]) or ["", "1"])[1])
        told = {
            "count": 60,
            "next": f"/api/obs?page={number + 1}&taille=20" if number < 3 else None,
            "data": rows[number * 20 - 20 : number * 20],
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()

    site.pages["/api/obs"] = page
    trial, brick = drafted(house, f"{site.url}/api/obs?taille=20")
    assert brick.tables[0].meta.options == {
        "path": "api/obs", "format": "json", "records": "data", "parameters": {"taille": "20"},
        "paging": {"kind": "next_link", "path": "next"}, "total": "count",
    }  # fmt: skip
    assert house.land(brick)["tables"]["obs"]["kept"] == 60
    assert trial.sample.is_whole


def test_a_secret_of_an_address_is_written_nowhere(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.pages["/rows"] = lambda asked: (
        (200, {}, json.dumps([{"id": f"{n}x"} for n in range(30)]).encode()) if "s3cr3t" in asked["url"] else (403, {}, b"")
    )
    trial, brick = drafted(house, f"{site.url}/rows?apikey=s3cr3t&zone=35")
    assert "s3cr3t" not in brick_yaml(trial.draft) + trial.place.address
    monkeypatch.setenv("APIKEY", "s3cr3t")
    monkeypatch.setenv("ORCHESTRA_ENDPOINT_ESSAI", str(brick.meta.endpoint))
    assert house.land(brick)["tables"]["rows"]["kept"] == 30


def feature(number: int) -> Any:
    return {
        "type": "Feature", "id": number, "geometry": {"type": "Point", "coordinates": [-1.6, 48.1]},
        "properties": {"code": f"{number:04d}", "hauteur": number / 2},
    }  # fmt: skip


def oapif(site: Site) -> str:
    links = [{"rel": "data", "href": f"{site.url}/geo/collections"}]
    site.pages["/geo"] = (200, {}, json.dumps({"title": "x", "links": links}).encode())
    site.pages["/geo/conformance"] = (200, {}, json.dumps(BODIES["ogc_features"]).encode())
    told = {"id": "arbres", "title": "Arbres", "links": [{"rel": "items", "href": f"{site.url}/geo/collections/arbres/items"}]}
    site.pages["/geo/collections"] = (200, {}, json.dumps({"collections": [told], "links": links}).encode())
    site.pages["/geo/collections/arbres"] = (200, {}, json.dumps(told).encode())
    items = {
        "type": "FeatureCollection",
        "features": [feature(n) for n in range(40)],
        "numberMatched": 40,
        "numberReturned": 40,
        "links": [],
    }
    site.pages["/geo/collections/arbres/items"] = (200, {"Content-Type": "application/geo+json"}, json.dumps(items).encode())
    return f"{site.url}/geo"


def wfs(site: Site) -> str:
    types = "<w:FeatureTypeList><w:FeatureType><w:Name>v:arbres</w:Name><w:Title>Arbres</w:Title></w:FeatureType></w:FeatureTypeList>"
    capabilities = f'<w:WFS_Capabilities version="2.0.0" xmlns:w="http://www.opengis.net/wfs/2.0">{types}</w:WFS_Capabilities>'
    items = {"type": "FeatureCollection", "features": [feature(n) for n in range(40)], "numberMatched": 40, "numberReturned": 40}

    def answer(asked: Any) -> Any:
        if "GetFeature" in asked["url"]:
            if re.search("STARTINDEX=[1-9]", asked["url"]):
                return 200, {"Content-Type": "application/json"}, json.dumps({**items, "features": [], "numberReturned": 0}).encode()
            return 200, {"Content-Type": "application/json"}, json.dumps(items).encode()
        return 200, {"Content-Type": "text/xml"}, capabilities.encode() if "GetCapabilities" in asked["url"] else b"<html>here</html>"

    site.pages["/ows"] = answer
    return f"{site.url}/ows"


@pytest.mark.parametrize("served", [oapif, wfs], ids=["ogc_features", "wfs"])
def test_a_service_is_sampled_and_its_brick_lands(house: House, site: Site, served: Any) -> None:
    trial, brick = drafted(house, served(site))
    assert (trial.offer.title, len(trial.offers)) == ("Arbres", 1)
    assert {column.name: column.data_type for column in brick.tables[0].columns}["code"] == "string"
    assert house.land(brick)["tables"][brick.tables[0].name]["kept"] == 40


@pytest.mark.parametrize("name", [each for each in PLAYED if each not in ("atmo_indices", "grist_suivi", "geobretagne_csw")])
def test_each_ready_example_is_recognised_and_offers_something(site: Site, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is let in by a token alone (ArcGIS of the examples) is told so."""
    PLAYED[name][0](site)
    brick = read_brick(PROJECT / "docs" / "examples" / f"{name}.yml")
    path = urlsplit(str(brick.meta.endpoint)).path if brick.meta.connector in ROOTED else ""
    options = brick.tables[0].meta.options
    more = {"rest": options.get("path", ""), "ngsi": "entities?limit=1", "arcgis": "0", "gtfs_rt": options.get("path", ""), "files": ""}
    below = more.get(brick.meta.connector, "")
    status = main(["bricks", "try", f"{site.url}{path}{f'/{below}' if below else ''}", "--catalog"])
    said = capsys.readouterr()
    assert (status == 0 and brick.meta.connector in said.out) or "Mend: " in said.err, said


def test_a_listing_of_files_leads_to_each_of_them(house: House, site: Site) -> None:
    site.put("/open/arbres.csv", "id;h\n" + "\n".join(f"a{n};{n}" for n in range(30)))
    site.put("/open/lisezmoi.html", "<p>no</p>")
    with trying(f"{site.url}/open/", table="arbres.csv") as trial:
        assert trial.sample.row_count == 30
        assert trial.draft.endpoint == f"{site.url}/open"


def test_a_page_for_persons_is_asked_for_the_protocols_it_may_speak(house: House, site: Site) -> None:
    oapif(site)
    site.pages["/geo"] = (200, {"Content-Type": "text/html"}, b"<html>welcome</html>")
    with trying(f"{site.url}/geo") as trial:
        assert (trial.offer.connector, trial.place.found.kind) == ("ogc_features", "ogc_features")


def test_a_recorded_answer_is_no_source(house: House) -> None:
    path = house.drop("conformance.json", json.dumps(BODIES["ogc_features"]))
    with pytest.raises(SourceError, match="give the address of the server"), trying(str(path)):
        pass


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("nowhere.csv", "there is no such file"),
        ("mqtt://here/topic", "this protocol is not tried"),
        ("http://user:pw@127.0.0.1/x", "no user nor password stands in an address"),
        ("http://127.0.0.1:9/x", "cannot be reached"),
    ],
)
def test_a_place_that_cannot_be_had_is_told(place: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bricks", "try", place]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Mend: " in said
    assert "pw" not in said


def test_a_stall_is_told_in_time(site: Site) -> None:
    def stall(_: Any) -> Any:
        import time

        time.sleep(8)
        return 200, {}, b""

    site.pages["/slow"] = stall
    begun = dt.datetime.now()
    with pytest.raises(SourceError), trying(f"{site.url}/slow"):
        pass
    assert (dt.datetime.now() - begun).total_seconds() < 10


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.binary(max_size=300) | st.text(alphabet=string.printable + "é;,", max_size=300).map(str.encode))
def test_whatever_a_file_holds_a_trial_ends_in_words(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.mktemp("t") / "f.csv"
    path.write_bytes(body)
    try:
        with trying(str(path)) as trial:
            assert trial.sample.names
    except SourceError as error:
        assert "Mend: " in str(error)


@shared
def test_each_messy_file_is_tried_in_words() -> None:
    for path in sorted((SHARED / "messy").rglob("*")):
        if path.is_file():
            try:
                with trying(str(path)) as trial:
                    assert trial.sample.row_count or trial.bad
            except SourceError as error:
                assert "Mend: " in str(error), path


@pytest.mark.parametrize("key", ["Clé", "Identifiant unique du fichier d'origine (n° de série)"])
def test_what_is_written_is_what_the_checks_ask(house: House, key: str) -> None:
    names = [f"Une colonne n°{n} d'un nom assez long (€)" for n in range(90)] + ["order", "Type", "date", "ordre", "Ordre "]
    rows = [";".join([f"k{n}", *(f"v{n % 3}" for _ in names)]) for n in range(30)]
    file = "un_fichier_dont_le_nom_est_bien_long_aussi.csv"
    house.drop(file, ";".join([key, *names]) + "\n" + "\n".join(rows))
    trial, _ = drafted(house, str(house.drops / file))
    sql = staging_sql(trial.draft)
    assert len(sql.splitlines()) <= 80
    path = house.folder / "stg.sql"
    path.write_text(sql, encoding="utf-8")
    lint = [Path(sys.executable).parent / "sqlfluff", "lint", "--config", PROJECT / "pyproject.toml", path]
    linted = subprocess.run(lint, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout
    told = yaml.safe_load(staging_yaml(trial.draft))["models"][0]
    aliases = [column["name"] for column in told["columns"]]
    assert len(set(aliases)) == len(aliases)
    assert aliases[0].startswith(("cle", "identifiant_unique"))


def test_a_source_that_a_brick_gives_already_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(house.folder / "bricks"))
    monkeypatch.setenv("ORCHESTRA_LAKE", house.lake.root)
    drawn = random.Random(7)
    rows = [(f"AR-{drawn.randrange(10**6):06d}", drawn.randrange(40)) for _ in range(60)]
    house.drop("arbres.csv", "code;hauteur\n" + "\n".join(f"{code};{height}" for code, height in rows))
    tables = [table("releves", [column("arbre"), column("hauteur", "bigint")], ["arbre"], {"format": "csv", "path": "releves.csv"})]
    house.drop("releves.csv", "arbre;hauteur\n" + "\n".join(f"{code};{height}" for code, height in rows))
    house.land(house.brick("inventaire", tables))
    assert main(["bricks", "try", str(house.drops / "arbres.csv")]) == 0
    assert "the brick inventaire may give the same: its table releves holds 100% of the keys" in capsys.readouterr().out


@pytest.mark.parametrize(("told", "records"), [([], ""), (["data", "items"], "data.items")])
def test_the_rows_of_one_json_are_a_brick_of_files(house: House, told: list[str], records: str) -> None:
    rows: Any = [{"code": f"{n:04d}", "v": n / 2} for n in range(40)]
    for key in reversed(told):
        rows = {key: rows}
    house.drop("t.json", json.dumps(rows))
    _, brick = drafted(house, str(house.drops / "t.json"))
    assert brick.tables[0].meta.options["records"] == records
    assert house.land(brick)["tables"]["t"]["kept"] == 40
    assert house.rows(brick, "t", "code, v", "1")[1] == ("0001", 0.5)


def test_what_is_read_at_an_address_alone_is_told_so_of_a_file(house: House) -> None:
    house.drop("t.xml", BODIES["xml"])
    with pytest.raises(SourceError, match="at an address alone"), trying(str(house.drops / "t.xml")):
        pass


def test_what_is_there_is_not_written_over(house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(house.folder / "bricks"))
    monkeypatch.setattr("flows.dbt_process.DBT_PROJECT", house.folder / "dbt")
    house.drop("arbres.csv", "id;h\n" + "\n".join(f"a{n};{n}" for n in range(30)))
    place = str(house.drops / "arbres.csv")
    assert main(["bricks", "try", place, "--write", "arbres", "--licence", "etalab-2.0"]) == 0
    brick = read_brick(house.folder / "bricks" / "arbres.yml")
    assert (brick.meta.status, brick.meta.licence) == ("candidate", "etalab-2.0")
    assert "| good | licence: etalab-2.0 |" in (sheet := (house.folder / "bricks" / "arbres.md").read_text(encoding="utf-8"))
    assert "## Decision" in sheet
    assert (house.folder / "dbt" / "models" / "staging" / "arbres" / "stg_arbres__arbres.sql").is_file()
    assert main(["bricks", "try", place, "--write", "arbres"]) == 2
    assert "nothing is written over" in capsys.readouterr().err
    # What a trial left to be said is said before it is adopted.
    written = (house.folder / "bricks" / "arbres.yml").read_text(encoding="utf-8")
    (house.folder / "bricks" / "arbres.yml").write_text(written.replace("status: candidate", "status: adopted"), encoding="utf-8")
    with pytest.raises(BrickError, match=r"'To be said' stands there"):
        read_brick(house.folder / "bricks" / "arbres.yml")
    (house.folder / "bricks" / "arbres.yml").write_text(written, encoding="utf-8")
    capsys.readouterr()
    assert main(["bricks", "try", place, "--write", "Les Arbres"]) == 2
    assert "--write les_arbres" in capsys.readouterr().err
    assert main(["bricks", "retire", "arbres"]) == 0
    assert (house.folder / "bricks" / "arbres.md").read_text(encoding="utf-8").rstrip().endswith("| retired |")
