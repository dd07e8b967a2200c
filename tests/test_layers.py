"""Shapefile, GeoPackage and FlatGeobuf, written by GDAL: features land whole, in longitude and latitude, or are told for what they are."""

from __future__ import annotations

import datetime as dt
import io
import json
import sqlite3
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from conftest import House, Site, column, table
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingestion.connectors import Reading, Request, SourceError, files
from ingestion.formats import features
from tests.test_inputs import Landing

FORMS = {"shapefile": ("ESRI Shapefile", "a.shp"), "geopackage": ("GPKG", "a.gpkg"), "flatgeobuf": ("FlatGeobuf", "a.fgb")}
RENNES = (351000.0, 6789000.0)  # in Lambert 93
IN_DEGREES = (-1.6918836541859255, 48.10802706524509)  # PROJ's own answer


def wkb(x: float, y: float, z: float | None = None) -> bytes:
    return struct.pack("<BI2d", 1, 1, x, y) if z is None else struct.pack("<BI3d", 1, 1001, x, y, z)


def write(folder: Path, form: str, rows: dict[str, Any], places: Sequence[bytes | None], crs: str | None = "EPSG:2154", **how: Any) -> Path:
    """Have GDAL write features."""
    import pyogrio

    folder.mkdir(parents=True, exist_ok=True)
    driver, name = FORMS[form]
    held = pa.table({**rows, "wkb": pa.array(places, pa.binary())})
    told = {"geometry_type": "Point", "geometry_name": "wkb", "layer": "a", **how}
    pyogrio.write_arrow(held, folder / name, driver=driver, crs=crs, **told)
    return folder / name


def request_of(folder: Path, form: str, path: str | None = None, *, is_private: bool = False, **options: Any) -> Request:
    spool = folder.parent / f"spool{len(list(folder.parent.iterdir()))}"
    spool.mkdir()
    return Request(
        brick="shop", table="items", endpoint=str(folder), brick_options=files.BrickOptions(),
        table_options=files.TableOptions(format=form, path=path or FORMS[form][1], **options), columns=(), cursor=None, lookback_days=0,
        position={}, known={}, connection=duckdb.connect(), spool=spool, is_private=is_private, whole=False, progress=lambda _: None,
    )  # fmt: skip


def read(folder: Path, form: str, path: str | None = None, **told: Any) -> tuple[Reading, list[dict[str, Any]]]:
    request = request_of(folder, form, path, **told)
    reading, found = files.read(request), []
    for part in reading.parts:
        result = request.connection.execute(f"select * exclude (_file) from ({part.relation})")
        names = [each[0] for each in result.description or ()]
        found += [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    assert sum(part.counted or 0 for part in reading.parts) == len(found)
    return reading, found


def fault(folder: Path, form: str, path: str | None = None, **told: Any) -> str:
    reading, found = read(folder, form, path, **told)
    assert not found
    return reading.refused_files[0][1]


CODES = st.text(st.sampled_from("0123456789AB- é'"), max_size=8).map(str.strip)
WHOLE = st.one_of(st.none(), st.integers(-(2**63) + 1, 2**63 - 1))


@pytest.mark.parametrize("form", FORMS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=5)
@given(rows=st.lists(st.tuples(CODES, WHOLE, st.integers(-179, 179), st.integers(-89, 89)), min_size=1, max_size=9))
@example(rows=[("01001", 2**60 + 1, 0, 0), ("00", None, 1, 2)])
def test_what_a_layer_holds_lands_to_the_digit(tmp_path: Path, form: str, rows: list[tuple[str, Any, int, int]]) -> None:
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    code, n, x, y = zip(*rows, strict=True)
    n = tuple(None if each is None else each % 10**17 for each in n) if form == "shapefile" else n
    places = [wkb(*each) for each in zip(x, y, strict=True)]
    write(folder, form, {"code": list(code), "n": pa.array(n, pa.int64())}, places, "EPSG:4326")
    _, found = read(folder, form)
    assert sorted((row["code"] or "", str(row["n"]), *json.loads(row["geometry"])["coordinates"]) for row in found) == sorted(
        (each[0], str(number), float(each[2]), float(each[3])) for each, number in zip(rows, n, strict=True)
    )


@pytest.mark.parametrize("is_private", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_types_and_places(tmp_path: Path, form: str, is_private: bool) -> None:
    day, moment = dt.date(2024, 1, 5), dt.datetime(2024, 1, 5, 10, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    rows = {
        "code": ["01001", None],
        "x": [1.5, None],
        "day": pa.array([day, None], pa.date32()),
        "at": pa.array([moment, None], pa.timestamp("ms", "+02:00")),
        "is_open": [True, None],
    }
    write(tmp_path / "in", form, rows, [wkb(*RENNES, 12.0), None if form != "flatgeobuf" else wkb(*RENNES, 0.5)], geometry_type="Point Z")
    reading, found = read(tmp_path / "in", form, is_private=is_private)
    first, second = sorted(found, key=lambda row: row["code"] or "x")
    assert json.loads(first["geometry"]) == {
        "type": "Point",
        "coordinates": [pytest.approx(each, abs=1e-9) for each in (*IN_DEGREES, 12.0)],
    }
    # A FlatGeobuf has no dates, only instants.
    assert (first["code"], first["x"], str(first["day"]).removesuffix("T00:00:00")) == ("01001", 1.5, "2024-01-05")
    assert first["at"] == "2024-01-05T10:30:00+02:00"
    assert first["is_open"] is True
    assert {second[name] for name in ("code", "x", "day", "at", "is_open")} == {None}
    if form != "flatgeobuf":
        assert second["geometry"] is None
    told = {"crs": "EPSG:2154"} | ({"layer": "a"} if form == "geopackage" and not is_private else {})
    assert reading.metadata == {"layers": {FORMS[form][1]: told}}


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_lands(house: House, form: str) -> None:
    count = 9_000
    codes = [f"{n:05}" for n in range(count)]
    write(house.drops, form, {"code": codes, "n": list(range(count))}, [wkb(RENNES[0] + n, RENNES[1]) for n in range(count)])
    columns = [column("code"), column("n", "bigint"), column("geometry", "json")]
    brick = house.brick("shop", [table("items", columns, ["code"], {"format": form, "path": FORMS[form][1]})])
    entry = house.land(brick)
    assert entry
    landing = Landing(house, brick, entry)
    assert sorted(landing.values("code", "n")) == list(zip(codes, range(count), strict=True))
    assert entry["metadata"]["items"]["layers"][FORMS[form][1]]["crs"] == "EPSG:2154"
    assert house.land(brick) is None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kept", [0.0, 0.6, 0.99])
def test_what_is_cut_is_no_prefix(tmp_path: Path, form: str, kept: float) -> None:
    write(tmp_path / "in", form, {"code": [f"{n:05}" for n in range(500)]}, [wkb(*RENNES)] * 500)
    for file in sorted((tmp_path / "in").iterdir()):
        if file.suffix in (".shp", ".shx", ".dbf", ".gpkg", ".fgb"):
            whole = file.read_bytes()
            file.write_bytes(whole[: int(len(whole) * kept)])
            assert fault(tmp_path / "in", form)
            file.write_bytes(whole)
    assert len(read(tmp_path / "in", form)[1]) == 500


@pytest.mark.parametrize("count", [0, 1, 16, 17, 257])
@pytest.mark.parametrize("index", ["YES", "NO"])
def test_features_of_a_flatgeobuf_are_counted_whatever_its_index(tmp_path: Path, count: int, index: str) -> None:
    path = write(tmp_path, "flatgeobuf", {"n": pa.array(range(count), pa.int64())}, [wkb(*RENNES)] * count, SPATIAL_INDEX=index)
    assert features.of_flatgeobuf(path).features == count


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_without_crs_is_told_unless_it_is_declared(tmp_path: Path, form: str) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(tmp_path / "in", form, {"code": ["a"]}, [wkb(*RENNES)], None)
    assert "does not tell its CRS. Mend: declare its `source_crs`" in fault(tmp_path / "in", form)
    _, [row] = read(tmp_path / "in", form, source_crs="EPSG:2154")
    assert json.loads(row["geometry"])["coordinates"] == pytest.approx(IN_DEGREES)


@pytest.mark.parametrize(
    ("place", "crs", "told"),
    [
        (wkb(*RENNES), "EPSG:4326", "has a place outside of what EPSG:4326 can say, its feature 2"),
        (wkb(1e9, 1e9), "EPSG:2154", "has a place outside of what EPSG:2154 can say, its feature 2"),
        (wkb(float("nan"), 5), "EPSG:4326", "has a place outside of what EPSG:4326 can say, its feature 2"),
        (
            struct.pack("<BII4d", 1, 2, 2, 1, 1, float("nan"), 2),
            "EPSG:4326",
            "has a place outside of what EPSG:4326 can say, its feature 2",
        ),
        (wkb(float("inf"), 5), "EPSG:2154", "has a place outside of what EPSG:2154 can say, its feature 2"),
    ],
    ids=["degrees", "far", "no number", "no number in a line", "infinite"],
)
def test_a_place_that_is_elsewhere_is_told(tmp_path: Path, place: bytes, crs: str, told: str) -> None:
    write(
        tmp_path / "in",
        "geopackage",
        {"code": ["a", "b"]},
        [wkb(1, 45) if crs == "EPSG:4326" else wkb(*RENNES), place],
        crs,
        geometry_type="Unknown",
    )
    assert told in fault(tmp_path / "in", "geopackage")


@pytest.mark.parametrize(
    ("crs", "place", "there"),
    [
        ("EPSG:2154+5720", wkb(*RENNES, 12.0), (*IN_DEGREES, 12.0)),  # with heights above the sea, which stay
        ("IGNF:LAMB93", wkb(*RENNES), IN_DEGREES),
        ("OGC:CRS84", wkb(*IN_DEGREES), IN_DEGREES),
        ("EPSG:4171", wkb(*IN_DEGREES), IN_DEGREES),
        ("EPSG:2154", struct.pack("<BI4d", 1, 3001, *RENNES, 12.0, 7.0), (*IN_DEGREES, 12.0)),  # a measure has no place in GeoJSON
    ],
)
def test_places_of_any_crs_are_moved(tmp_path: Path, crs: str, place: bytes, there: tuple[float, ...]) -> None:
    write(tmp_path / "in", "geopackage", {"code": ["a"]}, [place], crs, geometry_type="Unknown")
    [row] = read(tmp_path / "in", "geopackage")[1]
    assert json.loads(row["geometry"])["coordinates"] == pytest.approx(there, abs=1e-9)


def test_curves_and_empty_places(tmp_path: Path) -> None:
    curve = struct.pack("<BII6d", 1, 8, 3, 0, 0, 1, 1, 2, 0)
    write(tmp_path / "in", "geopackage", {"code": ["a"]}, [curve], "EPSG:4326", geometry_type="Unknown")
    assert "holds curves or surfaces, which GeoJSON has not" in fault(tmp_path / "in", "geopackage")
    empty = struct.pack("<BII", 1, 3, 0)
    write(tmp_path / "other", "geopackage", {"code": ["a"]}, [empty], "EPSG:2154", geometry_type="Polygon")
    assert [json.loads(row["geometry"]) for row in read(tmp_path / "other", "geopackage")[1]] == [{"type": "Polygon", "coordinates": []}]


def test_the_layer_of_a_geopackage(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder, "geopackage", {"code": ["a"]}, [wkb(*RENNES)], layer="rues")
    _, [row] = read(folder, "geopackage")
    assert (row["code"], row["fid"]) == ("a", 1)
    import pyogrio

    pyogrio.write_arrow(pa.table({"style": ["x"]}), folder / "a.gpkg", driver="GPKG", layer="layer_styles", append=True)
    assert [row["code"] for row in read(folder, "geopackage")[1]] == ["a"]  # what has no place is meant where it is named
    assert [row["style"] for row in read(folder, "geopackage", layer="layer_styles")[1]] == ["x"]
    write(folder, "geopackage", {"code": ["b"]}, [wkb(*RENNES)], layer="voies", append=True)
    assert "has several layers: rues, voies, layer_styles. Mend: declare which of them is the `layer`" in fault(folder, "geopackage")
    assert "has no layer 'rue'; it has rues, voies, layer_styles. Mend: `layer`" in fault(folder, "geopackage", layer="rue")
    assert "it has 3 layers" in fault(folder, "geopackage", layer="rue", is_private=True)
    assert [row["code"] for row in read(folder, "geopackage", layer="voies")[1]] == ["b"]


def test_a_geopackage_that_lies_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "in", "geopackage", {"code": ["a", "b"]}, [wkb(*RENNES)] * 2)
    with sqlite3.connect(path) as base:
        base.execute("update gpkg_ogr_contents set feature_count = 7")
    assert len(read(tmp_path / "in", "geopackage")[1]) == 2  # rows are counted, not believed
    path.write_bytes(b"SQLite format 3\0" + path.read_bytes()[16:68] + b"\0\0\0\0" + path.read_bytes()[72:])
    assert "is no GeoPackage" in fault(tmp_path / "in", "geopackage")


def test_a_geopackage_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "in", "geopackage", {"code": ["a"]}, [wkb(*RENNES)])
    path.with_name("a.gpkg-wal").write_bytes(b"x")
    with pytest.raises(SourceError, match="is being written"):
        read(tmp_path / "in", "geopackage")


@pytest.mark.parametrize("is_private", [False, True])
def test_a_geopackage_whose_journal_was_taken_in_is_read(tmp_path: Path, is_private: bool) -> None:
    path = write(tmp_path / "in", "geopackage", {"code": ["a"]}, [wkb(*RENNES)])
    base = sqlite3.connect(path)
    assert base.execute("pragma journal_mode = wal").fetchone() == ("wal",)
    base.execute("create table other as select 1 as one")
    base.commit()
    base.close()
    assert path.read_bytes()[18] == 2
    assert [row["code"] for row in read(tmp_path / "in", "geopackage", is_private=is_private)[1]] == ["a"]
    assert sorted(file.name for file in (tmp_path / "in").iterdir()) == ["a.gpkg"]


@pytest.mark.parametrize("gone", [".dbf", ".shx", ".shp"])
def test_a_shapefile_that_lacks_a_part_is_told(tmp_path: Path, gone: str) -> None:
    path = write(tmp_path / "in", "shapefile", {"code": ["a"]}, [wkb(*RENNES)])
    path.with_suffix(gone).unlink()
    if gone == ".shp":
        with pytest.raises(SourceError, match="is not there"):
            read(tmp_path / "in", "shapefile")
    else:
        assert f"lacks {gone} beside its .shp" in fault(tmp_path / "in", "shapefile")


def test_the_encoding_of_a_shapefile(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    path = write(folder, "shapefile", {"nom": ["Noël"]}, [wkb(*RENNES)], encoding="cp1252")
    assert [row["nom"] for row in read(folder, "shapefile")[1]] == ["Noël"]
    path.with_suffix(".cpg").unlink()
    dbf = bytearray(path.with_suffix(".dbf").read_bytes())
    dbf[29] = 0
    path.with_suffix(".dbf").write_bytes(dbf)
    assert "does not tell the encoding of its texts (no .cpg). Mend: declare its `encoding`" in fault(folder, "shapefile")
    assert [row["nom"] for row in read(folder, "shapefile", encoding="cp1252")[1]] == ["Noël"]
    assert "holds texts that are not of the encoding" in fault(folder, "shapefile", encoding="utf-8")


def test_rows_that_a_shapefile_has_deleted_are_none_and_numbers_that_do_not_fit_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "in", "shapefile", {"code": ["a", "b", "c"], "n": [1, 2, 3]}, [wkb(*RENNES)] * 3)
    dbf = bytearray(path.with_suffix(".dbf").read_bytes())
    begin, width = struct.unpack("<HH", dbf[8:12])
    dbf[begin + width] = ord("*")
    number = dbf[32 + 32 + 16]
    dbf[begin + 3 * width - number : begin + 3 * width] = b"*" * number
    path.with_suffix(".dbf").write_bytes(dbf)
    reading, found = read(tmp_path / "in", "shapefile")
    assert [(row["code"], row["n"]) for row in found] == [("a", 1), ("c", None)]
    assert "1 numbers did not fit their field" in reading.warnings[0]


def dbf(fields: dict[str, tuple[str, int, int]], rows: Sequence[Sequence[str]]) -> bytes:
    """Write a .dbf by hand, with what GDAL would not write."""
    width = 1 + sum(each[1] for each in fields.values())
    head = struct.pack("<BBBBIHH17xB2x", 3, 124, 1, 1, len(rows), 33 + 32 * len(fields), width, 0x57)
    told = b"".join(
        name.encode().ljust(11, b"\0") + kind.encode() + bytes(4) + bytes([own, decimals]) + bytes(14)
        for name, (kind, own, decimals) in fields.items()
    )
    held = [b" " + b"".join(text.rjust(own).encode() for text, (_, own, _) in zip(row, fields.values(), strict=True)) for row in rows]
    return head + told + b"\r" + b"".join(held) + b"\x1a"


def test_what_is_not_of_the_type_of_its_field_in_a_shapefile_stays_as_it_is_written(tmp_path: Path) -> None:
    path = write(tmp_path / "in", "shapefile", {"code": ["a"] * 3}, [wkb(*RENNES)] * 3)
    fields = {"N": ("N", 20, 0), "SHORT": ("N", 9, 0), "F": ("F", 12, 2), "DAY": ("D", 8, 0), "IS": ("L", 1, 0), "GOOD": ("D", 8, 0)}
    rows = [
        ["9007199254740993", "12,5", "abc", "20240231", "1", "20240105"],
        ["", "", "", "00000000", "?", ""],
        ["35000", "3", "1.50", "19990000", "T", "20240106"],
    ]
    held = bytearray(dbf(fields, [rows[0], rows[0], *rows[1:]]))
    begin, width = struct.unpack("<HH", held[8:12])
    held[begin + width] = ord("*")
    shapes = write(tmp_path / "four", "shapefile", {"code": ["a"] * 4}, [wkb(*RENNES)] * 4)
    for kind in (".shp", ".shx"):
        path.with_suffix(kind).write_bytes(shapes.with_suffix(kind).read_bytes())
    path.with_suffix(".dbf").write_bytes(held)
    _, found = read(tmp_path / "in", "shapefile")
    assert [tuple(row[name] for name in fields) for row in found] == [
        ("9007199254740993", "12,5", "abc", "2024-02-31", "1", dt.date(2024, 1, 5)),
        (None, None, None, None, None, None),
        ("35000", "3", "1.50", "1999-00-00", "T", dt.date(2024, 1, 6)),
    ]


@pytest.mark.parametrize("is_private", [False, True])
def test_what_is_not_of_the_type_of_its_column_in_a_geopackage_stays_as_it_is_written(tmp_path: Path, is_private: bool) -> None:
    rows = {
        "n": pa.array([1, 2, 3], pa.int64()), "short": pa.array([1, 2, 3], pa.int16()), "x": [1.5, 0.1, 2.5],
        "f": pa.array([1.5] * 3, pa.float32()), "day": [dt.date(2024, 1, 5)] * 3, "is_open": [True, False, None],
        "good": pa.array([7, None, 8], pa.int64()),
    }  # fmt: skip
    path = write(tmp_path / "in", "geopackage", rows, [wkb(*RENNES)] * 3)
    with sqlite3.connect(path) as base:
        for (name,) in base.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            base.execute(f'drop trigger "{name}"')
        base.execute("update a set n = '01abc', short = 100000, x = '12,5', f = 0.1, day = '1999-00-00', is_open = 2 where fid = 2")
        base.execute("update a set x = '', n = 1.5 where fid = 3")
        base.execute("create index by_n on a (n, short, x, f, day, is_open)")
    base.close()
    _, found = read(tmp_path / "in", "geopackage", is_private=is_private)
    assert [tuple(row[name] for name in rows) for row in found] == [
        ("1", "1", "1.5", "1.5", "2024-01-05", "1", 7),
        ("01abc", "100000", "12,5", "0.1", "1999-00-00", "2", None),
        ("1.5", "3", None, "1.5", "2024-01-05", None, 8),
    ]


def test_what_is_not_of_the_type_of_its_column_refuses_its_row_alone(house: House) -> None:
    rows = {"code": ["a", "b", "c"], "n": pa.array([1, 2, 3], pa.int64()), "day": [dt.date(2024, 1, 5)] * 3}
    path = write(house.drops, "geopackage", rows, [wkb(*RENNES)] * 3)
    with sqlite3.connect(path) as base:
        for (name,) in base.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            base.execute(f'drop trigger "{name}"')
        base.execute("update a set n = 'n/a' where code = 'a'")
        base.execute("update a set day = '2024-02-31' where code = 'b'")
    base.close()
    columns = [column("code"), column("n", "bigint"), column("day", "date")]
    brick = house.brick("shop", [table("items", columns, ["code"], {"format": "geopackage", "path": "a.gpkg"})])
    entry = house.land(brick)
    assert entry and (entry["tables"]["items"]["kept"], entry["tables"]["items"]["refused"]) == (1, 2)
    assert house.rows(brick, "items", "code, n, day") == [("c", 3, dt.date(2024, 1, 5))]


def zipped(folder: Path, target: Path, inside: str = "") -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"{inside}{file.name}")
        archive.writestr("lisez-moi.txt", "x")


@pytest.mark.parametrize(("path", "inside"), [("d.zip", ""), ("d.zip", "voies/"), ("d.zip/voies/a.shp", "voies/"), ("d.zip/*.shp", "")])
def test_a_shapefile_in_a_zip(tmp_path: Path, path: str, inside: str) -> None:
    write(tmp_path / "in", "shapefile", {"code": ["01001"]}, [wkb(*RENNES)])
    (tmp_path / "out").mkdir()
    zipped(tmp_path / "in", tmp_path / "out" / "d.zip", inside)
    reading, [row] = read(tmp_path / "out", "shapefile", path)
    assert row["code"] == "01001"
    assert list(reading.metadata["layers"]) == [f"d.zip/{inside}a.shp"]


def test_a_zip_without_shapefile_is_told(tmp_path: Path) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    zipped(tmp_path / "in", tmp_path / "out" / "d.zip")
    assert "the archive holds no shapefile" in fault(tmp_path / "out", "shapefile", "d.zip")


def test_a_shapefile_of_a_web_server_is_read_again_when_a_part_of_it_changes(tmp_path: Path, site: Site) -> None:
    write(tmp_path / "in", "shapefile", {"code": ["a"]}, [wkb(*RENNES)])
    parts = {file.suffix: file.read_bytes() for file in (tmp_path / "in").iterdir()}
    for kind, content in parts.items():
        site.put(f"/a{kind}", content)
    request = replace(request_of(tmp_path / "in", "shapefile"), endpoint=site.url)
    first = files.read(request)
    assert sum(part.counted or 0 for part in first.parts) == 1
    again = replace(request, known={**first.opened}, position=first.position, spool=tmp_path / "again")
    again.spool.mkdir()
    assert not files.read(again).parts
    site.put("/a.dbf", parts[".dbf"].replace(b"a", b"b"))
    third = files.read(replace(again, spool=tmp_path / "again"))
    assert third.parts
    assert third.opened != first.opened


def test_a_property_called_geometry_stands_beside_the_place(tmp_path: Path) -> None:
    write(tmp_path / "in", "geopackage", {"geometry": ["x"]}, [wkb(*RENNES)])
    _, [row] = read(tmp_path / "in", "geopackage")
    assert row["geometry_of_source"] == "x"
    assert json.loads(row["geometry"])["type"] == "Point"


@pytest.mark.parametrize("form", FORMS)
def test_what_is_another_kind_of_file_is_told(tmp_path: Path, form: str) -> None:
    (tmp_path / "in").mkdir()
    for content in (
        b"",
        b"x" * 500,
        b"SQLite format 3\0" + b"\0" * 500,
        b"fgb\x03fgb\x01" + b"\xff" * 50,
        io.BytesIO().getvalue() + b"PK\x05\x06" + b"\0" * 18,
    ):
        for kind in (".shp", ".shx", ".dbf", ".gpkg", ".fgb"):
            (tmp_path / "in" / f"a{kind}").write_bytes(content)
        assert fault(tmp_path / "in", form)


def test_a_crs_of_the_table_is_longitude_and_latitude(tmp_path: Path) -> None:
    write(tmp_path / "in", "flatgeobuf", {"code": ["a"]}, [wkb(*RENNES)])
    request = replace(request_of(tmp_path / "in", "flatgeobuf"), crs="EPSG:2154")
    assert "lands in longitude and latitude, and the table says `crs: EPSG:2154`" in files.read(request).refused_files[0][1]
    write(tmp_path / "in", "shapefile", {"code": ["a"]}, [wkb(*RENNES)]).with_suffix(".prj").unlink()
    request = replace(request_of(tmp_path / "in", "shapefile", source_crs="EPSG:2154"), crs="EPSG:2154")
    assert "lands in longitude and latitude, and the table says `crs: EPSG:2154`" in files.read(request).refused_files[0][1]
