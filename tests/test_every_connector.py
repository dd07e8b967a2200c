"""What every connector that pages keeps: all rows or a clear error, whatever fails at page N (a simulated source of pages)."""

from __future__ import annotations

import dataclasses
import json
import logging
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import trustme
from conftest import House, Site, column, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.connectors import Reading, Request, SourceError, connector, pages, web
from ingestion.declaration import BrickError
from tests.fixtures.paged import LASTING, TRANSIENT, Paged, Source
from tests.fixtures.spoken import BESIDE, SPOKEN, options_of

EXAMPLES = [pytest.param(10, id="some"), pytest.param(250, id="many", marks=pytest.mark.soak)]


def attack(examples: int, reads: Callable[..., None], *drawn: Any) -> None:
    """Have a reading tried on so many drawn cases: a few are the same each time, many are others in each soak."""
    how = settings(max_examples=examples, derandomize=examples < 100, deadline=None, suppress_health_check=list(HealthCheck))
    how(given(*drawn)(reads))()


@pytest.fixture(scope="module")
def paged() -> Iterator[Paged]:
    served = Paged()
    yield served
    served.stop()


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(web, "READ_SECONDS", 0.3)
    monkeypatch.setattr(pages, "PAUSE_SECONDS", 0.001)
    monkeypatch.setenv("A_USER", "hidden-user")
    monkeypatch.setenv("A_PASSWORD", "hidden-password")


def ask(paged: Paged, source: Source, name: str, spool: Path, **changes: Any) -> Request:
    """Give the request of a table of a source."""
    paged.source = source
    protocol, brick, told = options_of(name, source)
    module = connector(protocol)
    number = sum(1 for _ in spool.iterdir())
    (spool / str(number)).mkdir()
    return Request(
        **{
            "brick": "a_brick", "table": "a_table", "endpoint": paged.url, "brick_options": module.BrickOptions.model_validate(brick),
            "table_options": module.TableOptions.model_validate({**told, **changes.pop("options", {})}), "columns": ("id",), "cursor": None,
            "lookback_days": 0.0, "position": {}, "known": {}, "connection": duckdb.connect(), "spool": spool / str(number),
            "is_private": False, "whole": False, "progress": lambda _: None, **changes,
        }
    )  # fmt: skip


def ids_of(request: Request, reading: Reading) -> list[str]:
    """Give the ids of the rows that were read, each part once."""
    ids = []
    for part in reading.parts:
        chosen = "_doc->>'$.id'" if part.columns is None else "id"
        rows = request.connection.execute(f"select {chosen} from ({part.relation})").fetchall()
        assert len(rows) == part.counted
        ids += [row[0] for row in rows]
    return ids


def read(request: Request) -> Reading:
    """Read a table, as landing does: a file that cannot be used is asked for again, by the next landing."""
    for landing in range(3):
        (spool := request.spool / f"landing-{landing}").mkdir()
        reading: Reading = sys.modules[type(request.table_options).__module__].read(dataclasses.replace(request, spool=spool))
        if not reading.refused_files:
            break
    else:
        raise SourceError(f"a_brick.a_table: {reading.refused_files[0][1]}")
    counted = sum(part.counted or 0 for part in reading.parts)
    if reading.announced not in (None, counted):  # as the gate refuses it
        raise SourceError(f"a_brick.a_table: {reading.announced} rows are announced, {counted} were read. Mend: tell the producer.")
    return reading


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("name", SPOKEN)
def test_all_rows_are_read_whatever_the_size_of_a_page(paged: Paged, tmp_path: Path, name: str, examples: int) -> None:
    def reads(count: int, size: int) -> None:
        request = ask(paged, source := Source(count=count, size=size), name, tmp_path)
        reading = read(request)
        assert ids_of(request, reading) == source.ids
        assert reading.count_method == ("counted" if source.total is None else "announced") or not count
        assert reading.request_count == len(source.asked) + BESIDE.get(name, 0)
        # The same again is nothing new.
        again = ask(paged, Source(count=count, size=size), name, tmp_path, position=reading.position, known=reading.opened)
        assert not read(again).parts

    attack(examples, reads, st.integers(0, 40), st.integers(1, 9))


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("name", SPOKEN)
def test_what_passes_at_any_page_costs_no_row(paged: Paged, tmp_path: Path, name: str, examples: int) -> None:
    def reads(fault: str, count: int, size: int, at: int, times: int) -> None:
        times = 1 if fault == "token" else times  # one that is refused at once is refused
        request = ask(paged, source := Source(count=count, size=size, fault=fault, at=at, times=times), name, tmp_path)
        assert ids_of(request, read(request)) == source.ids

    attack(examples, reads, st.sampled_from(TRANSIENT), st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(1, 2))


def filtered(name: str, size: int) -> dict[str, Any]:
    """Give what asks for rows that a filter means."""
    told = {"ogc features": {"properties": {"since": ""}}, "sensorthings": {"filter": "id ge ''"}, "wfs": {"sort_by": "id"}}
    told |= {"ckan": {"filters": {"place": ""}}, "csw": {"parameters": {"since": ""}}, "udata": {"search": {"since": ""}}}
    told |= {"dcat": {"parameters": {"since": "", "size": str(size)}}, "arcgis": {"where": "id >= ''"}}
    told |= {"opendatasoft": {"where": "id >= ''"}, "files": {}}  # of files, no filter is asked
    return told.get(name.removesuffix(" by ids"), {"parameters": {"since": "", "size": size}})


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("name", SPOKEN)
def test_what_lasts_is_all_rows_or_a_clear_error(paged: Paged, tmp_path: Path, name: str, examples: int) -> None:
    def reads(fault: str, count: int, size: int, at: int, once: bool) -> None:
        # Where nothing is announced and no link leads on, an empty page is the end, by all that can be known.
        is_untold = name in ("rest by offset, untold", "rest of csv by offset", "gbfs", "gtfs_rt", "files")
        fault = "page again" if is_untold and fault == "empty page" else fault
        source = Source(count=count, size=size, fault=fault, at=at, times=1 if once else 99)
        request = ask(paged, source, name, tmp_path, options=filtered(name, size) if fault == "ignored filter" else {})
        try:
            ids = ids_of(request, read(request))
        except SourceError as error:
            told = str(error)
            assert told.startswith("a_brick.a_table: ") or told.startswith("a_brick: ")
            assert "Mend: " in told
            assert "hidden" not in told
        else:
            assert set(ids) == set(source.ids), fault
            assert fault in ("twice", "inserted") or len(ids) == len(source.ids)

    attack(examples, reads, st.sampled_from(LASTING + TRANSIENT), st.integers(1, 14), st.integers(1, 5), st.integers(1, 4), st.booleans())


def brick_of(house: House, paged: Paged, source: Source, name: str, key: list[str] | None = None, **meta: Any) -> Any:
    """Write a brick of one table that reads a source; `meta` is of the table."""
    paged.source = source
    protocol, told, options = options_of(name, source)
    columns = [column("id"), *([] if source.format in ("xml", "gtfs_rt", "udata", "csw", "dcat") else [column("value", "double")])]
    options |= meta.pop("options", {})
    return house.brick("a_brick", [table("a_table", columns, key or ["id"], options, **meta)], paged.url, connector=protocol, options=told)


@pytest.mark.parametrize("name", SPOKEN)
def test_what_is_read_lands_as_it_is(house: House, paged: Paged, name: str) -> None:
    brick = brick_of(house, paged, source := Source(count=23, size=5), name)
    entry = house.land(brick)
    assert entry and entry["verdict"] == "accepted"
    assert (entry["tables"]["a_table"]["kept"], entry["tables"]["a_table"]["refused"]) == (23, 0)
    assert [row[0] for row in house.rows(brick, "a_table", "id")] == source.ids
    asked, sent = len(source.asked), source.sent_bytes
    assert house.land(brick) is None  # the same again
    assert len(source.asked) <= 2 * asked
    assert source.sent_bytes <= 2 * sent


def test_with_a_cursor_what_is_new_alone_is_sent(house: House, paged: Paged) -> None:
    since = {"since": {"parameter": "since"}, "parameters": {"note": "a b"}}
    brick = brick_of(house, paged, source := Source(count=400, size=50), "rest by link", cursor="id", options=since)
    house.land(brick)
    first = source.sent_bytes
    source.ids.append("00400")
    assert (house.land(brick) or {"tables": {"a_table": {}}})["tables"]["a_table"][
        "kept"
    ] == 2  # the last one that was known, and the new one
    assert source.sent_bytes - first < first / 50
    assert "since=00399" in source.asked[-1]
    assert [row[0] for row in house.rows(brick, "a_table", "distinct id")] == source.ids


def test_a_source_that_says_that_it_is_the_same_sends_no_row(house: House, site: Site) -> None:
    site.put("/rows", json.dumps([{"id": str(number)} for number in range(1000)]))
    brick = house.brick("b", [table("t", [column("id")], ["id"], {"path": "rows"})], site.url, connector="rest")
    assert house.land(brick)
    assert house.land(brick) is None
    assert [asked.status for asked in site.asked] == [200, 304]
    site.put("/rows", json.dumps([{"id": "new"}]))
    assert house.land(brick)


@pytest.mark.parametrize("name", ["rest by offset", "rest by link", "rest of csv"])
def test_memory_does_not_grow_with_the_rows(paged: Paged, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "READ_SECONDS", 30)  # a page of a server whose every allocation is traced takes its time

    def peak(count: int) -> float:
        request = ask(paged, Source(count=count, size=1000), name, tmp_path)
        tracemalloc.start()
        reading = read(request)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(part.counted or 0 for part in reading.parts) == count
        return top / 1e6

    peak(1000)
    few, many = peak(5_000), peak(60_000)
    assert many < few * 1.5 + 2


def test_a_rate_is_kept_over_all_that_a_process_asks_of_a_host(paged: Paged, tmp_path: Path) -> None:
    slow = {"limits": {"concurrency": 1, "per_second": 40}}
    requests = [ask(paged, Source(count=20, size=2), "rest by offset", tmp_path) for _ in range(2)]
    module = connector("rest")
    began = time.monotonic()
    for request in requests:
        object.__setattr__(request, "brick_options", module.BrickOptions.model_validate(slow))
    threads = [threading.Thread(target=module.read, args=[request]) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paged.source.asked) == 22
    assert time.monotonic() - began >= 21 / 40


def test_no_secret_is_told(paged: Paged, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    request = ask(paged, Source(count=9, fault="token", at=1, times=99), "rest by link", tmp_path)
    with pytest.raises(SourceError, match="answered 401") as error:
        read(request)
    assert "hidden" not in caplog.text + str(error.value)


@pytest.mark.parametrize(
    ("auth", "carried"),
    [
        ({"type": "bearer", "token_env": "A_KEY"}, ("Authorization", "Bearer k-hidden/1")),
        ({"type": "api_key", "key_env": "A_KEY", "header": "X-Key"}, ("X-Key", "k-hidden/1")),
        ({"user_env": "A_USER", "password_env": "A_PASSWORD"}, ("Authorization", "Basic aGlkZGVuLXVzZXI6aGlkZGVuLXBhc3N3b3Jk")),
        ({"type": "api_key", "key_env": "A_KEY", "parameter": "key"}, None),
        (
            {"type": "oauth2", "token_url": "/token", "client_id_env": "A_USER", "client_secret_env": "A_PASSWORD", "scope": "read"},
            ("Authorization", "Bearer t-hidden"),
        ),
    ],
    ids=["bearer", "header", "basic", "query", "oauth2"],
)
def test_each_way_in(
    house: House, site: Site, monkeypatch: pytest.MonkeyPatch, auth: dict[str, str], carried: tuple[str, str] | None
) -> None:
    monkeypatch.setenv("A_KEY", "k-hidden/1")
    site.pages["/token"] = (200, {}, b'{"access_token": "t-hidden", "token_type": "bearer"}')
    site.pages["/rows"] = (200, {}, b'[{"id": "1"}]')
    options = {"path": "rows", "parameters": {"q": "x"}}
    brick = house.brick("b", [table("t", [column("id")], ["id"], options)], site.url, connector="rest", options={"auth": auth})
    assert house.land(brick)
    told = site.asked[-1]
    assert told.headers[carried[0].title()] == carried[1] if carried else told.query == {"q": ["x"], "key": ["k-hidden/1"]}
    # A server that repeats what it was asked.
    site.pages["/rows"] = lambda asked: (400, {}, f"{asked['url']} {asked}".encode())
    with pytest.raises(SourceError) as error:
        house.land(brick)
    assert "hidden" not in str(error.value)
    assert "answered 400" in str(error.value)


@pytest.mark.parametrize(
    ("auth", "told"),
    [
        ({"type": "bearer"}, "type bearer needs token_env"),
        ({"type": "api_key", "key_env": "A_KEY"}, "type api_key needs `header` or `parameter`"),
        ({"type": "bearer", "token_env": "A_KEY", "scope": "x"}, "scope is not of type bearer"),
        ({"user_env": "A_USER"}, "type basic needs password_env"),
    ],
)
def test_a_way_in_that_is_not_whole_is_no_brick(house: House, auth: dict[str, str], told: str) -> None:
    with pytest.raises(BrickError, match=told):
        house.brick("b", [table("t", [column("id")], ["id"], {})], "http://127.0.0.1:9", connector="rest", options={"auth": auth})


def test_the_certificate_of_a_server_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, other = trustme.CA(), trustme.CA()
    served = Paged()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    served.socket = context.wrap_socket(served.socket, server_side=True)
    served.url = served.url.replace("http:", "https:")
    for trusted in (authority, other):
        trusted.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        (tmp_path / str(id(trusted))).mkdir()
        request = ask(served, source := Source(), "rest by link", tmp_path / str(id(trusted)))
        if trusted is authority:
            assert ids_of(request, read(request)) == source.ids
        else:
            with pytest.raises(SourceError, match=r"cannot be reached .*certificate"):
                read(request)
    served.stop()


def test_numbers_keep_their_digits_and_what_stands_deeper_is_a_column(house: House, site: Site) -> None:
    first = b'{"id": "01", "n": 1.50, "big": 12345678901234567890123, "place": {"code": "007", "x": [1]}}'
    body = b'{"data": {"items": [\n ' + first + b',\n {}, {"id": "02"}]}}'
    site.pages["/rows"] = (200, {}, body)
    columns = [column("id"), column("n"), column("big"), column("code", optional=True), column("place", "json")]
    options = {"path": "rows", "records": "data.items", "columns": {"code": "place.code"}}
    brick = house.brick("b", [table("t", columns, ["id"], options)], site.url, connector="rest")
    entry = house.land(brick)
    assert entry and entry["tables"]["t"]["refused"] == 1  # the object without a key
    rows = house.rows(brick, "t", "id, n, big, code, place->>'$.x[0]'", "id")
    assert rows == [("01", "1.50", "12345678901234567890123", "007", "1"), ("02", None, None, None, None)]


def test_an_answer_that_says_that_there_is_more_fails_where_no_paging_is_told(paged: Paged, tmp_path: Path) -> None:
    for name, fault in (("rest by link", None), ("rest by header", None), ("rest by offset", "206")):
        request = ask(paged, Source(count=9, fault=fault), name, tmp_path, options={"paging": {"kind": "none"}, "total": None})
        with pytest.raises(SourceError, match=r"another page follows.*Mend: declare `paging`"):
            read(request)


REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "protocols" / "hubeau"


def test_a_recorded_page_of_hubeau(house: House, site: Site) -> None:
    if not REAL.is_dir():
        pytest.skip("the recorded pages of ../shared/data are not there")
    body = json.loads((REAL / "hydrometrie_observations_tr_O588251001_trimmed1.json").read_bytes())
    columns = [column("code_station"), column("grandeur_hydro"), column("date_obs", "timestamptz"), column("resultat_obs", "double")]
    options = {"path": "v1/observations_tr", "records": "data", "total": "count", "paging": {"kind": "next_link", "path": "next"}}
    key = ["code_station", "grandeur_hydro", "date_obs"]
    brick = house.brick("hydro", [table("observations", columns, key, options, cursor="date_obs")], site.url, connector="rest")
    # The recording was cut to one row of ten, and says ten: it is no whole answer.
    site.pages["/v1/observations_tr"] = (206, {}, json.dumps(body).encode())
    with pytest.raises(SourceError, match=r"announces 10 rows and gives 1|another page follows"):
        house.land(brick)
    site.pages["/v1/observations_tr"] = (200, {}, json.dumps({**body, "count": 1}).encode())
    assert house.land(brick)
    ((station, value),) = house.rows(brick, "observations", "code_station, resultat_obs")
    assert (station, value) == ("O588251001", 147629.0)


LAND = """
import sys
from pathlib import Path
from ingestion.census import read_brick
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.landing import land_brick
lake = Lake(sys.argv[2])
land_brick(lake, Journal(lake), read_brick(Path(sys.argv[1])), "run", lambda *_: [])
"""


@pytest.mark.parametrize("name", ["rest by link", "rest of csv"])
def test_a_reading_that_is_killed_at_a_page_is_read_again_whole(house: House, paged: Paged, name: str) -> None:
    brick = brick_of(house, paged, source := Source(count=30, size=5, fault="stall", at=4, times=1), name)
    path = str(house.folder / "bricks" / "a_brick.yml")
    process = subprocess.Popen([sys.executable, "-c", LAND, path, house.lake.root])
    while source.met == 0 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert source.met == 1
    assert house.parquet_files("a_brick") == set()
    assert house.land(brick)
    assert [row[0] for row in house.rows(brick, "a_table", "id")] == source.ids
