"""Databases are read as texts that are their values and nothing else, at one instant, from where the cursor is."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from conftest import Document, House, column, table
from fixtures.postgres import Served, embedded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.connectors import SourceError
from ingestion.connectors.sql import TableOptions
from ingestion.declaration import BrickError
from ingestion.lake import load_extension

NO_DEADLINE: Any = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a PostgreSQL."""
    with embedded(tmp_path_factory.mktemp("pg")) as served:
        yield served


def brick_of(house: House, endpoint: str, of_table: Document, columns: list[Document], name: str = "b", **meta: Any) -> Any:
    of_brick = {key: meta.pop(key) for key in ("options", "legal_basis", "purpose") if key in meta}
    tables = [table("t", columns, ["id"], of_table, **meta)]
    return house.brick(name, tables, endpoint, connector="sql", **({"options": {"user_env": "DB_USER"}} | of_brick))


@pytest.fixture(autouse=True)
def _user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_USER", "postgres")


LONG = "123456789012345678901234567890.123456789012345678901234567890"
# Each value as PostgreSQL takes it, its type, and the text that is to land.
VALUES = [
    ("numeric", "NaN", "NaN"),
    ("numeric", LONG, LONG),
    ("numeric(10,2)", "1.5", "1.50"),
    ("float8", "0.1", "0.1"),
    ("float8", "-Infinity", "-Infinity"),
    ("float4", "0.1", "0.1"),
    ("bigint", "9223372036854775807", "9223372036854775807"),
    ("text", "01001", "01001"),
    ("text", "é\t\"'\n ", "é\t\"'\n "),
    ("char(5)", "01", "01"),
    ("date", "2024-02-29", "2024-02-29"),
    ("date", "infinity", "infinity"),
    ("date", "0044-03-15 BC", "0044-03-15 BC"),
    ("timestamp", "2024-03-31 02:30:00.123456", "2024-03-31 02:30:00.123456"),
    ("timestamptz", "2024-03-31 02:30:00+02", "2024-03-31T00:30:00.000000Z"),
    ("timestamptz", "-infinity", "-infinity"),
    ("interval", "1 mon 2 days 03:04:05", "1 mon 2 days 03:04:05"),
    ("time", "24:00", "24:00:00"),
    ("bytea", "\\xdeadbe", "deadbe"),
    ("money", "12.50", "12.50"),
    ("boolean", "t", "true"),
    ("uuid", "00000000-0000-0000-0000-00000000000A", "00000000-0000-0000-0000-00000000000a"),
    ("int[]", "{1,2}", "[1,2]"),
    ("numeric[]", "{1.10,NULL}", "[1.10,null]"),
    ("jsonb", '{"a": 1.50}', '{"a": 1.50}'),
    ("json", '{"a":1.50, "b":"01"}', '{"a":1.50, "b":"01"}'),
    ("inet", "192.168.0.1/24", "192.168.0.1/24"),
    ("int4range", "[1,5)", "[1,5)"),
    ("bit(3)", "101", "101"),
]  # fmt: skip


def filled(postgres: Served, name: str, kinds: list[str], rows: list[list[str | None]]) -> None:
    told = ", ".join(f"c{n} {kind}" for n, kind in enumerate(kinds))
    values = ", ".join("(" + ", ".join("null" if v is None else "'" + v.replace("'", "''") + "'" for v in row) + ")" for row in rows)
    postgres.psql(f"drop table if exists {name}; create table {name} (id text, {told}); insert into {name} values {values};")


@pytest.mark.parametrize("style", ["ISO, MDY", "German, DMY"])
def test_nothing_of_a_value_changes_on_the_way(house: House, postgres: Served, style: str) -> None:
    postgres.psql(f"alter role postgres set datestyle = '{style}'; alter role postgres set timezone = 'America/Lima';")
    filled(postgres, "many", [kind for kind, *_ in VALUES], [["1", *(value for _, value, _ in VALUES)], ["2", *(None for _ in VALUES)]])
    names = [f"c{n}" for n in range(len(VALUES))]
    brick = brick_of(house, postgres.endpoint, {"relation": "many"}, [column("id"), *(column(name) for name in names)])
    house.land(brick)
    landed = house.rows(brick, "t", ", ".join(names))
    assert list(landed[0]) == [told for *_, told in VALUES]
    assert set(landed[1]) == {None}


NUMERICS = st.decimals(allow_nan=True, allow_infinity=False, places=None) | st.decimals(places=20, min_value=-(10**30), max_value=10**30)
ROWS = st.lists(
    st.tuples(
        st.none() | NUMERICS.map(str), st.none() | st.floats(allow_infinity=False).map(repr),
        st.none() | st.integers(-(2**63), 2**63 - 1).map(str),
        st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    ), min_size=1, max_size=15,
)  # fmt: skip


@settings(max_examples=15, derandomize=True, **NO_DEADLINE)
@given(ROWS)
def test_generated_values_are_those_of_its_own_client(tmp_path_factory: pytest.TempPathFactory, postgres: Served, rows: list[Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        house = House(tmp_path_factory.mktemp("house"), patch)
        filled(postgres, "drawn", ["numeric", "float8", "bigint", "text"], [[str(n), *row] for n, row in enumerate(rows)])
        brick = brick_of(house, postgres.endpoint, {"relation": "public.drawn"}, [column("id"), *(column(f"c{n}") for n in range(4))])
        house.land(brick)
        rows_as_json = "select coalesce(json_agg(json_build_array(id, c0::text, c1::text, c2::text, c3) order by id::int), '[]') from drawn"
        own = json.loads(postgres.psql(f"\\t on\n\\a\n{rows_as_json}").split("\n")[-2])
        assert [list(row) for row in house.rows(brick, "t", "id, c0, c1, c2, c3", "id::int")] == own


def test_a_number_is_typed_from_all_its_digits(house: House, postgres: Served) -> None:
    filled(
        postgres,
        "typed",
        ["numeric", "bigint", "timestamptz", "boolean"],
        [["1", "1.5", "7", "2024-01-01 12:00+01", "t"], ["2", "NaN", "1", None, None]],
    )
    columns = [column("id"), column("c0", "double"), column("c1", "bigint"), column("c2", "timestamptz"), column("c3", "boolean")]
    entry = house.land(brick_of(house, postgres.endpoint, {"relation": "typed"}, columns))
    record = entry["tables"]["t"]
    assert (record["kept"], record["refused"], record["count_method"]) == (1, 1, "announced")


def test_what_is_new_is_asked_from_the_cursor_on(house: House, postgres: Served) -> None:
    postgres.psql(
        "drop table if exists m; "
        "create table m as select i::text id, timestamptz '2024-01-01Z' + i * interval '1 hour' at_ from generate_series(1, 100) i"
    )
    brick = brick_of(
        house, postgres.endpoint, {"relation": "m"}, [column("id"), column("at_", "timestamptz")], delivers="changes", cursor="at_",
        lookback={"count": 2, "period": "hour"},
    )  # fmt: skip
    assert house.land(brick)["tables"]["t"]["kept"] == 100
    assert house.land(brick) is None, "those of the lookback are given again as they were"
    postgres.psql("insert into m values ('101', '2024-01-05 05:00Z'), ('102', null)")
    assert house.land(brick)["tables"]["t"]["kept"] in (4, 5)
    assert {row[0] for row in house.rows(brick, "t", "id")} == {str(n) for n in range(1, 103)}


@pytest.mark.parametrize(("kind", "first", "later"), [
    ("timestamp", "2024-01-01 10:00", "2024-01-01 11:00"), ("date", "2024-01-01", "2024-01-02"),
    ("numeric", "10.5", "10.25e1"), ("text", "a", "É"),
])  # fmt: skip
def test_each_kind_of_cursor_loses_nothing(house: House, postgres: Served, kind: str, first: str, later: str) -> None:
    filled(postgres, "kinds", [kind], [["1", first]])
    declared = {"timestamp": "timestamptz", "date": "date", "numeric": "double", "text": "string"}[kind]
    brick = brick_of(
        house, postgres.endpoint, {"relation": "kinds"}, [column("id"), column("c0", declared)], delivers="changes", cursor="c0"
    )
    house.land(brick)
    postgres.psql(f"insert into kinds values ('2', '{later}')")
    house.land(brick)
    assert {row[0] for row in house.rows(brick, "t", "id")} == {"1", "2"}


def test_a_photo_shows_what_has_gone_and_the_same_one_moves_nothing(house: House, postgres: Served) -> None:
    filled(postgres, "photo", ["int"], [["1", "1"], ["2", "2"]])
    brick = brick_of(house, postgres.endpoint, {"relation": "photo"}, [column("id"), column("c0", "bigint")], delivers="whole")
    assert house.land(brick)["tables"]["t"]["kept"] == 2
    postgres.psql("cluster; update photo set c0 = 2 where id = '2'")
    assert house.land(brick) is None
    postgres.psql("delete from photo where id = '1'")
    assert house.land(brick)["tables"]["t"]["kept"] == 1


def test_a_query_may_end_in_a_comment(house: House, postgres: Served) -> None:
    filled(postgres, "commented", ["int"], [["1", "1"]])
    brick = brick_of(house, postgres.endpoint, {"query": "select id from commented -- all of them"}, [column("id")])
    assert house.land(brick)["tables"]["t"]["kept"] == 1


def test_a_long_number_and_a_real_are_cursors_that_lose_nothing(house: House, postgres: Served) -> None:
    for name, kind, first, later in (("long", "numeric", "9" * 37 + "7", "9" * 37 + "8"), ("short", "real", "0.7", "0.7")):
        filled(postgres, name, [kind], [["1", first]])
        brick = brick_of(
            house, postgres.endpoint, {"relation": name}, [column("id"), column("c0", "double")], name, delivers="changes", cursor="c0"
        )
        house.land(brick)
        postgres.psql(f"insert into {name} values ('2', '{later}')")
        house.land(brick)
        assert {row[0] for row in house.rows(brick, "t", "id")} == {"1", "2"}


def test_geometries_that_are_not_in_longitude_and_latitude_fail(house: House) -> None:
    path = house.folder / "g.duckdb"
    with duckdb.connect(path) as held:
        load_extension(held, "spatial")
        held.execute("create table t as select '1' id, st_point(-1.6, 48.1) g")
        held.execute("create table far as select '1' id, st_point(350000, 6780000) g")
    brick = brick_of(house, f"duckdb://{path}", {"relation": "t"}, [column("id"), column("g")], options={})
    house.land(brick)
    assert json.loads(house.rows(brick, "t", "g")[0][0]) == {"type": "Point", "coordinates": [-1.6, 48.1]}
    with pytest.raises(SourceError, match="1 geometries of g are not in longitude and latitude"):
        house.land(brick_of(house, f"duckdb://{path}", {"relation": "far"}, [column("id"), column("g")], "far", options={}))


def test_a_port_that_is_none_is_told(house: House) -> None:
    with pytest.raises(SourceError, match=r"is no address .* Mend: "):
        house.land(brick_of(house, "postgresql://h:abc/d", {"relation": "t"}, [column("id")]))


def test_a_query_is_one_select_and_is_read_only(house: House, postgres: Served) -> None:
    filled(postgres, "q", ["int"], [["1", "1"], ["2", "2"]])
    query = "select id, c0 * 2 as double_, ';' as mark from q -- all\nwhere c0 > 1;"
    brick = brick_of(house, postgres.endpoint, {"query": query}, [column("id"), column("double_", "bigint"), column("mark")])
    house.land(brick)
    assert house.rows(brick, "t", "id, double_, mark") == [("2", 4, ";")]
    for wrong in ("delete from q", "select 1; drop table q", "with x as (select 1) select 1; select 2"):
        with pytest.raises(ValueError, match="one SELECT"):
            TableOptions(query=wrong)
    deleting = brick_of(
        house, postgres.endpoint, {"query": "with gone as (delete from q returning id) select id from gone"}, [column("id")], "c"
    )
    with pytest.raises(SourceError, match="refuses"):
        house.land(deleting)
    assert "2" in postgres.psql("select count(*) from q")


@pytest.mark.parametrize(("options", "told"), [
    ({"relation": "absent"}, "refuses .*absent.* Mend: check `relation`"),
    ({"query": "select 1 as id, 2 as id"}, "duplicate"),
    ({"relation": "q", "where": "nothing = 1"}, "nothing"),
])  # fmt: skip
def test_what_a_database_refuses_is_told(house: House, postgres: Served, options: Document, told: str) -> None:
    postgres.psql("create table if not exists q (id text)")
    with pytest.raises(SourceError, match=told):
        house.land(brick_of(house, postgres.endpoint, options, [column("id")]))


def test_a_password_is_shown_nowhere(house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("DB_PASSWORD", "s3cr3t'; x")
    brick = brick_of(
        house,
        "postgresql://127.0.0.1:9/gis",
        {"relation": "t"},
        [column("id")],
        options={"user_env": "DB_USER", "password_env": "DB_PASSWORD"},
    )
    with pytest.raises(SourceError, match="cannot be reached") as told:
        house.land(brick)
    assert "s3cr3t" not in str(told.value) + caplog.text
    for endpoint in ("postgresql://me:s3cr3t@127.0.0.1/gis", "oracle://127.0.0.1/x"):
        with pytest.raises(SourceError, match="Mend: ") as told:
            house.land(brick_of(house, endpoint, {"relation": "t"}, [column("id")], "other"))
        assert "s3cr3t" not in str(told.value)


def test_a_private_brick_tells_no_value(house: House, postgres: Served) -> None:
    filled(postgres, "persons", ["text"], [["1", "Jeanne"]])
    brick = brick_of(
        house, postgres.endpoint, {"query": "select id, c0, c0::int as n from persons"},
        [column("id"), column("c0", personal=True, mask="drop"), column("n", "bigint")], legal_basis="b", purpose="p",
    )  # fmt: skip
    with pytest.raises(SourceError) as told:
        house.land(brick)
    assert "Jeanne" not in str(told.value)


def test_a_server_that_goes_away_is_told(house: House, postgres: Served) -> None:
    query = (
        "select i::text as id, case when i = 5000 then pg_terminate_backend(pg_backend_pid()) end as gone from generate_series(1, 10000) i"
    )
    with pytest.raises(SourceError, match="Mend: "):
        house.land(brick_of(house, postgres.endpoint, {"query": query}, [column("id")]))


REALS = st.floats(allow_nan=False)


@settings(max_examples=15, derandomize=True, **NO_DEADLINE)
@given(
    st.lists(
        st.one_of(
            st.none(),
            REALS,
            st.integers(-(2**63), 2**63 - 1),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
            st.binary(max_size=4),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_sqlite_gives_each_value_as_it_is(tmp_path_factory: pytest.TempPathFactory, values: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("lite")
    with pytest.MonkeyPatch.context() as patch:
        house = House(folder, patch)
        with sqlite3.connect(folder / "x.sqlite") as held:
            held.execute("create table t (id text, v)")
            held.executemany("insert into t values (?, ?)", [(str(n), value) for n, value in enumerate(values)])
        held.close()
        brick = brick_of(house, f"sqlite://{folder}/x.sqlite", {"relation": "t"}, [column("id"), column("v")], options={})
        house.land(brick)
        for (landed,), value in zip(house.rows(brick, "t", "v", "id::int"), values, strict=True):
            if isinstance(value, float):
                assert float(landed.replace("Inf", "inf")) == value
            elif isinstance(value, bytes):
                assert (landed or "") == value.hex().upper()
            else:
                assert landed == (None if value is None else str(value))


def test_a_cursor_of_sqlite_is_compared_as_a_date_however_it_is_written(house: House) -> None:
    path = house.folder / "x.sqlite"
    with sqlite3.connect(path) as held:
        held.execute("create table t (id text, at_)")
        held.executemany("insert into t values (?, ?)", [("1", "2024-01-02 10:00:00"), ("2", "2024-01-02T11:00:00")])
    brick = brick_of(
        house,
        f"sqlite://{path}",
        {"relation": "t"},
        [column("id"), column("at_", "timestamptz")],
        delivers="changes",
        cursor="at_",
        options={},
    )
    house.land(brick)
    with sqlite3.connect(path) as held:
        held.execute("insert into t values ('3', '2024-01-02 12:00')")
    held.close()
    house.land(brick)
    assert {row[0] for row in house.rows(brick, "t", "id")} == {"1", "2", "3"}


def test_duckdb_gives_each_value_as_it_is_and_no_other_file(house: House) -> None:
    path = house.folder / "x.duckdb"
    with duckdb.connect(path) as held:
        held.execute(
            "create table t as select '1' id, 123456789.123456789::decimal(38,9) d, 0.1::double f, [1, 2] l, {'a': '01'} s, "
            "blob '\\xDE' b, interval 1 month i, timestamptz '2024-01-01 00:00:00+00' z"
        )
    names = ["d", "f", "l", "s", "b", "i", "z"]
    brick = brick_of(house, f"duckdb://{path}", {"relation": "main.t"}, [column("id"), *(column(name) for name in names)], options={})
    house.land(brick)
    assert house.rows(brick, "t", ", ".join(names)) == [
        ("123456789.123456789", "0.1", "[1,2]", '{"a":"01"}', "DE", "1 month", "2024-01-01 00:00:00+00")
    ]
    (house.folder / "secret.txt").write_text("s3cr3t", encoding="utf-8")
    prying = brick_of(
        house,
        f"duckdb://{path}",
        {"query": f"select content as id from read_text('{house.folder}/secret.txt')"},
        [column("id")],
        "c",
        options={},
    )
    with pytest.raises(SourceError) as told:
        house.land(prying)
    assert "s3cr3t" not in str(told.value)


def test_a_file_that_is_not_there_is_told(house: House) -> None:
    with pytest.raises(SourceError, match="is no file"):
        house.land(brick_of(house, f"sqlite://{house.folder}/none.sqlite", {"relation": "t"}, [column("id")], options={}))
    (house.folder / "x.sqlite").write_bytes(b"not a database, but a text of some length" * 40)
    with pytest.raises(SourceError, match="Mend: "):
        house.land(brick_of(house, f"sqlite://{house.folder}/x.sqlite", {"relation": "t"}, [column("id")], options={}))


def test_a_brick_says_a_relation_or_a_query(house: House) -> None:
    for wrong in ({}, {"relation": "t", "query": "select 1"}, {"query": "select 1", "where": "x"}):
        with pytest.raises(BrickError, match=r"`relation` or a `query`|`where` is of"):
            brick_of(house, "sqlite:///x", wrong, [column("id")])


def test_digits_of_a_decimal_are_kept(house: House, postgres: Served) -> None:
    filled(postgres, "dec", ["numeric(40, 20)"], [["1", "12345678901234567890.12345678901234567890"]])
    brick = brick_of(house, postgres.endpoint, {"relation": "dec"}, [column("id"), column("c0")])
    house.land(brick)
    assert Decimal(house.rows(brick, "t", "c0")[0][0]) == Decimal("12345678901234567890.12345678901234567890")


EDITS = ["nothing", "new", "tie", "mended", "back", "without"]


@pytest.mark.parametrize("examples", [1, pytest.param(40, marks=pytest.mark.soak)])
def test_what_stands_at_the_cursor_is_given_again_and_lands_when_it_differs_alone(house: House, examples: int) -> None:
    """Edits of a source in an order that is drawn: each lands once, what nobody edited lands no more."""
    draw = random.Random(35)
    edits = [each for _ in range(examples) for each in draw.sample(EDITS, len(EDITS))]
    held = sqlite3.connect(house.folder / "x.sqlite", isolation_level=None)
    held.execute("create table t (id text primary key, v text, at_ text)")
    held.executemany("insert into t values (?, 'a', ?)", [(f"{n}", f"2025-01-01T{n:02}:00:00Z") for n in range(6)])
    columns = [column("id"), column("v"), column("at_", "timestamptz")]
    back = {"count": 2, "period": "hour"}
    brick = brick_of(house, f"sqlite://{house.folder}/x.sqlite", {"relation": "t"}, columns, options={}, cursor="at_", lookback=back)
    assert house.land(brick)
    for number, edit in enumerate(edits):
        before = held.execute("select * from t order by id").fetchall()
        if edit in ("new", "tie", "without"):
            ((newest,),) = held.execute("select max(at_) from t").fetchall()
            at = {"new": f"2025-02-01T00:{number // 60:02}:{number % 60:02}Z", "tie": newest}.get(edit)
            held.execute("insert into t values (?, 'a', ?)", (f"{edit}{number}", at))
        elif edit != "nothing":  # the newest row, mended, or put back as it was
            value = "b" if edit == "mended" else "a"
            held.execute("update t set v = ? where at_ = (select max(at_) from t)", (value,))
        is_same = before == held.execute("select * from t order by id").fetchall()
        landed = house.land(brick)
        assert is_same is (landed is None), (edits, number)
        assert house.land(brick) is None
    latest = {row[0]: row[1] for row in house.rows(brick, "t", "id, v", "_read_at")}
    assert latest == {row[0]: row[1] for row in held.execute("select * from t")}
    held.close()
