"""The landed gate refuses what a steward would, says so in words, and leaves a hundred ordinary days alone."""

# ruff: noqa: E501 (tables of cases, one a line)
from __future__ import annotations

import datetime as dt
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import House, column, table

from expectations.gate import judge_load
from expectations.suite import LANDED
from ingestion.brick import Brick
from ingestion.census import read_bricks
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError

FIRST = dt.date(2025, 3, 24)
LAST = FIRST + dt.timedelta(days=5)
READINGS = table(
    "readings", [column("sensor"), column("at", "timestamptz"), column("celsius", "double"), column("battery", "double")],
    ["sensor", "at"], {"format": "csv", "path": "readings/%Y-%m-%d.csv", "separator": ";"}, cursor="folder_date",
)  # fmt: skip
PLACES = table(
    "places", [column("code"), column("name"), column("people", "bigint"), column("since", "date")],
    ["code", "since"], {"format": "csv", "path": "places.csv", "separator": ";"}, delivers="whole",
)  # fmt: skip


def readings(day: dt.date, sensors: int = 20, hours: int = 12) -> list[str]:
    """Give a day's lines, one per sensor and hour or so; the night of a sensor in ten is lost."""
    chance = random.Random(day.toordinal())
    step = 24 / hours
    return [
        f"s{sensor:02};{day}T{int(hour * step):02}:{int(hour * step * 60 % 60):02}:{sensor:02}Z;{chance.uniform(5, 25):.1f};{chance.uniform(3, 4):.2f}"
        for sensor in range(sensors)
        for hour in range(hours)
        if chance.random() > 0.05
    ]


def places(count: int = 60) -> list[str]:
    """Give the lines of a photo."""
    return [f"35{n:03};Saint-Éloi-{n};{1000 + n};20{n % 20:02}-01-01" for n in range(count)]


def lay(house: House, day: dt.date, lines: list[str], photo: list[str]) -> None:
    """Lay a day of drops, read at its last hour."""
    house.drop("SANDBOX.json", json.dumps({"synthetic": True, "now": f"{day}T23:00:00+00:00"}))
    house.drop(f"readings/{day}.csv", "\n".join(["sensor;at;celsius;battery", *lines]) + "\n")
    # An empty comment of its own makes each photo a new one.
    house.drop("places.csv", "\n".join(["code;name;people;since", *photo]) + "\n" * (1 + day.toordinal() % 7))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that holds five clean days, drops and lake."""
    folder = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        house = House(folder, patch)
        brick = house.brick("town", [READINGS, PLACES])
        for number in range(5):
            day = FIRST + dt.timedelta(days=number)
            lay(house, day, readings(day), places(60 + number))
            entry = house.land(brick, judge_load)
            assert entry and entry["reasons"] == [], "a clean day is refused"
    return folder


@pytest.fixture
def town(history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[House, Brick]:
    """Give a house of five clean days, and its brick."""
    for name in ("lake", "drops", "bricks"):
        shutil.copytree(history / name, tmp_path / "town" / name)
    shutil.move(tmp_path / "town" / "bricks", tmp_path / "town" / "old_bricks")
    shutil.move(tmp_path / "town" / "drops", tmp_path / "town" / "old_drops")
    house = House(tmp_path / "town", monkeypatch)
    for path in (tmp_path / "town" / "old_drops").rglob("*"):
        if path.is_file():
            kept = house.drops / path.relative_to(tmp_path / "town" / "old_drops")
            kept.parent.mkdir(exist_ok=True)
            shutil.copy2(path, kept)
    return house, house.brick("town", [READINGS, PLACES])


def judged(town: tuple[House, Brick], lines: list[str], photo: list[str], day: dt.date = LAST) -> Entry:
    """Land one more day."""
    house, brick = town
    lay(house, day, lines, photo)
    entry = house.land(brick, judge_load)
    assert entry
    return entry


def test_an_ordinary_day_is_accepted(town: tuple[House, Brick]) -> None:
    entry = judged(town, readings(LAST), places(65))
    assert (entry["verdict"], entry["reasons"]) == ("accepted", [])
    assert entry["tables"]["readings"]["profile"]["coverage"] == 20


Fault = Callable[[list[str], list[str]], tuple[list[str], list[str]]]
FAULTS: dict[str, tuple[Fault, str]] = {
    "half a photo": (lambda day, photo: (day, photo[: len(photo) // 2]), r"places: rows: 32, 62 before"),
    "a file cut in its middle": (lambda day, photo: (day, "\n".join(photo)[: len("\n".join(photo)) // 2].split("\n")), r"places: rows: 3\d, 62 before"),
    "half a day": (lambda day, photo: (day[::2], photo), r"readings: rows of the fullest day: 11\d, 22\d to 23\d before"),
    "a page that came twice": (lambda day, photo: (day * 2, photo), r"readings: distinct keys: 50% of the rows, a page was repeated"),
    "a photo that came twice": (lambda day, photo: (day, photo * 2), r"places: distinct keys: 50% of the rows, a page was repeated"),
    "a column that is all null": (
        lambda day, photo: ([re.sub(r";[^;]*$", ";", line) for line in day], photo), r"readings: column battery is all null, 100% filled before"),
    "a stale day": (
        lambda day, photo: (readings(LAST - dt.timedelta(days=1)), photo), r"readings: stale: the newest row is still 2025-03-28 .*, 1.0 days after the last load"),
    "rows of the future": (
        lambda day, photo: ([*(f"s{n:02};2052-03-29T00:00:{n:02}Z;1;1" for n in range(20)), *day], photo),
        r"readings: rows dated after the reading: 8%"),
    "another decimal mark": (lambda day, photo: ([line.replace(".", ",") for line in day], photo), r"readings: no row was kept"),
    "another decimal mark in a third of the rows": (
        lambda day, photo: ([line.replace(".", ",") if n % 3 == 0 else line for n, line in enumerate(day)], photo), r"readings: refused rows: 33%"),
    "an empty photo": (lambda day, photo: (day, []), r"places: no row was kept"),
    "sensors that vanished": (
        lambda day, photo: (readings(LAST, sensors=8, hours=24), photo), r"readings: distinct values of sensor: 8, 20 before"),
    "ten times the volume": (lambda day, photo: (readings(LAST, hours=120), photo), r"readings: rows of the fullest day: \d{4}, 22\d to 23\d before"),
    "a photo of another territory": (lambda day, photo: (day, places(600)), r"places: rows: 600, 62 before"),
    "accents read in a wrong encoding": (
        lambda day, photo: (day, [line.replace("É", "é").encode().decode("cp1252") for line in photo]),
        r"places: rows with a text read in a wrong encoding .*: 100%"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_refused_with_a_sentence(town: tuple[House, Brick], fault: str) -> None:
    plant, told = FAULTS[fault]
    entry = judged(town, *plant(readings(LAST), places(65)))
    assert entry["verdict"] == "refused"
    assert any(re.fullmatch(rf"(?:{told})( \(.*default `\w+`\))?", reason) for reason in entry["reasons"]), entry["reasons"]
    assert not any("expect_" in reason or "_" in reason.split(":")[0] for reason in entry["reasons"]), "words of the machine"
    house, brick = town
    assert max(row[0] for row in house.rows(brick, "readings", "_read_at::date")) < LAST, "a refused load is visible"


def test_a_separator_that_changed_leaves_no_file(town: tuple[House, Brick]) -> None:
    house, brick = town
    lay(house, LAST, readings(LAST), places())
    house.drop("places.csv", "code,name,people,since\n35001,a,1,2000-01-01\n")
    entry = house.land(brick, judge_load)
    assert entry and len(entry["reasons"]) == 1
    assert re.match(r"places: no file is left \(places.csv: lacks the declared columns code, name", entry["reasons"][0])


def test_a_source_that_holds_more_than_what_landed_is_refused(town: tuple[House, Brick], monkeypatch: pytest.MonkeyPatch) -> None:
    from ingestion import landing

    read = landing.read_table

    def cut(*arguments: Any) -> Any:
        reading = read(*arguments)
        for part in reading.parts:
            part.counted = (part.counted or 0) * 2
        return reading

    monkeypatch.setattr(landing, "read_table", cut)
    entry = judged(town, readings(LAST), places())
    assert re.match(r"readings: the source holds \d+ rows, \d+ were kept and 0 refused: some were lost on the way", entry["reasons"][0])


def test_a_refused_day_does_not_become_the_rule(town: tuple[House, Brick]) -> None:
    refused = judged(town, readings(LAST, hours=120), places(65))
    assert refused["verdict"] == "refused"
    after = LAST + dt.timedelta(days=1)
    (town[0].drops / f"readings/{LAST}.csv").unlink()
    assert judged(town, readings(after), places(66), after)["reasons"] == []


def test_a_load_accepted_late_is_not_the_last_that_was_read(town: tuple[House, Brick]) -> None:
    from ingestion.steward import accept_load

    house, brick = town
    late = judged(town, readings(LAST, hours=120), places(65))
    (house.drops / f"readings/{LAST}.csv").unlink()
    after, later = LAST + dt.timedelta(days=1), LAST + dt.timedelta(days=2)
    assert judged(town, readings(after), places(66), after)["reasons"] == []
    accept_load(house.lake, house.journal, late, "a replay of the sensors")
    # Half an hour after the last reading, not a day after the one accepted late: a few rows are as they should be.
    lay(house, later, readings(later)[:20], places(65))
    house.drop("SANDBOX.json", json.dumps({"synthetic": True, "now": f"{after}T23:30:00+00:00"}))
    entry = house.land(brick, judge_load)
    assert entry and entry["reasons"] == []


def test_two_readings_of_a_day_are_not_compared_with_whole_days(town: tuple[House, Brick]) -> None:
    house, brick = town
    lay(house, LAST, readings(LAST)[:20], places(65))
    house.drop("SANDBOX.json", json.dumps({"synthetic": True, "now": f"{LAST}T01:00:00+00:00"}))
    entry = house.land(brick, judge_load)
    assert entry and entry["reasons"] == []


def test_a_photo_with_a_date_in_its_key_may_stay_as_it_is(town: tuple[House, Brick]) -> None:
    for number in range(2):
        day = LAST + dt.timedelta(days=number)
        assert judged(town, readings(day), places(64), day)["reasons"] == []


def test_what_a_steward_wrote_is_judged_too(town: tuple[House, Brick], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "landed").mkdir()
    told = {
        "tables": {
            "readings": {
                "defaults": {"volume": None},
                "expectations": [
                    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "celsius", "min_value": -30, "max_value": 45},
                     "reason": "no thermometer of ours goes there"},
                    {"type": "expect_column_max_to_be_between", "kwargs": {"column": "battery", "max_value": 1}, "severity": "warning"},
                    {"type": "expect_column_min_to_be_between", "kwargs": {"column": "battery", "min_value": 100}},
                ],
            }
        }
    }  # fmt: skip
    (tmp_path / "landed" / "town.yml").write_text(json.dumps(told), encoding="utf-8")
    monkeypatch.setenv("ORCHESTRA_EXPECTATIONS", str(tmp_path))
    lines = [*readings(LAST)[::2], f"s00;{LAST}T00:00:01Z;451;3"]
    entry = judged(town, lines, places(65))
    reasons = entry["reasons"]
    assert entry["tables"]["readings"]["profile"]["warnings"][0].startswith("expect_column_max_to_be_between")
    assert reasons[0] == "readings: no thermometer of ours goes there"
    assert re.match(r"readings: expect_column_min_to_be_between .*'min_value': 100.*, seen .*'observed_value': 3", reasons[1])
    assert len(reasons) == 2, "a warning refuses, or the volume is judged"


def test_two_expectations_of_one_column_are_judged_and_one_that_cannot_be_is_told(
    town: tuple[House, Brick], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "landed").mkdir()
    between = "expect_column_values_to_be_between"
    asked = [
        {"type": between, "kwargs": {"column": "celsius", "max_value": 20}, "reason": "too hot"},
        {"type": between, "kwargs": {"column": "celsius", "min_value": 10}, "reason": "too cold"},
        {"type": between, "kwargs": {"column": "kelvin", "min_value": 10}, "reason": "too cold"},
    ]
    told = {"tables": {"readings": {"expectations": asked}}}
    (tmp_path / "landed" / "town.yml").write_text(json.dumps(told), encoding="utf-8")
    monkeypatch.setenv("ORCHESTRA_EXPECTATIONS", str(tmp_path))
    reasons = judged(town, readings(LAST), places(65))["reasons"]
    assert {"readings: too hot", "readings: too cold"} <= set(reasons) and len(reasons) == 3
    assert any(re.match(r"readings: expect_.*kelvin.* could not be judged: .*kelvin", reason) for reason in reasons), reasons


def test_every_default_may_be_lifted(town: tuple[House, Brick], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "landed").mkdir()
    lifted = {"defaults": dict.fromkeys(LANDED)}
    (tmp_path / "landed" / "town.yml").write_text(json.dumps({"tables": {"readings": lifted}}), encoding="utf-8")
    monkeypatch.setenv("ORCHESTRA_EXPECTATIONS", str(tmp_path))
    half = [re.sub(r";[^;]*$", ";", line) for line in readings(LAST)[::2]]
    assert judged(town, [*half, *half, "s00;2052-03-29T00:00:00Z;1;1"], places(65))["verdict"] == "accepted"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("tables: {reading: {}}", "expectations/landed/town.yml: reading is no table of the brick"),
        ("tables: {readings: {defaults: {volumes: null}}}", r"volumes is no default \(accepted: refused_share, key_share, volume"),
        ("tables: {readings: {defaults: {volume: 3}}}", r"volume is \[low, high\] or null, not 3"),
        ("tables: {readings: {defaults: {volume: [0.5]}}}", r"volume is \[low, high\] or null, not \[0.5\]"),
        ("tables: {readings: {defaults: {refused_share: 20%}}}", r"refused_share is a number or null, not '20%'"),
        ("tables: {readings: {expectations: [{type: x, severity: grave}]}}", r"0.severity: 'grave' is none of 'critical' or 'warning'"),
        ("tables: {readings: {colour: red}}", r"tables.readings.colour: unknown field \(accepted: defaults, expectations\)"),
        ("tables: {readings: {expectations: [{type: expect_nothing}]}}", "expectations of readings: .*expect_nothing not found"),
        (
            "tables: {readings: {expectations: [{type: expect_column_max_to_be_between, kwargs: {max: 3}}]}}",
            "expectations of readings: .*max extra fields",
        ),
        ("tables: [", "expectations/landed/town.yml: not YAML: .*line 1"),
    ],
)
def test_an_expectations_file_that_cannot_be_used_is_named(
    town: tuple[House, Brick], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, told: str
) -> None:
    (tmp_path / "landed").mkdir()
    (tmp_path / "landed" / "town.yml").write_text(asked, encoding="utf-8")
    monkeypatch.setenv("ORCHESTRA_EXPECTATIONS", str(tmp_path))
    with pytest.raises(LakeError, match=told):
        judged(town, readings(LAST), places(65))


def test_a_sensor_that_lost_its_clock_does_not_empty_a_load(town: tuple[House, Brick]) -> None:
    for moment in ("2052-03-29T00:00:00Z", "infinity", "20250-01-01T00:00:00Z", "0044-03-15 (BC)"):
        entry = judged(town, [*readings(LAST), f"s00;{moment};1;1"], places(65))
        assert entry["verdict"] == "accepted", entry["reasons"]
        assert entry["tables"]["readings"]["refused"] == (moment[:5] != "2052-"), "no calendar shows it"


# Clean days ------------------------------------------------------------------------------------------------------------


def land_days(folder: Path, monkeypatch: pytest.MonkeyPatch, first: dt.date, days: int, scale: float) -> tuple[list[str], Journal]:
    """Land days of the synthetic territory, one by one; give what was refused, and the journal."""
    from flows.steps import land
    from ingestion.sandbox.files import write_drops
    from ingestion.sandbox.server import start

    monkeypatch.delenv("ORCHESTRA_ENDPOINT", raising=False)
    monkeypatch.delenv("ORCHESTRA_PATRIMOINE_BATI_KEY", raising=False)
    lake, bricks, refused = Lake(str(folder / "lake")), read_bricks(), []
    journal = Journal(lake)
    for number in range(days):
        day = first + dt.timedelta(days=number)
        for name in ("lora_batiments", "meteo_stations", "insee_cog"):
            write_drops(folder / name, name, scale, day)
            monkeypatch.setenv(f"ORCHESTRA_ENDPOINT_{name.upper()}", str(folder / name))
        with start(scale=scale, until=day) as sandbox:
            monkeypatch.setenv("ORCHESTRA_ENDPOINT_PATRIMOINE_BATI", f"{sandbox.url}/patrimoine_bati")
            for name in ("lora_batiments", "meteo_stations", "insee_cog", "patrimoine_bati"):
                step = land(lake, journal, bricks[name], "run")
                if step.failures or step.skipped:
                    refused.append(f"{day} {name}: {step.error or step.skipped or (step.entry or {}).get('reasons')}")
    return refused, journal


def assert_each_day_landed(journal: Journal, first: dt.date, days: int) -> None:
    """Check that days did land, so that none refused means something."""
    loads = list(journal.loads("lora_batiments").values())
    assert [load["read_at"][:10] for load in loads] == [str(first + dt.timedelta(days=n)) for n in range(days)]
    assert all(load["tables"]["frames"]["kept"] > 0 for load in loads)
    assert len(journal.loads("meteo_stations")) == days
    assert len(journal.loads("insee_cog")) == 1, "a file that has not changed landed again"
    for load in journal.loads().values():
        for record in load["tables"].values():
            assert record["source_count"] == record["kept"] + record["refused"]


def test_a_clean_week_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The week of March when clocks change.
    refused, journal = land_days(tmp_path, monkeypatch, dt.date(2025, 3, 27), 7, 0.1)
    assert refused == []
    assert_each_day_landed(journal, dt.date(2025, 3, 27), 7)


@pytest.mark.soak
def test_a_hundred_clean_days_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused, journal = land_days(tmp_path, monkeypatch, dt.date(2025, 7, 1), 100, 0.3)
    assert refused == []
    assert_each_day_landed(journal, dt.date(2025, 7, 1), 100)


DATED = [column("id"), column("at", "date"), column("built", "date"), column("ends", "timestamptz")]


@pytest.mark.parametrize(
    ("more", "defaults", "expected"),
    [
        ({}, None, ["built", "ends"]),
        ({}, {"odd_date_share": None}, []),
        ({}, {"odd_date_share": 0.5}, ["ends"]),
        ({"between": [dt.date(1000, 1, 1), None]}, None, ["ends"]),
    ],
)
def test_dates_after_the_reading_or_before_1900_are_told(
    house: House, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], defaults: dict[str, Any] | None, expected: list[str]
) -> None:
    columns = [*DATED[:2], column("built", "date", **more), DATED[3]]
    lines = [f"{n};2024-01-0{1 + n % 5};{'1068-01-01' if n < 4 else '1968-01-01'};{'2068-01-01' if n < 4 else ''}" for n in range(40)]
    house.drop("rows.csv", "\n".join(["id;at;built;ends", *lines, "41;;;2020-01-01"]))
    brick = house.brick("town", [table("rows", columns, ["id"], {"format": "csv", "path": "rows.csv", "separator": ";"}, cursor="at")])
    if defaults is not None:
        (house.folder / "expectations" / "landed").mkdir(parents=True)
        (house.folder / "expectations" / "landed" / "town.yml").write_text(json.dumps({"tables": {"rows": {"defaults": defaults}}}))
        monkeypatch.setenv("ORCHESTRA_EXPECTATIONS", str(house.folder / "expectations"))
    entry = house.land(brick, judge_load)
    assert entry and entry["verdict"] == "accepted"
    warnings = entry["tables"]["rows"]["profile"]["warnings"]
    assert [warning.split()[2] for warning in warnings] == expected
    assert all("after the reading or before 1900" in warning and "Mend: " in warning for warning in warnings)
