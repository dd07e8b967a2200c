"""Rows read over HTTP by pages, against the same bytes read from disk, and against dlt's own client."""

from __future__ import annotations

import http.server
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.measure import Result, alternate
from ingestion.connectors import Reading, Request, connector
from ingestion.lake import PROJECT

ROWS, QUICK_ROWS, PAGE_ROWS, ROUNDS = 200_000, 5_000, 1000, 3


def run(folder: Path, *, quick: bool) -> list[Result]:
    """Give the speed of `rest` over that of dlt's RESTClient and over that of `files` on the same rows in one NDJSON file."""
    rows = QUICK_ROWS if quick else ROWS
    (source := folder / "source").mkdir()
    records = [_record(number) for number in range(rows)]
    (source / "rows.ndjson").write_text("".join(f"{record}\n" for record in records))
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.connectors", str(rows)], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        counts: dict[str, int] = {}
        spent = alternate(
            1 if quick else ROUNDS,
            {
                "rest": lambda: counts.update(rest=_read(folder, "rest", url, _REST)),
                "dlt": lambda: counts.update(dlt=_read_by_dlt(folder, url)),
                "disk": lambda: counts.update(disk=_read(folder, "files", str(source), {"format": "ndjson", "path": "rows.ndjson"})),
            },
        )
    finally:
        server.kill()
        server.wait()
    assert set(counts.values()) == {rows}, counts
    speed = {name: f"{rows / one.wall_s:,.0f} rows/s, {rows / one.cpu_s:,.0f} a CPU s" for name, one in spent.items()}
    size = (source / "rows.ndjson").stat().st_size
    figures = [f"{rows:,} rows of {size / rows:.0f} bytes, {PAGE_ROWS} a page", *(f"{name}: {told}" for name, told in speed.items())]
    return [
        Result(
            "`rest` over dlt's RESTClient, rows a CPU second", spent["dlt"].cpu_s / spent["rest"].cpu_s, 1.0, is_floor=True, figures=figures
        ),
        Result("`rest` over the same bytes from disk, time of the processor", spent["rest"].cpu_s / spent["disk"].cpu_s, None),
    ]


_REST = {
    "path": "rows", "records": "rows", "total": "total",
    "paging": {"kind": "offset", "parameter": "start", "size_parameter": "size", "size": PAGE_ROWS},
}  # fmt: skip


def _record(number: int) -> str:
    return f'{{"id": "{number:08d}", "at": "2026-01-01T00:00:00Z", "value": {number % 977}.50, "place": {{"code": "{number % 43:05d}"}}}}'


def _read(folder: Path, protocol: str, endpoint: str, options: dict[str, Any]) -> int:
    """Read a table, and every row of its parts once; give their number."""
    module = connector(protocol)
    spool = folder / f"spool-{protocol}-{len(list(folder.iterdir()))}"
    spool.mkdir()
    request = Request(
        brick="a_brick", table="a_table", endpoint=endpoint, table_options=module.TableOptions.model_validate(options),
        brick_options=module.BrickOptions.model_validate({"limits": {"per_second": None}}), columns=("id",), cursor=None, lookback_days=0.0,
        position={}, known={}, connection=duckdb.connect(), spool=spool, is_private=False, whole=True, progress=lambda _: None,
    )  # fmt: skip
    reading: Reading = module.read(request)
    sums = [request.connection.execute(f"select count(_doc) from ({part.relation})").fetchall()[0][0] for part in reading.parts]
    return sum(sums)


def _read_by_dlt(folder: Path, url: str) -> int:
    """Read the same by dlt's client, and write what it gives as lines, as its pipelines do before anything else."""
    import orjson
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import OffsetPaginator

    paginator = OffsetPaginator(PAGE_ROWS, offset_param="start", limit_param="size", total_path="total")
    count, target = 0, folder / "by_dlt.ndjson"
    with target.open("wb") as file:
        for page in RESTClient(url).paginate("/rows", paginator=paginator, data_selector="rows"):
            file.write(b"".join(orjson.dumps(row) + b"\n" for row in page))
            count += len(page)
    return count


class _Pages(http.server.BaseHTTPRequestHandler):
    """Pages made once, so that the server is not what is measured."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    pages: tuple[bytes, ...] = ()

    def do_GET(self) -> None:
        start = self.path.partition("start=")[2].partition("&")[0]
        number = int(start or 0) // PAGE_ROWS
        body = self.pages[number] if number < len(self.pages) - 1 else self.pages[-1]
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *_: Any) -> None:
        pass


def _serve(rows: int) -> None:
    records = [_record(number) for number in range(rows)]
    pages = [records[start : start + PAGE_ROWS] for start in range(0, rows, PAGE_ROWS)]
    _Pages.pages = tuple(f'{{"total": {rows}, "rows": [{", ".join(page)}]}}'.encode() for page in (*pages, []))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
