"""The site: what its pages say against SQL on the published files, how it follows the journal, and what a browser shows of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli import main as orchestra
from ingestion.census import read_bricks
from ingestion.journal import Journal
from ingestion.lake import PROJECT, Lake
from ingestion.territory import read_territory
from redistribution.retraction import retract
from redistribution.site.figures import FEW
from redistribution.site.mark import site_faults
from redistribution.site.pages import MOST_BYTES, Pages
from redistribution.site.words import Language, scaled
from redistribution.verify import published_faults
from tests.fixtures.chromium import opened
from tests.fixtures.site import COLUMNS, MEASURE, Town, rows, town_in

PAGE = "fr/energy_by_month.html"
CLOSED = "month_date between date '2024-12-01' and date '2025-11-01'"


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return town_in(tmp_path)


def figures(page: str) -> dict[str, str]:
    return dict(re.findall(r'<data class="big" value="([^"]*)" data-column="(\w+)"', page) and [
        (column, value) for value, column in re.findall(r'<data class="big" value="([^"]*)" data-column="(\w+)"', page)
    ])  # fmt: skip


def body(page: str, table: str) -> list[list[str]]:
    """Give the cells of a table of a page, as text."""
    found = re.search(rf'<table[^>]* id="{table}">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert found, table
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.split(r"<t[dh][^>]*>", row)[1:]] for row in re.split(r"<tr[^>]*>", found[1])[1:]]


def test_key_figures_are_those_of_sql_and_nothing_is_summed_that_does_not_sum(town: Town) -> None:
    town.follow()
    page = town.read(PAGE)
    told = figures(page)
    total = "sum(consumption_kwh), sum(intensity_kwh_per_m2 * area_m2) / sum(area_m2)"
    ((consumption, intensity),) = town.sql(f"select {total} from energy_by_month where {CLOSED}")
    assert float(told["consumption_kwh"]) == pytest.approx(consumption, rel=1e-12)
    assert float(told["intensity_kwh_per_m2"]) == pytest.approx(intensity, rel=1e-12)
    assert set(told) == {"consumption_kwh", "intensity_kwh_per_m2"}, "an area says of no sum, and has none"
    assert "1 valeur manque" in page and "1 valeurs" not in page and "estimé" in page
    assert "déc. 2025" in re.search(r"Périodes pas encore complètes[^<]*", page)[0]  # type: ignore[index]


def test_a_year_is_compared_with_the_rows_that_have_their_like(town: Town) -> None:
    town.follow()
    alike = """
        select sum(now.consumption_kwh) / sum(earlier.consumption_kwh) - 1 from energy_by_month as now
        inner join energy_by_month as earlier on now.building_id = earlier.building_id and now.energy = earlier.energy
            and earlier.month_date = now.month_date - interval 1 year
        where now.{} and now.consumption_kwh is not null and earlier.consumption_kwh is not null
    """
    # The months are December 2024 to November 2025: those of a year before begin in December 2023, which is not there.
    assert "pas de comparaison possible" in town.read(PAGE)
    town.mart("energy_by_month", rows().replace("2024-01-01", "2023-12-01").replace("m = 23", "m = -1"))
    town.publish()
    town.follow()
    ((change,),) = town.sql(alike.format(CLOSED))
    assert f"{Language('fr').share(change, is_signed=True)} sur un an" in town.read(PAGE)


def test_entities_rows_and_chart_are_those_of_sql(town: Town) -> None:
    town.follow()
    page, language = town.read(PAGE), Language("fr")
    by_building = town.sql(
        f"select building_name, sum(consumption_kwh) from energy_by_month where {CLOSED} group by all order by 2 desc, 1"
    )
    unit, factor = scaled("kWh", by_building[0][1])
    assert unit == "MWh" and [row[:2] for row in body(page, "entities")] == [
        [name, language.number(value / factor)] for name, value in by_building
    ]
    latest = town.sql("select building_name, month_date, energy, consumption_kwh from energy_by_month order by month_date desc, 1, energy")
    assert [row[:4] for row in body(page, "rows")] == [
        [name, language.period(month), energy, language.number(value)] for name, month, energy, value in latest
    ]
    by_month = town.sql("select month_date, sum(consumption_kwh) from energy_by_month where energy = 'gas' group by 1 order by 1")
    column = 1 + re.findall(r'<th scope="col" class="n">(\w+)</th>', page).index("gas")
    most = "select max(total) from (select sum(consumption_kwh) as total from energy_by_month group by month_date)"
    _, factor = scaled("kWh", town.sql(most)[0][0])
    assert [row[column] for row in body(page, "series")] == [language.number(value / factor) for _, value in by_month]
    assert body(page, "series")[21][0] == "oct. 2025", "on the whole the month has what was expected"


def test_what_is_below_its_completeness_is_hatched_and_said(town: Town) -> None:
    town.mart("energy_by_month", rows().replace("case when b = 2 and m = 21 then 0.8", "case when m = 21 then 0.4"))
    town.publish()
    town.follow()
    page = town.read(PAGE)
    told = f"select count(*) filter (completeness_share < 0.9), count(*) from energy_by_month where {CLOSED}"
    ((low, count),) = town.sql(told)
    assert body(page, "series")[21][0] == "oct. 2025 incomplet" and 'fill="url(#part)"' in page
    assert f"Lignes sous 90,0\u202f% : {low} sur {count}." in page


def test_a_place_without_data_is_hatched_on_the_map_and_told_in_the_table(town: Town) -> None:
    town.mart("energy_by_month", rows().replace("case when b = 3 and m = 20 and e = 'gas'", "case when b = 3"))
    town.publish()
    town.follow()
    page = town.read(PAGE)
    circles = re.findall(r"<circle[^>]*>.*?</circle>", page)
    assert len(circles) == 4 and [c for c in circles if "url(#none)" in c and "École 3, sans donnée" in c]
    assert ["École 3", "–"] in [row[:2] for row in body(page, "entities")]


def test_zones_of_the_territory_are_shaded_by_a_mean_and_hatched_without_data(town: Town, tmp_path: Path) -> None:
    def square(code: str, place: int) -> dict[str, Any]:
        ring = [[place, 0], [place + 1, 0], [place + 1, 1], [place, 1], [place, 0]]
        properties = {"code": code, **({"name": "Nulle part"} if code == "none" else {})}
        return {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}

    # As an IRIS is of a commune: its code begins with that of the commune.
    codes = ["b0-1", "b0-2", "b1-1", "b3-1", "none"]
    zones = tmp_path / "zones.geojson"
    features = [square(code, place) for place, code in enumerate(codes)]
    zones.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    town.mart("energy_by_month", rows(), position=None)
    town.publish()
    town.follow(zones=zones)
    page, language = town.read(PAGE), Language("fr")
    mean = "sum(intensity_kwh_per_m2 * area_m2) / sum(area_m2)"
    told = dict(town.sql(f"select building_name, {mean} from energy_by_month where {CLOSED} group by all"))
    shapes = re.findall(r"<path ([^>]*)>(?:<title>([^<]*)</title>)?</path>", re.search(r'<svg class="map".*?</svg>', page, re.DOTALL)[0])  # type: ignore[index]
    titles = {title: shape for shape, title in shapes}
    assert set(titles) == {f"École {b}, {language.number(told[f'École {b}'])} kWh/m²" for b in (0, 1, 3)} | {"Nulle part, sans donnée"}
    assert 'class="q' in titles[f"École 3, {language.number(told['École 3'])} kWh/m²"] and "url(#none)" in titles["Nulle part, sans donnée"]


def test_means_are_not_stacked(town: Town) -> None:
    town.mart("energy_by_month", rows(), display={"figures": ["intensity_kwh_per_m2", "consumption_kwh"]})
    town.publish()
    town.follow()
    page, language = town.read("en/energy_by_month.html"), Language("en")
    mean = "sum(intensity_kwh_per_m2 * area_m2) / sum(area_m2)"
    by_month = town.sql(f"select month_date, {mean} from energy_by_month group by 1 order by 1")
    assert [row[1:] for row in body(page, "series")] == [[language.number(value)] for _, value in by_month]
    assert list(figures(page)) == ["intensity_kwh_per_m2", "consumption_kwh"], "display says which comes first"


def test_a_mart_by_year_and_one_without_dates_have_their_pages(town: Town) -> None:
    of_year = {"building_id": COLUMNS["building_id"], "year": ("bigint", {}), "consumption_kwh": COLUMNS["consumption_kwh"]}
    select = "select building_id, year(month_date) as year, sum(consumption_kwh) as consumption_kwh from"
    town.mart("energy_by_year", f"{select} ({rows()}) group by all", of_year, grain=["building_id", "year"], position=None)
    town.nodes["energy_by_year"]["config"]["partition"] = None
    of_place = {name: COLUMNS[name] for name in ("building_id", "building_name", "longitude", "latitude", "consumption_kwh")}
    places = f"select building_id, building_name, longitude, latitude, sum(consumption_kwh) as consumption_kwh from ({rows()}) group by all"
    town.mart("places_by_building", places, of_place, grain=["building_id"])
    town.publish()
    assert town.follow().failures == []
    page, language = town.read("fr/energy_by_year.html"), Language("fr")
    before, after = (row[0] for row in town.sql("select sum(consumption_kwh) from energy_by_year group by year order by year"))
    assert figures(page)["consumption_kwh"] == str(after) and "en 2025" in page
    assert f"{language.share(after / before - 1, is_signed=True)} sur un an" in page
    assert [row[0] for row in body(page, "series")] == ["2024", "2025"]
    page = town.read("fr/places_by_building.html")
    ((total,),) = town.sql("select sum(consumption_kwh) from places_by_building")
    assert figures(page)["consumption_kwh"] == str(total) and page.count("<circle") == 4 and 'id="entities"' not in page


def test_no_measure_that_sums_leaves_the_number_of_rows(town: Town) -> None:
    town.mart("energy_by_month", rows(), {name: (kind, {}) for name, (kind, _) in COLUMNS.items()})
    town.publish()
    town.follow()
    ((count,),) = town.sql(f"select count(*) from energy_by_month where {CLOSED}")
    assert figures(town.read(PAGE)) == {"rows": str(count)} and count > FEW


def test_questions_are_answered_by_their_query_on_the_page_and_at_home(town: Town) -> None:
    town.follow()
    ((total,),) = town.sql("select sum(consumption_kwh) from energy_by_month")
    for page in (PAGE, "index.html"):
        assert f'<data value="{total}" data-question="energy_by_month.0">' in town.read(page)


def test_a_question_about_another_mart_follows_it_and_one_that_fails_breaks_no_page(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    sql = ["select count(*) as value from other_by_month", "select count(*) as value from hidden_by_month"]
    town.mart("energy_by_month", rows(), questions=[{"en": "Of the other?", "sql": sql[0]}, {"en": "Of the hidden?", "sql": sql[1]}])
    town.mart("other_by_month", rows())
    town.mart("hidden_by_month", rows(), access_class="internal")
    town.publish()
    town.follow()
    ((count,),) = town.sql("select count(*) from other_by_month")
    page = town.read("en/energy_by_month.html")
    assert f'value="{count}" data-question="energy_by_month.0"' in page and "Of the hidden?" in page
    assert "hidden_by_month" in caplog.text and 'data-question="energy_by_month.1"' not in page
    town.mart("other_by_month", rows() + " and b < 2")
    town.publish()
    town.follow()
    assert f'value="{count}" data-question="energy_by_month.0"' not in town.read("en/energy_by_month.html")


def test_every_page_is_whole_in_itself_says_synthetic_and_keeps_under_its_size(town: Town) -> None:
    wide = {**COLUMNS, **{f"x{i}_kwh": ("double", {**MEASURE, "label_en": f"Another measure {i}"}) for i in range(30)}}
    many = "select t.* replace (building_id || i as building_id, building_name || ' annexe ' || i as building_name), "
    many += ", ".join(f"i * {i} as x{i}_kwh" for i in range(30)) + f" from ({rows()}) as t, range(200) as u (i)"
    town.mart("large_by_month", many, wide)
    town.publish()
    town.follow()
    pages = {name: content for name, content in town.pages().items() if name.endswith(".html")}
    assert len(pages) == 1 + 2 * (2 + 3)
    for name, content in pages.items():
        text = content.decode()
        assert len(content) <= MOST_BYTES, f"{name}: {len(content)} bytes"
        assert ("Territoire de synthèse" in text) or ("Synthetic territory" in text), name
        assert not re.search(r"""(src|srcset|poster)=|@import|url\((?!#)| style=|<link(?! rel="(icon|alternate)")| on\w+=""", text), name
        links = [link for link in re.findall(r'href="([^"#]+)', text) if link != "data:,"]
        here = Path(name).parent
        assert all(Path(town.lake.root, here, link).exists() for link in links), name
    ((count,),) = town.sql("select count(*) from large_by_month")
    page = town.read("en/large_by_month.html")
    told = re.search(r"<caption><span>([\d,]+) rows of ([\d,]+), latest first", page)
    assert told and told[1] == str(len(body(page, "rows"))) and told[2] == f"{count:,}" and int(told[1]) <= 500


def test_what_a_source_wrote_is_text_and_no_markup(town: Town) -> None:
    town.mart("energy_by_month", rows("'<script>alert(1)</script>\" onload=\"x'"), label_fr="A <b>")
    town.publish()
    town.follow()
    page = town.read(PAGE)
    assert page.count("<script") == 2 and page.count("</script") == 2 and "&lt;script&gt;alert(1)" in page and "A &lt;b&gt;" in page
    assert ' onload="x' not in page


def test_only_the_pages_whose_mart_changed_are_written_again(town: Town) -> None:
    town.mart("other_by_month", rows())
    town.publish()
    town.follow()
    before = town.pages()
    assert town.follow().written == []
    town.mart("other_by_month", rows(more=5))
    town.publish()
    site = town.follow()
    assert set(site.written) == {
        "data/other_by_month.csv", "data/other_by_month.parquet", "en/other_by_month.html", "fr/other_by_month.html",
        "receipts/other_by_month.json", "index.html", "en/index.html", "fr/index.html",
    }  # fmt: skip
    after = town.pages()
    assert {name for name in after if after[name] != before.get(name)} == {f"site/open/{name}" for name in site.written}
    town.nodes["other_by_month"]["config"]["meta"]["label_en"] = "Another name"
    assert "en/other_by_month.html" in (again := town.follow().written) and PAGE not in again, "its YAML is what a page says"


@pytest.mark.parametrize("how", ["raised", "withdrawn"])
def test_a_mart_that_the_class_may_not_see_leaves_with_its_pages_and_downloads(town: Town, how: str) -> None:
    town.mart("other_by_month", rows("'Lycée'"))
    town.publish()
    for access_class in ("open", "internal"):
        town.follow(access_class)
    assert "Lycée" in town.read("fr/other_by_month.html")
    if how == "raised":
        town.nodes["other_by_month"]["config"]["meta"] |= {"access_class": "internal", "label_fr": "Fermée", "reasons_not_open": ["Sûreté"]}
        gone = retract(town.lake, Journal(town.lake), town.marts, {}, "r")
        assert gone == ["other_by_month"]
    else:
        del town.nodes["other_by_month"]
        town.publish()
    site = town.follow()
    assert {"data/other_by_month.csv", "data/other_by_month.parquet", "fr/other_by_month.html"} <= set(site.taken_away)
    assert not [name for name, content in town.pages().items() if "other_by_month" in name or b"Lyc" in content]
    home = town.read("index.html")
    assert "other_by_month.html" not in home and (("Fermée" in home and "Sûreté" in home) == (how == "raised"))
    if how == "raised":
        town.publish()
        town.follow("internal")
        assert "Lycée" in town.read("fr/other_by_month.html", "internal") and "Sûreté" in town.read("fr/other_by_month.html", "internal")


def test_a_withheld_mart_keeps_its_last_good_page_and_says_why(town: Town) -> None:
    ((count,),) = town.sql("select count(*) from energy_by_month")
    town.mart("energy_by_month", rows() + " limit 20")
    town.publish(lambda *_: ([f"20 rows against {count}"], {}))
    town.follow()
    assert town.sql("select count(*) from energy_by_month") == [(count,)]
    assert f"20 rows against {count}" in town.read("index.html")
    assert "La dernière version est retenue" in town.read(PAGE) and f"20 rows against {count}" in town.read(PAGE)


def test_class_open_sees_neither_steward_nor_address_nor_what_was_set_aside(town: Town) -> None:
    for access_class in ("open", "internal"):
        town.follow(access_class)
    steward = read_bricks()["lora_batiments"].meta.steward
    census = {access_class: town.read("fr/bricks.html", access_class) for access_class in ("open", "internal")}
    assert steward in census["internal"] and "Capteurs LoRaWAN" in census["open"]
    assert not [name for name, content in town.pages().items() if steward.encode() in content]
    assert "Écartées" in town.read("fr/runs.html", "internal") and "Écartées" not in town.read("fr/runs.html")


def test_killed_at_any_write_the_next_following_ends_it(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.follow()
    town.mart("energy_by_month", rows(more=7))
    town.publish()
    replace, before = Lake.replace, town.pages()

    class Killed(BaseException):
        pass

    def dying(after: int) -> Any:
        count = iter(range(after))

        def written(self: Lake, name: str, content: bytes) -> None:
            if next(count, None) is None:
                raise Killed
            replace(self, name, content)

        return written

    died = 0
    for after in range(20):
        for name, content in before.items():  # as it stood
            replace(town.lake, name, content)
        with monkeypatch.context() as patch:
            patch.setattr(Lake, "replace", dying(after))
            try:
                town.follow()
            except Killed:
                died += 1
            else:
                break
        assert all(content.rstrip().endswith(b"</html>") for name, content in town.pages().items() if name.endswith(".html"))
    assert died >= 5
    whole = town.pages()
    for name in town.lake.names("site"):
        town.lake.delete([name])
    town.follow()
    assert town.pages() == whole, "made again from zero it says the same"


def test_a_page_that_fails_is_told_goes_and_stops_no_other(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.mart("other_by_month", rows("'Lycée'"))
    town.publish()
    town.follow()
    town.mart("other_by_month", rows("'Lycée'", more=2))
    town.mart("energy_by_month", rows(more=2))
    town.publish()
    mart = Pages.mart

    def failing(self: Pages, language: Language, standing: Any, *others: Any) -> bytes:
        if standing.card.name == "other_by_month":
            raise ValueError("odd")
        return mart(self, language, standing, *others)

    with monkeypatch.context() as patch:
        patch.setattr(Pages, "mart", failing)
        for _ in range(2):
            site = town.follow()
            assert site.failures == ["site of class open: no page of mart other_by_month: ValueError: odd"], "told until it is mended"
    assert "other_by_month" not in "".join(town.pages()) and b"Lyc" not in b"".join(town.pages().values())
    assert figures(town.read(PAGE))
    assert town.follow().failures == [] and "Lycée" in town.read("fr/other_by_month.html")


def test_a_site_of_another_history_is_made_again_and_that_is_said(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    town.follow()
    mark = town.read(".seq")
    town.lake.replace("site/open/.seq", re.sub(r'"digest": "\w+"', '"digest": "of another"', mark).encode())
    town.lake.replace("site/open/fr/left.html", b"of another history")
    site = town.follow()
    assert "another history" in caplog.text and PAGE in site.written and "fr/left.html" in site.taken_away


def test_a_page_that_is_not_what_was_written_is_named_and_written_again(town: Town) -> None:
    town.follow()
    journal = Journal(town.lake)
    assert not [*site_faults(town.lake, journal), *published_faults(town.lake, journal)]
    content = town.read(PAGE)
    town.lake.replace(f"site/open/{PAGE}", content.replace("École 0", "École O", 1).encode())
    town.lake.delete(["site/open/en/runs.html"])
    told = [str(fault) for fault in site_faults(town.lake, journal)]
    assert len(told) == 2 and any(PAGE in each for each in told) and any("en/runs.html is gone" in each for each in told)
    assert set(town.follow(is_thorough=True).written) == {PAGE, "en/runs.html"} and town.read(PAGE) == content


def test_on_a_real_s3_server_pages_are_served_as_pages(s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    town = Town(Lake("s3://city/site-of-a-town", str(tmp_path / "state")))
    town.mart("energy_by_month", rows())
    town.publish()
    assert PAGE in town.follow().written
    assert town.follow().written == []
    answer = town.lake.s3.head_object(Bucket="city", Key=f"site-of-a-town/site/open/{PAGE}")
    assert answer["ContentType"] == "text/html" and "École 3" in town.read(PAGE)
    town.mart("energy_by_month", rows(more=3))
    town.publish()
    assert PAGE in town.follow().written


def test_a_class_that_is_none_is_a_misuse(town: Town, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ORCHESTRA_LAKE", town.lake.root)
    monkeypatch.setenv("ORCHESTRA_STATE", str(town.lake.state))
    assert orchestra(["site", "--class", "everybody"]) == 2
    assert orchestra(["site"]) == 1
    assert "nothing was built yet. Mend: orchestra run" in capsys.readouterr().err


def test_downloads_are_what_was_published(town: Town) -> None:
    import duckdb

    town.follow()
    folder = town.lake.path("site/open/data/energy_by_month")
    published = town.sql("select count(*), sum(consumption_kwh), max(building_name) from energy_by_month")
    for form in ("csv", "parquet"):
        assert duckdb.sql(f"select count(*), sum(consumption_kwh), max(building_name) from '{folder}.{form}'").fetchall() == published


def test_a_language_without_words_borrows_those_of_english_and_says_so() -> None:
    language = Language("br")
    assert (language.code, language.tongue, language.name) == ("br", "en", "br") and language("home") == Language("en")("home")
    assert language.pick({"en": "Energy", "br": "Energiezh"}) == "Energiezh" and "“br”" in language("borrowed", "br")
    words = yaml.safe_load((PROJECT / "redistribution/site/words.yml").read_text(encoding="utf-8"))
    assert {code: sorted(told) for code, told in words.items()} == dict.fromkeys(words, sorted(words["en"]))
    assert set(read_territory().languages) <= set(words)


@pytest.mark.parametrize(
    ("value", "fr", "en"),
    [
        (1234567.4, "1\u202f234\u202f567", "1,234,567"),
        (-0.0534, "−0,0534", "−0.0534"),
        (12.34, "12,3", "12.3"),
        (-0.0, "0", "0"),
        (7, "7", "7"),
    ],
)
def test_numbers_are_written_as_each_language_does(value: float, fr: str, en: str) -> None:
    assert (Language("fr").number(value), Language("en").number(value)) == (fr, en)


def test_the_exposure_of_the_site_names_every_mart() -> None:
    told = yaml.safe_load((PROJECT / "dbt_project/models/marts/_exposures.yml").read_text(encoding="utf-8"))
    (site,) = [each for each in told["exposures"] if each["name"] == "site"]
    marts = {path.stem for path in (PROJECT / "dbt_project/models/marts").rglob("*.sql")}
    assert {re.sub(r"ref\('(\w+)'\)", r"\1", each) for each in site["depends_on"]} == marts


# In a browser -------------------------------------------------------------------------------------------------------

WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Town:
    town = town_in(tmp_path_factory.mktemp("site"))
    town.follow()
    return town


def test_the_browser_shows_what_sql_says_in_one_request(browser: Any, built: Town) -> None:
    tab = opened(browser, built.lake.path("site/open", PAGE))
    assert [url for url in tab.asked if not url.startswith("data:")] == [tab.url] and tab.told == []
    ((consumption,),) = built.sql(f"select sum(consumption_kwh) from energy_by_month where {CLOSED}")
    shown = tab.locator("data[data-column=consumption_kwh]")
    assert float(shown.get_attribute("value")) == pytest.approx(consumption)
    assert shown.inner_text().replace("\u202f", "") == f"{consumption / 1000:.0f}"
    bars = built.sql("select count(*) from (select month_date, energy from energy_by_month group by all having sum(consumption_kwh) > 0)")
    assert tab.locator("svg.bars rect[class^=s]").count() == bars[0][0]
    tab.close()


def test_the_table_is_sorted_and_filtered_by_the_browser(browser: Any, built: Town) -> None:
    tab = opened(browser, built.lake.path("site/open", PAGE))
    heading = tab.locator("#rows thead th.n button").first
    column = tab.locator("#rows thead th").evaluate_all("cells => cells.findIndex(cell => cell.classList.contains('n'))")

    def shown() -> list[float | None]:
        cells = tab.locator(f"#rows tbody tr:not([hidden]) > :nth-child({column + 1})").all_inner_texts()
        return [None if text == "–" else float(text.replace("\u202f", "").replace(",", ".")) for text in cells]

    heading.click()
    up = shown()
    heading.click()
    down = shown()
    known = sorted(value for value in up if value is not None)
    lacking = [None] * (len(up) - len(known))
    assert lacking and up == [*known, *lacking] and down == [*reversed(known), *lacking], "what lacks comes last, whatever the order"
    assert tab.locator("#rows thead th[aria-sort=descending]").count() == 1
    tab.get_by_label("Filtrer le tableau").fill("École 2")
    ((count,),) = built.sql("select count(*) from energy_by_month where building_name = 'École 2'")
    assert tab.locator("#rows tbody tr:not([hidden])").count() == count
    tab.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_its_width_and_says_all_without_javascript(browser: Any, built: Town, width: int) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": width, "height": 900})
    tab = context.new_page()
    for page in (PAGE, "index.html", "en/bricks.html", "fr/runs.html"):
        tab.goto(f"file://{built.lake.path('site/open', page)}")
        box = tab.locator("main").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert tab.locator(".synth").first.is_visible()
    tab.goto(f"file://{built.lake.path('site/open', PAGE)}")
    ((count,),) = built.sql("select count(*) from energy_by_month")
    assert tab.locator("#rows tbody tr").count() == count and tab.locator(".filter").count() == 0
    assert tab.locator("#rows .sorts").is_hidden(), "nothing sorts without it, and nothing says so"
    context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_letters_of_charts_and_maps_can_be_read(browser: Any, built: Town, width: int) -> None:
    tab = opened(browser, built.lake.path("site/open", PAGE), width)
    sizes = tab.locator("svg[role=img] text:visible").evaluate_all("all => all.map(each => each.getBoundingClientRect().height)")
    assert len(sizes) > 8 and min(sizes) >= 11, "at least as high as letters of 10 px"
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", [PAGE, "en/energy_by_month.html", "index.html", "fr/bricks.html", "en/runs.html"])
def test_axe_finds_no_violation(browser: Any, built: Town, page: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-playwright-python: make venv")
    tab = opened(browser, built.lake.path("site/open", page), width, bypass_csp=True)
    tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    violations = axe.Axe().run(tab).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:150]) for each in violations] == []
    tab.close()


def test_the_keyboard_reaches_the_content_and_sorts(browser: Any, built: Town) -> None:
    tab = opened(browser, built.lake.path("site/open", PAGE))
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.locator("#entities thead button").nth(1).focus()
    tab.keyboard.press("Enter")
    assert tab.locator("#entities th[aria-sort=ascending]").count() == 1
    tab.close()
