"""Files as sources: real payloads, a simulated web server (Python's http.server), a real S3 server (SeaweedFS)."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import email.utils
import gzip
import io
import json
import random
import re
import socket
import time
import tracemalloc
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import Site, read_by_blocks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.connectors import Reading, Request, SourceError, files, patterns, stores, web
from ingestion.formats.count import scan
from ingestion.formats.geojson import _read_features
from tests.fixtures import seaweed

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FRAMES = {"format": "json", "path": "year=%Y/month=%m/day=%d/*/*.json"}


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BACKOFF_SECONDS", 0.001)


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Request]:
    def build(endpoint: str | Path, options: dict[str, Any], columns: tuple[str, ...] = (), **changes: Any) -> Request:
        spool = tmp_path / f"spool{time.monotonic_ns()}"
        spool.mkdir()
        request = Request(
            brick="a_brick",
            table="a_table",
            endpoint=str(endpoint),
            brick_options=files.BrickOptions(),
            table_options=files.TableOptions(**options),
            columns=columns,
            cursor=None,
            lookback_days=0,
            position={},
            known={},
            connection=duckdb.connect(),
            spool=spool,
            is_private=False,
            whole=False,
            progress=lambda _: None,
        )
        return dataclasses.replace(request, **changes)

    return build


def rows(request: Request, reading: Reading) -> list[dict[str, Any]]:
    """Select every part once, and check that what it holds and rejects is what was counted."""
    found = []
    for part in reading.parts:
        result = request.connection.execute(f"select * from ({part.relation})")
        names = [column[0] for column in result.description or ()]
        part_rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        assert {row["_file"] for row in part_rows} <= set(part.files)
        assert len(part_rows) + len(rejected(request, part)) == part.counted
        found += part_rows
    return found


def rejected(request: Request, part: Any) -> list[Any]:
    if not part.rejects:
        return []
    lines = f"from {part.rejects[1]} group by file_id, line order by file_id, line"
    return request.connection.execute(f"select any_value(csv_line), any_value(error_type) {lines}").fetchall()


def read(request: Request) -> tuple[Reading, list[dict[str, Any]]]:
    reading = files.read(request)
    return reading, rows(request, reading)


def again(request: Request, reading: Reading) -> Request:
    """Ask as landing does after an accepted load."""
    known = {**request.known, **reading.opened}
    return dataclasses.replace(request, position=reading.position, known=known, connection=duckdb.connect())


@pytest.mark.parametrize(
    ("folder", "options", "count", "column"),
    [
        ("referentiels", {"path": "perimetre-epci-a-fp.csv", "encoding": "cp1252"}, 34872, "ptot_2025"),
        ("referentiels", {"path": "cog_communes.csv"}, 37496, "TYPECOM"),
        ("climate", {"path": "synop_omm_ods.csv"}, 6231, "ID OMM station"),
        ("mobility", {"path": "rennes_etat-du-trafic-en-temps-reel.csv"}, 2859, "Geo Shape"),
        ("energy/dpe", {"path": "*.csv"}, 1000, "column0"),
        ("messy", {"path": "csv_detective/a_test_file.csv"}, 406, "NUMCOM"),
        ("messy", {"path": "encoding/csv_latin1.csv", "encoding": "latin-1"}, 60, "id_local"),
        ("messy", {"path": "geonetwork_ui/rephytox.csv"}, 279, "Passage : Commentaire"),
        ("messy", {"path": "geonetwork_ui/eaux-baignades.csv"}, 300, "DEP_NOM"),
        ("energy", {"path": "*.parquet", "format": "parquet"}, 46332, "region"),
        ("referentiels", {"path": "*.geojson", "format": "geojson"}, 332, None),
        ("climate", {"path": "*.geojson", "format": "geojson"}, 2394, None),
    ],
)
@pytest.mark.parametrize("in_memory", [False, True])
def test_real_payloads(
    ask: Callable[..., Request], folder: str, options: dict[str, Any], count: int, column: str | None, in_memory: bool
) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip("the real payloads of ../shared/data are not there")
    request = ask(DATA / folder, {"format": "csv", **options}, (column,) if column else ())
    reading, found = read(dataclasses.replace(request, is_private=in_memory))
    assert len(found) == count
    assert not reading.refused_files
    assert column is None or column in found[0]
    if options.get("encoding") == "cp1252":
        assert "Communauté" in {row["raison_sociale"].split()[0] for row in found if row["raison_sociale"]} | {"Communauté"}
        assert any("é" in (row["nom_membre"] or "") for row in found)


def test_a_real_stray_quote_that_swallows_six_rows(ask: Callable[..., Request]) -> None:
    if not DATA.is_dir():
        pytest.skip("the real payloads of ../shared/data are not there")
    options = {"format": "csv", "path": "messy/geonetwork_ui/invalid.csv"}
    reading, found = read(ask(DATA, options))
    assert not found
    assert "line 2: a stray quote makes one value of 6 lines. Mend: " in reading.refused_files[0][1]
    # The mend that is told.
    _, found = read(ask(DATA, {**options, "quote": ""}))
    assert len(found) == 6


def test_real_frames(ask: Callable[..., Request]) -> None:
    if not DATA.is_dir():
        pytest.skip("the real payloads of ../shared/data are not there")
    reading, found = read(ask(DATA / "rennes/lora/replay", FRAMES))
    assert [Path(row["_file"]).name for row in found] == [
        "1661991403439.json",
        "1661998602898.json",
        "1662077796548.json",
        "1662081396870.json",
    ]
    assert all(json.loads(row["_doc"])["deveui"].lower() == "0018b22000003e90" for row in found)
    assert reading.position == {"folder_date": "2022-09-02"}
    # Only the files that a later reading lists again are kept in the journal.
    assert len(reading.opened) == 2


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ('\ufeff"a" , b\n1,2\n', {}, [{"a": "1", "b": "2"}]),
        ("a;b\n1;2", {}, [{"a": "1", "b": "2"}]),
        ("a\tb\n1\t2", {}, [{"a": "1", "b": "2"}]),
        ("a|b\n1|2", {}, [{"a": "1", "b": "2"}]),
        ('"x;y",b\n1,2', {}, [{"x;y": "1", "b": "2"}]),
        ("a,A,,a\n1,2,3,4\n", {}, [{"a": "1", "A_1": "2", "column2": "3", "a_2": "4"}]),
        ("_file,_read_at\n1,2\n", {}, [{"_file_of_source": "1", "_read_at_of_source": "2"}]),
        ("exported today\n\na,b\n1,2\n", {"skip": 1}, [{"a": "1", "b": "2"}]),
        ("exported today\ra,b\r1,2\r", {"skip": 1}, [{"a": "1", "b": "2"}]),
        ("\n\na,b\n1,2\n", {}, [{"a": "1", "b": "2"}]),
        ('a,b\n"1\n1",2\n\n3,4\n', {}, [{"a": "1\n1", "b": "2"}, {"a": "3", "b": "4"}]),
        ("a,b\r\n1,2\n3,4\r5,6", {}, [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}, {"a": "5", "b": "6"}]),
        ("a\n1\n\n2\n", {}, [{"a": "1"}, {"a": None}, {"a": "2"}]),
        (
            "1,2,3\n4,5,6\n",
            {"header": False},
            [{"a": "1", "b": "2", "column2": "3"}, {"a": "4", "b": "5", "column2": "6"}],
        ),
        ('a,b\n1,"x\n', {"quote": ""}, [{"a": "1", "b": '"x'}]),
        (f"a,b\n1,{'x' * 3_000_000}\n", {}, [{"a": "1", "b": "x" * 3_000_000}]),
    ],
)
def test_csv_shapes(
    ask: Callable[..., Request], tmp_path: Path, content: str, options: dict[str, Any], expected: list[dict[str, str]]
) -> None:
    (tmp_path / "it's [1].csv").write_text(content, newline="", encoding="utf-8")
    request = ask(tmp_path, {"format": "csv", "path": "it's [1].csv", **options}, ("a", "b") if "header" in options else ())
    _, found = read(request)
    assert [{name: value for name, value in row.items() if name != "_file"} for row in found] == expected


def test_a_header_is_read_whatever_its_case(ask: Callable[..., Request], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ID;ÉNERGIE;Other\n1;2;3\n", encoding="utf-8")
    _, found = read(ask(tmp_path, {"format": "csv", "path": "a.csv"}, ("id", "énergie")))
    assert found == [{"id": "1", "énergie": "2", "Other": "3", "_file": "a.csv"}]


def test_files_of_one_header_are_one_part_and_folders_with_equal_signs_add_no_column(ask: Callable[..., Request], tmp_path: Path) -> None:
    for name, content in {
        "year=2024/a.csv": "x,y\n1,2\n",
        "year=2025/a.csv": "x,y\n3,4\n",
        "year=2026/a.csv": "y,z\n5,6\n",
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(content)
    reading, found = read(ask(tmp_path, {"format": "csv", "path": "*/a.csv"}))
    assert [(part.columns, len(part.files)) for part in reading.parts] == [(("x", "y"), 2), (("y", "z"), 1)]
    assert found[0] == {"x": "1", "y": "2", "_file": "year=2024/a.csv"}


@pytest.mark.parametrize(
    ("name", "content", "options", "told"),
    [
        ("a.csv", b"x,y\n1,2\n", {}, "lacks the declared columns needed; it has x, y"),
        ("a.csv", b"", {}, "is empty"),
        ("a.csv", b"<!DOCTYPE html><html><body>Maintenance</body>", {}, "HTML"),
        ("a.csv", "needed,é\n".encode("cp1252"), {}, "not UTF-8. Mend: declare its `encoding`"),
        ("a.csv", b"needed,\x81\n", {"encoding": "cp1252"}, "cannot be read"),
        (
            "a.csv",
            b"needed\n1\n",
            {"header": False, "separator": ","},
            "has 1 columns by position where the brick declares 2",
        ),
        (
            "a.csv",
            gzip.compress(b"needed\n" + random.Random(7).randbytes(9999), mtime=0)[:-4000],
            {},
            "cannot be read: Compressed file ended",
        ),
        ("a.csv", b"\x1f\x8b" + b"junk" * 9, {}, "cannot be read"),
        ("a.csv", b"PK\x03\x04" + b"junk" * 9, {}, "cannot be read"),
        ("a.parquet", b"PAR1 cut", {"format": "parquet"}, "is not whole Parquet"),
        ("a.geojson", b'{"features": [', {"format": "geojson"}, "not a whole GeoJSON"),
        ("a.geojson", b'{"features": [{"id": 1}, {"id": 2}', {"format": "geojson"}, "FeatureCollection: it is cut"),
        ("a.geojson", b'{"features": [{"id": 1}]', {"format": "geojson"}, "FeatureCollection: , or } is not there"),
        ("a.geojson", b'{"features": [{"id": 1}, {"id" 2}]}', {"format": "geojson"}, "Expecting ':' delimiter, at character 32"),
        ("a.geojson", b'{"features": []} {}', {"format": "geojson"}, "something follows it"),
        ("a.geojson", b'{"features": ' + b"[" * 99999, {"format": "geojson"}, "not a whole GeoJSON"),
        ("a.geojson", b'{"type": "Feature"}', {"format": "geojson"}, "it has no `features`"),
        ("a.geojson", b'{"features": null}', {"format": "geojson"}, "[ is not there"),
        ("a.geojson", b'{"x": "\xe9"}', {"format": "geojson"}, "is not UTF-8"),
        ("a.json", b'{"x": "\xe9"}', {"format": "json"}, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_alone(
    ask: Callable[..., Request], tmp_path: Path, name: str, content: bytes, options: dict[str, Any], told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    columns = ("needed", "other") if "header" in options else ("needed",)
    request = ask(tmp_path, {"format": "csv", "path": f"*{Path(name).suffix}", **options}, columns)
    reading, found = read(request)
    assert not found
    assert [refused for refused, _ in reading.refused_files] == [name]
    assert told in reading.refused_files[0][1]
    # It is not refused again while it stays the same.
    reading = files.read(again(request, reading))
    assert not reading.refused_files


def test_ndjson_counts_lines_and_rejects_those_that_are_no_text(ask: Callable[..., Request], tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(b'\xef\xbb\xbf{"a": "1,2"}\r\n\n  \t\n{"a": "\xc3\xa9"}\n{"a": "\xe9"}\n{"a": 4}')
    request = ask(tmp_path, {"format": "ndjson", "path": "a.ndjson"})
    reading, found = read(request)
    assert [row["_doc"] for row in found] == ['{"a": "1,2"}', '{"a": "é"}', '{"a": 4}']
    assert [kind for _, kind in rejected(request, reading.parts[0])] == ["INVALID ENCODING"]


def test_geojson_features_are_properties_with_their_geometry(ask: Callable[..., Request], tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [-1.68, 48.11]}
    features = [
        {"type": "Feature", "id": "f1", "properties": {"name": "é", "n": 1}, "geometry": point},
        {"type": "Feature", "properties": None, "geometry": None},
    ]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    _, found = read(ask(tmp_path, {"format": "geojson", "path": "a.geojson"}))
    assert [json.loads(row["_doc"]) for row in found] == [{"id": "f1", "name": "é", "n": 1, "geometry": point}, {}]


def test_what_is_no_feature_is_given_for_landing_to_refuse_and_null_values_stay(ask: Callable[..., Request], tmp_path: Path) -> None:
    features = [None, 1, {"properties": [1]}, {"id": 7, "properties": {"n": None, "v": {"x": None, "é": [1e-7, None]}}}]
    (tmp_path / "a.geojson").write_text(json.dumps({"crs": {"features": [0]}, "features": features, "bbox": [1, 2]}))
    (tmp_path / "b.geojson").write_text('{"features": []}')
    (tmp_path / "c.geojson").write_text('{"features": [{"id": "cut"}, {"id')
    reading, found = read(ask(tmp_path, {"format": "geojson", "path": "*.geojson"}))
    assert [json.loads(row["_doc"]) for row in found] == [None, 1, [1], {"id": 7, "n": None, "v": {"x": None, "é": [1e-7, None]}}]
    assert [part.files for part in reading.parts] == [("a.geojson", "b.geojson")]
    assert [name for name, _ in reading.refused_files] == ["c.geojson"]


def test_geojson_is_never_in_memory_whole(ask: Callable[..., Request], tmp_path: Path) -> None:
    feature = json.dumps({"properties": {"text": "é" * 1000, "numbers": list(range(100))}, "geometry": None})
    with (tmp_path / "a.geojson").open("w") as file:
        file.write('{"features": [' + f"{feature},\n" * 9999 + feature + "]}")
    request = ask(tmp_path, {"format": "geojson", "path": "a.geojson"})
    request.connection.execute("set memory_limit = '20MB'")
    tracemalloc.start()
    reading = files.read(request)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reading.parts[0].counted == 10_000
    assert (tmp_path / "a.geojson").stat().st_size > 20 << 20
    assert peak < 6 << 20


@pytest.mark.parametrize("block", [5, 64, 1 << 18])
def test_features_are_read_wherever_a_block_ends(tmp_path: Path, block: int) -> None:
    features = [{"properties": {"n": n, "é": "x" * (n % 40), "a": [n, {}]}} for n in range(200)]
    (tmp_path / "a.geojson").write_text(json.dumps({"a": 12345, "features": features, "b": [[]]}, indent=1), encoding="utf-8-sig")
    with pytest.MonkeyPatch.context() as patch:
        read_by_blocks(patch, block)
        found = [json.loads(text) for text in _read_features(tmp_path / "a.geojson", {})]
    assert found == [feature["properties"] for feature in features]


def test_names_are_no_patterns(ask: Callable[..., Request], tmp_path: Path) -> None:
    for form, content in {"csv": "id\n{}\n", "ndjson": '{{"id": "{}"}}\n', "json": '{{"id": "{}"}}'}.items():
        folder = tmp_path / form
        folder.mkdir()
        # Read as patterns, the first three would mean the last.
        written = [f"data[1].{form}", f"data*.{form}", f"data?.{form}", f"data1.{form}"]
        for name in written:
            (folder / name).write_text(content.format(name))
        _, found = read(ask(folder, {"format": form, "path": f"*.{form}"}))
        assert sorted(row["_file"] for row in found) == sorted(written)
        assert all(row["_file"] in (row.get("id") or row["_doc"]) for row in found)
    for name in ("x", "[x]"):
        (tmp_path / name).mkdir()
        duckdb.sql(f"select '{name}' as id").write_parquet(str(tmp_path / name / "a.parquet"))
    _, found = read(ask(tmp_path / "[x]", {"format": "parquet", "path": "*.parquet"}))
    assert found == [{"id": "[x]", "_file": "a.parquet"}]


STREETS = [f"{number},rue {number},{number % 7}" for number in range(1000)]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({100: '100,"rue cassée,1'}, "line 102: a stray quote makes one value of 900 lines. Mend: repair it at the source, or declare"),
        ({100: '100,"rue cassée,1', 900: '900,rue",1'}, "line 102: a stray quote makes one value of 801 lines"),
        ({100: '100,"rue cassée,1', 110: '110,"rue 110",1'}, "line 102: a stray quote makes one value of 11 lines"),
        ({100: '100,"rue cassée,1', 101: '101,"rue 101",1'}, "line 102: a stray quote makes one value of 2 lines"),
        ({998: '998,"rue cassée,1'}, "line 1000: a stray quote makes one value of 2 lines"),
        ({100: '"100,rue cassée,1', 105: '105,rue",1'}, "line 102: a stray quote makes one value of 6 lines"),
    ],
)
@pytest.mark.parametrize("block", [256, 1 << 18])
def test_rows_that_a_stray_quote_swallows_are_told(
    ask: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[int, str], told: str, block: int
) -> None:
    read_by_blocks(monkeypatch, block)
    lines = [changed.get(number, line) for number, line in enumerate(STREETS)]
    (tmp_path / "a.csv").write_text("id,street,district\n" + "\n".join(lines) + "\n")
    reading, found = read(ask(tmp_path, {"format": "csv", "path": "a.csv"}))
    assert not found
    assert told in reading.refused_files[0][1]


@pytest.mark.parametrize(
    "value",
    [
        "12, rue X\n35000 Rennes, France\nappeler avant, merci\nou après, au choix\n, fin",
        'dit ""oui, non""\nou ""non, oui""\n1, 2, 3\n4, 5, 6',
        "\n".join("x" * 90 for _ in range(99)),
        "1,2\n3,4",
    ],
)
def test_values_of_several_lines_are_values(ask: Callable[..., Request], tmp_path: Path, value: str) -> None:
    (tmp_path / "a.csv").write_text("id,note,x\n" + "".join(f'{n},"{value}",{n}\n' for n in range(500)))
    reading, found = read(ask(tmp_path, {"format": "csv", "path": "a.csv"}))
    assert not reading.refused_files
    assert [row["note"] for row in found] == [value.replace('""', '"')] * 500


def test_one_bad_row_of_one_line_is_refused_alone(ask: Callable[..., Request], tmp_path: Path) -> None:
    lines = [{500: '500,"rue" cassée,1', 999: '999,"rue cassée,1'}.get(number, line) for number, line in enumerate(STREETS)]
    (tmp_path / "a.csv").write_text("id,street,district\n" + "\n".join(lines))
    request = ask(tmp_path, {"format": "csv", "path": "a.csv"})
    reading, found = read(request)
    assert len(found) == 998
    assert len(rejected(request, reading.parts[0])) == 2


def test_the_values_of_a_lone_column_may_be_lists(ask: Callable[..., Request], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('words\n"one\ntwo\nthree\nfour\nfive"\nsix\n')
    _, found = read(ask(tmp_path, {"format": "csv", "path": "a.csv"}))
    assert [row["words"] for row in found] == ["one\ntwo\nthree\nfour\nfive", "six"]


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_long_lines_are_read_within_the_memory_of_a_landing(ask: Callable[..., Request], tmp_path: Path, form: str) -> None:
    content = "id,v\na,1\nb,{}\nc,3\n" if form == "csv" else '{{"id":"a"}}\n{{"id":"b","v":"{}"}}\n{{"id":"c"}}\n'
    request = ask(tmp_path, {"format": form, "path": "a.txt"})
    request.connection.execute("set memory_limit = '500MB'; set threads = 2")
    for length in (1_900_000, 40_000_000):
        (tmp_path / "a.txt").write_text(content.format("x" * length))
        _, found = read(request)
        assert [len(row["v" if form == "csv" else "_doc"] or "") > length - 1 for row in found] == [False, True, False]
    (tmp_path / "a.txt").write_text(content.format("x" * (65 << 20)))
    reading, _ = read(request)
    assert "holds a record of more than 64 MB. Mend: " in reading.refused_files[0][1]


def test_lines_that_end_in_returns_are_read_by_blocks(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\r" + '1,"x\ry"\r' * 1_000_000, newline="")
    tracemalloc.start()
    seen = scan(tmp_path / "a.csv", ",", '"', width=2)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
    assert (seen.records, seen.longest) == (1_000_001, 8)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_cannot_be_told_apart_are_refused(ask: Callable[..., Request], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for content in ("x\n1\n2\n", "x\n3\n"):
            archive.writestr("d.csv", content)
    reading = files.read(ask(tmp_path, {"format": "csv", "path": "a.zip"}))
    assert "several members of one name. Mend: " in reading.refused_files[0][1]


@pytest.mark.parametrize(("form", "content"), [("csv", "x\n1\n"), ("json", '{"x": 1}'), ("geojson", '{"features": [{"id": 1}]}')])
def test_what_two_alternatives_mean_is_read_once(ask: Callable[..., Request], site: Site, form: str, content: str) -> None:
    site.put(f"/a.{form}", content)
    site.put("/b.zip", _zip({f"one.{form}": content, f"two.{form}": content}))
    site.asked.clear()
    path = f"{{a.{form},*.{form},b.zip/*.{form},b.zip/one.{form},*.zip/*.{form}}}"
    reading, found = read(ask(site.url, {"format": form, "path": path}))
    assert not reading.refused_files
    read_once = [asked.path for asked in site.asked if not asked.path.endswith("/")]
    assert read_once.count(f"/a.{form}") == 1
    assert sorted(row["_file"] for row in found) == [f"a.{form}", f"b.zip/one.{form}", f"b.zip/two.{form}"]


def test_gzip_and_the_members_of_a_zip(ask: Callable[..., Request], tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"x\n1\n") + gzip.compress(b"2\n"))
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/one.csv", "x\n3\n")
        archive.writestr("in/two.csv", "x\n4\n")
        archive.writestr("readme.txt", "nothing")
        archive.writestr("__MACOSX/in/._one.csv", "\0")
    for path in ("a.csv.gz", "b.zip/in/*.csv"):
        for is_private in (False, True):
            request = ask(tmp_path, {"format": "csv", "path": path})
            reading, found = read(dataclasses.replace(request, is_private=is_private))
            expected = (
                [("1", "a.csv.gz"), ("2", "a.csv.gz")] if path == "a.csv.gz" else [("3", "b.zip/in/one.csv"), ("4", "b.zip/in/two.csv")]
            )
            assert [(row["x"], row["_file"]) for row in found] == expected
            assert not reading.refused_files
    reading, found = read(ask(tmp_path, {"format": "csv", "path": "b.zip/in/{two,one}.csv"}))
    assert [row["x"] for row in found] == ["4", "3"]
    reading, _ = read(ask(tmp_path, {"format": "csv", "path": "b.zip/*.xml"}))
    assert "holds no *.xml" in reading.refused_files[0][1]


def test_a_zip_does_not_write_outside_of_the_spool(ask: Callable[..., Request], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../../../escaped.csv", "x\n1\n")
    reading, found = read(ask(tmp_path, {"format": "csv", "path": "a.zip/*/*/*/*.csv"}))
    assert not found
    assert "leads out of its folder" in reading.refused_files[0][1]
    assert not list(tmp_path.parent.rglob("escaped.csv"))


def lay(root: Path | Site, day: str, name: str = "1.json", content: str = '{"deveui": "A"}') -> None:
    year, month, date = day.split("-")
    path = f"year={year}/month={month}/day={date}/A/{name}"
    if isinstance(root, Site):
        root.put(f"/{path}", content)
    else:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


def test_dated_folders_are_listed_from_the_cursor_less_the_lookback(ask: Callable[..., Request], site: Site) -> None:
    for day in ("2024-12-31", "2025-01-30", "2025-01-31", "2025-02-01", "2025-02-30"):
        lay(site, day)
    request = ask(site.url, FRAMES, lookback_days=1)
    reading, found = read(request)
    assert len(found) == 4  # 30 February is no day
    assert reading.position == {"folder_date": "2025-02-01"}
    assert {name[5:26] for name in reading.opened} == {"2025/month=01/day=31/", "2025/month=02/day=01/"}
    lay(site, "2025-01-31", "late.json")
    lay(site, "2025-01-30", "too-late.json")
    site.asked.clear()
    reading, found = read(again(request, reading))
    assert [row["_file"] for row in found] == ["year=2025/month=01/day=31/A/late.json"]
    assert reading.position == {"folder_date": "2025-02-01"}
    # Neither the older folders nor the frames already read were asked for.
    assert not [path for path, *_ in site.asked if "2024" in path or "day=30" in path or "1.json" in path]


def test_a_folder_dated_in_the_future_is_read_and_does_not_move_the_cursor(ask: Callable[..., Request], tmp_path: Path) -> None:
    today = dt.datetime.now(dt.UTC).date()
    for day in (f"{today:%Y-%m-%d}", "2099-01-01"):
        lay(tmp_path, day)
    request = ask(tmp_path, FRAMES)
    reading, found = read(request)
    assert len(found) == 2
    assert reading.position == {"folder_date": today.isoformat()}
    assert not files.read(again(request, reading)).parts


def test_a_month_of_folders_is_read_again_while_it_may_grow(ask: Callable[..., Request], tmp_path: Path) -> None:
    for name in ("2025-09.csv", "2025-10.csv"):
        (tmp_path / name).write_text("x\n1\n")
    request = ask(tmp_path, {"format": "csv", "path": "%Y-%m.csv"}, lookback_days=3)
    reading, _ = read(request)
    assert reading.position == {"folder_date": "2025-10-01"}
    (tmp_path / "2025-10.csv").write_text("x\n1\n2\n")
    (tmp_path / "2025-09.csv").write_text("x\n1\n2\n")
    reading, found = read(again(request, reading))
    assert {row["_file"] for row in found} == {"2025-09.csv", "2025-10.csv"}


@pytest.mark.parametrize("over", ["folder", "http"])
def test_a_photo_is_read_whole_when_any_file_of_it_changes(ask: Callable[..., Request], site: Site, tmp_path: Path, over: str) -> None:
    root = tmp_path / "photo"
    root.mkdir()

    def put(name: str, content: str) -> None:
        (root / name).write_text(content)
        site.put(f"/{name}", content)

    put("a.csv", "x\n1\n")
    put("b.csv", "x\n2\n")
    request = ask(root if over == "folder" else site.url, {"format": "csv", "path": "*.csv"}, whole=True)
    reading, found = read(request)
    assert [row["x"] for row in found] == ["1", "2"]
    request = again(request, reading)
    assert not files.read(request).parts
    put("b.csv", "x\n22\n")
    reading, found = read(request)
    assert [row["x"] for row in found] == ["1", "22"]
    request = again(request, reading)
    (root / "a.csv").unlink()
    del site.pages["/a.csv"]
    reading, found = read(request)
    assert [row["x"] for row in found] == ["22"]
    # Landing's list of known files still has the one that went: that is no change for ever.
    request = again(request, reading)
    assert not files.read(request).parts
    (root / "b.csv").unlink()
    del site.pages["/b.csv"]
    with pytest.raises(SourceError, match=r"a_brick.a_table: no file is \*.csv any more, where 2 were read; .* holds nothing. Mend: try"):
        files.read(request)


def test_unchanged_files_are_not_downloaded(ask: Callable[..., Request], site: Site) -> None:
    site.put("/with-etag.csv", "x\n1\n")
    dated = {"Last-Modified": "Mon, 03 Nov 2025 10:00:00 GMT"}
    site.pages["/with-date.csv"] = lambda asked: (304, dated, b"") if asked.get("If-Modified-Since") else (200, dated, b"x\n2\n")
    site.pages["/deaf.csv"] = (200, {"ETag": '"1"'}, b"x\n3\n")
    site.pages["/bare.csv"] = (200, {}, b"x\n4\n")
    request = ask(site.url, {"format": "csv", "path": "{with-etag,with-date,deaf,bare}.csv"})
    reading, found = read(request)
    assert [row["x"] for row in found] == ["1", "2", "3", "4"]
    assert reading.available_at == dt.datetime(2025, 11, 3, 10, tzinfo=dt.UTC)
    assert reading.request_count == 4
    assert reading.bytes_read == 16
    reading = files.read(again(request, reading))
    assert not reading.parts
    assert not reading.opened


def test_a_named_file_that_is_missing(ask: Callable[..., Request], site: Site, tmp_path: Path) -> None:
    site.put("/a.csv", "x\n1\n")
    (tmp_path / "a.csv").write_text("x\n1\n")
    for endpoint in (site.url, tmp_path):
        options = {"format": "csv", "path": "{a,b}.csv"}
        reading, found = read(ask(endpoint, options))
        assert len(found) == 1
        assert "Mend: check the endpoint and the path" in dict(reading.refused_files)["b.csv"]
        with pytest.raises(SourceError, match=r"b\.csv"):
            files.read(ask(endpoint, options, whole=True))
        with pytest.raises(SourceError, match=r"c\.csv"):
            files.read(ask(endpoint, {"format": "csv", "path": "c.csv"}))
    with pytest.raises(SourceError, match=r"folder .* is not there"):
        files.read(ask(tmp_path / "nowhere", options))


@pytest.mark.parametrize("over", ["folder", "http"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_folder_that_a_wildcard_means_may_lack_the_file(
    ask: Callable[..., Request], site: Site, tmp_path: Path, over: str, whole: bool
) -> None:
    for name in ("one/a.csv", "two/b.csv", "three/a.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("x\n1\n")
        site.put(f"/{name}", "x\n1\n")
    endpoint = tmp_path if over == "folder" else site.url
    request = ask(endpoint, {"format": "csv", "path": "*/a.csv"}, whole=whole)
    reading, found = read(request)
    assert [row["_file"] for row in found] == ["one/a.csv", "three/a.csv"]
    assert not reading.refused_files
    request = again(request, reading)
    assert not files.read(request).parts
    (tmp_path / "three/a.csv").unlink()
    del site.pages["/three/a.csv"]
    site.put("/three/b.csv", "x\n1\n")
    reading, found = read(request)
    assert [row["_file"] for row in found] == (["one/a.csv"] if whole else [])
    if whole:
        assert not files.read(again(request, reading)).parts
        with pytest.raises(SourceError, match=r"no file is \*/c.csv"):
            files.read(ask(endpoint, {"format": "csv", "path": "*/c.csv"}, whole=True))


def test_a_body_that_is_cut_is_tried_again_then_is_an_error(ask: Callable[..., Request], site: Site) -> None:
    answers = [(200, {"Content-Length": "999"}, b"x\n1\n"), (503, {}, b""), (200, {}, b"x\n1\n2\n")]
    site.pages["/a.csv"] = lambda _: answers.pop(0)
    _, found = read(ask(site.url, {"format": "csv", "path": "a.csv"}))
    assert [row["x"] for row in found] == ["1", "2"]
    site.asked.clear()
    site.pages["/a.csv"] = (200, {"Content-Length": "999"}, b"x\n1\n")
    with pytest.raises(SourceError, match=r"a_brick: http://127.0.0.1:.*/a.csv its answer was cut before its end"):
        files.read(ask(site.url, {"format": "csv", "path": "a.csv"}))
    assert len(site.asked) == web.TRIES


def test_a_packed_answer_that_is_cut_is_a_cut_answer(ask: Callable[..., Request], site: Site) -> None:
    packed = gzip.compress("".join(f"{n},{n * 7}\n" for n in range(20_000)).encode())
    # Its length is that of what is sent: only the gzip stream itself says that it is not whole.
    cut, whole = ((200, {"Content-Encoding": "gzip"}, body) for body in (packed[: len(packed) // 2], packed))
    answers = [cut, (200, {"Content-Encoding": "gzip"}, b"no gzip"), whole]
    site.pages["/a.csv"] = lambda _: answers.pop(0)
    request = ask(site.url, {"format": "csv", "path": "a.csv", "header": False}, ("x", "y"))
    reading, found = read(request)
    assert len(found) == 20_000
    # Of what is no gzip, the first two bytes say so.
    assert reading.bytes_read == len(packed) // 2 + 2 + len(packed)
    site.pages["/a.csv"] = cut
    with pytest.raises(SourceError, match=r"its answer was cut before its end .*end-of-stream marker"):
        files.read(request)


def test_every_body_is_counted(ask: Callable[..., Request], site: Site) -> None:
    lay(site, "2025-01-01")
    reading, _ = read(ask(site.url, FRAMES))
    site.asked.clear()
    answers = [(503, {}, b"ill" * 100)]
    site.pages["/year=2025/"] = lambda asked: answers.pop() if answers else site._listing(asked)
    reading = files.read(again(ask(site.url, FRAMES), reading))
    assert reading.request_count == len(site.asked) == 6
    assert reading.bytes_read == 300 + sum(len(site._listing({"path": path})[2]) for path, status, *_ in site.asked if status == 200)


def test_a_frame_that_was_no_object_is_asked_for_again(ask: Callable[..., Request], site: Site) -> None:
    frames = {"a": "<html>maintenance</html>", "b": '{"deveui": "B"}', "c": '{"deveui": "cut'}
    for name, content in frames.items():
        lay(site, "2025-01-01", f"{name}.json", content)
    request = ask(site.url, FRAMES)
    reading, found = read(request)
    assert len(found) == 3
    request = again(request, reading)
    site.asked.clear()
    # Asked for, and not landed twice while it stays as it was.
    assert not files.read(request).parts
    assert {(path[-6:], status) for path, status, *_ in site.asked if path.endswith(".json")} == {("a.json", 304), ("c.json", 304)}
    lay(site, "2025-01-01", "a.json", '{"deveui": "A"}')
    reading, found = read(request)
    assert [row["_doc"] for row in found] == ['{"deveui": "A"}']
    site.asked.clear()
    files.read(again(request, reading))
    assert [path[-6:] for path, *_ in site.asked if path.endswith(".json")] == ["c.json"]


def test_a_folder_page_without_links_is_no_empty_folder_once_files_were_read(ask: Callable[..., Request], site: Site) -> None:
    maintenance = (200, {}, b"<html><body>Maintenance</body></html>")
    site.pages["/"] = maintenance
    request = ask(site.url, {"format": "csv", "path": "*.csv"})
    with pytest.raises(SourceError, match=r"a_brick.a_table: no file is \*.csv; http://127.0.0.1:\d+/ holds nothing. Mend: check"):
        files.read(request)
    site.put("/a.csv", "x\n1\n")
    reading, _ = read(request)
    site.pages["/"] = maintenance
    with pytest.raises(SourceError, match=r"no file is \*.csv any more, where 1 were read; http://\S+ holds nothing. Mend: try later"):
        files.read(again(request, reading))


@pytest.mark.parametrize("over", ["folder", "http"])
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("*.geojson", r"no file is \*.geojson; \S+ holds 2025, counts.csv"),
        ("20*/%m/*.csv", r"no file is 20\*/%m/\*.csv; \S+/2025/11/? holds a.txt, b.txt, c.txt, d.txt, e.txt and more"),
        ("{years,months}/%Y.csv", r"/years/? (is not there; \S+ holds 2025, counts.csv|answered 404)"),
        ("2025/11/g.txt", r"/2025/11/g.txt (is not there; \S+/2025/11 holds a.txt, b.txt|answered 404)"),
        ("*/%Y-%m/*.csv", r"\S+/2025/? holds 11\. Mend: check the endpoint and `path`"),
    ],
)
def test_a_path_that_no_file_is_fails_and_names_what_stands_there(
    ask: Callable[..., Request], site: Site, tmp_path: Path, over: str, path: str, told: str
) -> None:
    root = tmp_path / "drop"
    for name in ("counts.csv", *(f"2025/11/{letter}.txt" for letter in "abcdef")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x\n1\n")
        site.put(f"/{name}", "x\n1\n")
    for whole in (False, True):
        request = ask(root if over == "folder" else site.url, {"format": "csv", "path": path}, whole=whole)
        with pytest.raises(SourceError, match=told) as error:
            files.read(request)
        assert str(error.value).startswith("a_brick.a_table: ") and "Mend: check the endpoint" in str(error.value)
    private = ask(root if over == "folder" else site.url, {"format": "csv", "path": "*.geojson"}, is_private=True)
    with pytest.raises(SourceError, match=r"holds 2 names\. Mend"):
        files.read(private)


def test_a_folder_whose_files_were_read_and_taken_away_is_told_and_is_no_failure(ask: Callable[..., Request], tmp_path: Path) -> None:
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop/a.csv").write_text("x\n1\n")
    request = ask(tmp_path / "drop", {"format": "csv", "path": "*.csv"})
    reading, _ = read(request)
    assert not reading.warnings
    (tmp_path / "drop/a.csv").rename(tmp_path / "drop/a.csv.done")
    reading = files.read(again(request, reading))
    assert not reading.parts
    (told,) = reading.warnings
    assert re.search(r"no file is \*.csv any more, where 1 were read; \S+/drop holds a.csv.done. Mend: none where", told)


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        ("dav://host/data", "a_brick: dav:// is not spoken. Mend: an endpoint is a folder, file://"),
        ("http://[::bad", r"a_brick: its endpoint is no URL\. Mend: check the endpoint"),
    ],
)
def test_endpoints_that_are_none(ask: Callable[..., Request], endpoint: str, told: str) -> None:
    with pytest.raises(SourceError, match=told):
        files.read(ask(endpoint, {"format": "csv", "path": "a.csv"}))


def test_messages_of_a_private_brick_show_nothing_of_the_content(ask: Callable[..., Request], site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,DUPONT\n")
    request = ask(tmp_path, {"format": "csv", "path": "a.csv"}, ("id",), is_private=True)
    reading = files.read(request)
    assert "lacks the declared columns id; it has 2 columns. Mend: " in reading.refused_files[0][1]
    for status, is_private, is_shown in ((203, False, False), (206, False, False), (403, True, False), (403, False, True)):
        site.pages["/a.csv"] = (status, {}, b"1,DUPONT\n")
        with pytest.raises(SourceError, match=f"answered {status}") as error:
            files.read(ask(site.url, {"format": "csv", "path": "a.csv"}, is_private=is_private))
        assert ("DUPONT" in str(error.value) + error.value.text) == is_shown


def test_one_document_that_the_source_fails_to_give_is_refused_alone(ask: Callable[..., Request], site: Site) -> None:
    for name in "abc":
        lay(site, "2025-01-01", f"{name}.json", f'{{"deveui": "{name}"}}')
    site.pages["/year=2025/month=01/day=01/A/b.json"] = (500, {}, b"oops")
    request = ask(site.url, FRAMES)
    reading, found = read(request)
    assert [json.loads(row["_doc"])["deveui"] for row in found] == ["a", "c"]
    assert [name[-6:] for name, _ in reading.refused_files] == ["b.json"]
    # It is asked for again the next time.
    lay(site, "2025-01-01", "b.json", '{"deveui": "b"}')
    assert [json.loads(row["_doc"])["deveui"] for row in read(again(request, reading))[1]] == ["b"]
    site.pages["/year=2025/month=01/day=01/A/b.json"] = (403, {}, b"no")
    with pytest.raises(SourceError, match="answered 403"):
        files.read(request)


def test_a_source_that_asks_to_wait_is_waited_for(ask: Callable[..., Request], site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(web.time, "sleep", waits.append)
    rests: list[tuple[str, float]] = []  # of all bricks that ask something of the host
    monkeypatch.setattr(web, "rest", lambda *told: rests.append(told))
    past = "Mon, 03 Nov 2025 10:00:00 GMT"
    answers = [
        (429, {"Retry-After": "7"}, b""),
        (503, {"Retry-After": past}, b""),
        (429, {"Retry-After": "9999"}, b""),
        (200, {}, b"x\n1\n"),
    ]
    site.pages["/a.csv"] = lambda _: answers.pop(0)
    assert read(ask(site.url, {"format": "csv", "path": "a.csv"}))[1]
    assert waits == [7.0, pytest.approx(0.002), web.LONGEST_WAIT_SECONDS]
    assert rests == [(site.url.removeprefix("http://"), 7.0), (site.url.removeprefix("http://"), web.LONGEST_WAIT_SECONDS)]


def test_a_source_that_cannot_be_reached_says_the_mend(ask: Callable[..., Request], site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SourceError, match=r"a_brick: .* cannot be reached .*Mend: check the address"):
            files.read(ask(endpoint, FRAMES))


def test_secrets_are_sent_and_never_shown_nor_carried_elsewhere(
    ask: Callable[..., Request], site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("A_USER", "someone")
    monkeypatch.setenv("A_PASSWORD", "s3cret")
    monkeypatch.setenv("A_KEY", "k3y")
    brick = files.BrickOptions(auth={"user_env": "A_USER", "password_env": "A_PASSWORD"}, headers_env={"X-Key": "A_KEY"})
    heard: list[Any] = []
    elsewhere = Site()
    elsewhere.pages["/b.csv"] = lambda asked: (heard.append(asked), (200, {}, b"x\n1\n"))[1]
    # A name other than the first's makes it another host.
    elsewhere_url = elsewhere.url.replace("127.0.0.1", "localhost")
    site.pages["/a.csv"] = lambda asked: (heard.append(asked), (302, {"Location": f"{elsewhere_url}/b.csv"}, b""))[1]
    assert read(ask(site.url, {"format": "csv", "path": "a.csv"}, brick_options=brick))[1]
    assert heard[0]["X-Key"] == "k3y"
    assert heard[0]["Authorization"].startswith("Basic ")
    assert "X-Key" not in heard[1]
    assert "Authorization" not in heard[1]
    elsewhere.stop()

    site.pages["/a.csv"] = (401, {}, b"bad key k3y")
    with pytest.raises(SourceError) as error:
        files.read(
            ask(
                site.url.replace("//", "//someone:s3cret@") + "/?token=t0ken",
                {"format": "csv", "path": "a.csv"},
                brick_options=brick,
            )
        )
    told = str(error.value) + caplog.text
    assert "answered 401" in told
    assert not [secret for secret in ("s3cret", "k3y", "t0ken") if secret in told.replace(str(error.value), "") + str(error.value)]
    monkeypatch.delenv("A_KEY")
    with pytest.raises(SourceError, match="the environment lacks A_KEY"):
        files.read(ask(site.url, {"format": "csv", "path": "a.csv"}, brick_options=brick))


@pytest.mark.parametrize("answer", ["refused", "missing", "ill", "no listing", "another clock", "no answer", "redirected"])
def test_values_of_the_query_and_variables_of_the_path_are_sent_and_never_shown(
    ask: Callable[..., Request], site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setattr(web, "TRIES", 1)
    monkeypatch.setenv("A_TOKEN", "t0k/en é")
    secrets = ["t0k/en", "t0k%2Fen", "qu3ry", "pa+ss", "pa%2Bss"]
    said = "no t0k/en é, t0k%2Fen%20%C3%A9, t0k/en%20%C3%A9, qu3ry, pa+ss nor pa%2Bss"
    path = "*.csv" if answer == "no listing" else "a.csv"
    page = {
        "refused": (403, {}, said.encode()), "missing": (404, {}, said.encode()), "ill": (500, {}, said.encode()),
        "no listing": (200, {}, said.encode()), "another clock": (200, {"Date": "Mon, 01 Jan 2001 00:00:00 GMT"}, b""),
        "redirected": (302, {"Location": f"http://127.0.0.1:1/{secrets[1]}?token=qu3ry"}, b""),
    }.get(answer)  # fmt: skip
    endpoint = "http://127.0.0.1:1" if page is None else site.url
    if page:
        site.pages["/api/t0k/en é/data/" + ("" if answer == "no listing" else "a.csv")] = page
    with pytest.raises(SourceError) as error:
        files.read(ask(endpoint + "/api/{A_TOKEN}/data?token=qu3ry&sign=pa%2Bss", {"format": "csv", "path": path}))
    if page:
        assert site.asked[0].query == {"token": ["qu3ry"], "sign": ["pa+ss"]} and site.asked[0].status == page[0]
    told = f"{error.value} {error.value.text} {caplog.text}"
    assert "/api/***/data" in told and not [secret for secret in secrets if secret in told], told
    monkeypatch.delenv("A_TOKEN")
    with pytest.raises(SourceError, match=r"the environment lacks A_TOKEN\. Mend"):
        files.read(ask(endpoint + "/api/{A_TOKEN}/data", {"format": "csv", "path": path}))


def test_downloads_of_personal_data_stay_in_memory(ask: Callable[..., Request], site: Site, tmp_path: Path) -> None:
    site.put("/a.csv", "x\nMarie\n")
    site.put("/b.csv", "x\nAnne\n")
    for options in (
        {"format": "csv", "path": "*.csv"},
        {"format": "json", "path": "*.csv"},
        {"format": "ndjson", "path": "*.csv"},
    ):
        request = ask(site.url, options, is_private=True)
        reading, found = read(request)
        assert {row["_file"] for row in found} == {"a.csv", "b.csv"}
        # What a kill leaves behind leads nowhere, and stands where the next run sweeps.
        links = list(request.spool.iterdir())
        assert all(path.is_symlink() and "memfd" in str(path.readlink().readlink()) for path in links)
        del reading
        assert not any(path.exists() for path in links)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]


def test_a_sandbox_says_that_it_is_one(ask: Callable[..., Request], site: Site, tmp_path: Path) -> None:
    mark = {"X-City-Orchestra-Sandbox": "synthetic", "Date": "Sat, 01 Nov 2025 23:00:00 GMT"}
    site.pages["/a.csv"] = (200, mark, b"x\n1\n")
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "SANDBOX.json").write_text('{"synthetic": true, "now": "2025-11-01T23:00:00+00:00"}')
    for endpoint in (site.url, tmp_path, tmp_path.as_uri()):
        reading, _ = read(ask(endpoint, {"format": "csv", "path": "a.csv"}))
        assert reading.is_synthetic
        assert reading.read_at == dt.datetime(2025, 11, 1, 23, tzinfo=dt.UTC)
    (tmp_path / "SANDBOX.json").unlink()
    reading, _ = read(ask(tmp_path, {"format": "csv", "path": "a.csv"}))
    assert not reading.is_synthetic


def test_parquet_of_several_schemas(ask: Callable[..., Request], tmp_path: Path) -> None:
    duckdb.sql("select 1 as n, date '2025-01-01' as d").write_parquet(str(tmp_path / "a.parquet"))
    duckdb.sql("select 'x' as n, 2 as extra").write_parquet(str(tmp_path / "b.parquet"))
    duckdb.sql("select 3 as other").write_parquet(str(tmp_path / "c.parquet"))
    reading, found = read(ask(tmp_path, {"format": "parquet", "path": "*.parquet"}, ("n",)))
    assert [row["n"] for row in found] == [1, "x"]
    assert all(part.is_typed for part in reading.parts)
    assert "lacks the declared columns n; it has other" in dict(reading.refused_files)["c.parquet"]


def test_parquet_columns_of_bytes_and_of_one_name(ask: Callable[..., Request], tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = ["café".encode(), None, b"caf\xe9"]
    pq.write_table(pa.table({"id": [1, 2, 3], "NOM": pa.array(words, pa.binary()), "other": words}), tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["NOM", "nom"]), tmp_path / "b.parquet")
    reading, found = read(ask(tmp_path, {"format": "parquet", "path": "*.parquet"}, ("id", "nom")))
    assert [(row["NOM"], row["other"]) for row in found] == [("café", words[0]), (None, None), (r"caf\xE9", words[2])]
    assert "lacks the declared columns id" in dict(reading.refused_files)["b.parquet"]
    reading = files.read(ask(tmp_path, {"format": "parquet", "path": "b.parquet"}, ("nom",)))
    assert "columns that share a name, whatever its case (nom_1). Mend: rename" in reading.refused_files[0][1]


def test_names_with_spaces_and_accents_over_http(ask: Callable[..., Request], site: Site) -> None:
    link = '<a href="/d%C3%A9p%C3%B4t/relev%C3%A9%20%231.csv">relev..&gt;</a><a href="/other/x.csv">x</a><a href="http://elsewhere/y.csv">y</a>'
    site.pages["/dépôt/"] = (200, {}, f"<html>{link}</html>".encode())
    site.pages["/dépôt/relevé #1.csv"] = (200, {}, b"x\n1\n")
    _, found = read(ask(f"{site.url}/d%C3%A9p%C3%B4t", {"format": "csv", "path": "*.csv"}))
    assert [row["_file"] for row in found] == ["relevé #1.csv"]


@pytest.mark.parametrize("options", [{"format": "xls", "path": "a"}, {"format": "csv"}])
def test_options_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        files.TableOptions(**options)


@pytest.mark.parametrize("encoding", ["no", "rot13", "hex", "undefined"])
def test_encodings_that_are_none_of_text(encoding: str) -> None:
    with pytest.raises(ValueError, match=f"'{encoding}' is no encoding: utf-8, cp1252"):
        files.TableOptions(format="csv", path="a", encoding=encoding)


@pytest.mark.parametrize(
    "options",
    [
        {"auth": {"user_env": "A_USER", "password_env": "hunter2-Secret!"}},
        {"auth": {"user_env": "hunter2-Secret!", "password_env": "A_PASSWORD"}},
        {"headers_env": {"X-Key": "hunter2-Secret!"}},
    ],
)
def test_a_secret_in_the_place_of_a_variable_is_refused_and_not_shown(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is no name of an environment variable") as error:
        files.BrickOptions(**options)
    assert "hunter2" not in str(error.value)


# --- properties ---

names = st.text("ab.1", min_size=1, max_size=3).filter(lambda name: set(name) != {"."} and not name.startswith("."))
days = st.dates(dt.date(2023, 12, 30), dt.date(2025, 3, 2))


class Tree(stores.Store):
    def place(self, folder: str) -> str:
        return folder

    """A store of names only, that says what was listed of it."""

    def __init__(self, paths: list[str]) -> None:
        self.paths, self.listed = paths, []

    def list(self, folder: str) -> list[stores.StoreEntry]:
        self.listed.append(folder)
        under = [path[len(folder) :].strip("/").split("/") for path in self.paths if not folder or path.startswith(f"{folder}/")]
        return [stores.StoreEntry(name, is_folder) for name, is_folder in {(parts[0], len(parts) > 1) for parts in under}]

    def find(self, name: str) -> stores.StoreEntry:
        if name not in self.paths:
            raise stores.MissingFile(name)
        return stores.StoreEntry(name)

    def read(self, found: Any, known: Any, take: Any) -> None:
        raise NotImplementedError


@given(st.lists(st.tuples(days, names)), days)
def test_the_walker_gives_the_files_of_the_days_asked_for(laid: list[tuple[dt.date, str]], floor: dt.date) -> None:
    laid_paths = {f"{day:%Y/%m}/x{day:%Y%m%d}y/{name}/f.json" for day, name in laid}
    paths = sorted(laid_paths, key=lambda path: path.split("/"))
    tree = Tree([*paths, "2025/02/x20250230y/a/f.json", "2025/02/x20240201y/a/f.json", "20255/02/x/a/f.json"])
    found = list(patterns.walk(tree, "%Y/%m/x%Y%m%dy/*/*.json", floor))
    expected = [path for path in paths if dt.datetime.strptime(path.split("/")[2], "x%Y%m%dy").date() >= floor]
    assert [file.name for file in found] == expected
    assert all(file.days == (day := dt.datetime.strptime(file.name.split("/")[2], "x%Y%m%dy").date(), day) for file in found)
    assert not [folder for folder in tree.listed if folder.count("/") == 0 and folder and int(folder) < floor.year]


@given(
    st.lists(st.text("xy/", max_size=3), min_size=1, max_size=3),
    st.lists(st.text("z", max_size=2), min_size=1, max_size=3),
)
def test_braces_are_the_product_of_their_alternatives(first: list[str], second: list[str]) -> None:
    pattern = "a{" + ",".join(first) + "}b{" + ",".join(second) + "}"
    assert patterns.expand_braces(pattern) == list(dict.fromkeys(f"a{one}b{two}" for one in first for two in second))


def test_braces_may_be_nested() -> None:
    assert patterns.expand_braces("{a,b{c,d}}") == ["a", "bc", "bd"] or set(patterns.expand_braces("{a,b{c,d}}")) == {
        "a",
        "bc",
        "bd",
    }


cells = st.text(st.sampled_from('a"\n\r,; é'), max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(cells, cells, cells), max_size=8),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.sampled_from([5, 64, 1 << 20]),
)
def test_records_are_counted_as_the_csv_module_and_duckdb_do(
    ask: Callable[..., Request], tmp_path: Path, table: list[tuple[str, str, str]], end: str, is_all: bool, block: int
) -> None:
    # Python's own writer leaves a lone carriage return unquoted.
    text = io.StringIO(newline="")
    for row in [("one", "two", "three"), *table]:
        is_quoted = [is_all or any(mark in cell for mark in '"\r\n,') for cell in row]
        text.write(",".join(f'"{c.replace(chr(34), chr(34) * 2)}"' if q else c for c, q in zip(row, is_quoted, strict=True)) + end)
    (tmp_path / "a.csv").write_text(text.getvalue(), newline="", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        read_by_blocks(patch, block)
        count = scan(tmp_path / "a.csv", ",", '"').records
    assert count == len(table) + 1
    _, found = read(ask(tmp_path, {"format": "csv", "path": "a.csv", "separator": ","}))
    assert len(found) == len(table)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.sampled_from('a"\n, '), max_size=30), st.sampled_from([5, 1 << 20]))
def test_ill_quoted_records_are_counted_as_the_csv_module_does(tmp_path: Path, text: str, block: int) -> None:
    (tmp_path / "a.csv").write_text(text, newline="")
    with pytest.MonkeyPatch.context() as patch:
        read_by_blocks(patch, block)
        count = scan(tmp_path / "a.csv", ",", '"').records
    assert count == sum(1 for row in csv.reader(io.StringIO(text, newline=""), skipinitialspace=True) if row)


# --- a real S3 server ---


@pytest.fixture
def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the address of a folder of a bucket, its keys being in the environment."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return "s3://city/drops"


def test_s3(bucket: str, s3: dict[str, str], ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch) -> None:
    for day in ("01", "02", "03"):
        for name in ("1", "é 2"):
            seaweed.put(s3, f"drops/year=2025/month=11/day={day}/A/{name}.json", b'{"deveui": "A"}')
    seaweed.put(s3, "drops/a.csv.gz", gzip.compress(b"x\n1\n2\n"))
    seaweed.put(s3, "drops/b.zip", _zip({"one.csv": "x\n3\n"}))

    request = ask(bucket, FRAMES, lookback_days=1)
    reading, found = read(request)
    assert len(found) == 6
    assert reading.position == {"folder_date": "2025-11-03"}
    assert len(reading.opened) == 4
    assert reading.available_at is not None
    assert reading.bytes_read == 6 * 15
    request = again(request, reading)
    assert not files.read(request).parts
    seaweed.put(s3, "drops/year=2025/month=11/day=02/A/late.json", b'{"deveui": "late"}')
    assert [row["_doc"] for row in read(request)[1]] == ['{"deveui": "late"}']

    for is_private in (False, True):
        request = ask(bucket, {"format": "csv", "path": "{a.csv.gz,b.zip}"}, whole=True)
        reading, found = read(dataclasses.replace(request, is_private=is_private))
        assert [(row["x"], row["_file"]) for row in found] == [
            ("1", "a.csv.gz"),
            ("2", "a.csv.gz"),
            ("3", "b.zip/one.csv"),
        ]
    request = again(request, reading)
    assert not files.read(request).parts
    seaweed.put(s3, "drops/b.zip", _zip({"one.csv": "x\n33\n"}))
    assert len(read(request)[1]) == 3

    with pytest.raises(SourceError, match=r"c\.csv is not there"):
        files.read(ask(bucket, {"format": "csv", "path": "c.csv"}))
    with pytest.raises(SourceError, match="is not there"):
        files.read(ask("s3://nowhere", {"format": "csv", "path": "*.csv"}))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(SourceError, match=r"is refused .*Mend: set AWS_ACCESS_KEY_ID") as error:
        files.read(ask(bucket, {"format": "csv", "path": "*.csv"}))
    assert "wrong-secret" not in str(error.value)


def _zip(members: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_proxies_of_the_environment_are_used(ask: Callable[..., Request], site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.pages["http://open.data.example/a.csv"] = (200, {}, b"x\n1\n")
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"http": site.url})
    assert read(ask("http://open.data.example", {"format": "csv", "path": "a.csv"}))[1]


# Clocks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("apart", "headers", "is_read"),
    [
        ({"days": -2}, {}, False),
        ({"minutes": 11}, {}, False),
        ({"minutes": -8}, {}, True),
        ({}, {"Date": "yesterday"}, True),
        ({"hours": -5}, {"Age": "18000"}, True),
        ({}, {"Age": "18000"}, False),
        ({"days": -300}, {"X-City-Orchestra-Sandbox": "synthetic"}, True),
    ],
)
def test_a_source_whose_clock_is_far_from_this_machines_is_not_read(
    ask: Callable[..., Request], site: Site, apart: dict[str, float], headers: dict[str, str], *, is_read: bool
) -> None:
    date = email.utils.format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(**apart), usegmt=True)
    site.pages["/x.csv"] = (200, {"Date": date, **headers}, b"a,b\n1,2\n")
    request = ask(site.url, {"format": "csv", "path": "x.csv"}, ("a", "b"))
    if is_read:
        assert files.read(request).parts
        return
    told = rf"a_brick: {site.url}/x.csv says that it is .* UTC, and this machine \d{{4}}-.* UTC.* Mend: set this machine's clock"
    with pytest.raises(SourceError, match=told):
        files.read(request)
    assert len(site.asked) == 1, "a wrong clock is not asked again"
