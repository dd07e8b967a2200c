"""The examples of docs/examples: what the contract asks, and landed from a server that answers as their producers document (simulated)."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import House, Site
from google.transit import gtfs_realtime_pb2

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


def arcgis(site: Site) -> None:
    root = "/arcgis/rest/services/Voirie/Chantiers/FeatureServer"
    types = {
        "OBJECTID": "OID",
        "globalid": "GlobalID",
        "commune": "String",
        "statut": "SmallInteger",
        "date_debut": "Date",
        "last_edited_date": "Date",
    }
    layer = {
        "id": 0, "type": "Feature Layer", "geometryType": "esriGeometryPolygon", "objectIdField": "OBJECTID", "maxRecordCount": 1000,
        "fields": [{"name": name, "type": f"esriFieldType{kind}"} for name, kind in types.items()],
        "advancedQueryCapabilities": {"supportsPagination": True, "supportsOrderBy": True},
    }  # fmt: skip
    rings = [[[-1.7, 48.1], [-1.7, 48.2], [-1.6, 48.2], [-1.7, 48.1]]]
    values = {"commune": "35238", "statut": 1, "date_debut": 1767225600000, "last_edited_date": 1767225600000}
    features = [{"attributes": {"OBJECTID": n, "globalid": f"{{{n}}}", **values}, "geometry": {"rings": rings}} for n in (1, 2)]

    def answer(asked: Any, told: Any) -> Any:
        return _json(told if "token=t-hidden" in asked["url"] else {"error": {"code": 499, "message": "Token Required", "details": []}})

    site.pages["/arcgis/tokens/generateToken"] = _json({"token": "t-hidden", "expires": 1767229200000, "ssl": True})
    site.pages[f"{root}/0"] = lambda asked: answer(asked, layer)
    told = {"spatialReference": {"wkid": 4326}, "features": features}
    site.pages[f"{root}/0/query"] = lambda asked: answer(asked, {"count": 2} if "returnCountOnly" in asked["url"] else told)


def gbfs(site: Site) -> None:
    place = "/star/gbfs"
    stations = [{"station_id": f"55{n:02d}", "name": f"Station {n}", "lat": 48.11, "lon": -1.68, "capacity": 20} for n in range(3)]
    states = [
        {"station_id": f"55{n:02d}", "num_bikes_available": n, "num_docks_available": 20 - n, "is_renting": 1, "last_reported": 1767225600}
        for n in range(3)
    ]
    feeds = [{"name": name, "url": f"{site.url}{place}/{name}.json"} for name in ("station_information", "station_status")]
    told = {"last_updated": 1767225600, "ttl": 10, "version": "2.2"}
    site.pages[f"{place}/gbfs.json"] = _json({**told, "data": {"fr": {"feeds": feeds}}})
    site.pages[f"{place}/station_information.json"] = _json({**told, "data": {"stations": stations}})
    site.pages[f"{place}/station_status.json"] = _json({**told, "data": {"stations": states}})


def gtfs(site: Site) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("stops.txt", "stop_id,stop_name,stop_lat,stop_lon\n0001,Longs Champs,48.129,-1.632\n0002,Bouzat,48.128,-1.637\n")
        archive.writestr("routes.txt", "route_id,route_short_name,route_type\n0001,C1,3\n0002,C2,3\n")
        times = "trip_id,stop_sequence,stop_id,arrival_time,departure_time\n1,1,0001,23:58:00,23:58:00\n1,2,0002,24:05:00,24:05:00\n"
        archive.writestr("stop_times.txt", times)
    site.put("/star/gtfs/GTFS_STAR_BUS_METRO_EN_COURS.zip", held.getvalue())


def gtfs_rt(site: Site) -> None:
    feed = gtfs_realtime_pb2.FeedMessage()
    feed.header.gtfs_realtime_version, feed.header.timestamp = "2.0", 1767225600
    for number in (1, 2):
        update = feed.entity.add(id=f"e{number}").trip_update
        update.trip.trip_id, update.trip.start_date, update.trip.route_id = f"00{number}", "20260101", "0001"
        stop = update.stop_time_update.add(stop_id="0001", stop_sequence=1)
        stop.arrival.delay, stop.arrival.time = 60, 1767225660
        alert = feed.entity.add(id=f"a{number}").alert
        alert.effect = gtfs_realtime_pb2.Alert.DETOUR
        alert.active_period.add(start=1767225600)
        alert.informed_entity.add(route_id="0001")
        alert.header_text.translation.add(text="Travaux", language="fr")
    for name in ("trip-update", "service-alert"):
        site.pages[f"/resource/star-rennes-integration-gtfs-rt-{name}"] = (200, {}, feed.SerializeToString())


def ngsi(site: Site) -> None:
    at = "2026-01-01T00:00:00Z"
    place = {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [-1.68, 48.11]}}

    def sensor(number: int) -> Any:
        level = {"type": "Property", "value": 50.5 + number, "observedAt": at, "unitCode": "2N"}
        return {"id": f"urn:ngsi-ld:Noise:{number}", "type": "NoiseLevelObserved", "LAeq": level, "location": place, "modifiedAt": at}

    def answer(asked: Any) -> Any:
        start = int(parse_qs(urlsplit(asked["url"]).query)["offset"][0])
        status, headers, body = _json([sensor(number) for number in range(3)][start : start + 2])
        return status, {**headers, "NGSILD-Results-Count": "3"}, body

    site.pages["/ngsi-ld/v1/entities"] = answer


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
    "grist_suivi": (grist, 2), "datafair_decheteries": (datafair, 3), "arcgis_voirie": (arcgis, 2),
    "gbfs_velos": (gbfs, 3), "gtfs_bus": (gtfs, 2), "gtfs_rt_bus": (gtfs_rt, 2), "ngsi_bruit": (ngsi, 3),
    "ckan_arbres": (ckan, 3),
    "datagouv_catalogue": (datagouv, 2), "geobretagne_csw": (geobretagne, 2), "dcat_catalogue": (dcat, 2),
}  # fmt: skip


# Connectors whose endpoint is the root of a service: what plays it is below its path.
ROOTED = ("arcgis", "files", "gbfs", "gtfs_rt", "ngsi")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_lands_whole(house: House, site: Site, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    play, count = PLAYED[path.stem]
    play(site)
    brick = read_brick(path)
    endpoint = str(brick.meta.endpoint)
    monkeypatch.setenv(
        f"ORCHESTRA_ENDPOINT_{brick.name.upper()}", site.url + (urlsplit(endpoint).path if brick.meta.connector in ROOTED else "")
    )
    for name in re.findall(r"\bORCHESTRA_\w+", path.read_text(encoding="utf-8")):
        monkeypatch.setenv(name, "k-hidden")
    entry = house.land(brick)
    assert entry and entry["verdict"] == "accepted"
    for table in brick.tables:
        record = entry["tables"][table.name]
        assert (record["kept"], record["refused"]) == (count, 0)
        declared = {column.name for column in table.columns}
        assert [column for column in declared if all(row[0] is None for row in house.rows(brick, table.name, f'"{column}"'))] == []
    assert house.land(brick) is None


def test_editors_find_the_schema_of_each_example() -> None:
    assert {path.stem for path in EXAMPLES} == PLAYED.keys()
    assert [path.name for path in EXAMPLES if path.read_text(encoding="utf-8").partition("\n")[0] != modeline(path, "brick.json")] == []
