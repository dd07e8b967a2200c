"""How many features a Shapefile, a GeoPackage or a FlatGeobuf holds, told from its bytes, apart from GDAL; and whether it is whole."""

from __future__ import annotations

import mmap
import sqlite3
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ingestion.formats.loose import Loose, fields_of_dbf, is_odd, loose_of_geopackage, texts_of_dbf
from ingestion.lake import quoted

# What stands beside a .shp, and which of it must.
SIDECARS, NEEDED = (".shp", ".shx", ".dbf", ".prj", ".cpg"), (".shp", ".shx", ".dbf")
# What a Shapefile is called in its bundle, an archive of the parts that belong together.
IN_BUNDLE = "data"
SHAPE_HEADER, DBF_ROWS, NODE_BYTES = 100, 1 << 16, 40
MEND = "Mend: have the source give it whole"


class Counted(NamedTuple):
    """How many features there are, whether the texts of a Shapefile say their encoding, and how many of its numbers did not fit.

    `loose` are the columns that GDAL would change in silence, as they are written.
    """

    features: int
    tells_encoding: bool = True
    overflown: int = 0
    loose: Loose | None = None


def of_shapefile(path: Path) -> Counted:
    """Count the features of a bundle; raises ValueError for one that lacks a part, or whose parts are cut or differ."""
    if not zipfile.is_zipfile(path):
        raise ValueError("is no .shp. Mend: `path` names the .shp, or the archive that holds it")
    with zipfile.ZipFile(path) as bundle:
        sizes = {Path(each.filename).suffix: each.file_size for each in bundle.infolist()}
        if missing := [each for each in NEEDED if each not in sizes]:
            raise ValueError(f"lacks {' and '.join(missing)} beside its .shp. Mend: give what belongs to it, under one name")
        for kind in (".shp", ".shx"):
            with bundle.open(IN_BUNDLE + kind) as file:
                head = file.read(SHAPE_HEADER)
            if len(head) < SHAPE_HEADER or struct.unpack(">i", head[:4])[0] != 9994:
                raise ValueError(f"has a {kind} that is none. {MEND}")
            if sizes[kind] < (told := 2 * struct.unpack(">i", head[24:28])[0]):
                raise ValueError(f"has a {kind} that is cut: {sizes[kind]:,} bytes of {told:,}. {MEND}")
        shapes = (sizes[".shx"] - SHAPE_HEADER) // 8
        rows = _of_dbf(bundle, sizes[".dbf"])
        if shapes != rows.rows:
            raise ValueError(f"holds {shapes:,} shapes and {rows.rows:,} rows. {MEND}")
        return Counted(rows.rows - rows.deleted, ".cpg" in sizes or rows.tells_encoding, rows.overflown, rows.loose)


class _Rows(NamedTuple):
    rows: int
    deleted: int
    overflown: int
    tells_encoding: bool
    loose: Loose | None


def _of_dbf(bundle: zipfile.ZipFile, size: int) -> _Rows:
    """Count the rows of a .dbf, those that are deleted, and the numbers that are stars; raises ValueError for one that is cut."""
    import numpy as np

    with bundle.open(f"{IN_BUNDLE}.dbf") as file:
        head = file.read(32)
        if len(head) < 32:
            raise ValueError(f"has a .dbf that is none. {MEND}")
        count, begin, width = struct.unpack("<IHH", head[4:12])
        if size < begin + count * width or width < 1:
            raise ValueError(f"has a .dbf that is cut: {size:,} bytes of {begin + count * width:,}. {MEND}")
        fields = fields_of_dbf(file.read(begin - 32))
        numbers = [at for at, kind, *_ in fields if kind in b"NF" and at < width]
        deleted, overflown, is_ascii, left = 0, 0, True, count
        odd = set[int]()
        while left:
            block = file.read(width * min(DBF_ROWS, left))
            rows = np.frombuffer(block, np.uint8).reshape(-1, width)
            deleted += int((rows[:, 0] == ord("*")).sum())
            overflown += int((rows[:, numbers] == ord("*")).sum())
            odd |= {place for place, field in enumerate(fields) if place not in odd and is_odd(field, rows)}
            is_ascii = is_ascii and block.isascii()
            left -= len(rows)
        file.seek(begin)
        loose = Loose({place: texts_of_dbf(file, fields[place], width, count) for place in sorted(odd)}) if odd else None
    # The byte that tells a code page, where it does; texts of ASCII alone need none.
    return _Rows(count, deleted, overflown, is_ascii or head[29] != 0, loose)


def check_geopackage(path: Path) -> None:
    """Raise ValueError for a GeoPackage that is none, or that is shorter than it says."""
    with path.open("rb") as file:
        head, size = file.read(100), file.seek(0, 2)
    if head[:15] != b"SQLite format 3" or (len(head) == 100 and head[68:70] != b"GP"):
        raise ValueError("is no GeoPackage")
    if len(head) < 100:
        raise ValueError(f"is cut: {size:,} bytes. {MEND}")
    page, pages = struct.unpack(">H", head[16:18])[0], struct.unpack(">I", head[28:32])[0]
    if size < (told := (65536 if page == 1 else page) * max(1, pages)):
        raise ValueError(f"is cut: {size:,} bytes of {told:,}. {MEND}")


def bytes_of_geopackage(path: Path) -> bytes:
    """Give a GeoPackage as SQLite reads it in memory, where there is no journal."""
    held = bytearray(path.read_bytes())
    held[18:20] = b"\x01\x01"
    return bytes(held)


def of_geopackage(path: Path, layer: str, *, is_private: bool) -> Counted:
    """Count the rows of a layer by SQLite itself; raises ValueError where it cannot, or where values of no type cannot be told apart."""
    connection = sqlite3.connect(":memory:" if is_private else f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        if is_private:
            connection.deserialize(bytes_of_geopackage(path))
        count = connection.execute(f"select count(*) from {quoted(layer)}").fetchone()[0]
        return Counted(count, loose=loose_of_geopackage(connection, layer))
    except sqlite3.Error as error:
        raise ValueError(f"is no whole GeoPackage ({type(error).__name__}). {MEND}") from error
    finally:
        connection.close()


def of_flatgeobuf(path: Path) -> Counted:
    """Count the features of a FlatGeobuf by the sizes that precede them; raises ValueError for one that is cut."""
    with path.open("rb") as file:
        if file.read(3) != b"fgb" or file.seek(0, 2) < 12:
            raise ValueError("is no FlatGeobuf")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                told, start = _head_of_flatgeobuf(data)
                count = sum(1 for _ in _features(data, start))
            except struct.error as error:
                raise ValueError(f"is cut. {MEND}") from error
    if told and told != count:
        raise ValueError(f"says that it holds {told:,} features, and holds {count:,}. {MEND}")
    return Counted(count)


def _head_of_flatgeobuf(data: mmap.mmap) -> tuple[int, int]:
    """Give how many features a FlatGeobuf says that it holds (0 for unsaid), and where they begin."""
    size, begin = struct.unpack_from("<I", data, 8)[0], 12
    table = begin + struct.unpack_from("<I", data, begin)[0]
    fields = table - struct.unpack_from("<i", data, table)[0]

    def value(number: int, form: str, default: int) -> int:
        at = 4 + 2 * number
        offset = struct.unpack_from("<H", data, fields + at)[0] if at < struct.unpack_from("<H", data, fields)[0] else 0
        return struct.unpack_from(form, data, table + offset)[0] if offset else default

    count, node = value(8, "<Q", 0), value(9, "<H", 16)
    # An index of nodes precedes the features: as many as there are, then by `node` up to one alone.
    nodes = level = count if node > 1 else 0
    while level and (nodes == count or level > 1):
        level = -(-level // node)
        nodes += level
    return count, begin + size + nodes * NODE_BYTES


def _features(data: mmap.mmap, start: int) -> Iterator[int]:
    if start > len(data):
        raise ValueError(f"is cut. {MEND}")
    while start < len(data):
        start += 4 + int(struct.unpack_from("<I", data, start)[0])
        if start > len(data):
            raise ValueError(f"is cut in the middle of a feature. {MEND}")
        yield start
