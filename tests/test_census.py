"""The census: tools beside bricks, what `orchestra bricks` says of each and of its source, its life, and two that give the same."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import inspect
import itertools
import json
import re
import socket
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Document, House, Site, column, source, table
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.cli import main
from flows.lineage import read_lineage
from flows.servers import is_played
from flows.steps import run_chain
from ingestion.census import BRICKS, read_brick, read_brick_or_tool, read_bricks, read_census
from ingestion.connectors import connector
from ingestion.declaration import BrickError
from ingestion.lake import PROJECT, Lake
from ingestion.life import with_status
from ingestion.likeness import alike, holding
from ingestion.own_census import last_of_all
from ingestion.probing import Probe, fits_licence, note_probes, probe, probed

CSV = {"format": "csv", "path": "items.csv"}
Said = pytest.CaptureFixture[str]


def tool(name: str, **meta: Any) -> Document:
    """Give the YAML of a tool that breaks no rule."""
    told = {
        "title_fr": f"Outil {name}", "title_en": f"Tool {name}", "kind": "redistribution", "operator": "Ville", "steward": "Service",
        "use_cases": [], "status": "candidate", "protocols": ["wfs"], "access_mode": "copy", "access_class": "open",
        "endpoint": None, "endpoint_reason": "None is published.", **meta,
    }  # fmt: skip
    return {"version": 2, "sources": [{"name": name, "description": name, "config": {"meta": told}}]}


def shop(**meta: Any) -> Document:
    """Give the YAML of a brick."""
    return source("shop", [table("items", [column("id"), column("n", "bigint")], ["id"], CSV)], **meta)


def lay(folder: Path, *documents: Document) -> Path:
    """Write files of a census."""
    folder.mkdir(exist_ok=True)
    for document in documents:
        path = folder / f"{document['sources'][0]['name']}.yml"
        path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return folder


@pytest.fixture
def town(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """Give a house whose commands read its own bricks and lake: a brick that landed, and two tools."""
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(house.folder / "bricks"))
    monkeypatch.setenv("ORCHESTRA_LAKE", house.lake.root)
    monkeypatch.delenv("ORCHESTRA_STATE", raising=False)
    house.drop("items.csv", "id,n\na,1\nb,2\nc,x\n")
    brick = house.brick("shop", shop()["sources"][0]["tables"], reads_from=["maps"], licence="odbl-1.0")
    lay(house.folder / "bricks", tool("maps", feeds=["board"]), tool("board", access_mode="reference_only"))
    assert house.land(brick)
    return house


def test_a_tool_is_in_the_census_and_nothing_of_it_lands(tmp_path: Path) -> None:
    folder = lay(tmp_path, shop(), tool("maps"), tool("board", reads_from=["maps"], kind="source", access_mode="query_in_place"))
    census = read_census(folder)
    assert list(census.bricks) == ["shop"] == list(read_bricks(folder)) and list(census.tools) == ["board", "maps"]
    assert list(census.all) == ["board", "maps", "shop"] and census.bricks["shop"].meta.access_mode == "copy"
    with pytest.raises(BrickError, match=r"maps.yml: maps is a tool: nothing of it lands"):
        read_brick(folder / "maps.yml")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"protocols": []}, r"maps.yml:\d+: config.meta.protocols: holds 0 of at least 1"),
        ({"access_mode": "guess"}, r"config.meta.access_mode: 'guess' is none of 'copy', 'query_in_place' or 'reference_only'"),
        ({"operator": ...}, r"config.meta.operator: is missing"),
        ({"endpoint_reason": None}, r"config.meta.endpoint: null: say why"),
        ({"cadence": "daily"}, r"config.meta.cadence: unknown field \(accepted: title_fr"),
        ({"reads_from": ["nobody"]}, r"maps.yml:\d+: reads_from: 'nobody' is no brick or tool. Mend: "),
        ({"feeds": ["maps"]}, r"maps.yml:\d+: feeds: 'maps' is itself"),
        ({"status_date": "soon"}, r"config.meta.status_date"),
    ],
)
def test_a_tool_that_is_not_what_the_contract_asks_is_told_by_its_line(change: Document, told: str, tmp_path: Path) -> None:
    document = tool("maps")
    meta = document["sources"][0]["config"]["meta"]
    for name, value in change.items():
        meta.pop(name, None)
        meta |= {} if value is ... else {name: value}
    with pytest.raises(BrickError, match=told):
        read_census(lay(tmp_path, document))


def test_a_brick_that_forgot_its_tables_or_its_connector_is_no_tool(tmp_path: Path) -> None:
    for forgotten, told in ((("tables",), "tables: is missing"), (("config", "meta", "connector"), "config.meta.connector: is missing")):
        document = shop()
        place = document["sources"][0]
        for step in forgotten[:-1]:
            place = place[step]
        del place[forgotten[-1]]
        with pytest.raises(BrickError, match=told):
            read_brick_or_tool(lay(tmp_path, document) / "shop.yml")
    document = shop(access_mode="query_in_place")
    with pytest.raises(BrickError, match="access_mode: 'query_in_place' is none of 'copy'"):
        read_brick_or_tool(lay(tmp_path, document) / "shop.yml")


def test_the_tools_of_the_project_say_where_they_are_or_why_not() -> None:
    tools = read_census(BRICKS).tools
    assert {"geoserver_rennes", "geonetwork_rennes", "rudi_portal", "open_data_portal_rennes"} <= set(tools)
    assert {each.meta.status for each in tools.values()} == {"candidate"}
    assert all(each.meta.endpoint or each.meta.endpoint_reason for each in tools.values())


def test_what_is_made_of_what_is_read_without_dbt_as_dbt_says_it(compiled: Any) -> None:
    lineage, models = read_lineage(), [node for node in compiled.manifest["nodes"].values() if node["resource_type"] == "model"]
    assert models
    for node in models:
        named = [each.split(".") for each in node["depends_on"]["nodes"]]
        own = lineage.nodes[node["name"]]
        assert own.reads == {parts[-1] for parts in named if parts[0] != "source"}, node["name"]
        assert own.tables == {(parts[-2], parts[-1]) for parts in named if parts[0] == "source"}, node["name"]
        assert own.layer == ("mart" if node["fqn"][1] == "marts" else node["fqn"][1])
    assert "renewable_production_by_commune_year" in lineage.marts_on("insee_cog") and lineage.use_cases_on("insee_cog")["energy"] > 1


def test_the_list_says_how_each_stands(town: House, capsys: Said) -> None:
    assert main(["bricks", "list"]) == 0
    bricks, tools = capsys.readouterr().out.split("\n\n")
    names, _, row = (re.split(r"  +", line.strip()) for line in bricks.splitlines())
    told = dict(zip(names, row, strict=True))
    assert told["brick"] == "shop" and told["protocol"] == "files" and told["licence"] == "odbl-1.0" and told["producer"] == "Ville"
    assert (told["rows"], told["refused"], told["loads refused"], told["personal"]) == ("2", "1", "0", "no")
    assert told["freshness"] == "0.0 of 2 days" and told["last load"].startswith(str(dt.datetime.now(dt.UTC).year))
    maps = next(line for line in tools.splitlines() if line.startswith("maps"))
    assert re.split(r"  +", maps)[5:7] == ["-", "board, shop"]
    assert main(["bricks", "list", "--json"]) == 0
    content = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert set(content) == {"shop", "maps", "board"} and content["maps"]["standing"] is None
    assert content["shop"]["standing"]["kept"] == 2 and content["shop"]["tables"][0]["name"] == "items"


def test_a_card_is_shown_with_its_tables_its_loads_and_what_rests_on_it(town: House, capsys: Said) -> None:
    assert main(["bricks", "show", "shop"]) == 0
    told = capsys.readouterr().out
    for line in (
        r"^licence +odbl-1.0$",
        r"^reads from +maps$",
        r"^id +string +key +id$",
        r"accepted +2 +1$",
        "read up to: all of it$",
        "^no mart rests on it$",
    ):
        assert re.search(line, told, re.MULTILINE), (line, told)
    assert main(["bricks", "show", "board"]) == 0
    assert re.search("^takes from +maps$", capsys.readouterr().out, re.MULTILINE)
    assert main(["bricks", "show", "shop", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["loads"][0]["kept"] == 2 and content["positions"] == {"items": {}} and content["standing"]["marts"] == []
    assert main(["bricks", "show", "shoop"]) == 2 and "no brick 'shoop': board, maps, shop" in capsys.readouterr().err


def test_a_brick_of_the_project_names_the_marts_that_rest_on_it(capsys: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORCHESTRA_LAKE", str(tmp_path / "lake"))
    assert main(["bricks", "show", "insee_cog"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^renewable_production_by_commune_year +energy +open +Production", told, re.MULTILINE) and "nothing yet" in told
    assert not (tmp_path / "lake").exists(), "what only looks makes no lake"


def test_a_probe_asks_and_notes_and_lands_nothing(town: House, capsys: Said) -> None:
    before = town.journal.seq
    assert main(["bricks", "check"]) == 0 and "never reached" not in capsys.readouterr().out, "none has an address"
    assert main(["bricks", "probe", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shop"]["is_reached"] and found["shop"]["missing"] is None and found["shop"]["changed_at"]
    assert found["maps"]["is_reached"] is None and found["maps"]["told"] == "None is published."
    assert probed(town.lake)["shop"] == found["shop"] and town.journal.seq == before
    town.drop("items.csv", "id;m\na;1\n")
    assert main(["bricks", "probe", "shop"]) == 0 and "items: the source names no n" in capsys.readouterr().out
    (town.drops / "items.csv").unlink()
    assert main(["bricks", "probe", "shop"]) == 1
    told = capsys.readouterr().out
    assert re.search(r"^shop +NO .*items.csv is not there. Mend: ", told, re.MULTILINE)
    assert main(["bricks", "show", "shop"]) == 0 and "did not answer" in capsys.readouterr().out


@pytest.mark.parametrize(("status", "is_reached"), [(200, True), (404, True), (403, True), (503, False)])
def test_an_endpoint_that_answers_is_reached_unless_it_is_ill(status: int, is_reached: bool, tmp_path: Path) -> None:
    site = Site()
    try:
        site.pages["/ows"] = (status, {"Last-Modified": "Mon, 03 Nov 2025 10:00:00 GMT"}, b"{}")
        of = read_brick_or_tool(lay(tmp_path, tool("maps", endpoint=f"{site.url}/ows?key=hush")) / "maps.yml")
        found = probe(of)
        assert found.is_reached is is_reached and len(site.asked) == 1, found
        assert (found.changed_at == "2025-11-03T10:00:00+00:00") is (status == 200) and "hush" not in found.told
    finally:
        site.stop()


def test_other_protocols_are_reached_by_a_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for endpoint in (f"mqtt://127.0.0.1:{port}", f"postgresql://127.0.0.1:{port}/town"):
            found = probe(read_brick_or_tool(lay(tmp_path, tool("maps", endpoint=endpoint)) / "maps.yml"))
            assert found.is_reached and found.told == ""
    for endpoint, told in (
        (f"mqtt://127.0.0.1:{port}", "cannot be reached"),
        ("ldap://x", "names no host and port"),
        ("/nowhere", "not there"),
    ):
        found = probe(read_brick_or_tool(lay(tmp_path, tool("maps", endpoint=endpoint)) / "maps.yml"))
        assert found.is_reached is False and told in found.told and "Mend: " in found.told


def test_a_portal_is_held_to_the_columns_and_the_licence_of_its_brick(tmp_path: Path) -> None:
    site = Site()
    told = {
        "metas": {"default": {"license": "Open Database License (ODbL)", "modified": "2025-11-02T08:00:00+00:00", "records_count": 7}},
        "fields": [{"name": "ID", "type": "text"}],
    }
    site.pages["/api/explore/v2.1/catalog/datasets/trees"] = (200, {}, json.dumps(told).encode())
    try:
        document = source("trees", [table("trees", [column("id"), column("n")], ["id"], {"dataset": "trees"})], connector="opendatasoft")
        document["sources"][0]["config"]["meta"] |= {"endpoint": site.url, "endpoint_reason": None}
        found = probe(read_brick_or_tool(lay(tmp_path, document) / "trees.yml"))
        assert (found.is_reached, found.rows, found.changed_at) == (True, {"trees": 7}, "2025-11-02T08:00:00+00:00")
        assert found.missing == {"trees": ["n"]} and found.licence_fits is False
        assert "names no n" in found.told and "says licence Open Database License (ODbL), the brick etalab-2.0" in found.told
        site.pages.clear()
        gone = probe(read_brick_or_tool(tmp_path / "trees.yml"))
        assert gone.is_reached is False and "knows no dataset trees" in gone.told
    finally:
        site.stop()


@pytest.mark.parametrize(
    ("declared", "told", "fits"),
    [
        ("etalab-2.0", "Licence Ouverte v2.0 (Etalab)", True), ("etalab-2.0", "lov2", True), ("etalab-2.0", "fr-lo", None),
        ("odbl-1.0", "Open Database License (ODbL)", True), ("etalab-2.0", "Open Database License (ODbL)", False),
        ("etalab-2.0", "Licence Ouverte v1.0", False), ("proprietary", "Selon convention", None), ("proprietary", "Proprietary", True),
        ("cc-by-4.0", "CC BY 4.0", True), ("cc-by-4.0", "CC BY-NC 4.0", None),
    ],
)  # fmt: skip
def test_licences_are_known_by_the_words_of_producers(declared: str, told: str, fits: bool | None) -> None:
    assert fits_licence(declared, told) is fits


def test_what_was_never_reached_is_said_and_a_sandbox_is_no_source(town: House, capsys: Said) -> None:
    path = town.folder / "bricks" / "maps.yml"
    lay(path.parent, tool("maps", feeds=["board"], endpoint="http://127.0.0.1:9/ows", endpoint_reason=None))
    assert main(["bricks", "check"]) == 0 and "never reached from here: maps (" in capsys.readouterr().out
    found = probe(read_brick_or_tool(path))
    note_probes(town.lake, {"maps": dataclasses.replace(found, is_reached=True, is_synthetic=True)})
    assert main(["bricks", "check"]) == 0 and "never reached from here: maps (" in capsys.readouterr().out


def test_each_connector_that_probes_takes_a_request() -> None:
    for name in ("files", "opendatasoft"):
        assert list(inspect.signature(connector(name).probe).parameters) == ["request"]


# The life of a brick ------------------------------------------------------------------------------------------------


def test_a_brick_is_adopted_once_it_was_reached_and_its_file_keeps_all_else(town: House, capsys: Said) -> None:
    path = town.folder / "bricks" / "shop.yml"
    text = "# a note of the steward's\n" + path.read_text(encoding="utf-8").replace("status: tested", "status: tested  # since the spring")
    path.write_text(text, encoding="utf-8")
    assert main(["bricks", "adopt", "shop"]) == 0, capsys.readouterr()
    after = path.read_text(encoding="utf-8")
    (added,) = set(after.splitlines()) - set(text.splitlines()) - {next(line for line in after.splitlines() if "adopted" in line)}
    assert re.fullmatch(r' +status_date: "20\d\d-\d\d-\d\d"', added)
    assert after.replace("adopted", "tested").replace(f"{added}\n", "") == text
    assert main(["bricks", "adopt", "shop"]) == 1 and "adopted already" in capsys.readouterr().err
    assert main(["bricks", "retire", "shop"]) == 0 and read_bricks()["shop"].meta.status == "retired"
    assert path.read_text(encoding="utf-8").count("status_date") == 1, "the day is written where it stands"
    assert main(["bricks", "retire", "shop"]) == 1 and "retired already" in capsys.readouterr().err


def test_a_brick_that_may_not_be_adopted_is_left_as_it_is(town: House, capsys: Said) -> None:
    folder = town.folder / "bricks"
    other = source("other", shop()["sources"][0]["tables"], status="candidate")
    other["sources"][0]["config"]["meta"] |= {"title_fr": "Autre", "title_en": "Other"}
    cases: list[tuple[Document, str]] = [
        ({}, "other was never reached from here, and nothing of it has landed. Mend: orchestra bricks probe other"),
        ({"licence": "unknown"}, r"licence: a brick whose licence is unknown cannot be adopted"),
        ({"title_fr": "Un essai"}, r"other.yml: one title .* as shop.yml. Mend: retire one of them"),
    ]
    for change, told in cases:
        document = copy.deepcopy(other)
        document["sources"][0]["config"]["meta"] |= change
        path = lay(folder, document) / "other.yml"
        before = path.read_bytes()
        assert main(["bricks", "adopt", "other"]) == 1
        assert re.search(told, capsys.readouterr().err) and path.read_bytes() == before
    private = copy.deepcopy(other)
    private["sources"][0]["config"]["meta"] |= {"legal_basis": "law", "purpose": "heat"}
    private["sources"][0]["tables"][0]["columns"].append(column("name", personal=True, mask="drop"))
    lay(folder, private)
    assert main(["bricks", "adopt", "other"]) == 1 and "cannot be adopted without `dpia_ref`" in capsys.readouterr().err
    lay(folder, other)
    note_probes(town.lake, {"other": _reached()})
    assert main(["bricks", "adopt", "other"]) == 0


def _reached() -> Any:
    return Probe("2026-01-01T00:00:00+00:00", True)


def test_a_brick_on_which_marts_rest_is_not_retired_by_mistake(capsys: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "meteo_stations.yml"
    path.write_bytes((PROJECT / "ingestion" / "bricks" / "meteo_stations.yml").read_bytes())
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(tmp_path))
    assert main(["bricks", "retire", "meteo_stations"]) == 1
    told = capsys.readouterr().err
    assert re.search(r"\d marts rest on meteo_stations: .*energy_by_building_month", told) and "--keep-marts" in told
    assert read_bricks()["meteo_stations"].meta.status == "candidate"
    assert main(["bricks", "retire", "meteo_stations", "--keep-marts"]) == 0
    assert read_bricks()["meteo_stations"].meta.status == "retired"


NOTES = st.sampled_from(["", " # why: it is", "   # status: adopted", " #"])
WORDS = st.text(st.sampled_from("aé :'\"{}-,&*!%@`\t"), max_size=6)


@st.composite
def written(draw: st.DrawFn) -> str:
    """Draw the text of a brick's YAML as people write one: any order, quotes, comments, blank lines, a flow mapping, CRLF, a mark."""
    before = draw(st.sampled_from(["candidate", "'tested'", '"adopted"', "retired"]))
    fields = draw(st.permutations([("a", draw(WORDS)), ("status", None), ("status_note", "status"), ("z", draw(WORDS))]))
    dated = draw(st.sampled_from([None, "2024-01-02", '"2024-01-02"', "'2024-01-02'"]))
    if draw(st.booleans()):
        pairs = [f"{name}: {before if text is None else json.dumps(text)}" for name, text in fields]
        pairs += [f"status_date: {dated}"] * bool(dated)
        lines = ["sources:", "- name: x", f"  config: {{meta: {{{', '.join(pairs)}}}, status: other}}{draw(NOTES)}"]
    else:
        lines = ["sources:", "- name: x", "  status: of another place", "  config:", "    meta:"]
        for name, text in fields:
            lines += draw(st.sampled_from([[], ["# at the margin"], ["      # status: none of it", ""]]))
            lines.append(f"      {name}: {before if text is None else json.dumps(text)}{draw(NOTES)}")
            lines += [f"      status_date: {dated}{draw(NOTES)}"] * (text is None and bool(dated))
    text = draw(st.sampled_from(["\n", "\r\n"])).join(lines) + draw(st.sampled_from(["", "\n", "\n\n# the end"]))
    return draw(st.sampled_from(["", "\ufeff"])) + text


@given(written(), st.sampled_from(["adopted", "retired"]))
@settings(max_examples=80, deadline=None)
def test_an_edit_changes_the_status_and_its_day_and_not_a_letter_more(text: str, status: str) -> None:
    after = with_status(text, status, dt.date(2026, 11, 27))
    before, told = yaml.safe_load(text), yaml.safe_load(after)
    before["sources"][0]["config"]["meta"] |= {"status": status, "status_date": "2026-11-27"}
    assert told == before
    comments = re.compile("#[^\r\n]*")
    assert comments.findall(after) == comments.findall(text)
    old, new = text.splitlines(keepends=True), after.splitlines(keepends=True)
    changed = [line for line in new if line not in old]
    assert len(changed) <= 3 and len(new) - len(old) in (0, 1)
    assert with_status(after, status, dt.date(2026, 11, 27)) == after, "twice is once"


# Two that give the same ---------------------------------------------------------------------------------------------


def pair(folder: Path, one: Document, other: Document) -> tuple[list[str], list[str]]:
    """Give what is told of two bricks `one` and `other`."""
    return alike(read_census(lay(folder, one, other)).bricks.values())


def of(name: str, options: Document, **meta: Any) -> Document:
    """Give a brick of one table and a title of its own."""
    told = {"title_fr": f"Titre de {name}", "title_en": f"Title of {name}", "producer": f"Producer of {name}", **meta}
    return source(name, [table("items", [column("id")], ["id"], options)], **told)


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (
            of("one", CSV, title_fr="Les Arbres, isolés", producer="VILLE"),
            of("other", CSV, title_fr="les arbres isoles", producer="Ville"),
            "one title",
        ),
        (
            of("one", CSV, endpoint="https://H.example/data/"),
            of("other", {"format": "csv", "path": "data/items.csv", "separator": ";"}, endpoint="https://h.example"),
            "table items reads one address and dataset",
        ),
        (
            of("one", {"dataset": "trees"}, connector="opendatasoft", endpoint="https://a.example", producer="Ville"),
            of("other", {"collection": "trees"}, connector="ogc_features", endpoint="https://b.example", producer="Ville"),
            "one dataset (trees) of one producer",
        ),
        (
            of("one", {"dataset": "trees", "where": "year=2024"}, connector="opendatasoft", endpoint="https://a.example"),
            of("other", {"dataset": "trees", "where": "year=2025"}, connector="opendatasoft", endpoint="https://a.example"),
            None,
        ),
        (of("one", CSV), of("other", CSV), None),
        (
            of("one", CSV, title_fr="Cœur de l’été", producer="Ville"),
            of("other", CSV, title_fr="Coeur de l'ete", producer="Ville"),
            "one title",
        ),
        (of("one", CSV, title_fr="地図", producer="Ville"), of("other", CSV, title_fr="人口", producer="Ville"), None),
        (
            of("one", CSV, endpoint="http://h.example:80/data/"),
            of("other", CSV, endpoint="https://h.example/data"),
            "table items reads one address and dataset",
        ),
        (
            of("one", {"layer": 0}, connector="arcgis", endpoint="https://a.example/trees/FeatureServer", producer="Ville"),
            of("other", {"layer": 0}, connector="arcgis", endpoint="https://a.example/roads/FeatureServer", producer="Ville"),
            None,
        ),
        (
            of("one", {"layer": 0}, connector="arcgis", endpoint="https://a.example/trees/FeatureServer"),
            of("other", {"layer": 0, "where": "1=1", "size": 500}, connector="arcgis", endpoint="https://a.example/trees/FeatureServer"),
            "table items reads one address and dataset",
        ),
        (
            of("one", {"resource": "0b1c-2d"}, connector="ckan", endpoint="https://a.example", producer="Ville"),
            of("other", {"resource": "0b1c-2d"}, connector="ckan", endpoint="https://b.example/api/3/action", producer="Ville"),
            "one dataset (0b1c-2d) of one producer",
        ),
    ],
)  # fmt: skip
def test_two_bricks_that_give_the_same_are_told(one: Document, other: Document, told: str | None, tmp_path: Path) -> None:
    faults, warnings = pair(tmp_path, one, other)
    assert warnings == [] and ([told in fault for fault in faults] == [True] if told else faults == [])
    for change, counts in (({"status": "candidate"}, (0, 1)), ({"status": "retired"}, (0, 0)), ({"mirrors": ["other"]}, (0, 0))):
        document = copy.deepcopy(one)
        document["sources"][0]["config"]["meta"] |= change
        faults, warnings = pair(tmp_path, document, other)
        assert (len(faults), len(warnings)) == (counts if told else (0, 0)), change


def test_the_check_refuses_two_that_give_the_same(town: House, capsys: Said) -> None:
    lay(town.folder / "bricks", of("twin", CSV, title_fr="Un essai", producer="Ville"))
    assert main(["bricks", "check"]) == 1 and "twin.yml: one title (un essai / ville)" in capsys.readouterr().err
    lay(town.folder / "bricks", of("twin", CSV, title_fr="Un essai", producer="Ville", replaces=["shop"]))
    assert main(["bricks", "check"]) == 0


def test_what_a_sample_holds_is_found_where_it_landed(house: House) -> None:
    house.drop("trees.csv", "id,species\n" + "".join(f"{n:05},oak\n" for n in range(50)))
    house.drop("other.csv", "id,species\n" + "".join(f"x{n},oak\n" for n in range(50)))
    house.drop("two.csv", "town,year,n\n" + "".join(f"35{n:03},2024,{n}\n" for n in range(50)))
    species, counts = [column("id"), column("species")], [column("town"), column("year", "bigint"), column("n", "bigint")]
    bricks = [
        house.brick(name, [table(name, columns, key, {"format": "csv", "path": f"{name}.csv"})])
        for name, columns, key in (("trees", species, ["id"]), ("other", species, ["id"]), ("two", counts, ["town", "year"]))
    ]
    for brick in bricks:
        house.land(brick)
    code, connection = "format('{:05}', i) as code", house.lake.connect()
    cases: list[tuple[str, list[str], list[Any]]] = [
        (f"select {code}, 'oak' as species from range(40) t(i)", ["code"], [("trees", 1.0, 1.0)]),
        (f"select {code}, 'elm' as species from range(40) t(i)", ["code"], [("trees", 1.0, 0.0)]),
        ("select i as code from range(40) t(i)", ["code"], []),  # 1 is not 00001
        (f"select {code} from range(30, 90) t(i)", ["code"], []),
        ("select 2024 as an, '35' || format('{:03}', i) as insee from range(40) t(i)", ["an", "insee"], [("two", 1.0, None)]),
        ("select null::varchar as code from range(3) t(i)", ["code"], []),
    ]
    for sql, key, found in cases:
        held = holding(house.lake, house.journal, bricks, connection.sql(sql), key, connection)
        assert [(each.table, each.key_share, each.row_share) for each in held] == found, sql
    connection.close()


# Where a dataset is, and the map ------------------------------------------------------------------------------------


def test_a_dataset_is_found_by_its_name_or_by_words_of_its_title(town: House, capsys: Said) -> None:
    def told(*asked: str) -> str:
        assert main(["where", *asked]) == 0, asked
        return capsys.readouterr().out

    for asked in ("items", "shop.items", "SHOP.Items"):
        found = told(asked)
        assert re.search("^table +shop.items$", found, re.MULTILINE) and re.search("^who may read it +agents", found, re.MULTILINE)
        assert re.search(r"^freshness +shop read 20.* 0.0 days ago of the 2 promised$", found, re.MULTILINE)
        assert f"{town.lake.root}/landed/shop/items" in found and "source('shop', 'items')" in found
    assert re.search("^endpoint +None is published.$", told("board"), re.MULTILINE)
    several = told("outil")
    assert re.search("^tool +board +Outil board$", several, re.MULTILINE) and "orchestra where <name>" in several
    found = told("production", "d'electricite", "RENOUVELABLE commune")
    assert re.search("^mart +renewable_production_by_commune_year$", found, re.MULTILINE) and "not yet: orchestra run" in found
    staging = told("stg_insee_cog__communes")
    assert re.search(r"^made of +insee_cog \(communes\)$", staging, re.MULTILINE) and "renewable_production_by_commune_year" in staging
    for asked, near in (("itms", "shop.items"), ("renouvellable", "renewable_production_by_commune_year"), ("", None)):
        assert main(["where", *asked.split()]) == 2
        err = capsys.readouterr().err
        assert err.startswith("orchestra: nothing is called") and err.count("\n") == 1 and (near is None or f"near: {near}" in err), err


def test_a_published_mart_tells_where_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    from fixtures.site import Town, rows

    name = "renewable_production_by_commune_year"
    lake = Lake(str(tmp_path / "lake"))
    monkeypatch.setenv("ORCHESTRA_LAKE", lake.root)
    published = Town(lake)
    published.mart(name, rows())
    published.publish()
    published.follow()
    assert main(["where", name, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["access_class"] == "open" and re.fullmatch(r"20.*, 168 rows", told["published"])
    assert told["files"] == [lake.path("files/open", f"{name}.parquet")] and Path(told["files"][0]).exists()
    assert told["site"] == [lake.path("site/open/index.html")] and Path(told["site"][0]).exists()
    attach, _, select = told["sql"].partition("; ")
    with lake.connect() as connection:
        from ingestion.lake import load_extension

        for extension in ("ducklake", "sqlite_scanner"):
            load_extension(connection, extension)
        connection.execute(attach)
        assert len(connection.execute(select).fetchall()) == 168


def test_the_map_draws_each_of_the_census_and_each_mart_and_what_joins_them(capsys: Said, tmp_path: Path) -> None:
    assert main(["bricks", "map"]) == 0
    svg = capsys.readouterr().out
    tree, census, lineage = ET.fromstring(svg), read_census(), read_lineage()
    boxes = {each.get("id", ""): each for each in tree.iter("{http://www.w3.org/2000/svg}g") if each.get("id")}
    assert {name.removeprefix("brick.") for name in boxes if name.startswith("brick.")} == set(census.all)
    assert {name.removeprefix("mart.") for name in boxes if name.startswith("mart.")} == set(lineage.marts)
    assert {name for name in boxes if name.startswith(("out.", "exposure."))} >= {"out.open", "out.internal", "exposure.site"}
    drawn = {(each.get("data-from"), each.get("data-to")) for each in tree.iter() if each.get("data-from")}
    expected = {(f"staging.{brick}", f"mart.{mart}") for mart in lineage.marts for brick, _ in lineage.tables_of(mart)}
    assert {each for each in drawn if each[1].startswith("mart.")} == expected
    assert {("brick.geoserver_rennes", "brick.mviewer_rennes"), ("brick.rudi_node", "brick.rudi_portal")} <= drawn
    assert all(start in boxes and end in boxes for start, end in drawn)
    places = [tuple(float(rect.get(side, 0)) for side in ("x", "y", "width", "height")) for each in boxes.values()
              for rect in each.iter("{http://www.w3.org/2000/svg}rect")]  # fmt: skip
    width, height = (float(tree.get(side, 0)) for side in ("width", "height"))
    assert all(x >= 0 and y > 0 and x + w <= width and y + h <= height for x, y, w, h in places)
    apart = [(a, b) for a, b in itertools.combinations(places, 2) if abs(a[0] - b[0]) < min(a[2], b[2]) and abs(a[1] - b[1]) < a[3]]
    assert apart == [], "boxes stand over each other"
    for heading in ("Briques et outils · Bricks and tools", "Tables de décision · Decision marts", "à l'essai · tested"):
        assert f">{heading}<" in svg
    assert "<script" not in svg and "http://" not in svg.replace("http://www.w3.org/2000/svg", "")
    out = tmp_path / "map.svg"
    assert main(["bricks", "map", "--out", str(out)]) == 0 and out.read_text(encoding="utf-8") == svg, "the same each time"
    assert main(["bricks", "map", "--language", "en"]) == 0 and ">Tertiary obligation" in capsys.readouterr().out
    assert main(["bricks", "map", "--language", "xx"]) == 2 and main(["bricks", "map", "--out", str(tmp_path / "no" / "map.svg")]) == 2


# The census as data -------------------------------------------------------------------------------------------------


def itself(house: House) -> Any:
    """Give the brick of the census, beside those of a house."""
    path = house.folder / "bricks" / "census.yml"
    path.write_bytes((BRICKS / "census.yml").read_bytes())
    return read_brick(path)


def test_the_census_lands_when_it_has_changed_and_tells_nothing_of_its_own_loads(town: House) -> None:
    census, columns = itself(town), "name, is_tool, producer, protocols, status, table_count, promised_days, last_read_at is not null"
    entry = town.land(census)
    assert entry and entry["tables"]["bricks"]["kept"] == 4 and not town.journal.is_synthetic
    shown = "_load_id = (select max(_load_id) from census.bricks)"
    rows = {row[0]: row[1:] for row in town.rows(census, f"bricks where {shown}", columns)}
    assert rows["shop"] == (False, "Ville", "files", "tested", 1, 2.0, True)
    assert rows["maps"] == (True, "Ville", "wfs", "candidate", 0, None, False)
    assert rows["census"][-1] is False
    assert town.land(census) is None, "nothing has changed"
    lay(town.folder / "bricks", tool("maps", status="tested", status_date="2026-11-27"))
    assert town.land(census) and town.land(census) is None
    (told,) = town.rows(census, f"bricks where name = 'maps' and {shown}", "status, status_date")
    assert told == ("tested", dt.date(2026, 11, 27))
    town.drop("items.csv", "id,n\na,2\n")
    assert town.land(read_bricks()["shop"]) and town.land(census), "what was read since is told"


def test_a_lake_that_holds_nothing_has_no_census_and_who_has_no_lake_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(house.folder / "bricks"))
    census = itself(house)
    assert house.land(census) is None and not house.journal.seq
    assert probe(census).is_reached
    from ingestion.source import brick as source_of_dlt

    with pytest.raises(Exception, match="the census is what a lake knows of its bricks"):
        list(source_of_dlt("census"))


def test_in_a_sandbox_the_census_is_of_the_sandbox_and_it_is_read_last(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(house.folder / "bricks"))
    (house.drops / "SANDBOX.json").write_text('{"synthetic": true, "now": "2025-12-31T23:00:00+00:00"}')
    house.drop("items.csv", "id,n\na,1\n")
    census = itself(house)
    house.brick("shop", shop()["sources"][0]["tables"])
    assert list(last_of_all(read_bricks())) == ["shop", "census"]
    outcome = run_chain(house.lake, read_bricks(), steps=("land",))
    assert [(step.brick, step.error, step.entry is not None) for step in outcome.lands] == [("shop", None, True), ("census", None, True)]
    assert house.journal.is_synthetic and house.journal.as_of().startswith("2025-12-31T23:00")
    assert run_chain(house.lake, read_bricks(), steps=("land",)).lands[1].entry is None
    assert is_played(census, []) and not is_played(read_bricks()["shop"], [])
