"""The examples of docs/examples: what the contract asks, and landed from a server that answers as their producers document (simulated)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import House, Site

from flows.schema import modeline
from ingestion.census import read_brick
from ingestion.lake import PROJECT

EXAMPLES = sorted((PROJECT / "docs" / "examples").glob("*.yml"))


def _json(body: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


def hubeau(site: Site) -> None:
    rows = [
        {
            "code_station": "J7090630",
            "grandeur_hydro": "H",
            "date_obs": f"2026-01-01T0{n}:00:00Z",
            "resultat_obs": n,
            "libelle_qualification_obs": "Bonne",
        }
        for n in range(5)
    ]

    def answer(asked: Any) -> Any:
        if "cursor=b" in asked["url"]:
            return _json({"count": 5, "next": None, "data": rows[3:]})
        # It writes the address that it knows itself by, behind its proxy.
        following = "http://10.0.0.1:8080/api/v2/hydrometrie/observations_tr?cursor=b&size=5000"
        return _json({"count": 5, "next": following, "data": rows[:3]}, 206)

    site.pages["/api/v2/hydrometrie/observations_tr"] = answer


def vigieau(site: Site) -> None:
    usages = [{"nom": "Arrosage", "description": "Interdit"}]
    site.pages["/api/zones"] = _json([{"id": 9713, "nom": "Vilaine", "type": "SUP", "niveauGravite": "alerte", "usages": usages}])


def atmo(site: Site) -> None:
    days = [{"code_zone": "35238", "date_ech": f"2026-01-0{n}", "code_qual": n, "lib_qual": "Moyen"} for n in (1, 2)]
    features = [{"type": "Feature", "geometry": None, "properties": day} for day in days]
    site.pages["/api/login"] = _json({"token": "t-hidden"})
    collection = _json({"type": "FeatureCollection", "features": features})
    refused = _json({"message": "JWT Token not found"}, 401)
    site.pages["/api/v2/data/indices/atmo"] = lambda asked: collection if asked.get("Authorization") == "Bearer t-hidden" else refused


def melodi(site: Site) -> None:
    def observation(code: str, value: float) -> Any:
        told = {"GEO": f"2025-COM-{code}", "TIME_PERIOD": "2022", "POPREF_MEASURE": "PMUN"}
        return {"dimensions": told, "measures": {"OBS_VALUE_NIVEAU": {"value": value}}, "attributes": {}}

    path = "/melodi/data/DS_POPULATIONS_REFERENCE"
    pages = [[observation("35238", 227830.0)], [observation("35001", 2500.0)]]

    def answer(asked: Any) -> Any:
        is_last = "page=2" in asked["url"]
        paging = {"first": f"{site.url}{path}?page=1", "isLast": is_last} | ({} if is_last else {"next": f"{site.url}{path}?page=2"})
        return _json({"identifier": "DS_POPULATIONS_REFERENCE", "observations": pages[is_last], "paging": paging})

    site.pages[path] = answer


def grist(site: Site) -> None:
    records = [{"id": n, "fields": {"Intitule": f"Action {n}", "Statut": "fait", "Echeance": 1767225600}} for n in (1, 2)]
    refused = _json({"error": "No view access"}, 403)
    found = _json({"records": records})
    site.pages["/api/docs/aBcDeFgHiJkL/tables/Actions/records"] = lambda a: (
        found if a.get("Authorization") == "Bearer k-hidden" else refused
    )


def datafair(site: Site) -> None:
    path = "/data-fair/api/v1/datasets/sinoe-(r)-annuaire-des-decheteries-dma/lines"
    lines = [{"_id": f"l{n}", "Nom_Dechetterie": f"Site {n}", "Code_postal": "35000", "_score": None} for n in range(3)]

    def answer(asked: Any) -> Any:
        is_last = "after=2" in asked["url"]
        told = {"total": 3, "results": lines[2:] if is_last else lines[:2]}
        return _json(told if is_last else {**told, "next": f"{site.url}{path}?size=1000&after=2"})

    site.pages[path] = answer


def ckan(site: Site) -> None:
    rows = [{"_id": n, "tree_id": f"t{n}", "commune": "35238", "genre": "Quercus", "hauteur_m": 4.5} for n in range(1, 4)]
    told = {"id": "c6ac", "datastore_active": True, "url_type": "upload", "last_modified": "2025-01-01T00:00:00"}
    site.pages["/api/3/action/resource_show"] = _json({"success": True, "result": told})
    site.pages["/api/3/action/datastore_search"] = _json({"success": True, "result": {"records": rows, "total": 3}})


def datagouv(site: Site) -> None:
    told = {
        "title": "Arbres", "description": "Arbres de la ville", "license": "fr-lo", "organization": {"name": "Rennes Métropole"},
        "created_at": "2020-01-01T00:00:00+00:00", "last_update": "2026-01-01T00:00:00+00:00",
        "frequency": "annual",
        "tags": ["arbres"], "spatial": {"zones": ["fr:epci:243500139"]}, "page": "https://www.data.gouv.fr/datasets/arbres/",
        "resources": [],
    }  # fmt: skip
    site.pages["/api/1/datasets/"] = _json({"data": [{"id": "a", **told}, {"id": "b", **told}], "next_page": None, "total": 2})


def geobretagne(site: Site) -> None:
    one = "<{0}><g:CharacterString>{1}</g:CharacterString></{0}>"
    link = f"<linkage><URL>https://h/wfs</URL></linkage>{one.format('protocol', 'OGC:WFS')}{one.format('name', 'a:b')}"
    licence = f"<resourceConstraints><L>{one.format('useLimitation', 'Licence Ouverte')}</L></resourceConstraints>"
    links = f"<MD_Distribution><onLine><CI_OnlineResource>{link}</CI_OnlineResource></onLine></MD_Distribution>"
    held = f"<identificationInfo><I>{licence}</I></identificationInfo><distributionInfo>{links}</distributionInfo>"
    records = [f"<MD_Metadata>{one.format('fileIdentifier', n)}{held}</MD_Metadata>" for n in range(2)]
    numbers = 'numberOfRecordsMatched="2" numberOfRecordsReturned="2" nextRecord="0"'
    body = f'<R xmlns="urn:m" xmlns:g="urn:g"><SearchResults {numbers}>{"".join(records)}</SearchResults></R>'
    site.pages["/"] = lambda asked: (200, {}, body.encode())


def dcat(site: Site) -> None:
    dct, one = "http://purl.org/dc/terms/", "http://www.w3.org/ns/dcat#"
    titles = [{"@value": "Arbres", "@language": "fr"}, {"@value": "Trees", "@language": "en"}]
    told = {
        "@type": f"{one}Dataset", f"{dct}title": titles, f"{dct}license": {"@id": "http://l"}, f"{dct}publisher": "Ville",
        f"{dct}modified": "2026-01-01", f"{dct}accrualPeriodicity": "annual", f"{one}theme": {"@id": "http://t"},
    }  # fmt: skip
    site.pages["/catalog.jsonld"] = _json([{**told, "@id": f"http://d/{n}"} for n in range(2)])


PLAYED: dict[str, tuple[Callable[[Site], None], int]] = {
    "hubeau_hydrometrie": (hubeau, 5), "vigieau": (vigieau, 1), "atmo_indices": (atmo, 2), "insee_melodi": (melodi, 2),
    "grist_suivi": (grist, 2), "datafair_decheteries": (datafair, 3), "ckan_arbres": (ckan, 3),
    "datagouv_catalogue": (datagouv, 2), "geobretagne_csw": (geobretagne, 2), "dcat_catalogue": (dcat, 2),
}  # fmt: skip


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_lands_whole(house: House, site: Site, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    play, count = PLAYED[path.stem]
    play(site)
    brick = read_brick(path)
    monkeypatch.setenv(f"ORCHESTRA_ENDPOINT_{brick.name.upper()}", site.url)
    for name in ("ORCHESTRA_GRIST_TOKEN", "ORCHESTRA_ATMO_USER", "ORCHESTRA_ATMO_PASSWORD"):
        monkeypatch.setenv(name, "k-hidden")
    entry = house.land(brick)
    (table,) = brick.tables
    assert entry and entry["verdict"] == "accepted"
    record = entry["tables"][table.name]
    assert (record["kept"], record["refused"]) == (count, 0)
    declared = {column.name for column in table.columns}
    assert [column for column in declared if all(row[0] is None for row in house.rows(brick, table.name, f'"{column}"'))] == []
    assert house.land(brick) is None


def test_editors_find_the_schema_of_each_example() -> None:
    assert {path.stem for path in EXAMPLES} == PLAYED.keys()
    assert [path.name for path in EXAMPLES if path.read_text(encoding="utf-8").partition("\n")[0] != modeline(path, "brick.json")] == []
