"""Plays servers that are asked page by page: SensorThings, a broker of context (NGSI-LD), Hub'Eau, Géorisques."""

import datetime as dt
import re
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlencode

import numpy as np

from ingestion.sandbox.clock import epoch_hour, to_instant
from ingestion.sandbox.noise import wave
from ingestion.sandbox.server import Answer, as_json
from ingestion.sandbox.stock import STATIONS
from ingestion.sandbox.world import World, read_communes

KEPT_DAYS = 2  # of what is measured each hour, which servers keep
MEASURES = (("t", "Température de l'air", "°C"), ("u", "Humidité relative", "%"))
NOISE_SENSORS = 8
RIVERS = (("J706062001", "La Vilaine à Cesson-Sévigné", "35051"), ("J709063002", "La Vilaine à Guichen [Le Boël]", "35126"))
MOST_ROWS = 100  # of a page, whatever is asked for
DECREES = 40
RISKS = ("Inondations et/ou Coulées de Boue", "Sécheresse", "Tempête", "Mouvement de Terrain")


def asked(query: str) -> dict[str, str]:
    """The parameters of a query."""
    return {name: values[-1] for name, values in parse_qs(query).items()}


def written(hour: int) -> str:
    """An hour since 1970 as an instant (ISO, UTC)."""
    return f"{to_instant(hour):%Y-%m-%dT%H:%M:%SZ}"


class Hourly:
    """What measures each hour, and keeps its last days."""

    def __init__(self, world: World) -> None:
        """Nothing is made before it is asked for."""
        self.world = world

    @cached_property
    def hours(self) -> Any:
        """The hours since 1970 that are kept, the last one at 23:00 UTC."""
        last = epoch_hour(self.world.until) + 23
        return np.arange(last - KEPT_DAYS * 24 + 1, last + 1)


class Sensors(Hourly):
    """SensorThings 1.1: a thing a weather station, a stream a quantity, an observation an hour."""

    def streams(self) -> list[dict[str, Any]]:
        """The streams of data: temperature and humidity of each station."""
        return [
            {"@iot.id": n * 2 + m + 1, "name": f"{code} {name}", "description": f"{label} à {place} (fictif)",
             "unitOfMeasurement": {"name": unit, "symbol": unit, "definition": unit},
             "Thing": {"@iot.id": n + 1, "name": code}, "observedArea": {"type": "Point", "coordinates": [east, north]}}
            for n, (code, place, north, east, *_) in enumerate(STATIONS) for m, (name, label, unit) in enumerate(MEASURES)
        ]  # fmt: skip

    def observations(self) -> list[dict[str, Any]]:
        """What each stream has measured, oldest first."""
        rows = []
        weather = [self.world.weather(self.hours, station) for station in range(len(STATIONS))]
        for at, hour in enumerate(self.hours.tolist()):
            for stream in self.streams():
                number = stream["@iot.id"]
                value = float(weather[(number - 1) // 2][MEASURES[(number - 1) % 2][0]][at])
                told = {"phenomenonTime": written(hour), "resultTime": written(hour), "result": value}
                rows.append({"@iot.id": hour * 10 + number, **told, "Datastream": {"@iot.id": number}})
        return rows

    def respond(self, parts: tuple[str, ...], query: str, headers: dict[str, str]) -> Answer:
        """A page of the entities of a kind, and the link to the next one."""
        found = {"Datastreams": self.streams, "Observations": self.observations}.get(parts[-1] if parts else "")
        if not found:
            return as_json({"code": 404, "type": "error", "message": "Nothing found."}, 404)
        told, rows = asked(query), found()
        if since := re.fullmatch(r"resultTime ge (\S+)", told.get("$filter", "")):
            rows = [row for row in rows if row["resultTime"] >= since[1]]
        elif "$filter" in told:
            return as_json({"code": 400, "type": "error", "message": "This filter is not understood."}, 400)
        top, skip = min(int(told.get("$top", MOST_ROWS)), MOST_ROWS), int(told.get("$skip", 0))
        expanded = told.get("$expand", "")
        shown = [{k: v for k, v in row.items() if k not in ("Thing", "Datastream") or k in expanded} for row in rows[skip : skip + top]]
        page = {"@iot.count": len(rows), "value": shown}
        if skip + top < len(rows):
            path = f"http://{headers.get('host', '')}/capteurs_oasc/{'/'.join(parts)}"
            page["@iot.nextLink"] = f"{path}?{urlencode({**told, '$top': top, '$skip': skip + top})}"
        return as_json(page)


class Context(Hourly):
    """A broker of context in NGSI-LD: what each sensor of noise measures now."""

    def entities(self) -> list[dict[str, Any]]:
        """One entity a sensor, in the normalized form, with the instants of the broker."""
        communes, hour, rows = read_communes(), int(self.hours[-1]), []
        for i in range(NOISE_SENSORS):
            level = round(45 + 20 * float(self.world.draw("noise", i, hour)), 1)
            measure = {"type": "Property", "value": level, "unitCode": "2N", "observedAt": written(hour)}
            point = {"type": "Point", "coordinates": [float(communes[i]["longitude"]), float(communes[i]["latitude"])]}
            own = {"id": f"urn:ngsi-ld:NoiseLevelObserved:rennes-{i + 1:02}", "type": "NoiseLevelObserved"}
            stamps = {"createdAt": "2023-12-01T00:00:00Z", "modifiedAt": written(hour)}
            rows.append({**own, **stamps, "LAeq": measure, "location": {"type": "GeoProperty", "value": point}})
        return rows

    def respond(self, parts: tuple[str, ...], query: str, headers: dict[str, str]) -> Answer:
        """A page of entities, and how many they are in all."""
        told = asked(query)
        if parts != ("entities",):
            return as_json({"type": "https://uri.etsi.org/ngsi-ld/errors/ResourceNotFound", "title": "Not found"}, 404)
        since = re.fullmatch(r"modifiedAt>=(\S+)", told.get("q", ""))
        rows = [row for row in self.entities() if row["type"] == told.get("type") and (not since or row["modifiedAt"] >= since[1])]
        offset, limit = int(told.get("offset", 0)), int(told.get("limit", 20))
        return as_json(rows[offset : offset + limit], NGSILD_Results_Count=str(len(rows)))


class Rivers(Hourly):
    """Hub'Eau, hydrometry v2: stations of the departement, and what two of them observe, in millimetres and litres a second."""

    def observations(self) -> list[dict[str, Any]]:
        """Heights and flows, oldest first: a river that follows the rain, slowly."""
        rows = []
        for code, *_ in RIVERS:
            swell = 1 + 0.3 * wave(self.world.seed, f"river {code}", self.hours, 71)
            for at, hour in enumerate(self.hours.tolist()):
                for kind, usual in (("H", 900), ("Q", 8000)):
                    told = {"code_station": code, "grandeur_hydro": kind, "date_obs": written(hour)}
                    rows.append({**told, "resultat_obs": round(usual * float(swell[at])), "libelle_qualification_obs": "Non qualifiée"})
        return sorted(rows, key=lambda row: row["date_obs"])

    def respond(self, parts: tuple[str, ...], query: str, headers: dict[str, str]) -> Answer:
        """A page under 206 where others follow, with the link to the next one."""
        told = asked(query)
        if parts[-2:] == ("referentiel", "stations"):
            places = {row["commune_code"]: row for row in read_communes()}
            rows: list[dict[str, Any]] = [
                {"code_station": code, "libelle_station": f"{name} (fictif)", "code_commune_station": commune, "en_service": True,
                 "longitude_station": float(places.get(commune, places["35047"])["longitude"]),
                 "latitude_station": float(places.get(commune, places["35047"])["latitude"])}
                for code, name, commune in RIVERS
            ]  # fmt: skip
        elif parts[-1:] == ("observations_tr",):
            wanted, since = told.get("code_entite", "").split(","), told.get("date_debut_obs", "")
            rows = [row for row in self.observations() if row["code_station"] in wanted and row["date_obs"] >= since]
        else:
            return as_json({"code": "NotFound", "message": "Not found"}, 404)
        size, start = min(int(told.get("size", MOST_ROWS)), MOST_ROWS), int(told.get("cursor") or 0)
        following = None
        if start + size < len(rows):
            path = f"http://{headers.get('host', '')}/hydrometrie/{'/'.join(parts)}"
            following = f"{path}?{urlencode({**told, 'cursor': start + size})}"
        page = {"count": len(rows), "next": following, "api_version": "2.0.1", "data": rows[start : start + size]}
        return as_json(page, 206 if following else 200)


class Decrees:
    """Géorisques: the decrees of natural disaster of some communes, in numbered pages."""

    def __init__(self, world: World) -> None:
        """Nothing is made before it is asked for."""
        self.world = world

    def rows(self) -> list[dict[str, Any]]:
        """The decrees that stand at `until`, oldest first; dates as the API writes them."""
        towns, rows = sorted(read_communes(), key=lambda row: -int(row["municipal_population"]))[:10], []
        for n in range(DECREES):
            first = dt.date(1990, 1, 15) + dt.timedelta(days=n * 330 + int(self.world.draw("disaster", n) * 200))
            town, lasts = towns[int(self.world.draw("where", n) * len(towns))], int(self.world.draw("lasts", n) * 5)
            days = [first, first + dt.timedelta(days=lasts), first + dt.timedelta(days=60), first + dt.timedelta(days=75)]
            if days[-1] <= self.world.until:
                names = ("date_debut_evt", "date_fin_evt", "date_publication_arrete", "date_publication_jo")
                told = {name: f"{day:%d/%m/%Y}" for name, day in zip(names, days, strict=True)}
                own = {"code_national_catnat": f"35PREF{first.year}{n:04}", "code_insee": town["commune_code"]}
                risk = RISKS[int(self.world.draw("risk", n) * len(RISKS))]
                rows.append({**own, "libelle_commune": town["name"], "libelle_risque_jo": risk, **told})
        return rows

    def respond(self, parts: tuple[str, ...], query: str, headers: dict[str, str]) -> Answer:
        """A page, and how many there are."""
        told = asked(query)
        if parts != ("gaspar", "catnat"):
            return as_json({"message": "Not found"}, 404)
        size, page = min(int(told.get("page_size", 10)), MOST_ROWS), int(told.get("page", 1))
        rows = [row for row in self.rows() if row["code_insee"] in told.get("code_insee", "").split(",")]
        pages = -(-len(rows) // size)
        own = {"results": len(rows), "page": page, "total_pages": pages, "response_code": 200, "message": None}
        return as_json({**own, "data": rows[(page - 1) * size : page * size]})


PLAYS = {"capteurs_oasc": Sensors, "bruit_urbain": Context, "hydrometrie": Rivers, "catnat": Decrees}
