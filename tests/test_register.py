"""The register of processing says what the bricks declare and the journal holds, and what nobody has said yet."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import json
import re
from pathlib import Path

import pytest

from ingestion.census import read_bricks
from ingestion.territory import Controller, read_territory
from redistribution.mart import Mart
from redistribution.register import write_register
from tests.conftest import House, column, table

COLUMNS = [
    column("id"),
    column("name", personal=True, mask="drop"),
    column("address_key", personal=True, mask="pseudonym"),
    column("zone", personal=True, mask="zone", position=["lon", "lat"]),
    column("more", "json", personal_paths=["holder.name"]),
    column("heat", "double"),
]
SAID = {
    "legal_basis": "mission d'intérêt public (art. 6.1.e)", "purpose": "Prévenir les <canicules> & aider",
    "data_subjects": ["habitants", "usagers"], "pseudonym_domain": "homes", "title_fr": "Les foyers",
}  # fmt: skip
CONTROLLER = Controller(name="Métropole", contact="dgs@exemple.fr", data_protection_officer="dpo@exemple.fr", transfers="aucun")
MART = Mart("heat_by_zone", "marts.heat_by_zone", "open", {"homes": "internal"}, ("zone",), {"label": {"fr": "Chaleur"}}, "que des sommes")


def page(folder: Path, name: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", (folder / name).read_text(encoding="utf-8"))))


def test_a_processing_is_what_its_brick_declares(house: House) -> None:
    folder = house.folder / "register"
    homes = house.brick("homes", [table("people", COLUMNS, ["id"], {"format": "csv", "path": "homes.csv"})], **SAID)
    counts = house.brick(
        "counts", [table("days", [column("id")], ["id"], {"format": "csv", "path": "counts.csv"})], title_fr="Des comptages"
    )
    territory = read_territory().model_copy(update={"controller": CONTROLLER})
    told, files = write_register(folder, [homes, counts], territory, house.journal, [MART, dataclasses.replace(MART, name="x", sources={})])

    assert [file.name for file in files] == ["homes.html", "index.html", "registre.csv"]
    (homes_told,) = told
    assert homes_told.unsaid == ("`dpia_ref` of brick homes",)
    shown = page(folder, "homes.html")
    for text in (
        "Les foyers", "Métropole, dgs@exemple.fr", "dpo@exemple.fr", "Prévenir les <canicules> & aider", "art. 6.1.e", "habitants",
        "usagers", "Analyse d'impact à compléter", "people.name : name. Rien n'en est conservé.", "domaine homes",
        "people.address_key : address_key. Conservé : un pseudonyme", "le code de la zone qui contient lon et lat, jamais la position",
        "Conservé, sauf holder.name.", "données masquées : agents de la collectivité", "aucune lecture", "aucun",
        "Chaleur (heat_by_zone) : tout public (données ouvertes), classe abaissée parce que : que des sommes",
        "Durée de conservation 1 an après la lecture",
    ):  # fmt: skip
        assert text in shown, text
    assert "people.heat" not in shown and "people.id" not in shown and "(x)" not in shown
    index = page(folder, "index.html")
    assert "Les foyers" in index and "Des comptages" in index.partition("rien de personnel")[2]
    (row,) = csv.DictReader(io.StringIO((folder / "registre.csv").read_bytes().decode("utf-8-sig")), delimiter=";")
    assert row["Traitement"] == "Les foyers" and row["Catégories de personnes"] == "habitants\nusagers"
    assert list(row) == ["Traitement", *homes_told.fields]


def test_what_nobody_has_said_is_asked_for(house: House) -> None:
    people = [column("id"), column("name", personal=True, mask="drop")]
    only = {"legal_basis": "=cmd()", "purpose": "To call back."}
    homes = house.brick("homes", [table("people", people, ["id"], {"format": "csv", "path": "homes.csv"})], **only)
    (told,), _ = write_register(house.folder / "register", [homes], read_territory(), house.journal, [])
    assert set(told.unsaid) == {
        "`controller` in territory.yml", "`controller.transfers` in territory.yml",
        "`dpia_ref` of brick homes", "`data_subjects` of brick homes",
    }  # fmt: skip
    assert page(house.folder / "register", "homes.html").count("à compléter") == 5
    (row,) = csv.DictReader(io.StringIO((house.folder / "register" / "registre.csv").read_bytes().decode("utf-8-sig")), delimiter=";")
    assert row["Base légale"] == "'=cmd()"  # no spreadsheet runs it


def test_a_brick_that_is_no_processing_any_more_loses_its_page_and_nobody_else_does(house: House) -> None:
    folder = house.folder / "register"
    people = [column("id"), column("name", personal=True, mask="drop")]
    only = {"legal_basis": "law", "purpose": "To call back."}
    homes = house.brick("homes", [table("people", people, ["id"], {"format": "csv", "path": "homes.csv"})], **only)
    write_register(folder, [homes], read_territory(), house.journal, [])
    (folder / "mine.html").write_text("<p>Not of the register.")
    _, files = write_register(folder, [], read_territory(), house.journal, [])
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "mine.html", "registre.csv"]
    assert "il n’y a pas de traitement" in page(folder, "index.html") and len(files) == 2


def test_the_command_writes_the_register_and_says_what_it_lacks(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.cli import main

    monkeypatch.setenv("ORCHESTRA_BRICKS", str(house.folder / "bricks"))
    monkeypatch.setenv("ORCHESTRA_LAKE", house.lake.root)
    house.brick("homes", [table("people", COLUMNS, ["id"], {"format": "csv", "path": "homes.csv"})], **SAID)
    read_bricks()
    to = house.folder / "to"
    assert main(["register", "--to", str(to), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["processings"] == ["homes"] and (to / "homes.html").exists()
    assert main(["register", "--to", str(to)]) == 0
    told = capsys.readouterr().out
    assert "1 processing of personal data, of 1 bricks" in told and "to be said of homes: `controller` in territory.yml" in told
    assert "Mend: orchestra run, then again" in told
