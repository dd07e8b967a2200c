"""Opendatasoft: the sandbox's portal (simulated), and a stub (simulated) for what a portal may do wrong."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import House, Site, column, table

from ingestion.connectors import Reading, Request, SourceError, opendatasoft, web

DATASET = "/api/explore/v2.1/catalog/datasets/bills"
FIELDS = [
    {"name": "bill_id", "type": "text"},
    {"name": "updated_at", "type": "datetime"},
    {"name": "year", "type": "int"},
]


class Portal(Site):
    """A stub of the Explore API with one dataset, in the shape that data.rennesmetropole.fr answers in."""

    def __init__(self) -> None:
        super().__init__()
        self.metas: dict[str, Any] = {
            "title": "Factures",
            "publisher": "Rennes Métropole",
            "license": "Licence Ouverte v2.0",
            "modified": "2025-11-03T10:00:00+00:00",
            "data_processed": "2025-11-03T11:00:00+00:00",
            "records_count": 2,
        }
        self.export([("b1", "2025-11-01 10:00:00+00"), ("b2", "2025-11-02 10:00:00+00")])

    def export(self, bills: list[tuple[str, str]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        moments = [dt.datetime.fromisoformat(moment) for _, moment in bills]
        sink = io.BytesIO()
        pq.write_table(pa.table({"bill_id": [bill for bill, _ in bills], "updated_at": moments}), sink)
        lines = [json.dumps({"bill_id": bill, "updated_at": str(moment)}) for bill, moment in bills]
        body = {"dataset_id": "bills", "fields": FIELDS, "metas": {"default": self.metas}}
        self.pages = {
            DATASET: lambda _: (200, {}, json.dumps(body).encode()),
            f"{DATASET}/exports/parquet": (200, {}, sink.getvalue()),
            f"{DATASET}/exports/jsonl": (200, {}, "\n".join(lines).encode()),
            f"{DATASET}/records": (200, {}, json.dumps({"total_count": len(bills), "results": []}).encode()),
        }


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    monkeypatch.setattr(web, "BACKOFF_SECONDS", 0.001)
    portal = Portal()
    yield portal
    portal.stop()


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Request]:
    def build(endpoint: str, dataset: str = "bills", **changes: Any) -> Request:
        options = changes.pop("options", {})
        request = Request(
            brick="a_brick",
            table="a_table",
            endpoint=endpoint,
            brick_options=opendatasoft.BrickOptions(api_key_env="A_KEY"),
            table_options=opendatasoft.TableOptions(dataset=dataset, **options),
            columns=(),
            cursor=None,
            lookback_days=0,
            position={},
            known={},
            connection=duckdb.connect(),
            spool=tmp_path,
            is_private=False,
            whole=False,
            progress=lambda _: None,
        )
        return dataclasses.replace(request, **changes)

    return build


def rows(request: Request, reading: Reading) -> list[dict[str, Any]]:
    found = []
    for part in reading.parts:
        result = request.connection.execute(f"select * from ({part.relation})")
        names = [column[0] for column in result.description or ()]
        part_rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        assert len(part_rows) == part.counted
        found += part_rows
    return found


def test_a_first_export_without_any_record_is_told(portal: Portal, ask: Callable[..., Request]) -> None:
    request = ask(portal.url, options={"where": "year = 1900"})
    assert not opendatasoft.read(request).warnings
    portal.export([])
    reading = opendatasoft.read(request)
    (told,) = reading.warnings
    assert told.startswith("a_brick.a_table: dataset bills holds no record that `where` means. Mend: none where there is nothing yet")
    assert not opendatasoft.read(dataclasses.replace(request, position=reading.position)).warnings


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
@pytest.mark.parametrize("in_memory", [False, True])
def test_an_export_with_what_the_portal_says_of_it(
    portal: Portal,
    ask: Callable[..., Request],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    form: str,
    in_memory: bool,
) -> None:
    monkeypatch.setenv("A_KEY", "k3y")
    request = ask(portal.url, options={"format": form}, is_private=in_memory)
    reading = opendatasoft.read(request)
    found = rows(request, reading)
    assert [(row if form == "parquet" else json.loads(row["_doc"]))["bill_id"] for row in found] == ["b1", "b2"]
    assert found[0]["_file"] == f"bills.{form}"
    assert reading.parts[0].is_typed == (form == "parquet")
    assert (reading.count_method, reading.announced) == ("announced", 2)
    assert reading.metadata == portal.metas
    assert reading.available_at == dt.datetime(2025, 11, 3, 11, tzinfo=dt.UTC)
    assert reading.request_count == 3
    assert reading.bytes_read > 0
    assert not reading.is_synthetic
    assert all(asked.headers["Authorization"] == "Apikey k3y" for asked in portal.asked)
    assert not in_memory or not [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]


def test_a_dataset_that_has_not_changed_is_not_downloaded(portal: Portal, ask: Callable[..., Request]) -> None:
    request = ask(portal.url)
    position = opendatasoft.read(request).position
    portal.asked.clear()
    reading = opendatasoft.read(dataclasses.replace(request, position=position))
    assert not reading.parts
    assert reading.position == position
    assert [asked.path for asked in portal.asked] == [DATASET]
    filtered = dataclasses.replace(request, position=position, table_options=request.table_options.model_copy(update={"where": "x > 1"}))
    assert opendatasoft.read(filtered).parts
    portal.metas["data_processed"] = "2025-11-04T11:00:00+00:00"
    assert opendatasoft.read(dataclasses.replace(request, position=position)).parts


@pytest.mark.parametrize(
    ("cursor", "value", "options", "expected"),
    [
        ("updated_at", "2025-11-02T10:00:00.25+01:00", {}, "(updated_at >= date'2025-11-01T09:00:00Z' or updated_at is null)"),
        ("updated_at", "2025-11-02", {}, "(updated_at >= date'2025-11-01' or updated_at is null)"),
        (
            "updated_at",
            "2025-11-02 10:00:00+00",
            {"where": "a or b"},
            "(a or b) and (updated_at >= date'2025-11-01T10:00:00Z' or updated_at is null)",
        ),
        ("year", "2025", {}, "(year >= 2025 or year is null)"),
        ("year", "1732550400123456", {}, "(year >= 1732550400123456 or year is null)"),
        ("year", "1e+16", {}, "(year >= 10000000000000000 or year is null)"),
        ("year", "0.30000000000000004", {}, "(year >= 0.30000000000000004 or year is null)"),
        ("updated_at", None, {}, None),
        ("updated_at", None, {"where": "a or b"}, "a or b"),
    ],
)
def test_the_cursor_is_in_the_query(
    portal: Portal,
    ask: Callable[..., Request],
    cursor: str,
    value: str | None,
    options: dict[str, str],
    expected: str | None,
) -> None:
    position = {"cursor": value} if value else {}
    opendatasoft.read(ask(portal.url, options=options, cursor=cursor, lookback_days=1, position=position))
    asked = {asked.path.removeprefix(DATASET): asked.query.get("where") for asked in portal.asked}
    wanted = [expected] if expected else None
    assert asked == {"": None, "/exports/parquet": wanted, "/records": wanted}
    whole = ask(portal.url, cursor=cursor, position=position, whole=True)
    portal.asked.clear()
    opendatasoft.read(whole)
    assert not [asked for asked in portal.asked if "where" in asked.query]


def test_records_that_come_during_the_export_are_counted_once_more(portal: Portal, ask: Callable[..., Request]) -> None:
    totals = [3, 2]
    portal.pages[f"{DATASET}/records"] = lambda _: (200, {}, json.dumps({"total_count": totals.pop(0)}).encode())
    reading = opendatasoft.read(ask(portal.url))
    assert (reading.announced, reading.parts[0].counted, len(reading.parts)) == (2, 2, 1)
    portal.pages[f"{DATASET}/records"] = (200, {}, b'{"total_count": 5}')
    reading = opendatasoft.read(ask(portal.url))
    assert (reading.announced, reading.parts[0].counted) == (5, 2)


@pytest.mark.parametrize(
    ("where", "answer", "told"),
    [
        (
            DATASET,
            (404, {}, b'{"message": "does not exist"}'),
            "knows no dataset bills .does not exist.. Mend: check `dataset`",
        ),
        (
            DATASET,
            (401, {}, b'{"message": "key k3y is bad"}'),
            "refuses dataset bills .401 key .* is bad.. Mend: set A_KEY to a key",
        ),
        (DATASET, (200, {}, b"<html>"), "did not answer with a JSON object. Mend: check that the endpoint"),
        (DATASET, (200, {}, b"[1]"), "did not answer with a JSON object"),
        (f"{DATASET}/records", (200, {}, b'{"total_count": -1}'), "a_brick.a_table: the portal counts -1 records. Mend: tell the producer"),
        (
            f"{DATASET}/exports/parquet",
            (400, {}, b'{"error_code": "ODSQLError", "message": "ODSQL query is malformed: x"}'),
            "does not understand what is asked of bills .ODSQL query is malformed: x.. Mend: check `where` and `cursor`",
        ),
        (f"{DATASET}/exports/parquet", (200, {"Content-Length": "99999"}, b"PAR1"), "was cut before its end"),
        (f"{DATASET}/exports/parquet", (503, {}, b"ill"), "answered 503 ill. Mend: the source is ill"),
    ],
)
def test_what_a_portal_may_do_wrong(
    portal: Portal, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch, where: str, answer: Any, told: str
) -> None:
    monkeypatch.setenv("A_KEY", "k3y")
    portal.pages[where] = answer
    with pytest.raises(SourceError, match=told) as error:
        opendatasoft.read(ask(portal.url))
    assert str(error.value).startswith("a_brick")
    assert "k3y" not in str(error.value)
    tries = len([asked for asked in portal.asked if asked.path == where])
    assert tries == (web.TRIES if "cut" in told or "503" in told else 1)


def test_a_portal_that_asks_to_wait(portal: Portal, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(web.time, "sleep", waits.append)
    export = portal.pages[f"{DATASET}/exports/parquet"]
    answers = [
        (429, {"Retry-After": "3"}, b'{"message": "quota"}'),
        (200, {"Content-Length": "99999"}, b"PAR1"),
        export,
    ]
    portal.pages[f"{DATASET}/exports/parquet"] = lambda _: answers.pop(0)
    request = ask(portal.url)
    assert len(rows(request, opendatasoft.read(request))) == 2
    assert waits == [3.0, pytest.approx(0.002)]


@pytest.mark.parametrize("body", [b"<html>Maintenance</html>", b"PAR1 not quite"])
def test_an_export_that_is_no_parquet_is_refused(portal: Portal, ask: Callable[..., Request], body: bytes) -> None:
    portal.pages[f"{DATASET}/exports/parquet"] = (200, {}, body)
    reading = opendatasoft.read(ask(portal.url))
    assert not reading.parts
    assert "is not whole Parquet" in dict(reading.refused_files)["bills.parquet"]


def test_an_export_that_lacks_a_declared_column_is_refused(portal: Portal, ask: Callable[..., Request]) -> None:
    reading = opendatasoft.read(ask(portal.url, columns=("bill_id", "amount")))
    assert not reading.parts
    assert "lacks the declared columns amount; it has bill_id, updated_at" in dict(reading.refused_files)["bills.parquet"]


@pytest.mark.parametrize(
    "told",
    [
        {"metas": None},
        {"metas": []},
        {"metas": {"default": []}},
        {"metas": {"default": {"modified": 12}}, "fields": None},
        {"metas": {}, "fields": [{"nom": "id"}, None, {"name": "updated_at"}]},
    ],
)
def test_what_a_portal_may_leave_out(portal: Portal, ask: Callable[..., Request], told: dict[str, Any]) -> None:
    portal.pages[DATASET] = (200, {}, json.dumps(told).encode())
    portal.pages[f"{DATASET}/records"] = (200, {}, b'{"total_count": "2"}')
    request = ask(portal.url, cursor="updated_at", position={"cursor": "2025-01-01"})
    reading = opendatasoft.read(request)
    assert len(rows(request, reading)) == reading.announced == 2


def test_a_portal_that_refuses_a_private_brick_is_not_quoted(portal: Portal, ask: Callable[..., Request]) -> None:
    portal.pages[f"{DATASET}/exports/parquet"] = (400, {}, b'{"message": "no DUPONT"}')
    with pytest.raises(SourceError, match="does not understand") as error:
        opendatasoft.read(ask(portal.url, is_private=True))
    assert "DUPONT" not in str(error.value)


def test_a_key_in_the_place_of_its_variable_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="is no name of an environment variable") as error:
        opendatasoft.BrickOptions(api_key_env="hunter2-Secret!")
    assert "hunter2" not in str(error.value)


def test_a_cursor_that_is_no_date(portal: Portal, ask: Callable[..., Request]) -> None:
    with pytest.raises(SourceError, match=r"a_brick.a_table: the cursor 'b2' is no date"):
        opendatasoft.read(ask(portal.url, cursor="bill_id", position={"cursor": "b2"}))
    with pytest.raises(SourceError, match=r"a_brick.a_table: the cursor 'b2' is no number"):
        opendatasoft.read(ask(portal.url, cursor="year", position={"cursor": "b2"}))


def test_the_sandbox_portal(ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("ingestion.sandbox.server")
    monkeypatch.setenv("ORCHESTRA_PATRIMOINE_BATI_KEY", "k3y")
    monkeypatch.setenv("A_KEY", "k3y")
    with server.start(scale=0.05) as sandbox:
        endpoint = f"{sandbox.url}/patrimoine_bati"
        for dataset, column in {
            "batiments-publics": "building_id",
            "factures-energie-batiments-publics": "bill_id",
        }.items():
            request = ask(endpoint, dataset, columns=(column,))
            reading = opendatasoft.read(request)
            assert len(rows(request, reading)) == reading.announced > 0
            assert reading.is_synthetic
            assert reading.read_at.date() == sandbox.world.until
        newest = request.connection.execute(f"select max(updated_at)::text, count(*) from ({reading.parts[0].relation})").fetchall()[0]
        position = {"cursor": newest[0]}
        request = dataclasses.replace(request, cursor="updated_at", position=position, lookback_days=1, connection=duckdb.connect())
        assert 0 < len(rows(request, opendatasoft.read(request))) < newest[1]
        monkeypatch.setenv("A_KEY", "another")
        with pytest.raises(SourceError, match="Mend: set A_KEY"):
            opendatasoft.read(request)


def test_an_export_that_was_cut_once_is_asked_for_again_though_the_portal_says_that_nothing_changed(house: House, portal: Portal) -> None:
    options = {"dataset": "bills", "format": "jsonl"}
    brick = house.brick("shop", [table("bills", [column("bill_id")], ["bill_id"], options)], portal.url, connector="opendatasoft")
    whole = portal.pages[f"{DATASET}/exports/jsonl"]
    portal.pages[f"{DATASET}/exports/jsonl"] = (200, {}, whole[2].splitlines()[0])
    entry = house.land(brick)
    assert entry and entry["verdict"] == "refused" and "some were lost on the way" in entry["reasons"][0]
    assert house.land(brick) is None, "cut the same way: it stands"
    portal.pages[f"{DATASET}/exports/jsonl"] = whole
    again = house.land(brick)
    assert again and again["verdict"] == "accepted" and again["replaces"] == [entry["load_id"]]
    assert house.rows(brick, "bills", "bill_id") == [("b1",), ("b2",)]
    assert house.land(brick) is None
    # What the portal gives from the cursor on lands whole: it is the portal that knows.
    assert again["tables"]["bills"]["before_cursor"] == 0


def test_a_portal_that_dates_nothing_gives_nothing_new_when_its_content_is_the_same(house: House, portal: Portal) -> None:
    portal.metas.update(modified=None, data_processed=None)
    options = {"dataset": "bills", "format": "jsonl"}
    brick = house.brick("shop", [table("bills", [column("bill_id")], ["bill_id"], options)], portal.url, connector="opendatasoft")
    assert house.land(brick) and house.land(brick) is None
