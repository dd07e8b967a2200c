"""What every connector that pages keeps: all rows or a clear error, whatever fails at page N (a simulated source of pages)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.connectors import Reading, Request, SourceError, connector, pages, web
from tests.fixtures.paged import LASTING, TRANSIENT, Paged, Source

# By name: the protocol, how the source pages and writes, and what a brick says of it.
SPOKEN: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "rest by page": ("rest", {"kind": "page_number"}, {"paging": {"kind": "page_number", "parameter": "number"}, "total": "total"}),
    "rest by offset": ("rest", {"kind": "offset"}, {"paging": {"kind": "offset", "parameter": "start"}, "total": "total"}),
    "rest by offset, untold": ("rest", {"kind": "offset", "total": None}, {"paging": {"kind": "offset", "parameter": "start"}}),
    "rest by offset, told apart": (
        "rest",
        {"kind": "offset", "total": "header"},
        {"paging": {"kind": "offset", "parameter": "start"}, "total_header": "X-Total-Count"},
    ),
    "rest by cursor": ("rest", {"kind": "cursor"}, {"paging": {"kind": "cursor", "parameter": "start", "path": "next"}, "total": "total"}),
    "rest by link": ("rest", {"kind": "next_link"}, {"paging": {"kind": "next_link", "path": "next"}, "total": "total"}),
    "rest by header": ("rest", {"kind": "link_header"}, {"paging": {"kind": "link_header"}, "total": "total"}),
    "rest by post": (
        "rest",
        {"kind": "offset"},
        {"paging": {"kind": "offset", "parameter": "start"}, "total": "total", "body": {"q": "all"}},
    ),
    "rest of csv": (
        "rest",
        {"kind": "link_header", "format": "csv", "total": "header"},
        {"format": "csv", "paging": {"kind": "link_header"}, "total_header": "X-Total-Count"},
    ),
    "rest of lines": (
        "rest",
        {"kind": "offset", "format": "ndjson", "total": "header"},
        {"format": "ndjson", "paging": {"kind": "offset", "parameter": "start"}, "total_header": "X-Total-Count"},
    ),
    "rest of xml": (
        "rest",
        {"kind": "page_number", "format": "xml", "total": "header"},
        {"format": "xml", "records": "row", "paging": {"kind": "page_number", "parameter": "number"}, "total_header": "X-Total-Count"},
    ),
    "rest of geojson": (
        "rest",
        {"kind": "next_link", "format": "geojson"},
        {"format": "geojson", "paging": {"kind": "next_link", "path": "next"}, "total": "total"},
    ),
}
LOGIN = {"auth": {"type": "login", "token_url": "/login", "user_env": "A_USER", "password_env": "A_PASSWORD"}}


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


def options_of(name: str, source: Source) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Give the protocol and what a brick says of a source."""
    protocol, served, told = SPOKEN[name]
    for field, value in served.items():
        setattr(source, field, value)
    records = {"json": {"records": "rows"}, "geojson": {}}.get(source.format, {})
    brick: dict[str, Any] = {"limits": {"concurrency": 2, "per_second": None}} | (LOGIN if source.fault == "token" else {})
    return protocol, brick, {"path": "rows", **records, **told}


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
    return connector("rest").read(request)


@pytest.mark.parametrize("name", SPOKEN)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 40), st.integers(1, 9))
def test_all_rows_are_read_whatever_the_size_of_a_page(paged: Paged, tmp_path: Path, name: str, count: int, size: int) -> None:
    request = ask(paged, source := Source(count=count, size=size), name, tmp_path)
    reading = read(request)
    assert ids_of(request, reading) == source.ids
    assert reading.count_method == ("counted" if source.total is None or not count else "announced")
    assert reading.request_count == len(source.asked)
    # The same again is nothing new.
    again = ask(paged, Source(count=count, size=size), name, tmp_path, position=reading.position)
    assert not read(again).parts


@pytest.mark.parametrize("name", SPOKEN)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(TRANSIENT), st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(1, 2))
def test_what_passes_at_any_page_costs_no_row(
    paged: Paged, tmp_path: Path, name: str, fault: str, count: int, size: int, at: int, times: int
) -> None:
    times = 1 if fault == "token" else times  # one that is refused at once is refused
    request = ask(paged, source := Source(count=count, size=size, fault=fault, at=at, times=times), name, tmp_path)
    assert ids_of(request, read(request)) == source.ids


@pytest.mark.parametrize("name", SPOKEN)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(LASTING + TRANSIENT), st.integers(1, 14), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_what_lasts_is_all_rows_or_a_clear_error(
    paged: Paged, tmp_path: Path, name: str, fault: str, count: int, size: int, at: int, once: bool
) -> None:
    source = Source(count=count, size=size, fault=fault, at=at, times=1 if once else 99)
    request = ask(paged, source, name, tmp_path, options={"parameters": {"since": "", "size": size}} if fault == "ignored filter" else {})
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
