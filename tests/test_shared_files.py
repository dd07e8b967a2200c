"""What several tables of a brick read of one file is fetched once, and is the same for all of them: from a server that counts."""

from __future__ import annotations

import gzip
import io
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import House, Site, column, table

from ingestion.brick import Brick
from ingestion.connectors import SourceError, web
from ingestion.connectors.patterns import are_shared

FEED = "/gtfs/feed.zip"


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BACKOFF_SECONDS", 0.001)


def packed(version: str, **members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("stops", "routes"):
            archive.writestr(f"{name}.txt", members.get(name, f"id,version\na,{version}\n"))
    return buffer.getvalue()


def feed(house: House, site: Site, *names: str, path: str = "gtfs/feed.zip", **meta: Any) -> Brick:
    of_brick = {name: meta.pop(name) for name in ("legal_basis", "purpose", "pseudonym_domain") if name in meta}
    columns = meta.pop("columns", [column("id"), column("version")])
    tables = [
        table(name, columns, ["id"], {"format": "csv", "path": f"{path}/{name}.txt"}, **{"delivers": "whole", **meta})
        for name in names or ("stops", "routes")
    ]
    return house.brick("star", tables, endpoint=site.url, **of_brick)


def fetched(site: Site) -> list[int]:
    """Give the answers that were asked for the feed since last time."""
    found = [asked.status for asked in site.asked if asked.path == FEED]
    site.asked.clear()
    return found


@pytest.mark.parametrize("signature", ["etag", "date", "none"])
def test_a_zip_of_two_tables_is_fetched_once(house: House, site: Site, signature: str) -> None:
    body = packed("1")
    site.put(FEED, body)
    if signature != "etag":
        site.pages[FEED] = (200, {"Last-Modified": "Mon, 03 Nov 2025 10:00:00 GMT"} if signature == "date" else {}, body)
    only = feed(house, site)
    entry = house.land(only)
    assert entry and fetched(site) == [200] and (entry["request_count"], entry["bytes_read"]) == (1, len(body))
    assert house.rows(only, "stops", "id, version") == house.rows(only, "routes", "id, version") == [("a", "1")]
    assert house.rows(only, "routes", "_file") == [("gtfs/feed.zip/routes.txt",)]
    # A server that knows no 304 is asked once as well.
    assert house.land(only) is None
    assert fetched(site) == [304 if signature == "etag" else 200]
    site.put(FEED, packed("2"))
    assert house.land(only)["tables"].keys() == {"stops", "routes"} and fetched(site) == [200]


def test_the_photo_is_the_same_when_the_server_changes_in_between(house: House, site: Site) -> None:
    versions = iter(range(1, 9))
    site.pages[FEED] = lambda _: (200, {"ETag": f'"{(version := next(versions))}"'}, packed(str(version)))
    only = feed(house, site)
    for version in ("1", "2"):
        assert house.land(only) and fetched(site) == [200]
        held = [house.rows(only, name, "version", "_read_at desc")[0] for name in ("stops", "routes")]
        assert held == [(version,), (version,)]


def test_each_table_knows_its_own_signature(house: House, site: Site) -> None:
    site.put(FEED, packed("1"))
    assert house.land(feed(house, site, "stops"))
    assert fetched(site) == [200]
    # A table that is new needs what the other one is told to be as it was.
    only = feed(house, site)
    assert set(house.land(only)["tables"]) == {"routes"}
    assert fetched(site) == [304, 200]
    # Where it has changed between the two answers, the tables would tell of two moments.
    only = feed(house, site, "stops", "routes", "shapes")
    answer = site.pages[FEED]

    def change(asked: Any) -> Any:
        told = answer(asked)
        site.pages[FEED] = (200, {"ETag": '"other"'}, packed("2"))
        return told

    site.pages[FEED] = change
    with pytest.raises(SourceError, match=r"star.shapes: gtfs/feed.zip has changed since another table was told it had not.* Mend: "):
        house.land(only)


def test_a_cut_is_fetched_again_and_nothing_of_it_is_left(house: House, site: Site) -> None:
    body = packed("1")
    answers = iter([(200, {"Content-Length": str(len(body))}, body[:50]), (200, {}, body)])
    site.pages[FEED] = lambda _: next(answers)
    only = feed(house, site)
    assert house.land(only) and fetched(site) == [200, 200]
    assert house.rows(only, "routes", "version") == [("1",)]
    left = [path for path in house.folder.rglob("*") if "shared" in path.parts]
    assert not left


def test_a_refused_load_is_not_fetched_again_by_each_table(house: House, site: Site) -> None:
    site.put(FEED, packed("1"))
    only = feed(house, site)
    assert house.land(only, lambda *_: ["no"])["verdict"] == "refused" and fetched(site) == [200]
    assert house.land(only, lambda *_: ["no"]) is None and fetched(site) == [304]
    site.put(FEED, packed("2"))
    assert house.land(only)["verdict"] == "accepted"
    assert fetched(site) == [200, 200]  # to know, then to read


def test_of_a_private_brick_it_stays_in_memory(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRA_PSEUDONYM_KEY", "une clé de test assez longue")
    site.put(FEED, packed("1", stops="id,version\nMartin,1\n"))
    columns = [column("id", personal=True, mask="pseudonym"), column("version")]
    only = feed(house, site, columns=columns, legal_basis="law", purpose="heat", pseudonym_domain="homes")
    seen: list[Path] = []

    def judge(*_: Any) -> list[str]:
        seen.extend(path for path in house.folder.rglob("*") if path.is_file() and not path.is_symlink())
        assert not any(b"Martin" in path.read_bytes() for path in seen)
        return []

    assert house.land(only, judge) and fetched(site) == [200] and seen


def test_what_one_table_reads_alone_is_not_kept(house: House, site: Site) -> None:
    site.put(FEED, packed("1"))
    site.put("/gtfs/other.csv.gz", gzip.compress(b"id,version\nb,1\n"))
    tables = [
        table("stops", [column("id")], ["id"], {"format": "csv", "path": "gtfs/feed.zip/stops.txt"}),
        table("other", [column("id")], ["id"], {"format": "csv", "path": "gtfs/other.csv.gz"}),
    ]
    only = house.brick("star", tables, endpoint=site.url)
    kept: list[Path] = []
    assert house.land(only, lambda *_: kept.extend(house.folder.rglob("shared")) or [])
    assert not kept


def test_threads_that_ask_at_once_wait_for_the_one_that_fetches(tmp_path: Path) -> None:
    from ingestion.connectors import Reading
    from ingestion.connectors.shared import Shared
    from ingestion.connectors.stores import Store, StoreEntry, Taken

    begun = threading.Barrier(8)

    class Slow(Store):
        def __init__(self) -> None:
            super().__init__()
            self.times = 0

        def place(self, folder: str) -> str:
            return folder

        def list(self, folder: str) -> Any:
            return []

        def read(self, file: StoreEntry, known: str | None, take: Any) -> Taken:
            self.times += 1
            return Taken(take(io.BytesIO(b"whole")), "one", None)

    store, shared, reading = Slow(), Shared(tmp_path / "shared", is_private=False), Reading(None, {})  # type: ignore[arg-type]

    def ask(number: int) -> Any:
        begun.wait()
        return shared.read(store, StoreEntry(f"{number % 2}.zip"), None, lambda stream: stream.read(), reading)

    with ThreadPoolExecutor(8) as pool:
        assert {taken.content for taken in pool.map(ask, range(8))} == {b"whole"}
    assert store.times == 2


def test_which_paths_are_shared() -> None:
    both = ["a/feed.zip/stops.txt", "a/feed.zip/routes.txt"]
    assert are_shared(both[0], both) and not are_shared(both[0], [both[0], "b/feed.zip/routes.txt"])
    assert are_shared("a.csv", ["a.csv", "{a,b}.csv"]) and not are_shared("b.csv", ["a.csv", "b.csv"])
    assert are_shared("%Y/*.zip/x.csv", ["%Y/*.zip/x.csv", "%Y/*.ZIP", "%Y/*.zip/y.csv"])
