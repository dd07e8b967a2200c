"""What pages say beside their figures: to machines, in each language, of which period, of what concerns no row, and with ten marts."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import html
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from ingestion.journal import Journal
from ingestion.lake import PROJECT, Lake
from ingestion.sandbox.zones import zones
from redistribution.site.cards import read_cards
from redistribution.site.linked import Download
from redistribution.site.mart_page import file_of
from redistribution.site.pages import MOST_BYTES
from redistribution.site.period import misuses, period_of
from redistribution.site.words import Language, scaled
from tests.check_dbt import faults_of_questions
from tests.fixtures.chromium import opened
from tests.fixtures.site import COLUMNS, MEASURE, META, Town, bricks, rows, town_in
from tests.test_site import CLOSED, PAGE, WIDTHS, body, figures

COMMUNE = {**COLUMNS, "building_id": ("string", {"label_fr": "Commune", "label_en": "Commune"})}


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return town_in(tmp_path)


def linked(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/ld\+json">(.*?)</script>', page)
    told: dict[str, Any] = json.loads(text)
    return told


# To machines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("access_class", "right"), [("open", "PUBLIC"), ("internal", "NON_PUBLIC")])
def test_a_page_is_a_dataset_and_the_home_their_catalogue(town: Town, access_class: str, right: str) -> None:
    town.mart("energy_by_month", rows(), access_class=access_class, label_fr="Énergie </script> & cie")
    town.publish()
    town.follow(access_class)
    page = town.read(PAGE, access_class)
    told = linked(page)
    assert told["@context"]["@vocab"] == "https://schema.org/" and told["@context"]["dcat"] == "http://www.w3.org/ns/dcat#"
    assert told["@type"] == ["Dataset", "dcat:Dataset"] and told["identifier"] == "energy_by_month"
    assert told["name"] == "Énergie </script> & cie" and told["inLanguage"] == "fr" and "inventés" in told["description"]
    assert told["isAccessibleForFree"] == (access_class == "open")
    assert told["dct:accessRights"] == {"@id": f"http://publications.europa.eu/resource/authority/access-right/{right}"}
    assert told["temporalCoverage"] == "2024-01/2025-12", "of all that the files hold"
    assert dt.datetime.fromisoformat(told["dateModified"]) and told["isBasedOn"][0]["name"]
    variables = {each["propertyID"]: each for each in told["variableMeasured"]}
    assert variables["intensity_kwh_per_m2"]["unitText"] == "kWh/m²" and variables["consumption_kwh"]["name"] == "Consommation"
    files = {each["contentUrl"]: each for each in told["distribution"]}
    assert {Path(name).suffix for name in files} == {".csv", ".parquet"}
    for name, each in files.items():
        path = Path(town.lake.path(f"site/{access_class}/fr"), name)
        assert path.exists() and each["contentSize"] == f"{path.stat().st_size} B" and each["encodingFormat"]
    for home, folder in (("index.html", ""), ("en/index.html", "en")):
        catalogue = linked(town.read(home, access_class))
        assert catalogue["@type"] == ["DataCatalog", "dcat:Catalog"]
        assert [each["identifier"] for each in catalogue["dataset"]] == ["energy_by_month"]
        assert all(Path(town.lake.path(f"site/{access_class}"), folder, each["url"]).exists() for each in catalogue["dataset"])


# One period ---------------------------------------------------------------------------------------------------------


def test_page_question_and_documentation_have_one_period(town: Town) -> None:
    """The twelve months end with the last complete one; one of them that is not complete is kept, told, and moves nothing."""
    sql = "select sum(consumption_kwh) as value from energy_by_month where month_date in {period}"
    low = rows().replace("when b = 2 and m = 21 then 0.8", "when m in (15, 22) then 0.5")
    town.mart("energy_by_month", low, questions=[{"fr": "Combien ?", "en": "How much?", "sql": sql}])
    town.publish()
    town.follow()
    page = town.read(PAGE)
    assert 'data-from="2024-11-01" data-to="2025-10-01"' in page
    ((total,),) = town.sql(
        "select sum(consumption_kwh) from energy_by_month where month_date between date '2024-11-01' and date '2025-10-01'"
    )
    assert figures(page)["consumption_kwh"] == str(total)
    for name in (PAGE, "index.html"):
        assert f'<data value="{total}" data-question="energy_by_month.0">' in town.read(name)
    assert body(page, "series")[15][0] == "avr. 2025 incomplet"


def test_nothing_complete_leaves_the_question_open_and_the_figures_say_so(town: Town) -> None:
    sql = "select sum(consumption_kwh) as value from energy_by_month where month_date in {period}"
    low = rows().replace("else 1.0 end as completeness_share", "else 0.5 end as completeness_share")
    town.mart("energy_by_month", low, questions=[{"fr": "Combien ?", "en": "How much?", "sql": sql}])
    town.publish()
    town.follow()
    page = town.read(PAGE)
    assert 'data-from="2025-01-01" data-to="2025-12-01"' in page and "data-question" not in page and "incomplet" in page


@pytest.mark.parametrize(("lacking", "shown"), [(0.03, "2024"), (0.01, "2025"), (0.5, "2024")])
def test_a_mart_by_year_is_told_of_one_year(town: Town, lacking: float, shown: str) -> None:
    """The last complete one, or where none is the one of which most is known: never their sum."""
    of_year = {name: COLUMNS[name] for name in ("building_id", "consumption_kwh", "completeness_share")} | {"year": ("bigint", {})}
    share = f"case when y = 2025 then 1 - {lacking} when {lacking} > 0.1 then 0.9 else 1 end"
    years = f"select 'b' || b as building_id, y as year, 100.0 * y as consumption_kwh, {share} as completeness_share"
    select = f"{years} from range(4) as t (b), range(2023, 2026) as u (y)"
    town.mart("energy_by_year", select, of_year, grain=["building_id", "year"], position=None, questions=[])
    town.publish()
    town.follow()
    page = town.read("fr/energy_by_year.html")
    assert f'data-from="{shown}" data-to="{shown}"' in page and figures(page)["consumption_kwh"] == str(400.0 * int(shown))


def test_a_year_that_lacks_a_month_is_compared_with_none(town: Town) -> None:
    """The mean of a stock may be complete where the bills of one building lack a month: like is compared with like, row by row."""
    of_year = {name: COLUMNS[name] for name in ("building_id", "consumption_kwh", "completeness_share")} | {"year": ("bigint", {})}
    lacks = "b = 0 and y = 2025"
    kwh = f"case when {lacks} then 100 when y = 2025 then 990 else 1000 end"
    years = f"select 'b' || b as building_id, y as year, {kwh}::double as consumption_kwh"
    select = f"{years}, case when {lacks} then 0.5 else 1 end as completeness_share from range(40) as t (b), range(2024, 2026) as u (y)"
    town.mart("energy_by_year", select, of_year, grain=["building_id", "year"], position=None, questions=[])
    town.publish()
    town.follow()
    page = town.read("fr/energy_by_year.html")
    assert 'data-from="2025"' in page and "−1,0\xa0%" in page.replace("\u202f", "\xa0"), "not -3,3 %: its bills lack"


def test_where_nothing_is_awaited_each_month_with_rows_is_told(town: Town) -> None:
    """Events come when they come: that a month has few of them says nothing of it."""
    of_event = {name: COLUMNS[name] for name in ("building_id", "building_name", "consumption_kwh")} | {"day_date": ("date", {})}
    few = "select building_id, building_name, consumption_kwh, month_date + 9 as day_date from"
    few = f"{few} ({rows()}) where month_date < date '2025-09-01' or building_id = 'b0'"
    town.mart("events_by_day", few, of_event, grain=["building_id", "day_date"], position=None, completeness=None)
    town.publish()
    town.follow()
    assert 'data-from="2025-01-01" data-to="2025-12-01"' in town.read("fr/events_by_day.html")


@pytest.mark.parametrize("mart", ["energy_by_building_month", "public_buildings_energy_by_commune_month"])
def test_the_documentation_asks_of_the_period_of_the_page(mart: str) -> None:
    columns = {"month_date": ("date", {}), "completeness_share": ("double", MEASURE), "building_id": ("string", {})}
    from tests.fixtures.site import node

    manifest = {"nodes": {mart: node(mart, {**META, "grain": ["building_id", "month_date"]}, columns)}, "sources": {}}
    manifest["nodes"][mart]["depends_on"] = {"nodes": []}
    period = period_of(read_cards(manifest, {})[mart])
    inner, last = re.fullmatch(r"select period from \((.*)\) as periods (where .*)", period).groups()  # type: ignore[union-attr]
    text = (PROJECT / "docs" / "questions.md").read_text(encoding="utf-8")
    queries = [" ".join(query.split()) for query in re.findall(r"```sql\n(.*?)```", text, flags=re.DOTALL)]
    of_months = [query for query in queries if f"from {mart} " in query and "avg(completeness_share) >=" in query]
    assert of_months
    for query in of_months:
        assert inner in query and f"select period from periods {last}" in query, f"of these queries, one has a period of its own:\n{query}"
    assert not re.search(r"having\s+avg\(", text), "of which months are complete there is one definition"
    marts = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT / "dbt_project/models/marts").rglob("*.yml"))
    assert not re.search(r"having\s+avg\(", marts)


def test_the_period_of_a_mart_by_day_is_the_days_of_its_months(town: Town) -> None:
    of_day = {name: COLUMNS[name] for name in ("building_id", "consumption_kwh", "completeness_share")} | {"day_date": ("date", {})}
    days = f"select building_id, consumption_kwh, completeness_share, month_date + 9 as day_date from ({rows()}) where energy = 'gas'"
    asked = {"fr": "Combien ?", "en": "How much?", "sql": "select sum(consumption_kwh) as value from by_day where day_date in {period}"}
    town.mart("by_day", days, of_day, grain=["building_id", "day_date"], position=None, questions=[asked])
    town.publish()
    town.follow()
    page = town.read("fr/by_day.html")
    ((value,),) = town.sql("select sum(consumption_kwh) from by_day where day_date between date '2024-12-01' and date '2025-11-30'")
    assert value and f'<data value="{value}" data-question="by_day.0">' in page, "no day is the first of its month"


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("select 1 from energy_by_month where date_trunc('month', month_date) in {period}", "compares an expression with {period}"),
        ("select 1 from energy_by_month where building_id in {period}", "compares building_id with {period}"),
        ("select 1 from energy_by_month where month_date not in {period} and energy_by_month.month_date IN {period}", None),
    ],
)
def test_a_period_that_is_compared_with_another_column_is_refused(town: Town, sql: str, told: str | None) -> None:
    card = read_cards(town.manifest, bricks())["energy_by_month"]
    assert list(misuses(sql, card)) == ([(told, "where month_date in {period}")] if told else [])
    node = town.nodes["energy_by_month"]
    node["config"]["meta"]["questions"] = [{"fr": "?", "en": "?", "sql": sql}]
    faults = faults_of_questions(town.manifest)
    assert [told in fault and "Mend: where month_date in" in fault for fault in faults if told] == ([True] if told else [])
    undated = dataclasses.replace(card, grain=("building_id",))
    assert next(why for why, _ in misuses(sql, undated)).startswith("says {period}, and no column")


def test_a_mart_without_rows_yet_is_told_with_its_reason(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.mart("set_aside_by_month", f"{rows()} and false", label_fr="Mesures écartées", questions=[])
    town.publish()
    town.follow()
    home = town.read("fr/index.html")
    assert "<dt>Mesures écartées</dt><dd>Pas encore lu : Capteurs LoRaWAN des bâtiments publics.</dd>" in home
    load = {"read_at": "2025-12-01T00:00:00+00:00", "seq": 1, "load_id": "x", "tables": {}, "brick": "lora_batiments"}
    monkeypatch.setattr(Journal, "accepted", lambda self, brick=None: [load])
    town.mart("energy_by_month", rows(more=1))
    town.publish()
    town.follow()
    assert "<dt>Mesures écartées</dt><dd>Ses sources ont été lues et n’ont donné aucune ligne" in town.read("fr/index.html")
    monkeypatch.undo()
    town.mart("set_aside_by_month", rows(), label_fr="Mesures écartées", questions=[])
    town.publish()
    town.follow()
    assert "Rien à montrer à ce jour" not in town.read("fr/index.html") and 'href="set_aside_by_month.html"' in town.read("fr/index.html")


@pytest.mark.parametrize(("unit", "larger", "largest"), [("kWh", "MWh", "GWh"), ("kgCO2e", "tCO2e", "ktCO2e"), ("kg", "t", "kt")])
def test_masses_and_energies_are_told_in_a_larger_unit_alike(town: Town, unit: str, larger: str, largest: str) -> None:
    assert [scaled(unit, value) for value in (19_999, 20_000, 2e6, 2e7)] == [(unit, 1), (larger, 1e3), (larger, 1e3), (largest, 1e6)]
    asked = {"fr": "Combien ?", "en": "How much?", "sql": f"select 3456789.0 as value, '{unit}' as unit"}
    town.mart("energy_by_month", rows(more=10_000), {**COLUMNS, "consumption_kwh": ("double", MEASURE | {"unit": unit})}, questions=[asked])
    town.publish()
    town.follow()
    page = town.read("en/energy_by_month.html")
    told = larger.replace("CO2e", "CO₂e")
    assert f">3,457</data></b> {told}" in page and re.search(rf"</data> <small>{told}</small>", page)
    assert f"Consumption, by month ({told})" in page and f"<small>{told}</small></th>" in page


# In each language ---------------------------------------------------------------------------------------------------


def test_units_are_said_in_the_language_of_the_page(town: Town) -> None:
    wide = COLUMNS | {
        "leak_day_count": ("bigint", {"unit": "day", "nature": "measured", "aggregate": "sum", "label_fr": "Fuite", "label_en": "Leak"}),
        "value_unit": ("string", {"label_fr": "Unité des valeurs", "label_en": "Unit of the values"}),
        "observed_value": ("double", {"unit": "value_unit", "nature": "measured", "label_fr": "Observé", "label_en": "Observed"}),
    }
    select = f"select *, 2 as leak_day_count, 'kW' as value_unit, 1.5 as observed_value from ({rows()})"
    columns = ["building_name", "month_date", "leak_day_count", "intensity_kwh_per_m2", "observed_value"]
    town.mart("energy_by_month", select, wide, display={"figures": ["leak_day_count"], "columns": columns})
    town.publish()
    town.follow()
    for code, days, told in (("fr", "jours", "dite par « Unité des valeurs »"), ("en", "days", "told by “Unit of the values”")):
        page = town.read(f"{code}/energy_by_month.html")
        assert re.search(rf'data-column="leak_day_count">[^<]+</data> <small>{days}</small>', page)
        assert re.search(r"<td[^>]*>kW\b", page), "the unit of each row stands beside its value"
        assert f"<td>{told}</td>" in page and "<small>value_unit</small>" not in page and "<small>day</small>" not in page
        assert f"<small>{days}</small></th>" in page and "kWh/m²" in page and "kWh/m2" not in page.replace("kwh_per_m2", "")


def test_what_does_not_concern_a_row_is_not_missing(town: Town) -> None:
    injected = MEASURE | {"label_fr": "Injecté", "label_en": "Injected"}
    select = f"select *, case when building_id = 'b1' then 5.0 end as produced_kwh from ({rows()})"
    ((count, empty),) = town.sql(f"select count(*), count(*) filter (building_id != 'b1') from energy_by_month where {CLOSED}")
    assert 0 < empty < count
    pages = {}
    for empty_means in ("missing", "not_concerned"):
        column = ("double", injected | {"empty_means": empty_means})
        town.mart("energy_by_month", select, COLUMNS | {"produced_kwh": column}, display={"figures": ["produced_kwh"]})
        town.publish()
        town.follow()
        pages[empty_means] = re.search(r'<div( class="low")?><dt>Injecté.*?</div>', town.read(PAGE), re.DOTALL)
    assert pages["missing"] and pages["missing"][1] and f"{empty} valeurs manquent" in pages["missing"][0]
    assert pages["not_concerned"] and not pages["not_concerned"][1] and "manquent<" not in pages["not_concerned"][0]
    assert f"{empty} lignes sans objet" in pages["not_concerned"][0]
    page = town.read(PAGE)
    assert {"s. o.", "5,00"} == {row[3] for row in body(page, "rows")} and "s. o. : sans objet" in page
    assert "n/a: the row is not concerned" in town.read("en/energy_by_month.html")


# From a figure to its rows --------------------------------------------------------------------------------------------


def test_a_key_figure_leads_to_its_rows_and_to_the_query_that_gives_it_again(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.follow()
    page, language = town.read(PAGE), Language("fr")
    assert page.count('<a href="#w">Ses lignes') == len(figures(page)) and page.count(" id=w>") == 1
    rows_of = re.search(r'id="rows">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)[1].split("<tr")[1:]  # type: ignore[index]
    first = next(i for i, row in enumerate(rows_of) if " id=w>" in row)
    months = [row[1] for row in body(page, "rows")]
    assert months[first] == "nov. 2025" and set(months[:first]) == {"déc. 2025"}
    ((count,),) = town.sql(f"select count(*) from energy_by_month where {CLOSED}")
    assert f"{language.number(count)} des {language.number(count)} lignes de la période des chiffres clés sont ici" in page
    queries = re.findall(r"<dd>[^<]*<code>(select [^<]*)</code>", page)
    assert len(queries) == 2
    for href, name in re.findall(r'<a href="../(data/[^"]*)" download="([^"]*)"', page):
        (tmp_path / name).write_bytes(town.lake.read(f"site/open/{href}") or b"")
    monkeypatch.chdir(tmp_path)  # where a reader has saved what the page offers
    for query, value in zip(queries, figures(page).values(), strict=True):
        ((again,),) = duckdb.sql(html.unescape(query)).fetchall()
        assert again == pytest.approx(float(value), rel=1e-12)


def test_a_mart_of_several_files_is_asked_of_all_of_them(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = read_cards(town.manifest, bricks())["energy_by_month"]
    offered = [Download(f"data/energy_by_month/{year}.parquet", "Parquet", 1) for year in (2024, 2025)]
    monkeypatch.chdir(tmp_path)
    for each in offered:
        duckdb.sql(f"copy (select 1 as x) to '{each.name}' (format parquet)")
    assert duckdb.sql(f"select sum(x) from {file_of(card, offered)}").fetchall() == [(2,)]


# The words of the trade -----------------------------------------------------------------------------------------------


def test_the_words_of_the_trade_are_explained_where_a_page_says_them(town: Town) -> None:
    columns = {**COLUMNS, "consumption_kwh": ("double", MEASURE | {"unit": "kWh PCI", "label_fr": "Consommation (PCI)"})}
    town.mart("energy_by_month", rows(), columns)
    town.publish()
    town.follow()
    for code, told in (("fr", "Pouvoir calorifique inférieur"), ("en", "Net calorific value")):
        page = town.read(f"{code}/energy_by_month.html")
        assert f"<dt>PCI</dt><dd>{told}" in page and 'href="#words"' in page and 'id="words"' in page
        assert "<dt>CVRMSE</dt>" not in page and "<!--" not in page
    assert 'id="words"' not in town.read("fr/runs.html"), "a page that says none of them explains none"


@pytest.mark.parametrize("code", ["fr", "en"])
def test_no_abbreviation_of_a_mart_is_left_unexplained(code: str) -> None:
    """What the YAML of the marts, and the labels of codes, say in capitals."""
    texts = []
    for path in (PROJECT / "dbt_project/models/marts").rglob("*marts.yml"):
        for mart in yaml.safe_load(path.read_text(encoding="utf-8"))["models"]:
            for of in (mart, *mart["columns"]):
                meta = of["config"]["meta"]
                texts += [str(value) for name, value in meta.items() if name.endswith(f"_{code}")]
                texts += [of["description"]] if code == "en" else []
                texts += [question[code] for question in meta.get("questions", ())]
    with (PROJECT / "dbt_project/seeds/reference/code_labels.csv").open(encoding="utf-8", newline="") as file:
        texts += [row[f"label_{code}"] for row in csv.DictReader(file)]
    abbreviation = r"\b[A-Za-z]*[A-Z]{2,}[A-Za-z]*(?:₂e)?|\b[A-Z]\w*[0-9]\b"
    said = {word for text in texts for word in re.findall(abbreviation, text.replace("CO2e", "CO₂e"))}
    explained = {each for word in Language(code).words["glossary"] for each in re.split(r" / |\|", word)}
    assert said - explained - {"EUR", "EU"} == set()
    assert {"PCI", "OPERAT"} <= said


# What it cost, and how old it is --------------------------------------------------------------------------------------


def test_the_cost_of_a_build_is_told_once_with_what_it_published(town: Town) -> None:
    from redistribution.publish import publish_marts

    cost = {"wall_s": 61.5, "cpu_s": 80.25, "energy_wh": 0.223, "models": 41, "models_s": 44.0, "warehouse_bytes": 12_345_678}
    for more in (1, 2):
        town.mart("energy_by_month", rows(more=more))
        publish_marts(town.lake, Journal(town.lake), town.marts, f"r{more}", lambda *_: ([], {"warnings": []}), cost=cost)
    town.follow()
    entries = list(Journal(town.lake).of("publication"))
    assert [entry.get("build") for entry in entries] == [None, cost, None]
    (row,) = body(town.read("en/runs.html"), "builds")
    size = sum(entries[1]["marts"]["energy_by_month"]["sizes"].values())
    assert row[1:] == ["41", "44.0", "61.5", "12,346", f"{max(1, round(size / 1000))}", "80.2", "0.223"]
    assert "Les calculs et leur empreinte" in town.read("fr/runs.html")


@pytest.mark.parametrize(
    ("days_old", "own", "promised", "is_late"), [(50, 2, 45, True), (50, 400, 45, False), (40, 2, 45, False), (500, 400, 45, True)]
)
def test_a_source_slower_than_the_promise_of_a_mart_makes_it_late_only_when_it_is_late_itself(
    town: Town, monkeypatch: pytest.MonkeyPatch, days_old: int, own: int, promised: int, is_late: bool
) -> None:
    from redistribution.site import follow

    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    load = {"read_at": (now - dt.timedelta(days=days_old)).isoformat(), "seq": 1, "load_id": "x", "tables": {}, "brick": "lora_batiments"}
    monkeypatch.setattr(Journal, "accepted", lambda self, brick=None: [load])
    monkeypatch.setattr(Journal, "as_of", lambda self: now.isoformat())
    brick = bricks()["lora_batiments"]
    period = brick.config.freshness.error_after.model_copy(update={"count": own, "period": "day"})
    fresh = brick.config.freshness.model_copy(update={"error_after": period})
    slower = brick.model_copy(update={"config": brick.config.model_copy(update={"freshness": fresh})})
    card = read_cards(town.manifest, bricks())["energy_by_month"]
    card.meta["freshness"] = promised  # type: ignore[index]
    following = object.__new__(follow._Following)
    following.journal, following.bricks = Journal(town.lake), {"lora_batiments": slower}
    assert following._is_late(card) == is_late


# Where ----------------------------------------------------------------------------------------------------------------


def test_the_sandbox_draws_each_commune_once_around_its_point() -> None:
    features = json.loads(zones())["features"]
    communes = duckdb.sql(f"from read_csv('{PROJECT}/ingestion/sandbox/communes.csv', all_varchar = true)").fetchall()
    assert len(features) == len(communes) == 43 and {each["properties"]["code"] for each in features} == {row[0] for row in communes}
    assert all(each["properties"]["synthetic"] for each in features) and zones() == zones()
    with duckdb.connect() as connection:
        from ingestion.lake import load_extension

        load_extension(connection, "spatial")
        shapes = {each["properties"]["code"]: json.dumps(each["geometry"]) for each in features}
        connection.execute("create table zones (code varchar, shape geometry)")
        for code, shape in shapes.items():
            connection.execute("insert into zones values (?, st_geomfromgeojson(?))", [code, shape])
        for row in communes:
            point = f"st_point({row[7]}, {row[8]})"
            assert connection.execute(f"select code from zones where st_contains(shape, {point})").fetchall() == [(row[0],)]
        overlaps = "select max(st_area(st_intersection(a.shape, b.shape))) from zones as a, zones as b where a.code < b.code"
        assert connection.execute(overlaps).fetchall()[0][0] < 1e-6


def communes_of(select: str) -> str:
    """Give a mart of the communes of three of the buildings."""
    codes = "case building_id when 'b0' then '35238' when 'b1' then '35047' else '35051' end as building_id"
    return f"select * replace ({codes}) from ({select}) where building_id != 'b3'"


def test_a_synthetic_lake_without_zones_of_its_own_shows_those_of_the_sandbox(town: Town) -> None:
    town.mart("energy_by_month", communes_of(rows()), COMMUNE, position=None)
    town.publish()
    town.follow()
    drawn = re.search(r'<svg class="map".*?</svg>', town.read(PAGE), re.DOTALL)[0]  # type: ignore[index]
    shapes = re.findall(r"<path ([^>]*)><title>([^<]*)</title></path>", drawn)
    assert len(shapes) == 43 and len([told for shape, told in shapes if "url(#none)" in shape and told.endswith(", sans donnée")]) == 40
    assert len([told for shape, told in shapes if 'class="q' in shape]) == 3 and ("Acigné, sans donnée" in {told for _, told in shapes})
    assert town.follow().written == []
    assert "Les limites dessinées sont fictives" in town.read(PAGE)
    assert "The borders drawn are made up" in town.read("en/energy_by_month.html")


# In a browser -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """A site of ten marts: eight more of energy, and one on a map of communes."""
    folder = tmp_path_factory.mktemp("ten")
    town = Town(Lake(str(folder / "lake"), str(folder / "state")))
    town.mart("energy_by_month", communes_of(rows()), COMMUNE, position=None)
    for number in range(1, 10):
        label = f"Un sujet au titre plutôt long, comme le seront ceux des politiques à venir, par commune et par mois {number}"
        question = {"fr": f"Combien de kilowattheures en tout, tous bâtiments ensemble, pour le sujet {number} ?", "en": "How much?"}
        asked = [question | {"sql": f"select sum(consumption_kwh) as value, 'kWh' as unit from mart_{number}_by_month"}]
        town.mart(f"mart_{number}_by_month", rows(more=number), label_fr=label, questions=asked)
    town.publish()
    town.follow()
    return town


@pytest.mark.parametrize("width", WIDTHS)
def test_home_and_menus_hold_with_ten_marts(browser: Any, ten: Town, width: int) -> None:
    for page in ("index.html", "en/index.html", PAGE):
        assert len(ten.lake.read(f"site/open/{page}") or b"") <= MOST_BYTES
        tab = opened(browser, ten.lake.path("site/open", page), width)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width and tab.told == []
        boxes = tab.locator("header a:visible").evaluate_all("all => all.map(each => each.getBoundingClientRect().height)")
        assert max(boxes) < 60, "no entry of the menu is broken over lines"
        tab.close()
    tab = opened(browser, ten.lake.path("site/open", "index.html"), width)
    assert tab.locator("article.card h3 a").count() == 10 and tab.locator(".ask li").count() == 10
    tab.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_labels_of_the_map_of_communes_can_be_read(browser: Any, ten: Town, width: int) -> None:
    tab = opened(browser, ten.lake.path("site/open", PAGE), width)
    boxes = tab.locator("svg.map .names text:visible").evaluate_all(
        "all => all.map(e => { const b = e.getBoundingClientRect(); return [b.left, b.top + 3, b.right, b.bottom - 3] })"
    )
    names = tab.locator("svg.map .names text:visible").all_text_contents()
    assert {"École 0", "École 1", "École 2"} <= set(names)
    assert (len(names) == 8) == (width == 390) and all(box[3] - box[1] >= 5 for box in boxes)
    crossed = [
        (names[i], names[j])
        for i, a in enumerate(boxes)
        for j, b in enumerate(boxes)
        if i < j and a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]
    assert crossed == []
    tab.close()


def test_a_table_wider_than_a_phone_shows_that_it_goes_on_without_javascript(browser: Any, ten: Town) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 900})
    tab = context.new_page()
    tab.goto(f"file://{ten.lake.path('site/open', 'fr/mart_1_by_month.html')}")
    for wide in (table for table in tab.locator(".scroll").all() if table.evaluate("each => each.scrollWidth > each.clientWidth + 40")):
        assert wide.locator(".swipe").is_visible() and "→" in wide.locator(".swipe").inner_text()
        assert wide.evaluate("each => getComputedStyle(each).backgroundAttachment") == "local, local, scroll, scroll"
        assert wide.get_attribute("tabindex") == "0" and wide.get_attribute("role") == "region" and wide.get_attribute("aria-label")
    region = tab.locator(".scroll:has(#rows)")
    region.focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_timeout(500)
    assert region.evaluate("each => each.scrollLeft") > 0
    tab.set_viewport_size({"width": 1280, "height": 900})
    assert not region.locator(".swipe").is_visible()
    context.close()


@pytest.mark.parametrize("is_on", [True, False])
def test_rows_are_picked_by_code_with_and_without_javascript(browser: Any, ten: Town, is_on: bool) -> None:
    context = browser.new_context(java_script_enabled=is_on)
    tab = context.new_page()
    tab.goto(f"file://{ten.lake.path('site/open', 'fr/mart_1_by_month.html')}")
    counts = dict(ten.sql("select energy, count(*) from mart_1_by_month group by energy"))
    shown = tab.locator("#rows tbody tr:visible")
    assert shown.count() == sum(counts.values())
    for energy, count in counts.items():
        tab.get_by_label(energy, exact=True).check()
        assert shown.count() == count
    tab.get_by_label("Tous", exact=True).check()
    assert shown.count() == sum(counts.values())
    context.close()


def test_print_shows_what_fits_and_nothing_to_click(browser: Any, ten: Town) -> None:
    tab = opened(browser, ten.lake.path("site/open", "fr/mart_1_by_month.html"))
    tab.emulate_media(media="print")
    for kind in (".filter", ".pick", ".dl", ".top nav", ".skip"):
        assert tab.locator(kind).evaluate_all("all => all.every(e => !e.getClientRects().length)"), kind
    clipped = "all => all.filter(e => e.scrollHeight > e.clientHeight + 1 && getComputedStyle(e).overflowY !== 'visible').length"
    assert tab.locator(".scroll").evaluate_all(clipped) == 0
    ((count,),) = ten.sql("select count(*) from mart_1_by_month")
    assert count > 40 and tab.locator("#rows tbody tr:visible").count() == 40 and tab.locator(".onprint").is_visible()
    tab.set_viewport_size({"width": 718, "height": 900})  # A4, less its margins
    assert tab.evaluate("document.documentElement.scrollWidth") <= 718, "no column is cut"
    pdf = tab.pdf(format="A4")
    assert pdf.startswith(b"%PDF-") and len(pdf) < 1_000_000
    tab.close()
