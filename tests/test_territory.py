"""The territory's energy: what the sandbox publishes, and the models' own SQL against an oracle, attacked by subtraction."""

from __future__ import annotations

import csv
import datetime as dt
import functools
import io
import itertools
import json
import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from fixtures.territory_oracle import Oracle, Row

from flows.dbt_process import DBT_PROJECT
from ingestion.census import read_bricks
from ingestion.lake import quoted
from ingestion.sandbox.files import CommunesTree
from ingestion.sandbox.server import write_key
from ingestion.sandbox.territory import (
    CONSUMPTIONS,
    EPCI,
    FORMER_CODE,
    INSTALLATIONS,
    OLD_COMMUNE,
    PLAYS,
    WRONG,
    DataFair,
    InventoryTree,
    NetworksTree,
    Register,
    Territory,
)
from ingestion.sandbox.world import World
from tests.fixtures.compiled import Compiled, parents_first

NETWORKS, EMISSIONS, PRODUCTION = (
    "network_energy_by_commune_sector_year", "territory_emissions_by_sector_year", "renewable_production_by_commune_year",
)  # fmt: skip
GRAINS = {
    NETWORKS: ["commune_code", "sector_code", "energy", "year"], EMISSIONS: ["sector_code", "year"],
    PRODUCTION: ["commune_code", "technology", "year"],
}  # fmt: skip
BRICKS = {
    "consumptions": "conso_electricite_gaz", "networks": "reseaux_chaleur", "inventory": "emissions_territoire",
    "installations": "production_renouvelable", "communes": "insee_cog", "epci_members": "insee_cog",
}  # fmt: skip
# Half of the last digit that a mart shows, and a little more.
WITHIN = {"_kwh": 0.51, "_kwh_pci": 0.51, "_per_point": 0.51, "_share": 0.0000501, "_electricity": 0.0000501, "_ktco2e": 0.00501,
          "_per_kwh": 0.0000501, "_kw": 0.0501}  # fmt: skip
Tables = dict[str, list[Row]]


@pytest.fixture(scope="module")
def models(compiled: Compiled) -> list[tuple[str, str]]:
    """Give schema.name and SQL of each model of these marts, parents first."""
    return [(f"{node['schema']}.{node['name']}", compiled.models[node["name"]]) for node in parents_first(compiled.manifest, GRAINS)]


def made(models: list[tuple[str, str]], *photos: Tables) -> duckdb.DuckDBPyConnection:
    """Run the models over photos of the sources, the last one the latest."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'; set threads = 2; attach ':memory:' as warehouse; use warehouse")
    bricks = read_bricks()
    for schema in ("staging", "seeds", "intermediate", "marts", *dict.fromkeys(BRICKS.values())):
        connection.execute(f"create schema {schema}")
    for path in sorted((DBT_PROJECT / "seeds").glob("*/*.csv")):
        names = path.read_text().partition("\n")[0].split(",")
        types = {name: "varchar" for name in names if name.endswith("_code")}
        types |= {name: "date" for name in names if name.endswith(("_on", "_date")) or name in ("valid_from", "valid_to")}
        if types:
            connection.execute(f"create table seeds.{path.stem} as from read_csv('{path}', types = {types})")
    for table, brick in BRICKS.items():
        columns = bricks[brick].table(table).columns
        declared = ", ".join(f"{quoted(column.name)} {column.sql_type}" for column in columns)
        connection.execute(f"create table {brick}.{table} ({declared}, _file text, _row bigint, _read_at timestamptz, _load_id text)")
        for photo, tables in enumerate(photos):
            held = {column.name: [row.get(column.name) for row in tables[table]] for column in columns}
            held |= {"_file": [row.get("_file", "f") for row in tables[table]], "_row": list(range(len(tables[table])))}
            connection.register("rows", pa.table(held))
            connection.execute(
                f"insert into {brick}.{table} select *, timestamptz '2025-01-01' + interval {photo} day, '{photo}' from rows"
            )
    days = "from range(date '2010-01-01', date '2030-01-01', interval 1 day) as days (day)"
    connection.execute(f"create table intermediate.int_calendar_days as select cast(day as date) as day_date {days}")
    for name, sql in models:
        connection.execute(f"create table if not exists {name} as {sql}")
    return connection


def read(connection: duckdb.DuckDBPyConnection, mart: str) -> dict[tuple, Row]:
    found = connection.execute(f"select * from marts.{mart}")
    names = [each[0] for each in found.description]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return {tuple(row[name] for name in GRAINS[mart]): row for row in rows}


def differences(found: dict[tuple, Row], expected: dict[tuple, Row]) -> list[str]:
    """Name what differs, row by row and column by column."""
    told = [f"{key} is missing" for key in expected.keys() - found.keys()] + [
        f"{key} is too much" for key in found.keys() - expected.keys()
    ]
    for key in expected.keys() & found.keys():
        for name, value in expected[key].items():
            other = found[key][name]
            is_number = isinstance(value, float | int) and not isinstance(value, bool) and other is not None
            within = next((WITHIN[end] for end in sorted(WITHIN, key=len, reverse=True) if name.endswith(end)), 0)
            if not (abs(value - other) <= within + 1e-9 * abs(value) if is_number else value == other):
                told.append(f"{key} {name}: {other}, {value} expected")
    return sorted(told)


def typed(text: bytes, brick: str, table: str, file: str) -> list[Row]:
    """Read a CSV as landing does: nothing is no value, numbers are numbers."""
    columns = {column.name: column.data_type for column in read_bricks()[brick].table(table).columns}
    kinds: dict[str, Any] = {"bigint": int, "double": float, "date": dt.date.fromisoformat, "string": str}
    content = text.decode("cp1252" if table == "epci_members" else "utf-8-sig")
    separator = ";" if content.partition("\n")[0].count(";") > 1 else ","
    rows = csv.DictReader(io.StringIO(content), delimiter=separator)
    return [
        {name: kinds[columns[name]](value.replace(" ", "") if kinds[columns[name]] is int else value) if value else None
         for name, value in row.items() if name in columns} | {"_file": file}
        for row in rows
    ]  # fmt: skip


@functools.cache
def of_sandbox(until: dt.date = dt.date(2025, 12, 31)) -> Tables:
    """All that the sandbox publishes, as the bricks ask for it."""
    world = World(until=until)
    tables: Tables = {"consumptions": [], "installations": [], "inventory": [], "networks": []}
    for year in range(2016, 2025):
        asked = {"format": "csv", "size": "10000", "qs": f"code_epci:{EPCI} AND annee:{year}"}
        tables["consumptions"] += typed(DataFair(world).page(("lines",), asked)[0], "conso_electricite_gaz", "consumptions", "f")  # type: ignore[index]
    for year in range(17, 25):
        name = f"registre-national-3112{year}"
        page = Register(world).page((name, "exports", "csv"), {"delimiter": ";"})
        rows = typed(page[0], "production_renouvelable", "installations", f"{name}/exports/csv?x")  # type: ignore[index]
        tables["installations"] += [row for row in rows if row["codeinseecommune"]]  # a row without its key is refused
    for tree, table, brick in (
        (InventoryTree(world), "inventory", "emissions_territoire"),
        (NetworksTree(world), "networks", "reseaux_chaleur"),
    ):
        for name in tree.names:
            tables[table] += typed(tree.make(name)[0], brick, table, name)
    for name, table in (("cog_communes.csv", "communes"), ("perimetre-epci-a-fp.csv", "epci_members")):
        tables[table] = typed(CommunesTree(world).make(name)[0], "insee_cog", table, name)
    return tables


def nasty(seed: int) -> Tables:
    """Few communes and years, with every trap at random."""
    draw = random.Random(seed)
    codes = ["35001", "35002", "35003", "35004"]
    tables: Tables = {"consumptions": [], "networks": [], "inventory": [], "installations": []}
    tables["communes"] = [{"TYPECOM": "COM", "COM": code, "COMPARENT": None, "LIBELLE": code} for code in [*codes, "35900"]]
    tables["communes"] += [
        {"TYPECOM": "COMA", "COM": "35801", "COMPARENT": "35001", "LIBELLE": "old"},
        {"TYPECOM": "COMD", "COM": "35002", "COMPARENT": "35003", "LIBELLE": "same code"},
    ]
    tables["epci_members"] = [{"siren": EPCI, "insee": code, "nom_membre": f"Commune {code}"} for code in codes]
    tables["epci_members"].append({"siren": "200000000", "insee": "35900", "nom_membre": "Elsewhere"})
    for year, code, energy, sector in itertools.product(
        range(2016, 2025), [*codes, "35801", "35900"], ["Electricité", "Gaz", "Vapeur"], ["RESIDENTIEL", "TERTIAIRE", "INDUSTRIE", "X"]
    ):
        if (code == "35004" and energy == "Gaz") or draw.random() < 0.25:
            continue
        for operator in draw.sample(["Enedis", "GRDF", "Local"], draw.choice([1, 1, 2])):
            value = draw.choice([None, 0.0, *[round(draw.uniform(1, 900), 3) for _ in range(6)]])
            tables["consumptions"].append({
                "OPERATEUR": operator, "Année": year, "FILIERE": energy, "Code Commune": code, "CODE CATEGORIE CONSOMMATION": "ENT",
                "CODE GRAND SECTEUR": sector, "CODE SECTEUR NAF2": draw.choice([None, "10"]),
                "Nb sites": None if value is None else draw.choice([0, 12, 40, 40, None]), "Conso totale (MWh)": value,
                "Nombre de mailles secretisées": 1 if value is None else draw.choice([0, 0, 0, 0, None, 2]),
            })  # fmt: skip
    for year, name in itertools.product(range(2019, 2024), ["1C", "2C", "3C", "4F"]):
        parts = {sector: draw.choice([None, None, float(draw.randint(1, 400))]) for sector in ("residentiel", "tertiaire", "industrie")}
        told = {
            f"livraisons_{sector}_MWh": parts.get(sector) for sector in ("residentiel", "tertiaire", "industrie", "agriculture", "autre")
        }
        total = draw.choice([None, *[sum(value or 0 for value in parts.values()) + beyond for beyond in (0, 0, 0, 2, 2, 150, -2, -20)]])
        codes_of = {
            "1C": "35001",
            "2C": "35001",
            "3C": draw.choice(["35001,35002", "35900, 35003", "35003"]),
            "4F": draw.choice(["35002", "35900"]),
        }[name]
        content = {
            "contenu CO2": draw.choice([None, round(draw.uniform(0, 0.3), 3), 0.1]),
            "Taux EnR&R": draw.choice([None, float(draw.randint(0, 100)), 50.0]),
        }
        of_network = {"annee": year, "Identifiant reseau": name, "communes_insee": codes_of, "livraisons_totale_MWh": total}
        tables["networks"].append(of_network | told | content)
    for version, (made_on, years) in {"v1": ("2023-01-01", range(2018, 2022)), "v3": ("2024-01-01", range(2017, 2023)),
                                      "v2": ("2025-01-01", range(2018 + seed % 3, 2024))}.items():  # fmt: skip
        for year, code in itertools.product(years, ["5", "6", "7", "34", "219"]):
            if draw.random() < 0.9:
                tables["inventory"].append({"version": version, "annee": year, "date_maj": dt.date.fromisoformat(made_on), "code": EPCI,
                                            "code_pcaet": code, "ges": draw.choice([None, round(draw.uniform(1e3, 9e5), 1)])})  # fmt: skip
        for year in years:
            sum_of = sum(r["ges"] or 0 for r in tables["inventory"] if (r["version"], r["annee"]) == (version, year))
            told_all = draw.choice([None, sum_of, sum_of * 1.004, sum_of * 1.02])
            tables["inventory"] += [{"version": version, "annee": year, "date_maj": dt.date.fromisoformat(made_on), "code": code,
                                     "code_pcaet": "All", "ges": told_all} for code in (EPCI, "200000000")]  # fmt: skip
    for year, code, technology in itertools.product(
        range(17, 25), [*codes, "35801", "35900"], ["Solaire", "Eolien", "Nucléaire", "Bioénergies"]
    ):
        if draw.random() < 0.6:
            lines = draw.randint(1, 3)
            known = draw.choice([lines, lines, draw.randint(0, lines)])
            tables["installations"].append({
                "codeinseecommune": code, "filiere": technology, "nbinstallations": draw.randint(1, 90),
                "puismaxinstallee": round(draw.uniform(1, 900), 1),
                "energieannuelleglissanteinjectee": float(draw.randint(1, 900_000)) if known else None, "lignes": lines, "connues": known,
                "_file": f"registre-national-3112{year}/exports/csv?x",
            })  # fmt: skip
    return tables


@pytest.mark.parametrize("seed", [None, *range(1, 7)])
def test_marts_are_those_of_the_oracle(models: list[tuple[str, str]], seed: int | None) -> None:
    tables = of_sandbox() if seed is None else nasty(seed)
    oracle = Oracle(tables)
    with made(models, tables) as connection:
        for mart, expected in ((NETWORKS, oracle.network_energy()), (EMISSIONS, oracle.emissions()), (PRODUCTION, oracle.production())):
            assert len(expected) > 10
            assert differences(read(connection, mart), expected)[:20] == [], mart


def attack(oracle: Oracle, networks: dict[tuple, Row], production: dict[tuple, Row]) -> list[str]:
    """Subtract the shown cells of each shown total: name the hidden cells that it gives back, alone or together."""
    found = []
    totals = {(key[0], key[2], key[3]): row["commune_delivered_kwh"] for key, row in networks.items()}
    totals |= {(key[0], "electricity", key[2]): row["commune_electricity_kwh"] for key, row in production.items()}
    # What is injected, divided by its share, is the total that it is a share of.
    totals |= {
        (key[0], "electricity", key[2]): row["injected_kwh"] / row["share_of_network_electricity"]
        for key, row in production.items()
        if row["share_of_network_electricity"]
    }  # fmt: skip
    for (commune, energy, year), total in totals.items():
        cells = [key for key in oracle.cells if (key[0], key[1], key[3]) == (commune, energy, year)]
        if total is not None and (hidden := [key for key in cells if any(part["hidden"] for part in oracle.cells[key])]):
            shown = sum(networks[c, s, e, y]["shown_kwh"] or 0 for c, e, s, y in cells)
            found.append(f"{hidden} together are {total - shown:.0f} kWh")
    return found


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_no_subtraction_gives_back_what_producers_hide(models: list[tuple[str, str]], seed: int | None) -> None:
    tables = of_sandbox() if seed is None else nasty(seed)
    oracle = Oracle(tables)
    with made(models, tables) as connection:
        networks = read(connection, NETWORKS)
        assert attack(oracle, networks, read(connection, PRODUCTION)) == []
        assert all(row["delivered_kwh"] is None for row in networks.values() if row["is_suppressed"])
        assert any(row["commune_delivered_kwh"] is not None for row in networks.values())
    # The attack sees it where the rule is taken away: the producers' totals hold what they hide.
    name = "intermediate.int_network_totals_by_commune"
    sql = dict(models)[name]
    ruled = "not shown.is_suppressed and count(*) = count(cells.delivered_kwh)"
    assert ruled in sql
    open_doors = [(each, text.replace(ruled, "true") if each == name else text) for each, text in models]
    with made(open_doors, tables) as connection:
        assert attack(oracle, read(connection, NETWORKS), read(connection, PRODUCTION))


def test_a_year_published_again_replaces_itself_and_a_hidden_cell_stays_hidden(models: list[tuple[str, str]]) -> None:
    """Over two publications: what the first one showed is not subtracted from what the second one says."""
    year, commune, _ = WRONG
    before, after = of_sandbox(dt.date(2024, 1, 31)), of_sandbox()
    assert {row["Année"] for row in before["consumptions"]} == set(range(2016, 2023))
    key = (commune, "tertiary", "electricity", year)
    with made(models, before) as first, made(models, before, after) as second:
        wrong, right = read(first, NETWORKS), read(second, NETWORKS)
        assert wrong[key]["delivered_kwh"] == pytest.approx(10 * right[key]["delivered_kwh"])
        assert differences(right, Oracle(after).network_energy())[:5] == []
        hidden = {each for each, row in wrong.items() if row["is_suppressed"]}
        assert hidden and all(right[each]["is_suppressed"] for each in hidden)


def test_no_line_is_drawn_across_a_break_nor_a_version(models: list[tuple[str, str]]) -> None:
    with made(models, of_sandbox()) as connection:
        rows = read(connection, NETWORKS)
        for (*_, energy, year), row in rows.items():
            is_break = (energy, year) in {("electricity", 2018), ("electricity", 2022), ("gas", 2022)}
            assert row["is_series_break"] == is_break and (row["delivered_change_share"] is None or not is_break)
        assert sum(row["delivered_change_share"] is not None for row in rows.values()) > 500
        assert {row["inventory_version"] for row in read(connection, EMISSIONS).values()} == {"ISEA v6"}
    with made(models, of_sandbox(dt.date(2025, 6, 15))) as connection:
        assert {row["inventory_version"] for row in read(connection, EMISSIONS).values()} == {"ISEA v5"}


def test_the_sandbox_publishes_what_its_key_says(tmp_path: Path) -> None:
    world = World()
    write_key(World(scale=0.1, until=dt.date(2024, 1, 5)), tmp_path / "key.json")
    assert {each["kind"] for each in json.loads((tmp_path / "key.json").read_text())["territory"]} >= {"wrong_year", "former_code"}
    traps = {each["kind"]: each for each in Territory(world).planted()}
    tables = of_sandbox()
    consumptions = tables["consumptions"]
    former = [row for row in consumptions if row["Code Commune"] == FORMER_CODE]
    assert {row["Année"] for row in former} == set(range(2016, traps["former_code"]["until_year"] + 1))
    assert traps["former_code"]["codes"] == [FORMER_CODE, OLD_COMMUNE]
    changes = [each for each in Territory(world).planted() if each["kind"] == "method_change"]
    for change in changes:  # no year moves by so much for another reason
        sums = [
            sum(row["Conso totale (MWh)"] or 0 for row in consumptions
                if (row["FILIERE"], row["CODE GRAND SECTEUR"], row["Année"]) == (change["energy"], "TERTIAIRE", year))
            for year in (change["year"] - 1, change["year"])
        ]  # fmt: skip
        assert change["energy"] == "Gaz" or sums[1] / sums[0] == pytest.approx(change["params"]["TERTIAIRE"], abs=0.03)
    assert len(changes) == 3
    without = set(traps["without_gas"]["communes"])
    assert without and not [row for row in consumptions if row["FILIERE"] == "Gaz" and row["Code Commune"] in without]
    hidden = [row for row in consumptions if row["Nombre de mailles secretisées"]]
    assert 0.05 < len(hidden) / len(consumptions) < 0.25
    assert all(row["Conso totale (MWh)"] is None and row["Nb sites"] is None for row in hidden)
    few = [
        row for row in consumptions if row["CODE CATEGORIE CONSOMMATION"] == "RES" and row["Nb sites"] is not None and row["Nb sites"] < 10
    ]
    assert few == [], "dwellings of fewer than 10 delivery points are hidden"
    for name in traps["total_with_hidden_parts"]["networks"]:
        of_network = [row for row in tables["networks"] if row["Identifiant reseau"] == name]
        assert of_network and all(row["livraisons_residentiel_MWh"] is None and row["livraisons_totale_MWh"] for row in of_network)
    versions = {row["version"] for row in tables["inventory"]}
    assert versions == {"ISEA v5", "ISEA v6"}
    assert any(row["codeinseecommune"] == "35238" and row["filiere"] == "Thermique non renouvelable" for row in tables["installations"])


def test_an_api_of_the_sandbox_is_known_by_its_etag_and_ends_its_pages() -> None:
    world = World()
    fair = DataFair(world)
    query = f"format=csv&size=10000&qs=code_epci:{EPCI}%20AND%20annee:2023"
    status, content, headers = fair.respond(("lines",), query, {})
    assert (status, "Link" in headers) == (200, False) and content.decode().splitlines()[0].split(",") == CONSUMPTIONS
    assert fair.respond(("lines",), query, {"if-none-match": headers["ETag"]})[0] == 304
    status, content, headers = fair.respond(("lines",), query.replace("10000", "50"), {})
    assert "next" in headers["Link"] and len(content.decode().splitlines()) == 51
    assert fair.respond(("raw",), "", {})[0] == 404 and fair.respond(("lines",), "format=csv", {})[0] == 404
    unpublished = fair.respond(("lines",), query.replace("2023", "2025"), {})[1].decode().splitlines()
    assert unpublished == [",".join(CONSUMPTIONS)]
    register = Register(world)
    status, content, _ = register.respond(("registre-national-x-311224", "exports", "csv"), "delimiter=%3B", {})
    assert status == 200 and content.decode().splitlines()[0].split(";") == INSTALLATIONS
    assert register.respond(("another", "exports", "csv"), "", {})[0] == 404
    assert set(PLAYS) < set(read_bricks())
