"""What the tests share: a lake of their own, bricks written on the spot, a web server that counts what it is asked."""

from __future__ import annotations

import fcntl
import hashlib
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote

import pytest
import yaml

from ingestion.brick import Brick
from ingestion.census import read_brick
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.territory import read_territory
from tests.fixtures import seaweed
from tests.fixtures.losing import Losing

if TYPE_CHECKING:
    from tests.fixtures.compiled import Compiled
    from tests.fixtures.town import Town

Document = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]
LONGEST = (
    "test_demo", "test_incremental", "test_killed_runs", "test_taken_back", "test_plan", "test_publish", "test_landing", "test_time_travel",
    "test_energy_oracle", "test_alarms", "test_privacy", "test_disclosure_over_time",
)  # fmt: skip
"""Files by how long they take, of those that take more than half a minute."""


def column(name: str, data_type: str = "string", **meta: Any) -> Document:
    """Give the YAML of a column."""
    told = {"name": name, "data_type": data_type, "description": name}
    return {**told, "config": {"meta": meta}} if meta else told


def table(name: str, columns: list[Document], key: list[str], options: Document, **meta: Any) -> Document:
    """Give the YAML of a table; it delivers changes unless told otherwise."""
    told = {"delivers": "changes", "key": key, "options": dict(options), **meta}
    return {"name": name, "description": name, "config": {"meta": told}, "columns": columns}


def source(name: str, tables: list[Document], **meta: Any) -> Document:
    """Give the YAML of a brick that breaks no rule."""
    told = {
        "title_fr": "Un essai", "title_en": "A trial", "kind": "source", "producer": "Ville", "steward": "Service",
        "use_cases": ["energy"], "status": "tested", "licence": "etalab-2.0", "access_class": "internal",
        "connector": "files", "endpoint": None, "endpoint_reason": "Dropped by hand.", "cadence": "daily",
        "retention": {"count": 1, "period": "year"}, **meta,
    }  # fmt: skip
    fresh = {"warn_after": {"count": 1, "period": "day"}, "error_after": {"count": 2, "period": "day"}}
    config = {"freshness": fresh, "loaded_at_field": "_read_at", "meta": told}
    return {"version": 2, "sources": [{"name": name, "description": name, "config": config, "tables": tables}]}


def accept(*_: Any) -> list[str]:
    """Judge nothing."""
    return []


class House:
    """A lake, a folder of bricks and a folder of sources, all of one test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, monkeypatch
        self.lake = Lake(str(folder / "lake"))
        self.drops = folder / "drops"
        self.drops.mkdir()
        (folder / "bricks").mkdir()

    def brick(self, name: str, tables: list[Document], endpoint: str | Path | None = None, **meta: Any) -> Brick:
        """Write a brick, read it, and point it at a folder (the drops) or a URL."""
        path = self.folder / "bricks" / f"{name}.yml"
        path.write_text(yaml.safe_dump(source(name, tables, **meta), allow_unicode=True, sort_keys=False), encoding="utf-8")
        self._patch.setenv(f"ORCHESTRA_ENDPOINT_{name.upper()}", str(endpoint or self.drops))
        return read_brick(path)

    def drop(self, name: str, content: str | bytes) -> Path:
        """Lay a file in the folder of sources."""
        path = self.drops / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    @property
    def journal(self) -> Journal:
        """The journal as it stands now."""
        return Journal(self.lake)

    def land(self, brick: Brick, judge: Callable[..., list[str]] = accept) -> Entry | None:
        """Land a brick; give the journal's entry, None when its source had nothing new."""
        from ingestion.landing import land_brick

        return land_brick(self.lake, self.journal, brick, "run", judge).entry

    def erase(self, brick: Brick, *keys: dict[str, Any]) -> int:
        """Erase the rows of some keys; give how many went."""
        from ingestion.erasing import erase_rows

        told = [{name: None if value is None else str(value) for name, value in key.items()} for key in keys]
        return sum(erased.row_count for erased in erase_rows(self.lake, self.journal, brick, told, "asked for"))

    def rows(self, brick: Brick, table: str, columns: str = "*", order: str = "all") -> list[tuple[Any, ...]]:
        """Give the rows of a source as dbt reads it."""
        from ingestion.warehouse import catch_up

        connection = self.lake.connect()
        catch_up(connection, self.lake, self.journal, {brick.name: brick})
        rows = connection.execute(f"select {columns} from {brick.name}.{table} order by {order}").fetchall()
        connection.close()
        return rows

    def landed_files(self, brick: str) -> set[str]:
        """Give the names of the files and of the particulars of loads that stand under a brick, named by the journal or not."""
        return {name for name in self.lake.names(f"landed/{brick}") if "/load_id=" in name}

    def parquet_files(self, brick: str) -> set[str]:
        """Give the names of the Parquet files that stand under a brick, named by the journal or not."""
        return {name for name in self.landed_files(brick) if name.endswith(".parquet")}


class Asked(NamedTuple):
    """What a web server was asked, and the status that it answered."""

    path: str
    status: int
    query: dict[str, list[str]]
    headers: dict[str, str]


class Site(http.server.ThreadingHTTPServer):
    """A web server of the tests: `pages` are answers, or make them of the headers, the path and the URL asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Answer | Callable[[Any], Answer]] = {}
        self.asked: list[Asked] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def put(self, path: str, body: bytes | str, **headers: str) -> None:
        """Serve a file by its ETag, and list it in the folders above as nginx does."""
        body = body.encode() if isinstance(body, str) else body
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'

        def answer(asked: Any) -> Answer:
            told = {"ETag": tag, "Last-Modified": "Mon, 03 Nov 2025 10:00:00 GMT", **headers}
            return (304, told, b"") if asked.get("If-None-Match") == tag else (200, told, body)

        self.pages[path] = answer
        *folders, _ = path.strip("/").split("/")
        for depth in range(len(folders) + 1):
            self.pages["/" + "".join(f"{folder}/" for folder in folders[:depth])] = self._listing

    def _listing(self, asked: Any) -> Answer:
        here = asked["path"]
        under = {path[len(here) :] for path in self.pages if path.startswith(here) and path != here}
        names = sorted({name.partition("/")[0] + ("/" if "/" in name else "") for name in under})
        links = '<a href="../">../</a> <a href="?C=N">Name</a>' + "".join(f'<a href="{name}">{name}</a>\n' for name in names)
        return 200, {"Content-Type": "text/html"}, f"<html><body><pre>{links}</pre></body></html>".encode()

    def stop(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are sent apart: the second would wait for the first to be acknowledged
    server: Site

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        path = unquote(path)
        told = {name.title(): value for name, value in self.headers.items()}
        page = self.server.pages.get(path, (404, {}, b'{"message": "There is none of that name."}'))
        status, headers, body = page({**told, "path": path, "url": self.path}) if callable(page) else page
        self.server.asked.append(Asked(path, status, parse_qs(query), told))
        self.send_response_only(status)
        for name, value in {"Date": self.date_time_string(), "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        # A body shorter than it was said to be ends with the connection.
        self.close_connection = headers.get("Content-Length", str(len(body))) != str(len(body))

    def log_message(self, *_: Any) -> None:
        pass


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the longest files begin first: a worker that took one last would end alone."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures that tests record under `shown`, which would be captured if they were printed."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == "shown" and report.when == "call":
                    terminalreporter.write_line(text)


@pytest.fixture(autouse=True)
def _territory() -> Iterator[None]:
    read_territory.cache_clear()
    yield
    read_territory.cache_clear()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Give a lake, bricks and sources of the test's own."""
    monkeypatch.delenv("ORCHESTRA_ENDPOINT", raising=False)
    return House(tmp_path, monkeypatch)


@pytest.fixture
def shop(house: House, monkeypatch: pytest.MonkeyPatch) -> tuple[House, Brick]:
    """Give a house that the command line finds, and its brick of one table of CSV files."""
    monkeypatch.setenv("ORCHESTRA_LAKE", house.lake.root)
    monkeypatch.delenv("ORCHESTRA_STATE", raising=False)
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(house.folder / "bricks"))
    items = table("items", [column("id"), column("n", "bigint")], ["id"], {"format": "csv", "path": "items*.csv", "separator": ","})
    return house, house.brick("shop", [items])


@pytest.fixture
def town(house: House, monkeypatch: pytest.MonkeyPatch) -> Town:
    """Give a small dbt project with the real macros, whose first rows are landed and built."""
    from tests.fixtures.town import Town

    return Town(house, monkeypatch)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Give a folder of the whole session by its name: the first worker that asks makes it, the others wait and read."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder_of(name: str, make: Callable[[Path], None]) -> Path:
        folder, made = root / name, root / f"{name}.made"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what a worker that failed has left
                folder.mkdir()
                make(folder)
                made.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def compiled(shared: Callable[[str, Callable[[Path], None]], Path]) -> Compiled:
    """Give the SELECT of each model as dbt compiles it, and dbt's manifest: compiled once a session."""
    from tests.fixtures.compiled import compile_models, read_compiled

    return read_compiled(shared("compiled", compile_models))


@pytest.fixture
def site() -> Iterator[Site]:
    """Give a web server of the test's own."""
    served = Site()
    yield served
    served.stop()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Give the environment that reaches the bucket `city` of a real S3 server."""
    with seaweed.served(tmp_path_factory.mktemp("seaweed")) as environment:
        yield environment


@pytest.fixture
def losing(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Losing]:
    """Give a proxy before the real S3 server, and the environment that reaches the bucket through it."""
    proxy = Losing(s3["AWS_ENDPOINT_URL"])
    for name, value in {**s3, "AWS_ENDPOINT_URL": proxy.url}.items():
        monkeypatch.setenv(name, value)
    yield proxy
    proxy.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give a real browser; the test is skipped, and says why, where there is none."""
    chromium = next((path for path in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser")) if path.exists()), None)
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: make venv")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        yield opened
        opened.close()


def read_by_blocks(patch: pytest.MonkeyPatch, size: int) -> None:
    """Have files read by blocks of so many bytes."""
    for module in ("spool", "count", "geojson"):
        patch.setattr(f"ingestion.formats.{module}.BLOCK_BYTES", size)


def staged(house: House, brick: Brick) -> dict[str, Any]:
    """Read and stage the one table of a brick, without booking it in; give its record and its rows."""
    from ingestion.cursor import start_of
    from ingestion.refusal import reasons_before_judging
    from ingestion.staging import read_table, stage

    journal, only = house.journal, brick.tables[0]
    with house.lake.workspace("trial") as work, house.lake.connect(is_private=brick.has_personal) as connection:
        position = start_of(journal, brick, only, "")
        reading = read_table(brick, only, position, connection, work / "spool", None)
        kept = stage(connection, brick, only, reading, work, reading.read_at, position)
        rows = []
        if kept.files:
            files = [str(file) for file in kept.files]
            rows = connection.execute("select * from read_parquet($1, union_by_name = true)", [files]).to_arrow_table().to_pylist()
        return {**kept.record, "rows": rows, "reasons": reasons_before_judging(kept)}
