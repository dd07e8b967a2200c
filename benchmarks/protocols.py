"""Rows a CPU second and memory of each connector, against the same rows from disk and a usual client of its protocol."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.measure import Result, Spent, spend
from ingestion.connectors import Request, connector
from ingestion.lake import PROJECT
from tests.fixtures.paged import Paged, Source, written_rows
from tests.fixtures.spoken import SPOKEN, options_of

ROWS, QUICK_ROWS, PAGE_ROWS = (10_000, 200_000), (500, 2_000), 1000
FLAT_MB = 40.0  # by which the peak may grow over 190,000 rows more: a page, and what DuckDB and Python keep
# Whose whole answer is one, which is parsed as one: their memory is that of the answer.
WHOLE = ("gbfs", "gtfs_rt", "files")
CATALOGUES = ("csw", "dcat", "udata")  # which keep the identifiers of what they gave, to see what comes twice
# More is done than their clients do (features flattened, a row a stop, resources told): behind, and said.
BEHIND = ("wfs", "gtfs_rt", "udata")
LEFT_OUT = (
    "arcgis by ids",
    "rest of csv by offset",
    "rest by offset, untold",
    "rest by offset, told apart",
    "rest by post",
    "rest by header",
)


def run(folder: Path, *, quick: bool) -> Iterator[Result]:
    """Give, by connector, how its peak grows with the rows, and its speed over that of a usual client where there is one."""
    for name in ("disk", "sql", *SPOKEN):
        if name not in LEFT_OUT:
            yield from _measure(folder, name, QUICK_ROWS if quick else ROWS)


def _measure(folder: Path, name: str, sizes: tuple[int, int]) -> list[Result]:
    spent: dict[tuple[str, int], Spent] = {}
    for rows in sizes:
        place = folder / f"{name} {rows}".replace(" ", "-")
        place.mkdir()
        if name in ("disk", "sql"):
            _write(place, name, rows)
        server = None if name in ("disk", "sql") else _served(name, rows)
        try:
            url = str(place) if server is None else server.stdout.readline().strip()  # type: ignore[union-attr]
            for reader in ("connector", "client"):
                if reader == "connector" or name in CLIENTS:
                    spent[reader, rows] = spend(["-m", "benchmarks.protocols", reader, name, url, str(rows), str(place)])
                    assert spent[reader, rows].json() == rows, (name, reader, spent[reader, rows].text)
        finally:
            if server:
                server.kill()
                server.wait()
    (few, many), told = sizes, {}
    for reader in dict.fromkeys(reader for reader, _ in spent):
        cpu = spent[reader, many].cpu_s - spent[reader, few].cpu_s
        told[reader] = (many - few) / max(cpu, 1e-9)
    peaks = [spent["connector", rows].peak_mb for rows in sizes]
    figures = [f"{reader}: {speed:,.0f} rows a CPU s" for reader, speed in told.items()]
    figures += [f"peak {peaks[0]:.0f} MB for {few:,} rows, {peaks[1]:.0f} MB for {many:,}"]
    limit = None if name in WHOLE + CATALOGUES else FLAT_MB
    results = [Result(f"`{name}`: growth of its peak", peaks[1] - peaks[0], limit, unit=" MB", figures=figures)]
    if "client" in told:
        ratio, floor = told["connector"] / told["client"], None if name in BEHIND else 1.0
        results.append(Result(f"`{name}` over {CLIENTS[name][0]}, rows a CPU second", ratio, floor, is_floor=True))
    return results


def _served(name: str, rows: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.protocols", "serve", name, str(rows)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def _write(place: Path, name: str, rows: int) -> None:
    """Write the rows that all sources hold as lines, or as a table of SQLite."""
    made = written_rows([f"{number:05d}" for number in range(rows)])
    if name == "disk":
        (place / "rows.ndjson").write_text("".join(f"{json.dumps(row)}\n" for row in made))
        return
    with sqlite3.connect(place / "rows.sqlite") as database:
        database.execute("create table rows (id text, place text, value real)")
        database.executemany("insert into rows values (?, ?, ?)", ((row["id"], json.dumps(row["place"]), row["value"]) for row in made))


def _told(name: str, url: str, rows: int) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """Give the protocol, the endpoint and the options of a source."""
    if name == "disk":
        return "files", url, {}, {"format": "ndjson", "path": "rows.ndjson"}
    if name == "sql":
        return "sql", f"sqlite:///{url}/rows.sqlite", {}, {"relation": "rows"}
    protocol, brick, options = options_of(name, Source(count=rows, size=PAGE_ROWS))
    return protocol, url, brick, options


def _read(name: str, url: str, rows: int, place: Path) -> int:
    """Read a table, and every row of its parts once; give their number."""
    protocol, endpoint, brick, options = _told(name, url, rows)
    module = connector(protocol)
    (spool := place / "spool").mkdir()
    request = Request.alone(
        "a_brick", "a_table", endpoint, brick_options=module.BrickOptions.model_validate(brick), spool=spool,
        table_options=module.TableOptions.model_validate(options), columns=("id",), connection=duckdb.connect(),
    )  # fmt: skip
    request.connection.execute("set memory_limit = '200MB'; set threads = 1")
    reading = module.read(request)
    ask = request.connection.execute
    return sum(
        ask(f"select count({'_doc' if part.columns is None else 'id'}) from ({part.relation})").fetchall()[0][0] for part in reading.parts
    )


def _by_dlt(paginator: Callable[[], Any], selector: str, **parameters: Any) -> Callable[[str, Path], Iterable[Any]]:
    def pages(url: str, _: Path) -> Iterable[Any]:
        from dlt.sources.helpers.rest_client import RESTClient

        return RESTClient(url).paginate("/rows", params=parameters, paginator=paginator(), data_selector=selector)

    return pages


def _offsets(parameter: str, size: str, total: str | None) -> Callable[[], Any]:
    def made() -> Any:
        from dlt.sources.helpers.rest_client.paginators import OffsetPaginator

        return OffsetPaginator(PAGE_ROWS, offset_param=parameter, limit_param=size, total_path=total)

    return made


def _links(path: str) -> Callable[[], Any]:
    def made() -> Any:
        from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator

        return JSONLinkPaginator(next_url_path=path)

    return made


def _by_bindings(url: str, _: Path) -> Iterable[Any]:
    import urllib.request

    from google.protobuf.json_format import MessageToDict
    from google.transit.gtfs_realtime_pb2 import FeedMessage

    feed = FeedMessage()
    with urllib.request.urlopen(f"{url}/rows") as answer:
        feed.ParseFromString(answer.read())
    yield [MessageToDict(entity) for entity in feed.entity]


def _by_sql_database(_: str, place: Path) -> Iterable[Any]:
    from dlt.sources.sql_database import sql_table

    for page in sql_table(f"sqlite:///{place}/rows.sqlite", table="rows", chunk_size=10_000):
        yield page if isinstance(page, list) else [page]


# By name: how a usual client is called, and what gives its pages.
CLIENTS: dict[str, tuple[str, Callable[[str, Path], Iterable[Any]]]] = {
    "rest by offset": ("dlt's RESTClient", _by_dlt(_offsets("start", "size", "total"), "rows")),
    "rest by link": ("dlt's RESTClient", _by_dlt(_links("next"), "rows")),
    "sensorthings": ("dlt's RESTClient", _by_dlt(_links("'@iot.nextLink'"), "value")),
    "wfs": ("dlt's RESTClient", _by_dlt(_offsets("STARTINDEX", "COUNT", "numberMatched"), "features")),
    "ckan": ("dlt's RESTClient", _by_dlt(_offsets("offset", "limit", "result.total"), "result.records")),
    "udata": ("dlt's RESTClient", _by_dlt(_links("next_page"), "data", page_size=PAGE_ROWS)),
    "gtfs_rt": ("the protocol's bindings and MessageToDict", _by_bindings),
    "sql": ("dlt's sql_database", _by_sql_database),
}


def _by_client(name: str, url: str, place: Path) -> int:
    """Read by a usual client, and write what it gives as lines, as a pipeline does before anything else."""
    import orjson

    count, keys = 0, orjson.OPT_NON_STR_KEYS  # SQLAlchemy's names are texts of its own
    with (place / "by_client.ndjson").open("wb") as target:
        for page in CLIENTS[name][1](url, place):
            target.write(b"".join(orjson.dumps(row, option=keys) + b"\n" for row in page))
            count += len(page)
    return count


def main() -> None:
    mode, name, *told = sys.argv[1:]
    if mode == "serve":
        paged, source = Paged(), Source(count=int(told[0]), size=PAGE_ROWS)
        options_of(name, source)
        paged.source = source
        print(paged.url, flush=True)
        threading.Event().wait()
    url, rows, place = told[0], int(told[1]), Path(told[2])
    print(_read(name, url, rows, place) if mode == "connector" else _by_client(name, url, place))


if __name__ == "__main__":
    main()
