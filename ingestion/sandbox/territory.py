"""Plays what producers publish of the territory's energy: networks, inventory of emissions, heat networks, production.

The shapes are those of the real files (labels of Data Fair's CSV, group_by exports of Explore, columns of Atmo Data and of France
Chaleur Urbaine). From memory: the order of their columns. Where ODRÉ answers 404 for a register that is not published yet, a header
alone is served. The figures are made up, of the order of those of a metropole of 474,000 inhabitants. `planted` says the traps.
"""

import csv
import datetime as dt
import io
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qs

from ingestion.sandbox.files import FlatTree
from ingestion.sandbox.world import World, read_communes

EPCI, OTHER_EPCI = "243500139", "243500667"
FIRST_YEAR, PAGE = 2016, 10_000
SECRET_POINTS, SECRET_SITES = 10, 3
"""Fewer delivery points of dwellings, or sites of a trade, are hidden."""
METHOD_JUMPS: dict[tuple[str, int], dict[str, float]] = {
    ("Electricité", 2018): {"TERTIAIRE": 1.06, "INDUSTRIE": 0.97},
    ("Electricité", 2022): {"RESIDENTIEL": 0.96, "TERTIAIRE": 1.05, "INDUSTRIE": 1.02},
    ("Gaz", 2022): {"RESIDENTIEL": 0.97, "TERTIAIRE": 1.04},
}
"""Energy and year from which the method is another one (in 2018, the modalities of Enedis), and by how much figures move for that alone."""
OLD_CODE_UNTIL, OLD_COMMUNE, FORMER_CODE, OLD_PART = 2019, "35206", "35073", 0.2
"""Until this year, this part of this commune is delivered under the code of the one that it absorbed in 1993."""
WRONG, WRONG_TIMES, WRONG_UNTIL = (2022, "35047", "TERTIAIRE"), 10.0, dt.date(2024, 2, 1)
"""Year, commune and sector published wrong, by how much, and the day on which the year is published again."""
WINTERS = {2016: 1.02, 2017: 1.0, 2018: 0.98, 2019: 0.99, 2020: 0.93, 2021: 1.07, 2022: 0.9, 2023: 0.92, 2024: 0.95}
VERSIONS = (
    ("ISEA v5", dt.date(2023, 1, 20), range(2018, 2022), 1.0),
    ("ISEA v6", dt.date(2025, 6, 16), range(2016, 2024), 1.035),
)
"""Versions of the inventory, the day each was made, its years, and by how much it revises."""
SECTORS_2019 = {"5": 215.0, "6": 735.0, "7": 30.0, "34": 690.0, "219": 330.0}
"""Emissions of 2019 by sector, ktCO2e."""
SLOPES = {"5": -0.01, "6": -0.037, "7": -0.02, "34": -0.05, "219": -0.035}
NETWORKS: tuple[tuple[str, str, str, str, int, float, float, float], ...] = (
    ("3501C", "Rennes Nord et Est (En'RnoV)", "35238", "En'RnoV", 640, 265_000.0, 0.052, 76.0),
    ("3502C", "Rennes Sud (Enersud)", "35238", "Enersud", 390, 150_000.0, 0.121, 56.0),
    ("3503C", "Vezin-le-Coquet", "35353", "Rennes Métropole", 7, 3_100.0, 0.064, 82.0),
)
"""Identifier, name, communes, operator, delivery points, MWh of 2016, kgCO2e/kWh and share of renewables of 2016."""
DECREES = {2022: "Arrêté du 5 juillet 2024", 2023: "Arrêté du 11 avril 2025"}
PLANTS = {("35238", "Bioénergies"): (3, 24_000.0, 6_200.0), ("35051", "Bioénergies"): (1, 500.0, 7_000.0),
          ("35047", "Hydraulique"): (1, 120.0, 3_400.0), ("35245", "Eolien"): (4, 8_000.0, 2_000.0),
          ("35238", "Thermique non renouvelable"): (2, 15_000.0, 3_000.0)}  # fmt: skip
"""Installations, kW and kWh a kW, by commune and technology."""


class Territory:
    """Rows of the four bricks, from a world."""

    def __init__(self, world: World) -> None:
        """Nothing is made before it is asked for."""
        self.world = world
        self.communes = [
            (n, row["commune_code"], row["name"], int(row["municipal_population"])) for n, row in enumerate(read_communes())
        ]  # fmt: skip

    @property
    def last_year(self) -> int:
        """The last year that is published: on 1 July of the next one."""
        today = self.world.until
        return today.year - 1 if today.month >= 7 else today.year - 2

    def draw(self, tag: str, *keys: int) -> float:
        """A number from -1 to 1 that depends on its keys alone."""
        return float(self.world.draw(tag, *keys)) * 2 - 1

    def planted(self) -> list[dict[str, Any]]:
        """What was planted up to `until`."""
        traps: list[dict[str, Any]] = [
            *({"kind": "method_change", "brick": "conso_electricite_gaz", "energy": energy, "year": year, "params": params}
              for (energy, year), params in METHOD_JUMPS.items()),
            {"kind": "former_code", "brick": "conso_electricite_gaz", "codes": [FORMER_CODE, OLD_COMMUNE], "until_year": OLD_CODE_UNTIL},
            {"kind": "without_gas", "brick": "conso_electricite_gaz", "communes": [c for n, c, *_ in self.communes if not self.has_gas(n)]},
            {"kind": "total_with_hidden_parts", "brick": "reseaux_chaleur", "networks": ["3503C"]},
            {"kind": "revised_inventory", "brick": "emissions_territoire", "params": [str(made) for _, made, *_ in VERSIONS]},
        ]  # fmt: skip
        kind = "wrong_year" if self.world.until < WRONG_UNTIL else "year_published_again"
        return [
            *traps,
            {"kind": kind, "brick": "conso_electricite_gaz", "of": WRONG, "times": WRONG_TIMES, "until": WRONG_UNTIL.isoformat()},
        ]

    def has_gas(self, n: int) -> bool:
        """Whether a commune has a gas network: the larger ones, and half of the others."""
        return self.communes[n][3] > 2500 or self.draw("has gas", n) > 0

    def consumptions(self, year: int) -> Iterator[dict[str, Any]]:
        """Rows of a year, a header alone before it is published."""
        if not FIRST_YEAR <= year <= self.last_year:
            return
        for n, code, name, people in self.communes:
            for operator, energy, category, sector, activity, points, mwh in self.parts(n, people, year):
                times = math.prod(jumps.get(sector, 1.0) for (of, first), jumps in METHOD_JUMPS.items() if of == energy and year >= first)
                if (year, code, sector) == WRONG and self.world.until < WRONG_UNTIL:
                    times *= WRONG_TIMES
                is_split = code == OLD_COMMUNE and year <= OLD_CODE_UNTIL and sector == "RESIDENTIEL"
                former = [(FORMER_CODE, "Châtillon-sur-Seiche", OLD_PART)] if is_split else []
                for own_code, own_name, share in [(code, name, 1 - OLD_PART if is_split else 1.0), *former]:
                    own_points = round(points * share)
                    is_hidden = own_points < (SECRET_POINTS if category == "RES" else SECRET_SITES)
                    yield {
                        "OPERATEUR": operator, "Année": year, "FILIERE": energy, "Code Commune": own_code, "Nom Commune": own_name,
                        "Code EPCI": EPCI, "CODE CATEGORIE CONSOMMATION": category, "CODE GRAND SECTEUR": sector,
                        "CODE SECTEUR NAF2": activity, "Nb sites": "" if is_hidden else own_points,
                        "Conso totale (MWh)": "" if is_hidden else round(mwh * share * times, 3),
                        "Nombre de mailles secretisées": int(is_hidden),
                    }  # fmt: skip

    def parts(self, n: int, people: int, year: int) -> Iterator[tuple[str, str, str, str, str, int, float]]:
        """Operator, energy, category, sector, activity, points and MWh of a commune in a year, before anything is hidden."""
        past, winter = year - FIRST_YEAR, WINTERS.get(year, 0.95)
        rural = people < 5000

        def noise(tag: str) -> float:
            return 1 + 0.25 * self.draw(tag, n) + 0.02 * self.draw(tag + " year", n, year)

        homes = round(people / 2.03 * (1 + 0.012 * past))
        yield "Enedis", "Electricité", "RES", "RESIDENTIEL", "", homes, homes * 4.1 * noise("homes") * (0.7 + 0.3 * winter) * 0.99**past
        shops = round(people / 30)
        yield "Enedis", "Electricité", "PRO", "TERTIAIRE", "47", shops, shops * 14 * noise("shops") * 0.99**past
        offices = round(people / 450 * noise("offices"))
        yield "Enedis", "Electricité", "ENT", "TERTIAIRE", "84", offices, offices * 270 * noise("offices kwh") * 0.985**past
        for activity, tag in (("10", "food"), ("28", "machines")):
            sites = round(people / 900 * (1 + self.draw(tag, n)))
            if sites:
                yield "Enedis", "Electricité", "ENT", "INDUSTRIE", activity, sites, sites * 510 * noise(tag + " kwh")
        farms = round((14 if rural else 4) * (1 + 0.8 * self.draw("farms", n)))
        if farms:
            yield "Enedis", "Electricité", "PRO", "AGRICULTURE", "01", farms, farms * 18 * noise("farms kwh")
        if not self.has_gas(n):
            return
        heated = round(homes * (0.04 if people < 2500 else 0.3) * (1 + 0.5 * self.draw("heated", n)) * (1 - 0.004 * past))
        yield "GRDF", "Gaz", "RES", "RESIDENTIEL", "", heated, heated * 10.5 * winter * 0.985**past * noise("heated kwh")
        firms = round(people / 450 * (1 + 0.4 * self.draw("firms", n)))
        yield "GRDF", "Gaz", "ENT", "TERTIAIRE", "84", firms, firms * 190 * winter * 0.985**past * noise("firms kwh")
        plants = round(people / 1500 * (1 + self.draw("plants", n)))
        if plants:
            yield "GRDF", "Gaz", "ENT", "INDUSTRIE", "10", plants, plants * 1300 * noise("plants kwh")
        if n == 3:  # two operators of one sector, of which one hides its own
            yield "Antargaz", "Gaz", "ENT", "INDUSTRIE", "10", 1, 800.0

    def inventory(self, version: int) -> Iterator[dict[str, Any]]:
        """Rows of a version of the inventory: the metropole, a neighbour, and all sectors together."""
        name, made, years, level = VERSIONS[version]
        for code, of, size in ((EPCI, "Rennes Métropole", 1.0), (OTHER_EPCI, "CC voisine (fictive)", 0.09)):
            for year in years:
                values = {
                    sector: round(1000 * kt * size * level * (1 + SLOPES[sector]) ** (year - 2019) * self._odd(int(sector), year, version))
                    for sector, kt in SECTORS_2019.items()
                }
                for sector, value in {**values, "All": sum(values.values())}.items():
                    yield {"version": name, "annee": year, "date_maj": made.isoformat(), "code": code, "name": of, "code_pcaet": sector,
                           "ges": value}  # fmt: skip

    def _odd(self, sector: int, year: int, version: int) -> float:
        return 1 + 0.012 * self.draw("inventory", sector, year, version)

    def networks(self, year: int) -> Iterator[dict[str, Any]]:
        """Rows of a year of heat networks; of one of few delivery points, only the total is told."""
        past, winter = year - FIRST_YEAR, WINTERS.get(year, 0.95)
        for n, (code, name, communes, operator, points, mwh, content, renewable) in enumerate(NETWORKS):
            total = round(mwh * winter * (1 + 0.02 * past) * (1 + 0.02 * self.draw("heat", n, year)))
            told = {"residentiel": 0.62, "tertiaire": 0.36, "industrie": 0.02} if points >= SECRET_POINTS else {"tertiaire": 0.3}
            sectors = ("residentiel", "tertiaire", "industrie", "agriculture", "autre")
            held = {f"livraisons_{sector}_MWh": round(total * told[sector]) if sector in told else "" for sector in sectors}
            yield {
                "annee": year, "Identifiant reseau": code, "nom_reseau": name, "communes_insee": communes, "Gestionnaire": operator,
                "nb_pdl": points + 6 * past if points >= SECRET_POINTS else points, "livraisons_totale_MWh": total, **held,
                "contenu CO2": round(content * 0.97**past, 3), "contenu CO2 ACV": round(content * 0.97**past * 1.25, 3),
                "Taux EnR&R": round(min(95.0, renewable + past), 1), "arrete": DECREES.get(year, "Arrêté DPE de l'année"),
            }  # fmt: skip

    def installations(self, year: int) -> Iterator[dict[str, Any]]:
        """Rows of the register at the end of a year, summed by commune and technology; one has no commune."""
        if year > self.last_year:
            return
        past = year - 2017
        for n, code, _, people in self.communes:
            count = round(people * 0.0035 * 1.28**past * (1 + 0.4 * self.draw("panels", n))) + 1
            power = count * 5.2 * (1 + 0.3 * self.draw("panel power", n))
            rows, known = 1 + n % 4, 1 + n % 4 - (n % 9 == 4)
            yield self._produced(code, "Solaire", count, power, power * (880 + 60 * self.draw("sun", year)) * known / rows, rows, known)
            if n % 20 == 0:
                yield self._produced(code, "Stockage non hydraulique", 1, 250.0, 0.0, 1, 1)
            for (of, technology), (plants, kilowatts, hours) in PLANTS.items():
                if of == code and (technology != "Eolien" or year >= 2020):
                    produced = kilowatts * hours * (1 + 0.08 * self.draw(technology, n, year))
                    # A plant alone of its kind does not tell its energy.
                    yield self._produced(code, technology, plants, kilowatts, produced, plants, plants * (plants > 1))
        yield self._produced("", "Solaire", 12, 60.0, 50_000.0, 3, 3)

    @staticmethod
    def _produced(code: str, technology: str, count: int, power: float, kwh: float, rows: int, known: int) -> dict[str, Any]:
        return {"codeinseecommune": code, "filiere": technology, "nbinstallations": count, "puismaxinstallee": round(power, 1),
                "energieannuelleglissanteinjectee": round(kwh) if known else "", "lignes": rows, "connues": known}  # fmt: skip


def written(rows: list[dict[str, Any]], names: list[str], separator: str = ",") -> bytes:
    """The rows as CSV, the header first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names, delimiter=separator, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


class Pages:
    """An API that answers a query by a CSV, known by its ETag."""

    def __init__(self, world: World) -> None:
        """Nothing is made before it is asked for."""
        self.territory = Territory(world)

    def respond(self, parts: tuple[str, ...], query: str, headers: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """The CSV asked for, 304 when the client holds it already, 404 for anything else."""
        found = self.page(parts, {name: values[-1] for name, values in parse_qs(query).items()})
        if found is None:
            return 404, b'{"error": "not found"}', {"Content-Type": "application/json"}
        content, more = found
        tag = f'"{blake2b(content, digest_size=8).hexdigest()}"'
        if tag in [each.strip().removeprefix("W/") for each in headers.get("if-none-match", "").split(",")]:
            return 304, b"", {"ETag": tag}
        return 200, content, {"ETag": tag, "Content-Type": "text/csv; charset=utf-8", **more}

    def page(self, parts: tuple[str, ...], asked: dict[str, str]) -> tuple[bytes, dict[str, str]] | None:
        """Content and headers of what is asked for, None when there is none."""
        raise NotImplementedError


class DataFair(Pages):
    """The dataset of the Agence ORE: `lines` in CSV, at most `size` of them, which are 10,000 at most; `next` is told by a header."""

    def page(self, parts: tuple[str, ...], asked: dict[str, str]) -> tuple[bytes, dict[str, str]] | None:
        """Rows of the year that `qs` asks for."""
        conditions = dict(each.split(":", 1) for each in asked.get("qs", "").split(" AND ") if ":" in each)
        if parts != ("lines",) or asked.get("format") != "csv" or not conditions.get("annee", "").isdigit():
            return None
        of_year = self.territory.consumptions(int(conditions["annee"]))
        rows = [row for row in of_year if row["Code EPCI"] == conditions.get("code_epci", EPCI)]
        size = min(PAGE, int(asked.get("size", "12")))
        more = {"Link": '<lines?after=1>; rel="next"'} if len(rows) > size else {}
        return written(rows[:size], CONSUMPTIONS), more


class Register(Pages):
    """The national register of ODRÉ, an edition a year, summed by the portal (`exports/csv` with `group_by`)."""

    def page(self, parts: tuple[str, ...], asked: dict[str, str]) -> tuple[bytes, dict[str, str]] | None:
        """Rows of the edition that the dataset's name tells."""
        start, _, year = parts[0].rpartition("-3112") if parts else ("", "", "")
        if not start.startswith("registre-national") or not year.isdigit() or parts[1:] != ("exports", "csv"):
            return None
        return written([*self.territory.installations(2000 + int(year))], INSTALLATIONS, asked.get("delimiter", ";")), {}


class InventoryTree(FlatTree):
    """The versions of the inventory that Air Breizh has made, a file each."""

    @cached_property
    def names(self) -> list[str]:
        """Paths of the files, from the root."""
        return [f"isea_v{n + 5}.csv" for n, (_, made, *_) in enumerate(VERSIONS) if made <= self.world.until]

    def make(self, path: str) -> tuple[bytes, float]:
        """Rows of a version."""
        version = int(path[6]) - 5
        rows = [*Territory(self.world).inventory(version)]
        return written(rows, [*rows[0]]), dt.datetime.combine(VERSIONS[version][1], dt.time(), dt.UTC).timestamp()


class NetworksTree(FlatTree):
    """A file a year of the heat networks."""

    @cached_property
    def names(self) -> list[str]:
        """Paths of the files, from the root."""
        return [f"reseaux_{year}.csv" for year in range(FIRST_YEAR, Territory(self.world).last_year + 1)]

    def make(self, path: str) -> tuple[bytes, float]:
        """Rows of a year."""
        year = int(path[8:12])
        rows = [*Territory(self.world).networks(year)]
        return written(rows, [*rows[0]], ";"), dt.datetime(year + 1, 7, 1, tzinfo=dt.UTC).timestamp()


CONSUMPTIONS = [
    "OPERATEUR", "Année", "FILIERE", "Code Commune", "Nom Commune", "Code EPCI", "CODE CATEGORIE CONSOMMATION", "CODE GRAND SECTEUR",
    "CODE SECTEUR NAF2", "Nb sites", "Conso totale (MWh)", "Nombre de mailles secretisées",
]  # fmt: skip
INSTALLATIONS = [
    "codeinseecommune", "filiere", "nbinstallations", "puismaxinstallee", "energieannuelleglissanteinjectee", "lignes", "connues",
]  # fmt: skip
PLAYS = {
    "conso_electricite_gaz": DataFair,
    "production_renouvelable": Register,
    "emissions_territoire": InventoryTree,
    "reseaux_chaleur": NetworksTree,
}
