"""Data Docs: a page a run, in the words of the gate, that asks no server for anything and shows no value of a private brick."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import House, column, table

from expectations import docs, gate
from flows import cli

CSV = {"format": "csv", "path": "items*.csv", "separator": ","}
COLUMNS = [column("id"), column("n", "bigint"), column("day", "date")]
WRITTEN = """
tables:
  items:
    expectations:
      - {type: expect_column_values_to_be_between, kwargs: {column: n, max_value: 5}, reason: more than a shelf holds}
      - {type: expect_column_values_to_match_regex, kwargs: {column: id, regex: "^i"}, severity: warning}
      - {type: expect_column_pair_values_a_to_be_greater_than_b, kwargs: {column_A: n, column_B: n}, reason: no more than itself}
      - {type: expect_compound_columns_to_be_unique, kwargs: {column_list: [id, day]}, reason: a day comes twice}
      - {type: expect_table_column_count_to_be_between, kwargs: {min_value: 99}, reason: a table is narrow}
"""


@pytest.fixture
def judged(house: House, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> House:
    """Give a house whose brick was judged twice, by expectations that a steward wrote; private when the test says so."""
    told = {"personal": True, "mask": "drop"} if getattr(request, "param", False) else {}
    private = {"legal_basis": "mission", "purpose": "stock"} if told else {}
    (house.folder / "expectations" / "landed").mkdir(parents=True)
    (house.folder / "expectations" / "landed" / "shop.yml").write_text(WRITTEN, encoding="utf-8")
    monkeypatch.setenv("ORCHESTRA_EXPECTATIONS", str(house.folder / "expectations"))
    brick = house.brick("shop", [table("items", [*COLUMNS, column("who", **told)], ["id"], CSV)], **private)
    house.drop("items1.csv", "id,n,day,who\ni1,4711,2025-01-02,Anna\ni2,3,2025-01-03,Anna\n")
    entry = house.land(brick, gate.judge_load)
    assert entry and entry["verdict"] == "refused"
    return house


def test_a_page_says_what_was_judged_and_asks_no_server_for_anything(judged: House) -> None:
    page = docs.render(judged.lake, "20250101T000000Z-aaaa")
    assert page and page == docs.last_page(judged.lake)
    text = page.read_text(encoding="utf-8")
    assert "shop.items" in text and "fails when: more than a shelf holds" in text and "4711" in text
    assert all(f"fails when: {reason}" in text for reason in ("no more than itself", "a day comes twice", "a table is narrow"))
    assert "refused rows: 0% (at most 0.2, default `refused_share`)" in text
    assert not re.findall(r"(?:src|href)=.https?://", text)
    assert "not met" in page.with_name("index.html").read_text(encoding="utf-8")
    assert docs.render(judged.lake, "20250102T000000Z-bbbb") is None, "nothing was judged since"


def test_a_run_whose_id_could_be_a_date_has_its_page(judged: House) -> None:
    page = docs.render(judged.lake, "20261127T005418Z-2393")  # read as a date, 23 h 93 from Greenwich
    assert page and "20261127T005418Z-2393" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("judged", [True], indirect=True)
def test_no_value_of_a_private_brick_reaches_a_page(judged: House) -> None:
    page = docs.render(judged.lake, "20250101T000000Z-aaaa")
    assert page
    text = page.read_text(encoding="utf-8")
    assert "shop.items" in text and "fails when: more than a shelf holds" in text and "default `refused_share`" in text
    assert not any(value in text for value in ("4711", "Anna", "2025-01-02", "2025-01-03", "i1"))
    noted = [*judged.lake.state.rglob("judged/*")]
    assert not noted, "what was drawn is not kept"


def test_pages_are_kept_as_many_as_said_and_the_last_stay(judged: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "HISTORY", 2)
    noted = {path: path.read_bytes() for path in judged.lake.state.joinpath("judged").iterdir()}
    for day in (1, 2, 3):
        for path, content in noted.items():
            path.write_bytes(content)
        docs.render(judged.lake, f"2025010{day}T000000Z-aaaa")
    kept = sorted(path.stem for path in judged.lake.state.joinpath("data_docs").glob("2*.html"))
    assert kept == ["20250102T000000Z-aaaa", "20250103T000000Z-aaaa"]
    index = judged.lake.state.joinpath("data_docs", "index.html").read_text(encoding="utf-8")
    assert index.index("20250103") < index.index("20250102") and "20250101" not in index


def test_what_judged_nothing_loads_nothing(judged: House) -> None:
    script = (
        "import sys; from pathlib import Path; from expectations import docs; from ingestion.lake import Lake; "
        "page = docs.render(Lake(sys.argv[1]), '20250101T000000Z-aaaa'); "
        "sys.exit(f'{page}' if page or 'great_expectations' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script, judged.lake.root], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_status_names_the_last_page(judged: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ORCHESTRA_LAKE", judged.lake.root)
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(judged.folder / "bricks"))
    page = docs.render(judged.lake, "20250101T000000Z-aaaa")
    cli.main(["status"])
    assert f"file://{page}" in capsys.readouterr().out
    assert Path(str(page)).exists()
