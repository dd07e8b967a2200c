"""The cheap ways give what the dear ones do: tests before refusals, footers before rows, headers known by what they are refused for."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import House, column, staged, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion import refusal
from ingestion.lake import quoted
from ingestion.one_select import Select
from ingestion.parquet import Footers, write

COLUMNS = [
    column("id"),
    column("at", "timestamptz"),
    column("day", "date", required=True, format="%d/%m/%Y"),
    column("n", "bigint", between=[0, 50]),
    column("v", "double"),
    column("is_on", "boolean"),
    column("what", "json"),
    column("name", required=True),
]
NAMES = [each["name"] for each in COLUMNS]
VALUES = ["", " ", "a", "é", "~", "NA", "1", "51", "-1", "1.5", "1e3", "nan", "true", "t", "2024-03-31 02:30", "2024-10-27 02:30:00",
          "2024-01-01T00:00:00Z", "31/12/2024", "31/12/24", "1717200000", "{}", "[1]", "{'a'", "x y", *NAMES]  # fmt: skip
QUIET = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


def trial(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch, name: str, content: str, **meta: Any) -> dict[str, Any]:
    """Stage a file of the columns above in a house of its own."""
    patch.delenv("ORCHESTRA_ENDPOINT", raising=False)
    house = House(tmp_path_factory.mktemp("house"), patch)
    house.drop(name, content)
    form = name.partition(".")[2]
    options = {"format": form, "path": name, "null_values": ["NA", "day"], **({"separator": ";"} if form == "csv" else {})}
    return staged(
        house,
        house.brick("shop", [table("items", COLUMNS, ["id", "at"], options, time_zone="Europe/Paris", **meta)]),
    )


@QUIET
@given(
    st.lists(st.lists(st.sampled_from(VALUES), min_size=len(NAMES), max_size=len(NAMES)), min_size=1, max_size=30),
    st.sampled_from(["csv", "ndjson"]),
    st.sampled_from(["in_order", "refuse"]),
)
def test_a_row_that_the_cheap_tests_let_pass_breaks_no_rule(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], form: str, fold: str
) -> None:
    import json

    if form == "csv":
        content = "\n".join([";".join(NAMES), *(";".join(row) for row in rows)]) + "\n"
    else:
        content = "\n".join(json.dumps(dict(zip(NAMES, row, strict=True))) for row in rows) + "\n"
    with pytest.MonkeyPatch.context() as patch:
        cheap = trial(tmp_path_factory, patch, f"items.{form}", content, time_fold=fold)
        first = refusal.first_broken
        patch.setattr("ingestion.one_select.first_broken", lambda rules: first([rule._replace(is_fine="false") for rule in rules]))
        dear = trial(tmp_path_factory, patch, f"items.{form}", content, time_fold=fold)
    told = [{name: value for name, value in row.items() if name != "_read_at"} for row in cheap["rows"]]
    assert told == [{name: value for name, value in row.items() if name != "_read_at"} for row in dear["rows"]]
    assert [cheap[name] for name in ("kept", "refused", "reasons")] == [dear[name] for name in ("kept", "refused", "reasons")]


@QUIET
@given(
    st.lists(st.lists(st.sampled_from(VALUES), min_size=len(NAMES), max_size=len(NAMES)), min_size=1, max_size=12),
    st.lists(
        st.permutations(NAMES) | st.just(NAMES) | st.lists(st.sampled_from([*NAMES, "NA", "jour"]), min_size=8, max_size=8), max_size=2
    ),
    st.sampled_from([str, str.upper, str.title]),
)
def test_a_header_is_known_by_what_it_is_refused_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], headers: list[list[str]], written: Any
) -> None:
    lines = [NAMES, *rows, *([written(name) for name in header] for header in headers)]
    content = "\n".join(";".join(line) for line in lines) + "\n"
    with pytest.MonkeyPatch.context() as patch:
        cheap = trial(tmp_path_factory, patch, "items.csv", content)
        patch.setattr(Select, "header_sql", lambda _: None)  # asked of every row
        dear = trial(tmp_path_factory, patch, "items.csv", content)
    assert [cheap[name] for name in ("kept", "refused", "refused_files")] == [dear[name] for name in ("kept", "refused", "refused_files")]
    assert [row["_refused"] for row in cheap["rows"]] == [row["_refused"] for row in dear["rows"]]
    if any(header != NAMES and sorted(header) == sorted(NAMES) for header in headers):
        assert "another header further on" in cheap["refused_files"][0][1]


@pytest.mark.parametrize(("names", "kind", "is_told"), [("id;n", "bigint", True), ("id;2024", "bigint", False), ("id;t", "boolean", False)])
def test_a_header_whose_names_are_values_is_looked_for_in_every_row(
    house: House, names: str, kind: str, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    rule_of = refusal.rule_of_headers

    def noting(again: str, another: str, is_fine: str | None) -> refusal.Rule:
        asked.append(is_fine is not None)
        return rule_of(again, another, is_fine)

    monkeypatch.setattr("ingestion.one_select.rule_of_headers", noting)
    house.drop("items.csv", f"{names}\na;1\n{names}\nb;0\n")
    brick = house.brick("shop", [table("items", [column("id"), column(names[3:], kind)], ["id"], {"format": "csv", "path": "items.csv"})])
    found = staged(house, brick)
    assert {*asked} == {is_told}
    refused = [row["_refused"] for row in found["rows"]]
    assert [each and each["rule"] for each in refused] == [None, "the header of the file once more", None]


def test_a_file_with_another_header_takes_no_other_file_with_it(house: House) -> None:
    house.drop("items1.csv", "id;n\na;1\n")
    house.drop("items2.csv", "id;n\nb;2\nn;id\n3;c\n")
    house.drop("items3.csv", "id;n\nd;x\ne;5\n")
    told = {"format": "csv", "path": "items*.csv"}
    found = staged(house, house.brick("shop", [table("items", [column("id"), column("n", "bigint")], ["id"], told)]))
    kept = [(row["_file"], row["id"], row["n"]) for row in found["rows"] if not row["_refused"]]
    assert kept == [("items1.csv", "a", 1), ("items3.csv", "e", 5)]
    assert [name for name, _ in found["refused_files"]] == ["items2.csv"]
    assert (found["source_count"], found["kept"], found["refused"]) == (3, 2, 1)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC)),
            st.none() | st.dates(dt.date(1, 1, 2), dt.date(9999, 12, 30)),
            st.none() | st.floats(),
            st.none() | st.text(max_size=3),
            st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3),
        ),
        max_size=20,
    ),
    st.booleans(),
)
def test_footers_tell_what_the_rows_do(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], is_plain: bool) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    kinds = {"n": "bigint", "at": "timestamptz", "day": "date", "v": "double", "a, b": "varchar", "many": "bigint[]"}
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"create table rows ({', '.join(f'{quoted(name)} {kind}' for name, kind in kinds.items())}, place bigint)")
        if rows:
            connection.executemany("insert into rows values (?, ?, ?, ?, ?, ?, ?)", [(*row, n) for n, row in enumerate(rows)])
        marked = "*, case when place % 3 = 0 then {'rule': 'x', 'value': null::varchar} end as _refused"
        for part in (0, 1):
            select = f"select {marked} from rows where place % 2 = {part}"
            file = folder / f"{part}.parquet"
            if is_plain:
                connection.execute(f"copy ({select}) to '{file}' (format parquet)")
            else:
                write(connection, select, file)
        files = sorted(folder.iterdir())
        footers = Footers(connection, files)
        assert footers.row_count == len(rows)
        assert footers.held("_refused", "rule") == connection.execute("select count(*) from rows where place % 3 = 0").fetchall()[0][0]
        assert footers.held("nothing") in (None, 0)
        for name, kind in kinds.items():
            of = quoted(name)
            count, low, high = connection.execute(f"select count({of}), min({of})::varchar, max({of})::varchar from rows").fetchall()[0]
            assert footers.held(name) in ({count, None} if kind == "bigint[]" else {count})
            if kind in ("bigint", "date", "timestamptz"):
                assert footers.span(name, kind) == ((low, high) if count else None)
            else:
                assert footers.span(name, kind) is None


def test_lines_of_a_plain_text_are_told_without_reading_it_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from ingestion import formats

    read: list[Path] = []
    scan = formats.scan
    monkeypatch.setattr(formats, "scan", lambda path, *how: read.append(path) or scan(path, *how))
    brick = house.brick(
        "shop", [table("items", [column("id"), column("n", "bigint")], ["id"], {"format": "csv", "path": "items.csv", "skip": 1})]
    )
    house.drop("items.csv", "of today\nid;n\na;1\nb;x\nc;y\n")
    assert staged(house, brick)["lines"] == {"items.csv": {"2": 4, "3": 5}} and not read
    house.drop("items.csv", 'of today\nid;n\n"a\nb";1\nb;x\n\nc;y\n')
    assert staged(house, brick)["lines"] == {"items.csv": {"2": 5, "3": 7}} and len(read) == 1


def test_what_stands_for_a_missing_value_does_in_a_json_column_too(house: House) -> None:
    values = ['"NA"', '"–"', "-999", '{"n": "NA"}', "[1]", "null"]
    house.drop("items.ndjson", "".join(f'{{"id": "{n}", "what": {value}}}\n' for n, value in enumerate(values)))
    told = {"format": "ndjson", "path": "items.ndjson", "null_values": ["NA", "–", "-999"]}
    found = staged(house, house.brick("shop", [table("items", [column("id"), column("what", "json")], ["id"], told)]))
    assert [row["what"] for row in found["rows"]] == [None, None, None, '{"n":"NA"}', "[1]", None] and not found["refused"]
    assert found["columns"]["what"] == "json"


def test_no_cursor_hides_a_header(house: House) -> None:
    options = {"format": "csv", "path": "items.csv"}
    brick = house.brick("shop", [table("items", [column("id"), column("s"), column("n", "bigint")], ["id"], options, cursor="s")])
    house.drop("items.csv", "id;s;n\na;v1;1\nb;v2;2\n")
    assert house.land(brick)
    house.drop("items.csv", "id;s;n\na;v1;1\nb;v2;2\ns;id;n\nv3;x;5\n")
    entry = house.land(brick)
    assert entry and entry["verdict"] == "refused"
    assert "another header further on" in entry["tables"]["items"]["refused_files"][0][1]


def test_another_header_may_have_names_that_stand_for_missing_values(house: House) -> None:
    options = {"format": "csv", "path": "items.csv", "null_values": ["NA"]}
    columns = [column("id"), column("NA", "bigint"), column("n", "bigint")]
    house.drop("items.csv", "id;NA;n\na;1;2\njour;NA;id\n2024;5;3\n")
    found = staged(house, house.brick("shop", [table("items", columns, ["id"], options)]))
    assert "another header further on" in found["refused_files"][0][1] and not found["rows"]


def test_a_file_of_two_tables_that_was_given_up_is_nothing_new_when_it_changes(house: House) -> None:
    from ingestion.steward import accept_load

    brick = house.brick("shop", [table("items", [column("id"), column("n", "bigint")], ["id"], {"format": "csv", "path": "i*.csv"})])
    house.drop("i1.csv", "id;n\na;1\n")
    house.drop("i2.csv", "id;n\nb;2\nn;id\n3;c\n")
    entry = house.land(brick)
    assert entry and entry["verdict"] == "accepted"
    accept_load(house.lake, house.journal, entry, "known")
    house.drop("i2.csv", "id;n\nb;2\nn;id\n3;c\n4;d\n")
    assert house.land(brick) is None
