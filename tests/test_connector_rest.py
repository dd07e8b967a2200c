"""What a brick of an API says, held to odd but real answers: no prefix taken for the whole, no value or secret astray (simulated)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import Answer, Document, House, Site, column, table

from expectations.gate import judge_load
from ingestion.connectors import SourceError, turns, web
from ingestion.connectors.authentication import Pass
from ingestion.declaration import BrickError

ONE = [{"id": "1"}]


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connectors.web.BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("ingestion.connectors.pages.PAUSE_SECONDS", 0.001)


@pytest.fixture
def other() -> Iterator[Site]:
    """Serve another host."""
    site = Site()
    yield site
    site.stop()


def told(body: Any, status: int = 200, **headers: str) -> Answer:
    return status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()


def brick_of(house: House, site: Site, told: Document, columns: list[Document] | None = None, **meta: Any) -> Any:
    """Write a brick of one table at `/rows`."""
    of_brick = {name: meta.pop(name) for name in ("legal_basis", "purpose", "data_subjects", "options") if name in meta}
    tables = [table("t", columns or [column("id")], ["id"], {"path": "rows", **told}, **meta)]
    return house.brick("b", tables, site.url, connector="rest", **of_brick)


def ids_of(house: House, brick: Any) -> list[str]:
    return [row[0] for row in house.rows(brick, "t", "id")]


def asked(request: Any) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request["url"]).query).items()}


def tagged(page: Answer) -> Callable[[Any], Answer]:
    """Make what answers a page, or that it is the same to who holds a tag of any."""
    return lambda request: told(b"", 304) if request.get("If-None-Match") else page


GEO: Document = {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": None, "properties": {"id": "1"}}]}


@pytest.mark.parametrize(
    ("body", "options", "fault"),
    [
        ({"value": ONE, "@odata.nextLink": "/rows?page=2"}, {"records": "value"}, "says that another page follows"),
        ({"value": ONE, "links": {"next": "/rows?page=2"}}, {"records": "value"}, "says that another page follows"),
        ({"value": ONE, "next": 2}, {"records": "value"}, "says that another page follows"),
        ({"value": ONE, "exceededTransferLimit": True}, {"records": "value"}, "says that another page follows"),
        ({**GEO, "properties": {"exceededTransferLimit": True}}, {"format": "geojson"}, "says that another page follows"),
        ({**GEO, "numberMatched": 9}, {"format": "geojson"}, "says that another page follows"),
        (
            {"value": ONE, "next": "/rows?page=2"},
            {"records": "value", "paging": {"kind": "next_link", "path": "nxt"}},
            "which its `paging` does not lead to",
        ),
        (
            {"value": ONE, "next": 2},
            {"records": "value", "paging": {"kind": "next_link", "path": "next"}},
            "holds at `next` what is no link",
        ),
        (
            {"value": ONE, "next": {"url": "/rows?page=2"}},
            {"records": "value", "paging": {"kind": "next_link", "path": "next"}},
            "holds at `next` what is no link",
        ),
        ({"value": ONE, "total": 50}, {"records": "value", "total": "totl"}, r"says nowhere how many rows .*`totl`.*Mend: check `total`"),
        ({"value": ONE, "total": 1.9}, {"records": "value", "total": "total"}, "no number of rows"),
        ({"value": None}, {"records": "value"}, "holds null at `value`"),
        (b'{"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {"records": "value"}, "is no JSON object or array"),
        ({**GEO, "crs": {"properties": {"name": "urn:ogc:def:crs:EPSG::2154"}}}, {"format": "geojson"}, "EPSG::2154, and not in longitude"),
    ],
)
def test_what_is_not_all_or_not_what_it_seems_fails(house: House, site: Site, body: Any, options: Document, fault: str) -> None:
    site.pages["/rows"] = told(body)
    with pytest.raises(SourceError, match=fault):
        house.land(brick_of(house, site, options))


def test_rows_that_no_cursor_will_ask_for_again_are_told(house: House, site: Site) -> None:
    site.put("/rows", json.dumps([{"id": "a", "seen": "2026-01-01"}, {"id": "b", "seen": None}, {"id": "c"}]))
    told: dict[str, Any] = {"path": "rows", "since": {"parameter": "from"}}
    columns = [column("id"), column("seen", "date")]
    entry = house.land(house.brick("b", [table("t", columns, ["id"], told, cursor="seen")], site.url, connector="rest"))
    assert entry and entry["tables"]["t"]["kept"] == 3
    (warning,) = entry["tables"]["t"]["profile"]["warnings"]
    assert "2 rows have no seen, by which what is new is asked for" in warning and "Mend: a `cursor` that all rows have" in warning
    site.put("/rows", json.dumps([{"id": "d", "seen": "2026-01-02"}]))
    entry = house.land(house.brick("b", [table("t", columns, ["id"], told, cursor="seen")], site.url, connector="rest"))
    assert entry and not entry["tables"]["t"].get("profile", {}).get("warnings")


def test_a_key_may_hold_dots_and_a_cursor_end_by_standing_still(house: House, site: Site) -> None:
    first = {"value": ONE, "@odata.nextLink": f"{site.url}/rows?page=2"}
    site.pages["/rows"] = lambda request: told({"value": [{"id": "2"}]} if "page" in asked(request) else first)
    brick = brick_of(house, site, {"records": "value", "paging": {"kind": "next_link", "path": "@odata.nextLink"}})
    house.land(brick)
    assert ids_of(house, brick) == ["1", "2"]
    # As Solr does, and the Sirene API.
    found = {"*": ("B", ["3", "4"]), "B": ("C", ["5"]), "C": ("C", [])}

    def page(request: Any) -> Any:
        following, ids = found[asked(request)["c"]]
        return told({"next": following, "value": [{"id": each} for each in ids]})

    site.pages["/rows"] = page
    paging = {"kind": "cursor", "parameter": "c", "path": "next"}
    brick = brick_of(house, site, {"records": "value", "parameters": {"c": "*"}, "paging": paging})
    house.land(brick)
    assert ids_of(house, brick) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(("before", "options"), [("", {}), ("Rows of the day\n", {"skip": 1})], ids=["plain", "skip"])
def test_rows_of_csv_are_counted_as_they_land(house: House, site: Site, before: str, options: Document) -> None:
    rows = [f'{number:02d};"two\nlines; {number}"\n' for number in range(9)]
    site.pages["/rows"] = lambda request: told(f"{before}id;v\n{''.join(rows[int(asked(request)['at']) :][:4])}".encode())
    paging = {"kind": "offset", "parameter": "at"}
    brick = brick_of(house, site, {"format": "csv", "paging": paging, **options}, [column("id"), column("v")])
    house.land(brick)
    assert house.rows(brick, "t", "id, v") == [(f"{number:02d}", f"two\nlines; {number}") for number in range(9)]
    assert [each.query["at"][0] for each in site.asked] == ["0", "4", "8", "9"]


def test_rows_may_be_numbered_from_one_and_a_body_asks_for_the_size(house: House, site: Site) -> None:
    ids = [f"{number}" for number in range(1, 8)]
    site.pages["/rows"] = lambda request: told([{"id": each} for each in ids[int(asked(request)["at"]) - 1 :][:3]])
    brick = brick_of(house, site, {"paging": {"kind": "offset", "parameter": "at", "first": 1}})
    house.land(brick)
    assert ids_of(house, brick) == ids
    site.pages["/rows"] = told([])
    sized = {"kind": "page_number", "parameter": "page", "size_parameter": "size", "size": 50}
    house.land(brick_of(house, site, {"body": {"q": "all"}, "paging": sized}))
    assert site.asked[-1].query == {}  # it stands in the body, as the page does


@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_photo_that_is_empty_now_is_refused_and_not_passed_over(house: House, site: Site, form: str) -> None:
    site.pages["/rows"] = told(ONE if form == "json" else b"id\n1\n")
    brick = brick_of(house, site, {"format": form}, delivers="whole")
    assert (house.land(brick, judge_load) or {})["verdict"] == "accepted"
    site.pages["/rows"] = told([] if form == "json" else b"id\n")
    entry = house.land(brick, judge_load)
    assert entry and (entry["verdict"], entry["reasons"][0]) == ("refused", "t: no row was kept")
    assert house.land(brick, judge_load) is None


def test_no_content_is_no_news(house: House, site: Site) -> None:
    site.pages["/rows"] = told(b"", 204)
    assert house.land(brick_of(house, site, {})) is None


def test_columns_that_stand_nowhere_are_told_and_others_are_read_again(house: House, site: Site) -> None:
    site.pages["/rows"] = told([{"id": "1", "m": {"v": "a", "w": "b", "n": None}}])
    columns = [column("id"), column("v")]
    entry = house.land(brick_of(house, site, {"columns": {"v": "m.typo"}}, columns))
    assert entry and "no document holds v" in entry["reasons"][0]
    assert house.land(brick_of(house, site, {"columns": {"v": "m.v"}}, columns))
    brick = brick_of(house, site, {"columns": {"v": "m.v", "w": "m.w"}}, [*columns, column("w", optional=True)])
    assert house.land(brick)
    assert ("a", "b") in house.rows(brick, "t", "v, w")
    site.pages["/rows"] = told(b'{"id":"2","m":{"v":"c"}}\t\r\n')
    assert house.land(brick_of(house, site, {"format": "ndjson", "columns": {"v": "m.v"}}, columns))
    assert ("2", "c") in house.rows(brick, "t", "id, v")


def test_features_that_tell_a_key_twice_or_hold_no_text_are_refused(house: House, site: Site) -> None:
    properties = [b'"id": "1", "n": "a", "n": "b"', b'"id": "2", "n": "Caf\xe9"', b'"id": "3", "n": "c"']
    features = b",".join(b'{"type": "Feature", "geometry": null, "properties": {%b}}' % each for each in properties)
    site.pages["/rows"] = told(b'{"type": "FeatureCollection", "features": [%b]}' % features)
    brick = brick_of(house, site, {"format": "geojson"}, [column("id"), column("n")])
    entry = house.land(brick)
    assert entry and (entry["tables"]["t"]["kept"], entry["tables"]["t"]["refused"]) == (1, 2)


def test_xml_says_null_and_a_prefix_is_none_of_a_name(house: House, site: Site) -> None:
    spaces = "xmlns:x='urn:x' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'"
    site.pages["/rows"] = told(f"<r {spaces}><x:row><id>01</id><v xsi:nil='true'/></x:row></r>".encode())
    brick = brick_of(house, site, {"format": "xml", "records": "x:row"}, [column("id"), column("v", "double")])
    house.land(brick)
    assert house.rows(brick, "t", "id, v") == [("01", None)]


@pytest.mark.parametrize("status", [302, 303, 307, 308])
def test_a_login_is_sent_to_no_other_host(house: House, site: Site, other: Site, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("A_USER", "hidden-user")
    monkeypatch.setenv("A_PASSWORD", "hidden-password")
    site.pages["/login"] = told(b"", status, Location=f"{other.url}/login")
    other.pages["/login"] = told({"token": "t"})
    auth = {"type": "login", "token_url": "/login", "user_env": "A_USER", "password_env": "A_PASSWORD"}
    with pytest.raises(SourceError, match=f"/login answered {status}.*Mend: it has moved"):
        house.land(brick_of(house, site, {}, options={"auth": auth}))
    assert other.asked == []


def test_a_token_that_another_thread_renewed_meanwhile_is_the_one_given_up(
    house: House, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A_USER", "A_PASSWORD"):
        monkeypatch.setenv(name, "hidden")
    given: list[str] = []

    def login(_: Any) -> Answer:
        given.append(f"t{len(given) + 1}")
        return told({"token": given[-1]})

    turn = web.turn

    def another_thread(name: str, limits: Any) -> Any:
        # As the first request waits for its turn, its token expires, and so does the one that another thread asks for.
        if len(given) == 1 and passes[0].give_up("t1"):
            passes[0].open(lambda *_: login(None)[2])
        return turn(name, limits)

    passes: list[Pass] = []
    monkeypatch.setattr(web, "Pass", lambda *told: passes.append(Pass(*told)) or passes[0])
    monkeypatch.setattr(web, "turn", another_thread)
    site.pages["/login"] = login
    site.pages["/rows"] = lambda request: told(ONE) if request.get("Authorization") == "Bearer t3" else told(b"", 401)
    auth = {"type": "login", "token_url": "/login", "user_env": "A_USER", "password_env": "A_PASSWORD"}
    assert house.land(brick_of(house, site, {}, options={"auth": auth}))
    assert given == ["t1", "t2", "t3"]


@pytest.mark.parametrize(
    "body",
    [{"Jean Dupont": 1}, {"error": {"code": 404, "message": "Jean Dupont"}}, {"rows": ONE, "total": "Jean Dupont"}],
    ids=["member", "error", "total"],
)
def test_no_message_of_a_private_brick_quotes_an_answer(house: House, site: Site, body: Any) -> None:
    site.pages["/rows"] = told(body)
    private = {"legal_basis": "mission", "purpose": "none", "data_subjects": ["habitants"]}
    columns = [column("id"), column("name", personal=True, mask="drop")]
    with pytest.raises(SourceError) as error:
        house.land(brick_of(house, site, {"records": "rows", "total": "total"}, columns, **private))
    assert "Dupont" not in str(error.value)


def test_a_secret_is_hidden_though_an_error_is_cut_in_it(house: House, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "hidden" * 8)
    site.pages["/rows"] = told({"error": {"code": 400, "message": f"{'x' * 270} {'hidden' * 8}"}})
    auth = {"type": "api_key", "key_env": "A_KEY", "header": "X-Key"}
    with pytest.raises(SourceError, match="an error under 200") as error:
        house.land(brick_of(house, site, {}, options={"auth": auth}))
    assert "hidden" not in str(error.value)


def test_a_date_of_this_second_is_no_version_nor_is_a_tag_of_another_endpoint(house: House, site: Site, other: Site) -> None:
    site.pages["/rows"] = told(ONE, **{"Last-Modified": formatdate(usegmt=True)})
    assert house.land(brick_of(house, site, {}))
    house.land(brick_of(house, site, {}))
    assert "If-Modified-Since" not in site.asked[-1].headers
    for place, body in ((site, [{"id": "2"}]), (other, [{"id": "3"}])):
        page = told(body, ETag='"1"')
        place.pages["/rows"] = tagged(page)
    assert house.land(brick_of(house, site, {}))
    assert house.land(brick_of(house, site, {})) is None
    assert site.asked[-1].status == 304
    assert house.land(brick_of(house, other, {}))


@pytest.mark.parametrize("number", ["01001", "12:30"])
def test_what_yaml_takes_for_another_number_is_no_brick(house: House, site: Site, number: str) -> None:
    brick_of(house, site, {"parameters": {"commune": "HERE"}})
    path = house.folder / "bricks" / "b.yml"
    path.write_text(path.read_text().replace("HERE", number))
    from ingestion.census import read_brick

    with pytest.raises(BrickError, match=rf"{number} \(line \d+\) .*another base.*in quotes"):
        read_brick(path)


def test_turns_at_a_host_are_first_come_first_served() -> None:
    order: list[int] = []

    def wait(number: int) -> None:
        with turns.turn("a-host", turns.Limits(concurrency=1)):
            order.append(number)

    threads = [threading.Thread(target=wait, args=[number]) for number in range(3)]
    with turns.turn("a-host", turns.Limits(concurrency=1)):
        for thread in threads:
            thread.start()
            while len(turns._hosts["a-host"].waiting) <= threads.index(thread):
                time.sleep(0.001)
    wait(3)  # whoever has just been served is not served again before those who wait
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3]


def test_what_an_empty_photo_lacks_has_ended_and_comes_back_with_the_next(house: House, site: Site) -> None:
    brick = house.brick("b", [table("t", [column("id")], ["id"], {"path": "rows"}, delivers="whole")], site.url, connector="rest")
    photos: list[tuple[list[str], list[str]]] = [(["1", "2"], ["1", "2"]), ([], []), (["2"], ["1", "2", "2"])]
    for photo, shown in photos:
        site.put("/rows", json.dumps([{"id": each} for each in photo]))
        assert house.land(brick)
        # Of the photos that stand, each is shown, for whoever reads their history, but none before one that is empty.
        assert [row[0] for row in house.rows(brick, "t", "id", "1")] == shown


def test_rows_of_csv_that_differ_in_a_later_column_did_not_come_twice(house: House, site: Site) -> None:
    def answer(asked: Any) -> Any:
        start = int(asked["url"].partition("start=")[2].partition("&")[0])
        return 200, {}, ("id,n\n" + (f"a,{start}\n" if start < 3 else "")).encode()

    site.pages["/rows"] = answer
    options = {"path": "rows", "format": "csv", "paging": {"kind": "offset", "parameter": "start"}}
    brick = house.brick("b", [table("t", [column("id"), column("n")], ["id", "n"], options)], site.url, connector="rest")
    assert house.land(brick)
    assert len(site.asked) == 4  # it was read once
