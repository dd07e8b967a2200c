"""dlt: its `rest_api` against a small real server, its `sql_database` over a real SQLite, and sources written here."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pytest
from conftest import House, Site, column, table

from ingestion.brick import Brick
from ingestion.census import faults_of_connectors
from ingestion.connectors import SourceError, web
from ingestion.declaration import BrickError
from tests.fixtures.typed import orchestra

COLUMNS = [column("id"), column("n", "bigint"), column("at", "timestamptz", optional=True)]
PAGE = 10


class Api(Site):
    """An API of `rows` by offset and limit, which a test may spoil at one page: `fault` gives the answer in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = [{"id": f"{n:03}", "n": n, "at": f"2025-01-01T00:00:{n:02}Z"} for n in range(25)]
        self.fault: Callable[[dict[str, Any]], Any] | None = None
        self.spoiled, self.times = PAGE, 99
        self.pages["/v1/items"] = self.items
        self.pages["/v1/items/003"] = lambda _: self.told(self.rows[3])

    def told(self, body: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json", **headers}, json.dumps(body).encode()

    def items(self, asked: Any) -> Any:
        from urllib.parse import parse_qs, urlsplit

        query = {name: value[0] for name, value in parse_qs(urlsplit(asked["url"]).query).items()}
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", PAGE))
        rows = [row for row in self.rows if row["at"] >= query.get("since", "")]
        body = {"items": rows[offset : offset + limit], "total": len(rows)}
        if self.fault and offset == self.spoiled and self.times:
            self.times -= 1
            return self.fault(body)
        return self.told(body)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(web, "BACKOFF_SECONDS", 0.001)
    api = Api()
    yield api
    api.stop()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold that nothing is left of dlt, and that what it is told is what it was."""
    home, before = tmp_path / "home", dict(os.environ)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DLT_DATA_DIR", str(home / "data"))
    config = [provider._config_doc.copy() for provider in dlt.config.config_providers if hasattr(provider, "_config_doc")]
    yield
    assert not [*home.rglob("*")]
    assert config == [provider._config_doc for provider in dlt.config.config_providers if hasattr(provider, "_config_doc")]
    assert {name: value for name, value in os.environ.items() if "DLT" in name and name != "DLT_DATA_DIR"} == {
        name: value for name, value in before.items() if "DLT" in name
    }


ENDPOINT: dict[str, Any] = {
    "path": "items",
    "data_selector": "items",
    "paginator": {"type": "offset", "limit": PAGE, "total_path": "total"},
}


def by_api(house: House, api: Api, endpoint: dict[str, Any] | None = None, columns: Any = None, url: str = "", **meta: Any) -> Brick:
    """Write a brick of one table of the API."""
    options = meta.pop("options", {"rest_api": {"client": {}}})
    of_brick = {name: meta.pop(name) for name in ("legal_basis", "purpose", "pseudonym_domain") if name in meta}
    items = table("items", columns or COLUMNS, ["id"], {"resource": {"endpoint": endpoint or ENDPOINT}}, **meta)
    return house.brick("shop", [items], endpoint=url or f"{api.url}/v1", connector="dlt", options=options, **of_brick)


def by_source(house: House, attribute: str, columns: Any = None, **meta: Any) -> Brick:
    """Write a brick of one table of a source of this module."""
    options, arguments = meta.pop("options", {}), meta.pop("arguments", {})
    items = table("items", columns or COLUMNS, ["id"], options, **meta)
    told = {"source": f"tests.test_connector_dlt:{attribute}", **({"arguments": arguments} if arguments else {})}
    return house.brick("shop", [items], endpoint="nowhere", connector="dlt", options=told)


def test_pages_land_and_an_unchanged_source_is_nothing_new(house: House, api: Api) -> None:
    only = by_api(house, api)
    entry = house.land(only)
    assert entry and entry["verdict"] == "accepted" and entry["request_count"] == 3
    assert entry["bytes_read"] == sum(len(api.items({"url": f"?offset={n}"})[2]) for n in (0, 10, 20))
    assert house.rows(only, "items", "id, n") == [(f"{n:03}", n) for n in range(25)]
    assert house.land(only) is None
    api.rows[4]["n"] = 400
    assert house.land(only)
    assert house.rows(only, "items", "count(*), max(n)") == [(50, 400)]


def test_numbers_keep_their_digits(house: House, api: Api) -> None:
    api.rows = [{"id": "a", "n": 1, "at": "2025-01-01", "price": "@", "note": "é"}]
    text = json.dumps({"items": api.rows, "total": 1}).replace('"@"', "0.12345678901234567890")
    api.pages["/v1/items"] = (200, {"Content-Type": "text/plain"}, text.encode())
    only = by_api(house, api, columns=[*COLUMNS, column("price"), column("note")])
    assert house.land(only)
    assert house.rows(only, "items", "price, note") == [("0.12345678901234567890", "é")]
    # A charset that is told is read by, and one that is not is not guessed.
    latin = json.dumps({"items": [{**api.rows[0], "note": "éà"}], "total": 1}, ensure_ascii=False).encode("latin-1")
    api.pages["/v1/items"] = (200, {"Content-Type": "application/json; charset=ISO-8859-1"}, latin)
    assert house.land(only)
    assert house.rows(only, "items", "note", "_load_id desc")[0] == ("éà",)
    api.pages["/v1/items"] = (200, {}, latin)
    with pytest.raises(SourceError, match="cut before its end"):
        house.land(only)


def test_the_cursor_of_dlt_is_in_the_journal(house: House, api: Api) -> None:
    incremental = {"cursor_path": "at", "start_param": "since", "initial_value": "2025-01-01T00:00:05Z"}
    only = by_api(house, api, {**ENDPOINT, "incremental": incremental})
    assert house.land(only)
    assert house.rows(only, "items", "min(n), count(*)") == [(5, 20)]
    api.asked.clear()
    assert house.land(only) is None
    # The row of the last instant is asked for again, and known.
    assert [asked.query["since"] for asked in api.asked] == [["2025-01-01T00:00:24Z"]]
    api.rows.append({"id": "new", "n": 99, "at": "2025-01-01T00:00:30Z"})
    entry = house.land(only)
    assert entry and entry["tables"]["items"]["kept"] == 1
    house.journal.append("drop", brick="shop", load_id=entry["load_id"], refetch=True, why="test", reason="test")
    entry = house.land(only)
    assert entry and entry["tables"]["items"]["kept"] == 1


def test_a_load_that_is_refused_moves_nothing(house: House, api: Api) -> None:
    incremental = {"cursor_path": "at", "start_param": "since", "initial_value": "2025-01-01T00:00:00Z"}
    only = by_api(house, api, {**ENDPOINT, "incremental": incremental})
    assert house.land(only, lambda *_: ["no"])["verdict"] == "refused"
    assert house.land(only) is None  # nothing has changed since
    api.rows.append({"id": "new", "n": 99, "at": "2025-01-01T00:00:30Z"})
    entry = house.land(only)
    assert entry and entry["tables"]["items"]["kept"] == 26 and entry["replaces"]


FAULTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "5xx": (lambda _: (503, {}, b"busy"), "answered 503 busy. Mend: "),
    "429": (lambda _: (429, {"Retry-After": "0"}, b""), "answered 429. Mend: the source asks for fewer requests"),
    "404": (lambda _: (404, {}, b"none"), "answered 404 none. Mend: check the endpoint"),
    "short": (lambda body: (200, {"Content-Length": "9999"}, json.dumps(body).encode()), "cut before its end"),
    "cut gzip": (
        lambda body: (200, {"Content-Encoding": "gzip"}, gzip.compress(json.dumps(body).encode())[:-30]), "cut before its end",
    ),
    "corrupt gzip": (
        lambda body: (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08\x00garbage" + json.dumps(body).encode()), "corrupt",
    ),
    "html": (lambda _: (200, {"Content-Type": "text/html"}, b"<html>Maintenance</html>"), "did not answer with JSON, but with a page"),
    "html as json": (lambda _: (200, {"Content-Type": "application/json"}, b"<html>x</html>"), "did not answer with JSON"),
    "nothing": (lambda _: (204, {}, b""), "did not answer with JSON, but with nothing"),
    "error": (lambda _: (200, {}, b'{"error": {"code": 400}}'), "answers 200 with an error (`error`)"),
    "error beside rows": (lambda body: (200, {}, json.dumps({**body, "errors": ["x"]}).encode()), "answers 200 with an error"),
    "message": (lambda _: (200, {}, b'{"message": "quota"}'), "holds nothing at items"),
    "redirect loop": (lambda _: (302, {"Location": "/v1/items?offset=10&limit=10"}, b""), "is redirected without end"),
    "another host": (lambda _: (302, {"Location": "http://127.0.0.1:1/"}, b""), "on another host than the endpoint's"),
    "same page": (lambda body: (200, {}, json.dumps(API_FIRST | {"total": 25}).encode()), "the same page twice"),
    "cap": (lambda body: (200, {}, json.dumps({**body, "items": body["items"][:5]}).encode()), "lower than `limit`"),
    "total": (lambda body: (200, {}, json.dumps({**body, "total": 18}).encode()), "announces 18 rows, and its pages held 20"),
    "empty page": (lambda body: (200, {}, b'{"items": [], "total": 25}'), "announces 25 rows, and its pages held 10"),
    "clock": (lambda body: (200, {"Date": "Mon, 03 Nov 2025 10:00:00 GMT"}, json.dumps(body).encode()), "by a wrong clock"),
}  # fmt: skip
API_FIRST = {"items": [{"id": f"{n:03}", "n": n, "at": f"2025-01-01T00:00:{n:02}Z"} for n in range(PAGE)]}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_page_that_fails_lands_nothing(house: House, api: Api, fault: str) -> None:
    only = by_api(house, api)
    api.fault, told = FAULTS[fault]
    with pytest.raises(SourceError) as raised:
        house.land(only)
    assert told in str(raised.value) and str(raised.value).startswith("shop.items: ") and "Mend: " in str(raised.value)
    assert not house.landed_files("shop") and not list(house.journal.of("load", "shop"))
    assert raised.value.__cause__ is None and raised.value.__context__ is None
    api.fault = None
    assert house.land(only)
    assert house.rows(only, "items", "count(distinct id), count(*)") == [(25, 25)]


@pytest.mark.parametrize("fault", ["5xx", "429", "short", "cut gzip", "corrupt gzip"])
def test_what_passes_is_tried_again(house: House, api: Api, fault: str) -> None:
    only = by_api(house, api)
    api.fault, api.times = FAULTS[fault][0], 2
    entry = house.land(only)
    assert entry and entry["request_count"] == 5
    assert house.rows(only, "items", "count(distinct id), count(*)") == [(25, 25)]


def test_an_error_on_the_only_page_is_not_no_rows(house: House, api: Api) -> None:
    only = by_api(house, api, {"path": "items"})
    api.pages["/v1/items"] = (200, {}, b'{"error": "quota", "details": []}')
    with pytest.raises(SourceError, match=r"answers 200 with an error \(`error`\)"):
        house.land(only)
    api.pages["/v1/items"] = (200, {}, b'{"detail": "quota"}')
    with pytest.raises(SourceError, match="one object, that has none of the declared columns"):
        house.land(only)
    api.pages["/v1/items"] = (200, {}, b'{"items": [{"id": "a", "n": 1}], "next": null}')
    assert house.land(only)
    api.pages["/v1/items"] = (200, {}, b'{"items": [], "next": null}')
    assert house.land(only) is None


def test_next_links_are_followed_and_end(house: House, api: Api) -> None:
    only = by_api(house, api, {"path": "items"})
    pages = {"": {"items": api.rows[:3], "next": "/v1/items?p=1"}, "p=1": {"items": api.rows[3:6], "next": None}}
    api.pages["/v1/items"] = lambda asked: api.told(pages[asked["url"].partition("?")[2]])
    assert house.land(only)
    assert house.rows(only, "items", "count(*)") == [(6,)]
    pages["p=1"]["next"] = "/v1/items"
    with pytest.raises(SourceError, match="the same page twice"):
        house.land(only)
    pages["p=1"]["next"] = "http://127.0.0.1:1/v1/items"
    with pytest.raises(SourceError, match="on another host"):
        house.land(only)


def test_a_photo_without_a_row_is_empty_and_one_cannot_be_incremental(house: House, api: Api) -> None:
    only = by_api(house, api, delivers="whole")
    assert house.land(only)
    rows, api.rows = api.rows, []
    entry = house.land(only)
    assert entry and entry["tables"]["items"]["kept"] == 0
    assert house.land(only) is None
    api.rows = rows
    only = by_api(house, api, {**ENDPOINT, "incremental": {"cursor_path": "at"}}, delivers="whole")
    with pytest.raises(SourceError, match="delivered whole, and read incrementally"):
        house.land(only)


def test_a_resource_may_depend_on_another(house: House, api: Api) -> None:
    api.pages["/v1/shops"] = api.told([{"code": "s/1"}, {"code": "s2"}])
    api.pages["/v1/shops/s/1/items"] = api.told(api.rows[:2])
    api.pages["/v1/shops/s2/items"] = api.told(api.rows[2:3])
    options = {"rest_api": {"client": {}, "resources": [{"name": "shops"}]}}
    endpoint = {"path": "shops/{resources.shops.code}/items"}
    items = table("items", [*COLUMNS, column("_shops_code")], ["id"], {"resource": {"endpoint": endpoint, "include_from_parent": ["code"]}})
    shops = table("shops", [column("code")], ["code"], {})
    only = house.brick("shop", [items, shops], endpoint=f"{api.url}/v1", connector="dlt", options=options)
    assert house.land(only)
    assert house.rows(only, "items", "id, _shops_code") == [("000", "s/1"), ("001", "s/1"), ("002", "s2")]
    assert house.rows(only, "shops", "code") == [("s/1",), ("s2",)]


def test_no_secret_is_shown(house: House, api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    secret = "s3cr{t/é value"
    monkeypatch.setenv("ORCHESTRA_SHOP_KEY", secret)
    monkeypatch.setenv("ORCHESTRA_SHOP_TOKEN", "tok3n-of-the-shop")
    rest_api = {"client": {"headers": {"X-Key": "{ORCHESTRA_SHOP_TOKEN}"}, "auth": {"type": "bearer", "token": "{ORCHESTRA_SHOP_TOKEN}"}}}
    only = by_api(
        house, api, {**ENDPOINT, "params": {"apikey": "{ORCHESTRA_SHOP_KEY}"}}, options={"rest_api": rest_api},
        url=f"{api.url}/v1?sig={{ORCHESTRA_SHOP_TOKEN}}",
    )  # fmt: skip
    caplog.set_level("DEBUG")
    assert house.land(only)
    asked = api.asked[0]
    assert asked.query["apikey"] == [secret] and asked.query["sig"] == ["tok3n-of-the-shop"]
    assert (asked.headers["X-Key"], asked.headers["Authorization"]) == ("tok3n-of-the-shop", "Bearer tok3n-of-the-shop")
    api.fault = lambda _: (403, {}, f"no {secret} nor tok3n-of-the-shop".encode())
    with pytest.raises(SourceError) as raised:
        house.land(only)
    assert "answered 403 no *** nor ***" in str(raised.value)
    api.stop()
    with pytest.raises(SourceError, match="cannot be reached") as unreached:
        house.land(only)
    written = "".join(path.read_text(errors="replace") for path in Path(house.lake.root).rglob("*") if path.is_file())
    for text in (str(raised.value), str(unreached.value), caplog.text, written):
        assert secret not in text and "tok3n" not in text and "s3cr" not in text
    monkeypatch.delenv("ORCHESTRA_SHOP_KEY")
    with pytest.raises(SourceError, match="the environment lacks ORCHESTRA_SHOP_KEY"):
        house.land(only)


def test_a_sandbox_is_told(house: House, api: Api) -> None:
    api.fault, api.spoiled = lambda body: api.told(body, **{"X-City-Orchestra-Sandbox": "synthetic"}), 0
    assert house.land(by_api(house, api))
    assert house.journal.entries[0]["is_synthetic"]


def test_a_run_that_is_killed_leaves_nothing(house: House, api: Api) -> None:
    only = by_api(house, api)
    reached, go_on = threading.Event(), threading.Event()

    def wait(body: Any) -> Any:
        reached.set()
        go_on.wait(20)
        return api.told(body)

    api.fault = wait
    child = os.fork()
    if child == 0:
        os._exit(0 if house.land(only) else 1)
    assert reached.wait(20)
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    go_on.set()
    assert not house.landed_files("shop") and not list(house.journal.of("load", "shop"))
    api.fault = None
    assert house.land(only)
    assert house.rows(only, "items", "count(distinct id), count(*)") == [(25, 25)]


# Sources of the tests, by import path.
ZONE = dt.timezone(dt.timedelta(hours=2))


@dlt.source(name="of_tests")
def both(count: int = 2, endpoint: str = "") -> Any:
    @dlt.resource
    def items() -> Any:
        for n in range(count):
            yield {
                "id": f"{n}", "n": n, "at": dt.datetime(2025, 1, 1, 12, n, tzinfo=ZONE), "price": Decimal("1.50"),
                "nested": {"deep": [Decimal("2.250"), dt.date(2025, 1, 2)]}, "raw": b"\x00\x01", "endpoint": endpoint, "big": 2**70,
            }  # fmt: skip

    @dlt.resource
    def others() -> Any:
        yield [{"code": "a"}, {"code": "b"}]

    return items, others


@dlt.resource
def tables(at: Any = None) -> Any:
    yield pa.table({"id": ["a", "b"], "n": [1, None], "at": pa.array([dt.datetime(2025, 1, 1), None], pa.timestamp("us", "UTC"))})
    yield pa.table({"id": ["c"], "n": pa.array([None], pa.null()), "at": pa.array([dt.datetime(2025, 1, 1)], pa.timestamp("us", "UTC"))})
    yield pa.RecordBatch.from_pydict({"id": ["d"], "n": [4], "at": pa.array([None], pa.timestamp("us", "UTC"))})


@dlt.resource
def failing() -> Any:
    yield {"id": "a", "n": 1}
    raise RuntimeError("the source broke at Madame Martin")


@dlt.resource
def stateful() -> Any:
    state = dlt.current.resource_state()
    state["seen"] = state.get("seen", 0) + 1
    yield {"id": f"{state['seen']}", "n": 1, "at": None}


@dlt.resource
def counted(since: Any = dlt.sources.incremental("n", initial_value=0)) -> Any:  # noqa: B008
    yield [{"id": f"Martin {n}", "n": n, "at": None} for n in (1, 2, 3)]


@dlt.resource
def several() -> Any:
    yield dlt.mark.with_table_name({"id": "a", "n": 1}, "others")


def rows() -> list[dict[str, Any]]:
    return [{"id": "a", "n": float("nan")}, {"id": "b", "n": 2}]


def test_a_source_written_in_python(house: House) -> None:
    columns = [*COLUMNS, column("price"), column("nested", "json"), column("raw"), column("endpoint"), column("big")]
    only = by_source(house, "both", columns, arguments={"endpoint": "{endpoint}"})
    assert house.land(only)
    row = house.rows(only, "items", 'id, n, "at"::varchar, price, nested::varchar, raw, endpoint, big')[1]
    at = "2025-01-01 10:01:00+00"
    assert row == ("1", 1, at, "1.50", '{"deep":[2.25,"2025-01-02"]}', "AAE=", "nowhere", str(2**70))
    # Each table reads its own resource, and a table may have arguments of its own.
    others = table("labels", [column("code")], ["code"], {"resource": {"name": "others"}})
    items = table("items", COLUMNS, ["id"], {"arguments": {"count": 5}})
    told = {"source": "tests.test_connector_dlt:both"}
    only = house.brick("shop", [items, others], endpoint="nowhere", connector="dlt", options=told)
    assert house.land(only)
    assert house.rows(only, "labels", "code") == [("a",), ("b",)]
    assert house.rows(only, "items", "count(distinct id)") == [(5,)]


def test_arrow_lands_typed_whatever_its_batches(house: House) -> None:
    only = by_source(house, "tables")
    entry = house.land(only)
    assert entry and entry["tables"]["items"]["kept"] == 4
    assert house.rows(only, "items", 'id, n, "at" is null') == [("a", 1, False), ("b", None, True), ("c", None, False), ("d", 4, True)]
    assert house.land(only) is None
    with pytest.raises(SourceError, match=r"shop.items: the source lacks the declared columns more.* Mend: "):
        house.land(by_source(house, "tables", [*COLUMNS, column("more")]))


def test_what_a_source_keeps_is_in_the_journal(house: House) -> None:
    only = by_source(house, "stateful")
    for _ in range(3):
        assert house.land(only)
    assert house.rows(only, "items", "id") == [("1",), ("2",), ("3",)]


def test_a_number_that_is_none_is_refused_and_a_function_is_a_source(house: House) -> None:
    only = by_source(house, "rows")
    entry = house.land(only)
    assert entry and (entry["tables"]["items"]["kept"], entry["tables"]["items"]["refused"]) == (1, 1)


@pytest.mark.parametrize(
    ("attribute", "told"),
    [
        ("failing", "RuntimeError: the source broke at Madame Martin. Mend: see what the source says"),
        ("several", "parts its rows among several tables"),
        ("nothing", "leads to nothing"),
        ("both.resources", "leads to nothing"),
    ],
)
def test_a_source_that_fails_lands_nothing(house: House, attribute: str, told: str) -> None:
    with pytest.raises(SourceError, match=f"shop.items: .*{told}"):
        house.land(by_source(house, attribute))
    assert not house.landed_files("shop")


def private(house: House, name: str, attribute: str, columns: Any) -> Brick:
    told: dict[str, Any] = {"legal_basis": "law", "purpose": "heat", "pseudonym_domain": "homes"}
    options = {"source": f"tests.test_connector_dlt:{attribute}"}
    return house.brick(name, [table("items", columns, ["id"], {})], endpoint="nowhere", connector="dlt", options=options, **told)


def test_a_private_brick_leaves_no_value_on_disk(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRA_PSEUDONYM_KEY", "une clé de test assez longue")
    masked = [column("id", personal=True, mask="pseudonym"), column("n", "bigint")]
    with pytest.raises(SourceError) as raised:
        house.land(private(house, "homes", "failing", masked))
    assert "Martin" not in str(raised.value) and "RuntimeError" in str(raised.value)
    only = private(house, "homes", "counted", masked)
    seen: list[bytes] = []

    def judge(lake: Any, *_: Any) -> list[str]:
        paths = [path for folder in (lake.state, house.folder) for path in Path(folder).rglob("*")]
        seen.extend(path.read_bytes() for path in paths if path.is_file() and not path.is_symlink())
        return []

    entry = house.land(only, judge)
    assert entry and entry["tables"]["items"]["kept"] == 3
    assert '"last_value":3' in (kept := entry["tables"]["items"]["position"]["dlt"]) and '"unique_hashes":[]' in kept
    assert seen and not any(b"Martin" in content for content in seen)
    with pytest.raises(SourceError, match=r"keeps a state of its own \(seen\), which may name persons"):
        house.land(private(house, "others", "stateful", masked))
    text = [column("id"), column("n", "bigint", personal=True, mask="drop")]
    with pytest.raises(SourceError, match="how far it was read is told by n, which is masked"):
        house.land(private(house, "texts", "counted", text))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "trees.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("create table trees (id text primary key, n integer, at timestamp, height numeric(10, 2))")
        connection.executemany(
            "insert into trees values (?, ?, ?, ?)", [(f"0{n}", n, f"2025-01-0{n} 10:00:00", n + 0.25) for n in range(1, 6)]
        )
    return path


@pytest.mark.parametrize("backend", ["sqlalchemy", "pyarrow", "connectorx"])
def test_a_table_of_a_database_by_sql_database(house: House, database: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    if backend == "connectorx":
        pytest.importorskip("connectorx")
    monkeypatch.setenv("ORCHESTRA_SHOP_DATABASE", f"sqlite:///{database}")
    told = {"source": "dlt.sources.sql_database:sql_table", "arguments": {"credentials": "{ORCHESTRA_SHOP_DATABASE}", "backend": backend}}
    options = {"arguments": {"table": "trees"}, "incremental": {"cursor_path": "n", "row_order": "asc"}}
    trees = table("trees", [*COLUMNS, column("height")], ["id"], options, time_zone="UTC")
    only = house.brick("shop", [trees], endpoint="nowhere", connector="dlt", options=told)
    assert faults_of_connectors([only]) == []
    assert house.land(only)
    rows = house.rows(only, "trees", 'id, n, "at"::varchar, height::double')
    assert rows == [(f"0{n}", n, f"2025-01-0{n} 10:00:00+00", n + 0.25) for n in range(1, 6)]
    assert house.land(only) is None
    with sqlite3.connect(database) as connection:
        connection.execute("insert into trees values ('06', 6, '2025-01-06 10:00:00', 6.5)")
    entry = house.land(only)
    assert entry and entry["tables"]["trees"]["kept"] == 1
    database.unlink()
    with pytest.raises(SourceError, match=r"^shop\.trees: ") as raised:
        house.land(only)
    assert str(database) not in str(raised.value)


def told_by(house: House, options: dict[str, Any], of_table: dict[str, Any] | None = None) -> str:
    only = house.brick("shop", [table("items", COLUMNS, ["id"], of_table or {})], endpoint="x", connector="dlt", options=options)
    return "\n".join(faults_of_connectors([only]))


def test_what_is_wrong_is_told_before_anything_is_asked(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "tests.test_connector_dlt:both"
    assert told_by(house, {"source": source}) == ""
    assert told_by(house, {"rest_api": {}}, {"resource": {"endpoint": {"path": "x/{ORCHESTRA_UNSET}", **{"params": {"a": 1}}}}}) == ""
    assert "leads to nothing (No module named 'no'" in told_by(house, {"source": "no.module:x"})
    assert "leads to nothing" in told_by(house, {"source": "tests.test_connector_dlt:absent"})
    assert "unexpected keyword argument 'x'" in told_by(house, {"source": source, "arguments": {"x": 1}})
    assert "says its `name` alone, not endpoint" in told_by(house, {"source": source}, {"resource": {"endpoint": "x"}})
    assert "paginater" in told_by(house, {"rest_api": {}}, {"resource": {"endpoint": {"path": "x", "paginater": 1}}})
    assert "`arguments` and `incremental`" in told_by(house, {"rest_api": {}}, {"arguments": {"x": 1}})
    assert "shop.yml: table items: " in told_by(house, {"rest_api": {"clients": {}}})
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(house.folder / "bricks"))
    checked = orchestra("bricks", "check")
    assert checked.returncode != 0 and "shop.yml: table items: " in checked.stderr and "clients" in checked.stderr
    for options, told in (
        ({}, "says either `rest_api` or `source`"),
        ({"rest_api": {}, "source": source}, "says either"),
        ({"rest_api": {"client": {"base_url": "http://x"}}}, "`client.base_url` is not said here"),
        ({"rest_api": {"client": {"auth": {"token": "hunter2"}}}}, "`token` is a secret: name the variable"),
        ({"source": "no attribute"}, "source"),
    ):
        with pytest.raises(BrickError, match=told) as raised:
            told_by(house, options)
        assert "hunter2" not in str(raised.value)
