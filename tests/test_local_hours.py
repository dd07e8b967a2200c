"""Local hours without an offset: those that a zone's clocks skip are refused, those that they show twice are told apart or told."""

# ruff: noqa: E501 (tables of cases, one a line)
from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from conftest import House, accept, column, table
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.entries import Entry
from ingestion.lake import Lake
from ingestion.local_hours import MARK, changes, floor, moment, resolved, settle, twin, watch
from ingestion.privacy import KEY
from ingestion.refusal import REFUSAL
from ingestion.steward import refused_rows

PARIS = "Europe/Paris"
ZONES = [PARIS, "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia", "Indian/Reunion", "Asia/Beirut", "UTC"]
HOUR = column("heure", "timestamptz")
COLUMNS = [column("compteur"), HOUR, column("kwh", "double")]
CASES = Path(__file__).resolve().parents[2] / "shared" / "cases" / "inputs"


def readings(
    house: House, columns: list[Any] = COLUMNS, key: tuple[str, ...] = ("compteur", "heure"), form: str = "csv", **meta: Any
) -> Any:
    """Give a brick of a meter's hours, Paris unless told otherwise."""
    told = {"time_zone": PARIS, **meta}
    return house.brick("meter", [table("rows", columns, list(key), {"format": form, "path": f"rows*.{form}"}, **told)])


def hours(house: House, brick: Any, columns: str = "compteur, heure, kwh") -> list[tuple[Any, ...]]:
    """Give the rows of the meter, their hours in UTC (day and hour)."""
    rows = house.rows(brick, "rows", columns, "all")
    return [tuple(f"{v.astimezone(dt.UTC):%m-%d %H:%M}" if isinstance(v, dt.datetime) else v for v in row) for row in rows]


def warnings(entry: Entry | None) -> list[str]:
    assert entry
    return entry["tables"]["rows"].get("profile", {}).get("warnings", [])


def why(house: House, entry: Entry | None) -> list[str]:
    assert entry
    return [row["reason"] for row in refused_rows(house.lake, entry, 99)["rows"]]


def test_the_night_of_a_change_is_what_the_time_zone_says_whatever_the_zone(tmp_path: Path) -> None:
    connection = Lake(str(tmp_path)).connect()

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        zone = data.draw(st.sampled_from(ZONES))
        # What came before 1970, the libraries of time zones do not tell alike.
        told = [[each.at for each in changes(name) if each.at.year >= 1970] for name in (zone, PARIS)]
        change = data.draw(st.sampled_from(told[0] or told[1]))
        minutes = data.draw(st.lists(st.integers(-3000, 3000), min_size=1, max_size=40))
        near = change.astimezone(ZoneInfo(zone)).replace(tzinfo=None, second=0, microsecond=0)
        walls = [near + dt.timedelta(minutes=count) for count in minutes]
        connection.execute(f"set TimeZone = '{zone}'")
        watch(connection, zone)
        far = twin("v", "wall", zone, is_watched=True)
        chosen = ", ".join(f"epoch_us({resolved('v', 'h', fold)})" for fold in ("first", "second"))
        values = "select w::timestamp as wall, w::timestamptz as v from (select unnest($1) as w)"
        sql = f"select wall, h, {chosen} from (select *, {far} as h from ({values}))"
        for wall, apart, first, second in connection.execute(sql, [[wall.isoformat() for wall in walls]]).fetchall():
            one, other = (wall.replace(tzinfo=ZoneInfo(zone), fold=fold) for fold in (0, 1))
            is_shown = one.astimezone(dt.UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall
            expected = [round(each.timestamp() * 1e6) if is_shown else None for each in (one, other)]
            assert [first, second] == expected, (zone, wall)
            assert (apart is None) == (is_shown and one.utcoffset() == other.utcoffset()), (zone, wall)

    check()


def test_no_zone_changes_its_clocks_twice_in_a_week() -> None:
    for zone in ("Europe/Paris", "Africa/Casablanca", "America/Argentina/San_Luis", "Asia/Gaza"):
        days = [dt.datetime(1990, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=day) for day in range(365 * 40)]
        offsets = [day.astimezone(ZoneInfo(zone)).utcoffset() for day in days]
        found = sum(days[0] < change.at <= days[-1] for change in changes(zone))
        assert found == sum(one != other for one, other in pairwise(offsets)), zone


def test_what_is_before_the_floor_is_before_both_hours() -> None:
    for minute in range(-90, 91, 15):
        moment = dt.datetime(2024, 10, 27, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=minute)
        expected = dt.datetime(2024, 10, 27, 0, tzinfo=dt.UTC) if abs(minute) <= 60 else moment
        assert floor(moment, PARIS) == expected
        assert floor(moment, "UTC") == moment


TWICE = [("A", "2024-10-27 02:00", 2), ("A", "2024-10-27 02:00", 3), ("B", "2024-03-31 02:30", 4), ("B", "2024-03-31 03:30", 5)]


def write(house: House, form: str, rows: list[tuple[str, str, int]], name: str = "rows") -> None:
    """Lay rows of a meter as a file of some form."""
    if form == "csv":
        house.drop(f"{name}.csv", "compteur;heure;kwh\n" + "".join(f"{a};{b};{c}\n" for a, b, c in rows))
    elif form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        compteur, heure, kwh = zip(*rows, strict=True)
        moments = pa.array([dt.datetime.fromisoformat(hour) for hour in heure], pa.timestamp("us"))
        house.drops.mkdir(exist_ok=True)
        pq.write_table(pa.table({"compteur": compteur, "heure": moments, "kwh": [float(k) for k in kwh]}), house.drops / f"{name}.parquet")
    else:
        documents = [json.dumps({"compteur": a, "heure": b, "kwh": c}) for a, b, c in rows]
        house.drop(f"{name}.{form}", "\n".join(documents))


@pytest.mark.parametrize("form", ["csv", "csv with a format", "ndjson", "parquet"])
def test_an_hour_skipped_is_refused_and_one_shown_twice_is_told_apart(house: House, form: str) -> None:
    is_format = form == "csv with a format"
    form = form.partition(" ")[0]
    rows = [(a, dt.datetime.fromisoformat(b).strftime("%d/%m/%Y %Hh%M"), c) for a, b, c in TWICE] if is_format else TWICE
    columns = [COLUMNS[0], column("heure", "timestamptz", format="%d/%m/%Y %Hh%M"), COLUMNS[2]] if is_format else COLUMNS
    write(house, form, rows)
    brick = readings(house, columns, form=form)
    entry = house.land(brick)
    assert hours(house, brick) == [("A", "10-27 00:00", 2), ("A", "10-27 01:00", 3), ("B", "03-31 01:30", 5)]
    [reason] = why(house, entry)
    assert reason.startswith("heure is an hour that the clocks of Europe/Paris skip: ")
    [told] = warnings(entry)
    assert "heure: 2 rows in an hour that the clocks of Europe/Paris show twice: 2 are the first and the second of their key" in told


@pytest.mark.parametrize("order", ["oldest first", "newest first", "newest day first", "newest first, meter by meter"])
def test_of_a_file_that_begins_with_the_newest_the_second_hour_comes_first(house: House, order: str) -> None:
    walls = ["10-26 23:00", *(f"10-27 {hour:02}:{minute:02}" for hour in (0, 1, 2, 2, 3, 4) for minute in (0, 30))]
    rows = [(meter, f"2024-{wall}", number) for number, wall in enumerate(walls) for meter in "ab"]
    if order == "newest first":
        rows.reverse()
    elif order == "newest day first":
        rows = rows[2:] + rows[:2]
    elif order != "oldest first":
        rows.sort(key=lambda row: (row[0], -row[2]))
    house.drop("rows1.csv", "compteur;heure;kwh\n" + "".join(f"{meter};{wall};{kwh}\n" for meter, wall, kwh in rows))
    house.land(brick := readings(house))
    assert [kwh for meter, _, kwh in sorted(hours(house, brick), key=lambda row: row[:2]) if meter == "a"] == list(range(len(walls)))


def test_the_cases_told_by_the_public_are_right(house: House) -> None:
    case = CASES / "f09_dst" / "data" / "conso.csv"
    if not case.exists():
        pytest.skip("no folder of shared cases beside the project")
    shutil.copy(case, house.drops / "rows.csv")
    brick = readings(house)
    house.land(brick)
    assert hours(house, brick) == [("A", "10-27 00:00", 2), ("A", "10-27 01:00", 3), ("B", "03-31 01:30", 5)]


FOLDS: dict[str, list[tuple[Any, ...]]] = {
    "in_order": [("A", "10-27 00:30", 1), ("A", "10-27 01:30", 2), ("B", "10-27 00:30", 3), ("D", "10-27 00:30", 8)],
    "first": [("A", "10-27 00:30", 1), ("A", "10-27 00:30", 2), ("B", "10-27 00:30", 3), *[("C", "10-27 00:30", n) for n in (4, 5, 6)], ("D", "10-27 00:30", 8)],
    "second": [("A", "10-27 01:30", 1), ("A", "10-27 01:30", 2), ("B", "10-27 01:30", 3), *[("C", "10-27 01:30", n) for n in (4, 5, 6)], ("D", "10-27 00:30", 8)],
    "refuse": [("D", "10-27 00:30", 8)],
}  # fmt: skip


@pytest.mark.parametrize("fold", FOLDS)
def test_an_hour_shown_twice_is_what_the_table_says(house: House, fold: str) -> None:
    twice = "2024-10-27 02:30"
    rows = [
        ("A", twice, 1),
        ("A", twice, 2),
        ("B", twice, 3),
        ("C", twice, 4),
        ("C", twice, 5),
        ("C", twice, 6),
        ("D", "2024-10-27T02:30:00+02:00", 8),
    ]
    write(house, "csv", rows)
    brick = readings(house, time_fold=fold)
    entry = house.land(brick)
    assert hours(house, brick) == FOLDS[fold]
    reasons = why(house, entry)
    if fold == "in_order":
        assert reasons == ["heure is one of more than two rows of one key in an hour that the clocks of Europe/Paris show twice"] * 3
        assert "1 alone of their key are taken for the first; 3, more than two of one key, are refused" in warnings(entry)[0]
    elif fold == "refuse":
        assert reasons == [f"heure is in an hour that the clocks of Europe/Paris show twice, and tells no offset: {twice}"] * 6
    else:
        assert reasons == [] and warnings(entry) == []


def test_a_value_that_tells_its_offset_is_not_touched(house: House) -> None:
    told = ["2024-10-27T02:30:00+02:00", "2024-10-27 02:30:00+02:00", "2024-10-27T00:30:00Z", "2024-10-27 02:30:00 Europe/Paris"]
    write(house, "csv", [("A", text, n) for n, text in enumerate(told)])
    brick = readings(house)
    entry = house.land(brick)
    assert {row[1] for row in hours(house, brick)[:3]} == {"10-27 00:30"} and len(hours(house, brick)) == 4
    assert warnings(entry) == []


def test_hours_of_the_key_and_beside_it_are_told_apart_together(house: House) -> None:
    columns = [column("id"), column("start", "timestamptz"), column("end", "timestamptz")]
    lines = [("A", "01:30", "02:00"), ("A", "02:00", "02:30"), ("A", "02:30", "02:45"), ("A", "02:00", "02:30"), ("A", "02:30", "03:00")]
    house.drop("rows.csv", "id;start;end\n" + "".join(f"{i};2024-10-27 {a};2024-10-27 {b}\n" for i, a, b in lines))
    brick = readings(house, columns, ("id", "start"))
    house.land(brick)
    assert hours(house, brick, "start, \"end\"") == [
        ("10-26 23:30", "10-27 00:00"), ("10-27 00:00", "10-27 00:30"), ("10-27 00:30", "10-27 00:45"), ("10-27 01:00", "10-27 01:30"), ("10-27 01:30", "10-27 02:00"),
    ]  # fmt: skip


def test_the_second_hour_that_comes_later_is_not_before_the_cursor(house: House) -> None:
    columns = [column("compteur"), HOUR, column("kwh", "double")]
    brick = readings(house, columns, cursor="heure")
    write(house, "csv", [("A", "2024-10-27 01:00", 1), ("A", "2024-10-27 02:00", 2), ("A", "2024-10-27 02:30", 3)])
    house.land(brick)
    rows = [("A", f"2024-10-27 0{hour}", kwh) for kwh, hour in enumerate(["1:00", "2:00", "2:30", "2:00", "2:30", "3:00"], 1)]
    write(house, "csv", rows)
    os.utime(house.drops / "rows.csv", (1, 1))
    house.land(brick)
    latest = dict(sorted((hour, kwh) for _, hour, kwh in hours(house, brick)))
    assert latest == {"10-26 23:00": 1, "10-27 00:00": 2, "10-27 00:30": 3, "10-27 01:00": 4, "10-27 01:30": 5, "10-27 02:00": 6}


def test_rows_refused_for_more_than_two_keep_no_value_of_a_private_brick(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "une clé de test assez longue")
    columns = [column("compteur", personal=True, mask="pseudonym"), HOUR, column("kwh", "double")]
    write(house, "csv", [("A", "2024-10-27 02:00", n) for n in range(3)] + [("B", "2024-03-31 02:00", 4)])
    told = {"legal_basis": "law", "purpose": "bills", "pseudonym_domain": "homes"}
    options = {"format": "csv", "path": "rows*.csv"}
    brick = house.brick("meter", [table("rows", columns, ["compteur", "heure"], options, time_zone=PARIS)], **told)
    entry = house.land(brick)
    assert entry and why(house, entry)[-1] == "heure is an hour that the clocks of Europe/Paris skip"
    with house.lake.connect() as connection:
        kept = connection.execute(
            "select distinct compteur, heure, kwh from read_parquet($1)", [[house.lake.path(f) for f in entry["tables"]["rows"]["files"]]]
        )
        assert kept.fetchall() == [(None, None, None)]


def test_rows_that_the_search_of_a_zone_has_moved_keep_the_order_of_their_source(tmp_path: Path) -> None:
    connection, file = Lake(str(tmp_path)).connect(), tmp_path / "rows.parquet"
    connection.execute(f"set TimeZone = '{PARIS}'")
    marked = moment("'2024-10-27 02:00:00+02:00'::timestamptz", str(MARK))
    moved = f"select 'A' as id, {marked} as heure, 'f' as _file, null::{REFUSAL} as _refused"
    rows = " union all ".join(f"({moved}, {kwh} as kwh, {row} as _row)" for kwh, row in ((2, 2), (1, 1)))
    connection.execute(f"copy ({rows}) to '{file}' (format parquet)")
    settle(connection, file, ["heure"], ("id", "heure"), PARIS, ["id", "heure", "kwh"])
    assert connection.execute(f"select kwh, (heure at time zone 'UTC')::varchar from '{file}' order by heure").fetchall() == [
        (1, "2024-10-27 00:00:00"),
        (2, "2024-10-27 01:00:00"),
    ]


@pytest.mark.parametrize("fold", ["in_order", "first", "second", "refuse"])
def test_hours_that_landed_as_texts_read_as_they_would_land_today(house: House, fold: str) -> None:
    twice = "2024-10-27 02:30"
    rows = [*TWICE, ("B", twice, 6), ("C", twice, 7), ("C", twice, 8), ("C", twice, 9), ("D", "2024-10-27T02:30:00Z", 1)]
    write(house, "csv", rows, "rows1")
    house.land(readings(house, [COLUMNS[0], column("heure"), COLUMNS[2]]))
    brick = readings(house, time_fold=fold)
    old = [row for row in hours(house, brick) if row[1]]
    write(house, "csv", rows, "rows2")
    house.land(brick)
    assert old == [row[:3] for row in hours(house, brick, "compteur, heure, kwh, _file") if row[3] == "rows2.csv"]


def test_a_zone_whose_clocks_never_change_has_every_hour_once(house: House) -> None:
    write(house, "csv", TWICE)
    brick = readings(house, time_zone="Indian/Reunion")
    entry = house.land(brick, accept)
    assert [row[1] for row in hours(house, brick)] == ["10-26 22:00", "10-26 22:00", "03-30 22:30", "03-30 23:30"]
    assert warnings(entry) == []


@pytest.mark.parametrize("form", [None, "%Y-%m-%dT%H:%M:%S%z"])
def test_the_date_of_a_text_that_tells_its_offset_is_the_local_one_as_that_of_a_typed_instant_is(house: House, form: str | None) -> None:
    rows = "id,d\nA,2024-01-05T23:30:00+00:00\nB,2024-07-05T21:59:59+00:00\nC,2024-01-05T23:30:00-05:00\n"
    told = [("A", dt.date(2024, 1, 6)), ("B", dt.date(2024, 7, 5)), ("C", dt.date(2024, 1, 6))]
    if form is None:
        rows += "D,2024-01-05\nE,2024-01-05T23:30:00\nF,2024-01-05T23:30:00Z\n"
        told += [("D", dt.date(2024, 1, 5)), ("E", dt.date(2024, 1, 5)), ("F", dt.date(2024, 1, 6))]
    asked: dict[str, Any] = {"key": ["id"], "options": {"format": "csv", "path": "*.csv"}, "time_zone": PARIS}
    date = column("d", "date", **({"format": form} if form else {}))
    house.drop("1.csv", rows)
    today = house.brick("today", [table("t", [column("id"), date], **asked)])
    house.land(today)
    assert house.rows(today, "t", "id, d") == told
    house.land(house.brick("older", [table("t", [column("id"), column("d")], **asked)]))
    # What landed as a text is read as it would land today.
    assert house.rows(house.brick("older", [table("t", [column("id"), date], **asked)]), "t", "id, d") == told
