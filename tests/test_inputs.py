"""Inputs off the beaten path: each is read, or told for what it is, and nothing of it vanishes or becomes another figure."""

# ruff: noqa: E501 (tables of cases, one a line)
from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import py7zr
import pytest
from backports import zstd
from conftest import Document, House, Site, column, read_by_blocks, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.brick import Brick
from ingestion.declaration import BrickError
from ingestion.entries import Entry
from ingestion.keyed import NAMES, names_by, secret_of
from ingestion.steward import refused_rows

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases" / "inputs"
POINT = {"type": "Point", "coordinates": [-1.68, 48.11]}
NFD = unicodedata.normalize("NFD", "Énergie")


class Landing:
    """What became of an input: the entry, the rows that landed, those that were refused, all as the Parquet holds them."""

    def __init__(self, house: House, brick: Brick, entry: Entry) -> None:
        self.entry, self.record = entry, entry["tables"]["items"]
        connection = house.lake.connect()
        rows: list[Document] = []
        for file in self.record["files"]:
            found = connection.execute("from read_parquet(?, hive_partitioning = false)", [house.lake.path(file)])
            names = [each[0] for each in found.description or ()]
            rows += [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        connection.close()
        self.kept = [row for row in rows if row["_refused"] is None]
        self.refused = [row for row in rows if row["_refused"] is not None]
        self.told = refused_rows(house.lake, entry, 99)["items"]
        assert self.record["source_count"] == len(rows) == self.record["kept"] + self.record["refused"]

    def values(self, *names: str) -> list[Any]:
        """Give the values of the rows that were kept."""
        rows = [tuple(row[name] for name in names) for row in self.kept]
        return rows if len(names) > 1 else [row[0] for row in rows]


def land(house: House, columns: list[Document], options: Document, key: str = "id", **meta: Any) -> Landing:
    """Land a table of one brick."""
    brick = house.brick("shop", [table("items", columns, [key], options, **meta)])
    entry = house.land(brick)
    assert entry
    return Landing(house, brick, entry)


def land_csv(house: House, content: str | bytes, names: str = "id n v", **options: Any) -> Landing:
    """Land a CSV, the columns of which are texts."""
    house.drop("items.csv", content)
    return land(house, [column(name) for name in names.split()], {"format": "csv", "path": "items.csv", **options})


# --- separators ---


@pytest.mark.parametrize("mark", [";", "\t", "|", ","])
@pytest.mark.parametrize("has_header", [True, False])
def test_the_separator_is_the_one_that_gives_what_is_declared(house: House, mark: str, has_header: bool) -> None:
    others = "".join(other for other in ";\t|," if other != mark)
    rows = [["a", f"12{others} rue{others}{others} b{others}", "2"], ["b", f"4{others[0]} quai", "3"], ["c", "", f"{others}9"]]
    header = ["id", f"n{others * 2}", "v"]
    text = "".join(mark.join(row) + "\n" for row in ([header] if has_header else []) + rows)
    house.drop("items.csv", text)
    landing = land(house, [column("id"), column(header[1]), column("v")], {"format": "csv", "path": "items.csv", "header": has_header})
    assert landing.values("id", header[1], "v") == [tuple(value or None for value in row) for row in rows]


def test_of_two_separators_that_fit_alike_none_is_taken(house: House) -> None:
    landing = land_csv(house, "1,5;2\n2,5;3\n", "id n", header=False)
    assert landing.entry["verdict"] == "refused"
    assert "gives the 2 declared columns by ';' and ',' alike. Mend: declare its `separator`" in landing.entry["reasons"][0]
    assert land_csv(house, "1,5;2\n2,5;3\n", "id n", header=False, separator=";").values("id", "n") == [("1,5", "2"), ("2,5", "3")]


def test_a_single_column_is_not_cut_at_what_it_holds(house: House) -> None:
    assert land_csv(house, "id\n12, rue\n4; quai\n", "id").values("id") == ["12, rue", "4; quai"]
    assert land_csv(house, "12, rue\n4, quai\n", "id", header=False).values("id") == ["12, rue", "4, quai"]


# --- headers ---


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ('id;"Nom ""usuel""";v', ["id", 'Nom "usuel"', "v"]),
        ('"""id""";n;v', ['"id"', "n", "v"]),
        ("\ufeff\ufeffid;n;v", ["id", "n", "v"]),
        ('\ufeff\ufeff"id";n;v', ["id", "n", "v"]),
        (f"id;{NFD};v", ["id", "Énergie", "v"]),
        (f"id;{NFD.upper()};v", ["id", "Énergie", "v"]),
        ("id;n;;v;", ["id", "n", "column2", "v", "column4"]),
        ("id;n;n;N;v", ["id", "n", "n_1", "N_2", "v"]),
        ("id; n ;\tv", ["id", "n", "v"]),
        (
            "FILENAME;File_Row_Number;_File;_refused;_path;load_id",
            [f"{name}_of_source" for name in ("FILENAME", "File_Row_Number", "_File", "_refused", "_path", "load_id")],
        ),
    ],
)
def test_headers_are_read_as_they_are_written_and_can_be_declared(house: House, header: str, names: list[str]) -> None:
    values = [f"v{number}" for number in range(len(names))]
    house.drop("items.csv", f"{header}\n{';'.join(values)}\n")
    landing = land(house, [column(name) for name in names], {"format": "csv", "path": "items.csv"}, names[0])
    assert landing.values(*names) == [tuple(values)]
    assert not landing.record["new_columns"]


def test_a_name_declared_with_its_accents_apart_is_the_same(house: House) -> None:
    house.drop("items.csv", "id;Énergie\na;1\n")
    assert land(house, [column("id"), column(NFD)], {"format": "csv", "path": "items.csv"}).values("Énergie") == ["1"]


@pytest.mark.parametrize("form", ["ndjson", "json", "geojson", "parquet"])
def test_accents_apart_are_the_same_name_in_any_form(house: House, form: str) -> None:
    write(house, form, [{"id": "a", NFD: "1"}])
    landing = land(house, [column("id"), column("Énergie")], {"format": form, "path": f"items*.{form}"})
    assert landing.values("Énergie") == ["1"]
    assert not landing.record["new_columns"]


def write(house: House, form: str, rows: list[Document], name: str = "items") -> None:
    """Lay rows as a file of a form, as files of one document each for JSON."""
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), house.drops / f"{name}.parquet")
    elif form == "csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        house.drop(f"{name}.csv", text.getvalue())
    elif form == "geojson":
        house.drop(
            f"{name}.geojson",
            json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "properties": row} for row in rows]}),
        )
    elif form == "ndjson":
        house.drop(f"{name}.ndjson", "".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        for number, row in enumerate(rows):
            house.drop(f"{name}{number}.json", json.dumps(row))


FORMS = ["csv", "ndjson", "json", "geojson", "parquet"]


@pytest.mark.parametrize("form", FORMS)
def test_an_older_name_is_read_in_the_older_files_of_a_series(house: House, form: str) -> None:
    write(house, form, [{"id": "a", "conso": "1", "note": "x"}], "items_2023")
    write(house, form, [{"id": "b", "Energie": "2"}], "items_2024")
    write(house, form, [{"id": "c", "energy": "3", "conso": "4"}], "items_2025")
    columns = [column("id"), column("energy", "bigint", formerly=["Energie", "conso"])]
    landing = land(house, columns, {"format": form, "path": f"items*.{form}"})
    assert sorted(landing.values("id", "energy")) == [("a", 1), ("b", 2), ("c", 3)]
    # What is not read under its older name is kept beside.
    assert sorted(landing.record["new_columns"]) == ["conso", "note"]
    by_id = {row["id"]: row if "conso" in row else json.loads(row["_extra"] or "{}") for row in landing.kept}
    assert by_id["c"]["conso"] == "4"
    assert not by_id["a"].get("conso")


# --- names of ours and of DuckDB ---

TAKEN = [
    "_file",
    "_path",
    "_doc",
    "_refused",
    "_extra",
    "_read_at",
    "_load_id",
    "_seq",
    "_row",
    "load_id",
    "filename",
    "file_row_number",
    "file_index",
]


@pytest.mark.parametrize("is_declared", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_names_of_ours_and_of_duckdb_land_beside(house: House, form: str, is_declared: bool) -> None:
    names = [name if number % 2 else name.upper() for number, name in enumerate(TAKEN)]
    write(house, form, [{"id": f"r{n}", "n": n if n < 3 else "x", **{name: f"{name} {n}" for name in names}} for n in range(4)] if form != "parquet" else
          [{"id": f"r{n}", "n": str(n) if n < 3 else "x", **{name: f"{name} {n}" for name in names}} for n in range(4)])  # fmt: skip
    columns = [column("id"), column("n", "bigint"), *(column(name) for name in names if is_declared)]
    options = {"format": form, "path": f"items*.{form}"}
    landing = land(house, columns, options)
    assert landing.values("n") == [0, 1, 2]
    assert [row["reason"] for row in landing.told] == ["n is not a whole number: x"]
    landed = [f"{name}_of_source" for name in names]
    if is_declared:
        brick = house.brick("shop", [table("items", columns, ["id"], options)])
        quoted = ", ".join(f'"{name}"' for name in landed)
        assert house.rows(brick, "items", quoted, "id") == [tuple(f"{name} {n}" for name in names) for n in range(3)]
        assert not landing.record["new_columns"]
    else:
        held = [row if landed[0] in row else json.loads(row["_extra"]) for row in landing.kept]
        told = landed if landed[0] in held[0] else names
        assert [[row[name] for name in told] for row in held] == [[f"{name} {n}" for name in names] for n in range(3)]
        assert set(landing.record["new_columns"]) == set(told)


def test_what_landed_under_a_name_of_duckdb_is_still_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from ingestion import connectors

    columns, options = [column("id"), column("filename")], {"format": "csv", "path": "items*.csv"}
    house.drop("items1.csv", "id,filename\na,a.jpg\n")
    with monkeypatch.context() as patch:
        patch.setattr(connectors, "RESERVED", ("_file",))
        land(house, columns, options)
    house.drop("items2.csv", "id,filename\nb,b.jpg\n")
    brick = house.brick("shop", [table("items", columns, ["id"], options)])
    house.land(brick)
    assert house.rows(brick, "items", "filename_of_source", "id") == [("a.jpg",), ("b.jpg",)]


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_name_of_ours_and_what_it_lands_as_are_two_columns(house: House, form: str, is_first: bool) -> None:
    names = ["_file", "_file_of_source", "_file_of_source_of_source"]
    write(house, form, [{"id": "a", **{name: f"of {name}" for name in (names if is_first else reversed(names))}}])
    options = {"format": form, "path": f"items*.{form}"}
    landing = land(house, [column(name) for name in ("id", "_file", *(f"{name}_of_source" for name in names[1:]))], options)
    assert landing.values(*(f"{name}_of_source" for name in names)) == [tuple(f"of {name}" for name in names)]
    assert not landing.record["new_columns"]
    brick = house.brick("shop", [table("items", [column("id"), column("_file")], ["id"], options)])
    entry = house.land(brick)  # read again where it may be: what is not declared takes no place of what is
    assert house.rows(brick, "items", "_file_of_source") == [("of _file",)]
    if entry:
        assert Landing(house, brick, entry).values("_file_of_source") == ["of _file"]


@pytest.mark.parametrize("header", ["n;n;n_1", "n_1;n;n", "n;n_1;n"])
def test_the_second_column_of_a_name_takes_no_other_name(house: House, header: str) -> None:
    house.drop("items.csv", f"id;{header}\na;{';'.join(f'{name} {at}' for at, name in enumerate(header.split(';')))}\n")
    landing = land(house, [column("id"), column("n"), column("n_1")], {"format": "csv", "path": "items.csv"})
    assert [(n.partition(" ")[0], n_1.partition(" ")[0]) for n, n_1 in landing.values("n", "n_1")] == [("n", "n_1")]
    assert landing.record["new_columns"] == ["n_2"]


def test_names_of_ours_may_be_the_key_and_the_cursor(house: House) -> None:
    columns, options = [column("filename"), column("_seq", "bigint")], {"format": "csv", "path": "items*.csv"}
    house.drop("items1.csv", "filename,_seq\na,1\nb,2\n,3\n")
    landing = land(house, columns, options, "filename", cursor="_seq")
    assert landing.record["position"]["cursor"] == "3"
    assert landing.told[0]["reason"] == "filename_of_source is missing, and is in the key"


# --- bytes ---


@pytest.mark.parametrize(
    ("encoding", "bad"),
    [
        ("cp1252", b"\x81"),
        ("utf-8", b"\xe9"),
        ("utf-8", b"\xff"),
        ("utf-16", b"\x00\xd8"),
        ("utf-16-le", b"\x00\xdc"),
        ("utf-16-be", b"\xd8\x00"),
        ("shift_jis", b"\x80"),
        ("ascii", b"\xe9"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "ndjson", "geojson"])
@pytest.mark.parametrize("is_private", [False, True])
def test_one_impossible_byte_refuses_its_row(house: House, form: str, encoding: str, bad: bytes, is_private: bool) -> None:
    mark = "\x01"
    lines = (
        [f"r{n};{mark if n == 2 else 'ok'};{n}" for n in range(4)]
        if form == "csv"
        else [
            json.dumps({"id": f"r{n}", "name": mark if n == 2 else "ok", "v": n}, ensure_ascii=False).replace("\\u0001", mark)
            for n in range(4)
        ]
    )
    whole = "id;name;v\n" + "\n".join(lines) + "\n" if form == "csv" else "\n".join(lines) + "\n"
    if form == "geojson":
        whole = (
            '{"type": "FeatureCollection", "features": ['
            + ",\n".join(f'{{"type": "Feature", "properties": {line}}}' for line in lines)
            + "]}"
        )
    content = whole.encode(encoding)
    place = mark.encode("utf-16-le" if encoding == "utf-16" else encoding)
    content = content.replace(place, bad)
    house.drop(f"items.{form}", content)
    who = [column("name"), *([column("who", personal=True, mask="drop", optional=True)] if is_private else [])]
    brick = house.brick(
        "shop", [table("items", [column("id"), *who, column("v", "bigint")], ["id"], {"format": form, "path": f"items.{form}", "encoding": encoding})],
        **({"legal_basis": "x", "purpose": "y"} if is_private else {}),
    )  # fmt: skip
    entry = house.land(brick)
    assert entry
    landing = Landing(house, brick, entry)
    assert not landing.record["refused_files"]
    assert landing.values("id", "v") == [("r0", 0), ("r1", 1), ("r3", 3)]
    [told] = landing.told
    assert told["row"] == 3
    if form == "geojson":
        assert told["reason"].startswith("not a JSON object") and is_private != ("bytes that are no text" in told["reason"])
    else:
        assert told["line"] == (4 if form == "csv" else 3)
        assert told["reason"].startswith(f"line {told['line']} is unreadable (invalid encoding)")
        assert is_private != ("r2" in told["reason"])


def test_a_cut_character_at_the_end_is_no_silence(house: House) -> None:
    landing = land_csv(house, "id;n;v\na;1;x\nb;2;y".encode("utf-16")[:-1], encoding="utf-16")
    assert landing.values("id") == ["a"]
    assert "invalid encoding" in landing.told[0]["reason"]


def test_one_document_that_is_no_text_takes_no_other_with_it(house: House) -> None:
    archived = io.BytesIO()
    with zipfile.ZipFile(archived, "w") as archive:
        for number, content in enumerate([b'{"id": "a"}', b'{"id": "\xe9"}', b'{"id": "c"}']):
            archive.writestr(f"{number}.json", content)
    house.drop("items.zip", archived.getvalue())
    landing = land(house, [column("id")], {"format": "json", "path": "items.zip"})
    assert landing.values("id") == ["a", "c"]
    assert "items.zip/1.json cannot be read: 'utf-8' codec" in landing.record["refused_files"][0][1]


@pytest.mark.parametrize("form", ["csv", "ndjson", "json", "geojson"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_marks_of_the_byte_order_are_no_part_of_the_text(house: House, form: str, encoding: str) -> None:
    content = {
        "csv": "a;1\nb;2\n",
        "ndjson": '{"id": "a"}\n{"id": "b"}\n',
        "json": '{"id": "a"}',
        "geojson": '{"features": [{"properties": {"id": "a"}}]}',
    }
    house.drop(f"items.{form}", ("\ufeff" * 2 + content[form]).encode(encoding))
    options: Document = {"format": form, "path": f"items.{form}", "encoding": encoding, **({"header": False} if form == "csv" else {})}
    landing = land(house, [column("id"), *([column("n")] if form == "csv" else [])], options)
    assert landing.values("id")[0] == "a"
    assert not landing.refused


@pytest.mark.parametrize("form", ["csv", "ndjson"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_put_end_to_end_keep_no_mark_of_the_byte_order(house: House, form: str, end: str) -> None:
    rows = {"csv": ['"a";"1;2"', "b;3"], "ndjson": ['{"id": "a", "n": "1;2"}', '{"id": "b", "n": "3"}']}[form]
    text = "".join(f"\ufeff{row}{end}" for row in rows)
    house.drop(f"items.{form}", ("id;n" + end if form == "csv" else "") + text)
    landing = land(house, [column("id"), column("n")], {"format": form, "path": f"items.{form}"})
    assert landing.values("id", "n") == [("a", "1;2"), ("b", "3")]
    assert not landing.refused


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(("is_marked", "has_header"), [(False, False), (True, True)])
def test_another_unicode_is_read_when_declared_and_told_when_not(house: House, encoding: str, is_marked: bool, has_header: bool) -> None:
    mark = "\ufeff" if is_marked and encoding[-1] == "e" else ""
    content = (mark + ("id;n;v\n" if has_header else "") + "a;1;é\n").encode(encoding)
    assert land_csv(house, content, encoding=encoding, header=has_header).values("id", "n", "v") == [("a", "1", "é")]
    for declared in ("utf-8", "cp1252", *(["utf-16-le"] if encoding == "utf-32-le" else [])):
        landing = land_csv(house, content, encoding=declared, header=has_header)
        assert landing.entry["verdict"] == "refused"
        reason = landing.record["refused_files"][0][1]
        assert "encoding" in reason and encoding[:6] in reason, reason


def test_the_separator_that_excel_alone_reads_is_no_header(house: House) -> None:
    for first in ("sep=;", '"sep=;"', "SEP=;", "\ufeffsep=;"):
        for header in ("id;n;v\n", ""):
            landing = land_csv(house, f"{first}\r\n{header}a,b;1,5;2\r\n", header=bool(header))
            assert landing.values("id", "n", "v") == [("a,b", "1,5", "2")]
    assert land_csv(house, "sep=;\nid,n,v\na,1,2\n", separator=",").values("id") == ["a"]
    landing = land_csv(house, "sep=^\nid^n^v\na;b^1,2^3\nx^y\n")
    assert landing.values("id", "n", "v") == [("a;b", "1,2", "3")]
    assert [(row["row"], row["line"]) for row in landing.told] == [(2, 4)]


# --- rows that are none ---


@pytest.mark.parametrize("again", ["id;n;v", '"id";"n";"v"', " id ; n;v", "\ufeffid;n;v", '\ufeff"id";n;v'])
@pytest.mark.parametrize("has_quotes", [False, True])
def test_a_header_in_the_middle_is_told_and_is_no_row(house: House, again: str, has_quotes: bool) -> None:
    first, end = ('x"y', "\r\n") if has_quotes else ("a", "\n")  # what the scan of bytes leaves to the slower one
    landing = land_csv(house, end.join(["id;n;v", f"{first};1;id", again, "b;id;4", "c;1;2;3", again, "d;5;6", ""]))
    assert landing.values("id") == [first, "b", "d"]
    told = [(row["line"], row["reason"].partition(":")[0]) for row in landing.told]
    once_more = "the header of the file once more"
    assert sorted(told) == [(3, once_more), (5, "line 5 is unreadable (too many columns)"), (6, once_more)]


@pytest.mark.parametrize("again", ["ID;N;V", "Id ; n;V"])
def test_a_header_in_other_capitals_is_the_header_again(house: House, again: str) -> None:
    landing = land_csv(house, f"id;n;v\na;1;2\n{again}\nb;3;4\n")
    assert landing.values("id") == ["a", "b"]
    assert [row["reason"].partition(":")[0] for row in landing.told] == ["the header of the file once more"]


TYPED = [column("id"), column("day", "date"), column("consumption", "double")]


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        *((f"id;n;v\na;1;2\n{other}\nb;3;4\n", [column(name) for name in ("id", "n", "v")]) for other in ("id;v;n", "v;n;id", "V;N;ID")),
        *(
            (f"id;day;consumption\na;2024-01-01;5\n{other}\n2024-01-02;b;6\n", TYPED)
            # Of other names too, the longest or not, of which half are declared.
            for other in ("day;id;consumption", "day;id;conso", "Day;ID;conso", "id;day;conso", "jour;id;consumption")
        ),
    ],
)
def test_another_header_in_the_middle_refuses_its_file(house: House, content: str, columns: list[Document]) -> None:
    house.drop("items.csv", content)
    landing = land(house, columns, {"format": "csv", "path": "items.csv"})
    assert landing.entry["verdict"] == "refused"
    assert "holds another header further on" in landing.record["refused_files"][0][1]


@pytest.mark.parametrize(
    ("content", "columns", "held"),
    [
        ("id;name;type\na;name;type\nb;x;y\n", "id name type", ["a", "b"]),
        ("old;new;id\nid;old;1\na;b;2\n", "old new id", ["1", "2"]),
        ("id;kind;day\nkind;id;2024-01-01\nb;x;2024-01-02\n", "id kind day:date", ["kind", "b"]),
    ],
)
def test_rows_made_of_names_are_rows(house: House, content: str, columns: str, held: list[str]) -> None:
    house.drop("items.csv", content)
    landing = land(house, [column(*name.split(":")) for name in columns.split()], {"format": "csv", "path": "items.csv"})
    assert landing.values("id") == held and not landing.refused


def test_what_is_named_as_a_column_is_no_header(house: House) -> None:
    landing = land_csv(house, "id;n;v\nid;1;2\nx;id;3\n")
    assert landing.values("id", "n") == [("id", "1"), ("x", "id")]


@pytest.mark.parametrize("mark", [";", ",", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quote", ['"', ""])
def test_rows_of_separators_alone_are_no_rows(house: House, mark: str, end: str, quote: str) -> None:
    thin = [mark * 2, f" {mark} {mark} ", mark, mark * 5, "   ", *([f'""{mark}""{mark}""', f'" "{mark}{mark}'] if quote else [])]
    lines = [*thin[:1], mark.join(("id", "n", "v")), mark.join("abc"), *thin, mark.join(("d", "", "x")), *thin, *thin]
    landing = land_csv(house, end.join(lines) + end, quote=quote)
    assert landing.values("id", "n", "v") == [("a", "b", "c"), ("d", None, "x")]
    assert not landing.refused
    # What holds separators is none of them.
    if quote:
        held = f'"{mark}"{mark}"{mark}"{mark}"{mark}"'
        landing = land_csv(house, end.join([*lines, held]))
        assert landing.values("id", "n", "v")[-1] == (mark, mark, mark)


def test_rows_of_one_column_may_be_blank(house: House) -> None:
    house.drop("items.csv", 'n\n1\n""\n\n2\n')
    landing = land(house, [column("n")], {"format": "csv", "path": "items.csv"}, "n")
    assert (landing.record["kept"], landing.record["refused"]) == (2, 2)


# --- what is packed, and what is no table ---


def packed(content: bytes) -> bytes:
    """Give what gzip makes of a content, the same each time."""
    return gzip.compress(content, mtime=0)


def zipped(**members: bytes | str) -> bytes:
    """Give a zip; double underscores of names are their dots."""
    archived = io.BytesIO()
    with zipfile.ZipFile(archived, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            # Of a date that is always the same: the name of a test is made of it.
            archive.writestr(zipfile.ZipInfo(name.replace("__", ".")), content, zipfile.ZIP_DEFLATED)
    return archived.getvalue()


TEXT = b"id;n;v\na;1;2\n"
XLSX = zipped(**{"[Content_Types]__xml": "", "xl/workbook__xml": "", "xl/worksheets/sheet1__xml": ""})


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (packed(packed(TEXT)), "items.gz"),
        (packed(zipped(a__csv=TEXT)), "items.gz"),
        (zipped(a__csv__gz=packed(TEXT)), "items.zip"),
        (zipped(a__csv__gz=packed(TEXT)), "items.zip/*.gz"),
        (zipped(a__zip=zipped(b__csv=TEXT)), "items.zip"),
        (zipped(a__zip=zipped(b__csv=TEXT, c__txt="no")), "items.zip/a.zip/*.csv"),
        (zipped(a__zip=zipped(b__csv=TEXT), d__zip=zipped(b__txt="no")), "items.zip/*.zip/*.csv"),
        (zipped(a__zip=packed(zipped(b__csv=TEXT))), "items.zip"),
    ],
)
@pytest.mark.parametrize("over_http", [False, True])
def test_what_is_packed_twice_is_opened(house: House, site: Site, content: bytes, path: str, over_http: bool) -> None:
    name = path.partition("/")[0]
    house.drop(name, content)
    site.put(f"/{name}", content)
    columns = [column(name) for name in ("id", "n", "v")]
    brick = house.brick("shop", [table("items", columns, ["id"], {"format": "csv", "path": path})], site.url if over_http else None)
    entry = house.land(brick)
    assert entry
    assert Landing(house, brick, entry).values("id", "n", "v") == [("a", "1", "2")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (XLSX, "it is an Excel workbook (.xlsx), not a table. Mend: `format: spreadsheet`, or save it as CSV"),
        (packed(XLSX), "it is an Excel workbook (.xlsx)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "it is an older Excel workbook (.xls)"),
        (zipped(mimetype="application/vnd.oasis.opendocument.spreadsheet", content__xml=""), "it is a document of an office suite"),
        (zipped(), "it is an empty zip"),
        (b"%PDF-1.7\n", "it is a PDF"),
        (b"7z\xbc\xaf\x27\x1c" + b"\0" * 9, "its 7z cannot be opened"),
        (b"Rar!\x1a\x07", "it is a RAR archive"),
        (b"\n <!DOCTYPE html><html></html>", "is an HTML or XML page, not a table"),
        (b"\xef\xbb\xbf<html><body>id;n;v</body></html>", "is an HTML or XML page"),
        (TEXT.decode().encode("utf-16"), "it is utf-16, and is read as UTF-8. Mend: declare its `encoding: utf-16`"),
        (packed(packed(packed(packed(TEXT)))), "it is packed more than 3 times"),
        (zipped(a__txt="x"), "lacks the declared columns id, n, v; it has x"),
    ],
)
def test_what_is_no_table_is_told_for_what_it_is(house: House, content: bytes, told: str) -> None:
    landing = land_csv(house, content)
    assert landing.entry["verdict"] == "refused"
    assert told in landing.record["refused_files"][0][1]


def seven_zipped(password: str | None = None, **members: bytes) -> bytes:
    """Give a 7z; double underscores of names are their dots."""
    archived = io.BytesIO()
    with py7zr.SevenZipFile(archived, "w", password=password) as archive:
        for name, content in members.items():
            archive.writestr(content, name.replace("__", "."))
    return archived.getvalue()


STREAMS: dict[str, Any] = {"bz2": bz2.compress, "xz": lzma.compress, "zst": zstd.compress, "gz": packed}
MANY = b"id;n;v\n" + b"".join(b"k%d;%d;%d\n" % (n, n * 7919 % 1000, n * n) for n in range(3000))


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize("over_http", [False, True])
def test_each_way_of_packing_is_opened_and_a_cut_is_no_end(house: House, site: Site, way: str, over_http: bool) -> None:
    pack = STREAMS[way]
    # Two streams one after the other are one, as gzip and the others have it.
    whole = pack(MANY[:9_000]) + pack(MANY[9_000:])
    name = f"items.csv.{way}"
    tables = [table("items", [column(each) for each in ("id", "n", "v")], ["id"], {"format": "csv", "path": name})]
    first = len(pack(MANY[:9_000]))
    damaged = bytearray(whole)
    damaged[first : first + 3] = b"???"  # the second stream is none: what the first holds is not the whole
    wrong = [*(whole[:size] for size in (len(whole) - 1, len(whole) // 2, first - 3, 12)), bytes(damaged), whole + b"more"]
    for number, content in enumerate(wrong):
        house.drop(name, content)
        site.put(f"/{name}", content)
        entry = house.land(house.brick(f"wrong_{number}", tables, site.url if over_http else None))
        assert entry
        assert entry["verdict"] == "refused"
        assert "cannot be read" in entry["tables"]["items"]["refused_files"][0][1]
    house.drop(name, whole)
    site.put(f"/{name}", whole)
    entry = house.land(house.brick("shop", tables, site.url if over_http else None))
    assert entry
    assert entry["tables"]["items"]["kept"] == 3000


def test_what_follows_the_padding_of_xz_is_read(house: House) -> None:
    first = lzma.compress(MANY[:9_000])
    house.drop("items.xz", first + b"\0" * ((1 << 18) * 2 - len(first)) + lzma.compress(MANY[9_000:]) + b"\0" * 8)
    landing = land(house, [column(name) for name in ("id", "n", "v")], {"format": "csv", "path": "items.xz"})
    assert landing.record["kept"] == 3000


@pytest.mark.parametrize("over_http", [False, True])
@pytest.mark.parametrize("is_private", [False, True])
def test_a_7z_is_opened_as_a_zip_is(house: House, site: Site, over_http: bool, is_private: bool) -> None:
    content = seven_zipped(été__csv=MANY, b__txt=b"no", c__csv__gz=packed(b"id;n;v\nz;1;2\n"))
    house.drop("items.7z", content)
    site.put("/items.7z", content)
    more = [column("v", personal=True, mask="drop") if is_private else column("v")]
    tables = [table("items", [column("id"), column("n"), *more], ["id"], {"format": "csv", "path": "items.7z/*.{csv,gz}"})]
    personal = {"legal_basis": "b", "purpose": "p"} if is_private else {}
    entry = house.land(house.brick("shop", tables, site.url if over_http else None, **personal))
    assert entry
    assert (entry["tables"]["items"]["kept"], entry["tables"]["items"]["refused_files"]) == (3001, [])


@pytest.mark.parametrize("damage", range(10))
def test_a_damaged_7z_is_told_and_never_a_part_of_it(house: House, damage: int) -> None:
    content = bytearray(seven_zipped(a__csv=MANY))
    drawn = random.Random(damage)
    if damage % 2:
        del content[drawn.randrange(6, len(content)) :]
    else:
        at = drawn.randrange(32, len(content) - 8)
        content[at : at + 8] = bytes(byte ^ 0xFF for byte in content[at : at + 8])
    house.drop("items.7z", bytes(content))
    entry = land(house, [column(name) for name in ("id", "n", "v")], {"format": "csv", "path": "items.7z"}).entry
    record = entry["tables"]["items"]
    assert entry["verdict"] == "refused"
    assert record["kept"] == 0
    assert "cannot be" in record["refused_files"][0][1]


def test_a_locked_7z_is_told(house: House) -> None:
    house.drop("items.7z", seven_zipped("s3cr3t", a__csv=TEXT))
    landing = land(house, [column(name) for name in ("id", "n", "v")], {"format": "csv", "path": "items.7z"})
    assert "locked by a password" in landing.record["refused_files"][0][1]


@pytest.mark.parametrize(
    ("content", "records"),
    [
        (b'[{"id": "a", "n": 1.50}, {"id": "b"}]', ""),
        (b'\xef\xbb\xbf{"data": {"items": [{"id": "a", "n": 1.50}, {"id": "b"}]}}', "data.items"),
    ],
)
def test_the_rows_of_one_json_are_those_that_stand_at_a_path(house: House, content: bytes, records: str) -> None:
    house.drop("items.json", content)
    landing = land(house, [column("id"), column("n", optional=True)], {"format": "json", "path": "items.json", "records": records})
    assert landing.values("id", "n") == [("a", "1.50"), ("b", None)]


@pytest.mark.parametrize(
    ("content", "told"), [(b'{"rows": 1}', "holds no `data`"), (b'{"data": [{"id": 1}', "no JSON"), (b"<html>", "HTML")]
)
def test_a_json_whose_rows_are_not_there_is_told(house: House, content: bytes, told: str) -> None:
    house.drop("items.json", content)
    landing = land(house, [column("id")], {"format": "json", "path": "items.json", "records": "data"})
    assert told in landing.record["refused_files"][0][1]


@pytest.mark.parametrize(("way", "fault"), [(zipfile.ZIP_BZIP2, "begin"), (zipfile.ZIP_BZIP2, "middle"), (zipfile.ZIP_LZMA, "middle")])
@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_damaged_member_refuses_itself_and_nothing_else(house: House, way: int, form: str, fault: str) -> None:
    archived, values = io.BytesIO(), "".join(f"{number * number}" for number in range(9_999))
    with zipfile.ZipFile(archived, "w", way) as archive:
        archive.writestr(f"a.{form}", TEXT if form == "csv" else b'{"id": "a", "n": "1", "v": "2"}')
        archive.writestr(f"b.{form}", f"id;n;v\nb;1;{values}\n" if form == "csv" else f'{{"id": "b", "n": "1", "v": "{values}"}}')
        size = archive.getinfo(f"b.{form}").compress_size
        begin = archive.getinfo(f"b.{form}").header_offset + 30 + len(f"b.{form}")
    content = bytearray(archived.getvalue())
    at = begin + {"begin": 0, "middle": size // 2}[fault]
    content[at : at + 8] = bytes(byte ^ 0xFF for byte in content[at : at + 8])
    house.drop("items.zip", bytes(content))
    landing = land(house, [column(name) for name in ("id", "n", "v")], {"format": form, "path": f"items.zip/*.{form}"})
    assert landing.values("id") == ["a"]
    assert "b." in landing.record["refused_files"][0][1] and "cannot be read" in landing.record["refused_files"][0][1]


@pytest.mark.parametrize("way", ["NFC", "NFD", "utf-8 untold", "cp437", "cp1252"])
def test_members_are_found_however_their_accents_are_written(house: House, way: str) -> None:
    raw = {"NFC": "Données/été.csv", "NFD": unicodedata.normalize("NFD", "Données/été.csv")}
    archived = io.BytesIO()
    with zipfile.ZipFile(archived, "w") as archive:
        archive.writestr(raw.get(way, "Donn@es/@t@.csv"), TEXT)
    content = archived.getvalue()
    if way not in raw:
        written = "Données/été.csv".encode(way.split(" ", maxsplit=1)[0])
        archived = io.BytesIO()
        with zipfile.ZipFile(archived, "w") as archive:
            archive.writestr("x" * len(written), TEXT)
        content = archived.getvalue().replace(b"x" * len(written), written)
    house.drop("items.zip", content)
    landing = land(house, [column(name) for name in ("id", "n", "v")], {"format": "csv", "path": "items.zip/Données/é*.csv"})
    assert landing.values("id") == ["a"]


def test_an_archive_without_what_is_meant_tells_what_it_holds(house: House) -> None:
    house.drop("items.zip", zipped(**{"Donnees/a__csv": TEXT, "lisez__txt": ""}))
    landing = land(house, [column("id")], {"format": "csv", "path": "items.zip/Données/*.csv"})
    assert "the archive holds no Données/*.csv; it holds Donnees/a.csv, lisez.txt. Mend: " in landing.record["refused_files"][0][1]


def test_a_folder_whose_accents_stand_apart_is_found(house: House) -> None:
    house.drop(unicodedata.normalize("NFD", "Données/été.csv"), TEXT)
    columns = [column(name) for name in ("id", "n", "v")]
    assert land(house, columns, {"format": "csv", "path": "Données/*.csv"}).values("id") == ["a"]
    assert land(house, columns, {"format": "csv", "path": "Données/été.csv"}, key="n").values("id") == ["a"]


# --- names of files ---

LONG = f"{'d' * 300}.csv"


@pytest.mark.parametrize("is_private", [False, True])
def test_names_that_no_file_can_have_are_kept(house: House, site: Site, is_private: bool) -> None:
    names = [LONG, "d", "d/e", "nul\0.csv", "caf\\xe9.csv", "plain.csv"]
    site.pages["/"] = (200, {}, b'<a href="nul%00.csv">x</a> <a href="caf%E9.csv">x</a> <a href="plain.csv">x</a> <a href="z.zip">x</a>')
    site.pages["/nul\0.csv"] = (200, {"ETag": "1"}, b"id;n\nnul;x\n")
    site.pages["/caf\ufffd.csv"] = (200, {"ETag": "2"}, b"id;n\nlatin;x\n")
    site.pages["/plain.csv"] = (200, {"ETag": "3"}, b"id;n\nplain;1\n")
    site.pages["/z.zip"] = (200, {"ETag": "4"}, zipped(**{LONG: b"id;n\nlong;x\n", "d": b"id;n\nd;1\n", "d/e": b"id;n\ne;2;3\n"}))
    columns = [column("id"), column("n", "bigint"), *([column("who", personal=True, mask="drop", optional=True)] if is_private else [])]
    brick = house.brick(
        "shop", [table("items", columns, ["id"], {"format": "csv", "path": "{*.csv,z.zip}"})], site.url,
        **({"legal_basis": "x", "purpose": "y"} if is_private else {}),
    )  # fmt: skip
    entry = house.land(brick)
    assert entry
    landing = Landing(house, brick, entry)
    assert not landing.record["refused_files"]
    called = names_by(secret_of(house.lake, NAMES)) if is_private else str
    assert sorted(landing.values("id", "_file")) == [("d", called("z.zip/d")), ("plain", called("plain.csv"))]
    refused = {row["file"]: row["line"] for row in landing.told}
    assert refused == {
        called(name if name in ("nul\0.csv", "caf\\xe9.csv") else f"z.zip/{name}"): 2 for name in names if name not in ("d", "plain.csv")
    }
    assert house.land(brick) is None


def test_names_on_the_disk_that_are_no_text_are_kept(house: House) -> None:
    (house.drops / os.fsdecode(b"d\xe9p\xf4t")).mkdir()
    for folder in (b"d\xe9p\xf4t/", b""):
        (house.drops / os.fsdecode(folder + b"caf\xe9.csv")).write_bytes(b"id;n;v\n" + folder.hex().encode() + b"a;1;2\n")
    landing = land(house, [column(name) for name in ("id", "n", "v")], {"format": "csv", "path": "{*.csv,*/*.csv}"})
    assert sorted(landing.values("_file")) == ["caf\\xe9.csv", "d\\xe9p\\xf4t/caf\\xe9.csv"]


# --- JSON ---


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loose", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_for_others_is_refused_in_a_json_column(house: House, form: str, loose: str) -> None:
    value = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}[loose]
    good: Document = {"x": [1.5], "told": "NaN, inf ,]"}
    rows = [{"id": "a", "doc": {**good, "x": [value]}}, {"id": "b", "doc": good}]
    if form == "csv":
        rows = [{**row, "doc": json.dumps(row["doc"])} for row in rows]
    write(house, form, rows)
    landing = land(house, [column("id"), column("doc", "json")], {"format": form, "path": f"items*.{form}"})
    assert [json.loads(text, parse_constant=pytest.fail) for text in landing.values("doc")] == [good]
    [told] = landing.told
    assert told["reason"].startswith("doc is not a JSON value: ") and loose.lstrip("-") in told["reason"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('[{"id": "a"}]', "a JSON array where"),
        ("[]", "a JSON array where"),
        ('"a"', "a JSON varchar where"),
        ("null", "a JSON null where"),
        ("12", "a JSON ubigint where"),
        ('{"id": "a"', "not a JSON object"),
    ],
)
@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_what_is_no_object_is_told_for_what_it_is(house: House, form: str, content: str, told: str) -> None:
    house.drop(f"items1.{form}", content)
    house.drop(f"items2.{form}", ' {"id": "b"}')
    landing = land(house, [column("id")], {"format": form, "path": f"items*.{form}"})
    assert landing.values("id") == ["b"]
    assert landing.told[0]["reason"].startswith(told)


# --- numbers ---


@pytest.mark.parametrize(
    ("options", "right", "wrong"),
    [
        ({"thousands": "."}, {"1.234": 1234, "-1.234.567,8": -1234567.8, "1234,5": 1234.5, " 7 ": 7}, ["1.5", "12.34", "1.2345", "1.234.5", "1,5.000"]),
        ({"thousands": " "}, {"1 234,5": 1234.5, "1\u00a0234": 1234, "1\u202f234": 1234, "\u00a07": 7}, ["1 5", "12 34 567", "1.234", "1.5"]),
        ({}, {"1,5": 1.5, "-,5": -0.5, "1e3": 1000}, ["1.234", "1.234,5", "1 234"]),
    ],
)  # fmt: skip
def test_marks_that_part_no_thousands_make_no_other_number(
    house: House, options: Document, right: dict[str, float], wrong: list[str]
) -> None:
    texts = [*right, *wrong]
    house.drop("items.csv", "id;n\n" + "".join(f"{number};{text}\n" for number, text in enumerate(texts)))
    landing = land(house, [column("id"), column("n", "double")], {"format": "csv", "path": "items.csv", "decimal": ",", **options})
    assert landing.values("n") == list(right.values())
    assert [row["reason"] for row in landing.told] == [f"n is not a number: {text}" for text in wrong]


def test_one_mark_is_not_of_thousands_and_of_decimals(house: House) -> None:
    with pytest.raises(BrickError, match="is the mark of decimals as well"):
        land_csv(house, "id;n;v\n", thousands=".")


@pytest.mark.parametrize("form", ["ndjson", "json", "geojson", "parquet"])
def test_numbers_that_are_some_are_not_read_as_texts_are(house: House, form: str) -> None:
    dot: Any = Decimal("1234.50") if form == "parquet" else 1234.5
    rows = [{"id": "a", "n": dot, "t": "1.234,5", "k": 5}, {"id": "b", "n": type(dot)(1), "t": "-", "k": -999}]
    write(house, form, rows)
    columns = [column("id"), column("n", "double"), column("t", "double"), column("k", "bigint")]
    options = {"format": form, "path": f"items*.{form}", "decimal": ",", "thousands": ".", "null_values": ["-", "-999"]}
    assert land(house, columns, options).values("id", "n", "t", "k") == [("a", 1234.5, 1234.5, 5), ("b", 1, None, None)]


def test_a_number_that_means_no_value_today_means_none_in_older_loads(house: House) -> None:
    columns, options = [column("id"), column("n", "bigint")], {"format": "csv", "path": "items*.csv"}
    house.drop("items1.csv", "id;n\na;-999\nb;5\n")
    land(house, columns, options)
    brick = house.brick("shop", [table("items", columns, ["id"], {**options, "null_values": ["-999"]})])
    assert house.rows(brick, "items", "id, n", "id") == [("a", None), ("b", 5)]


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_of_a_key_told_twice_no_value_is_taken(house: House, form: str) -> None:
    for number, content in enumerate(['{"id": "a", "n": 1, "n": 2}', '{"id": "b", "n": 3, "x": {"y": 1, "z": 1}}', '{"n": 4, "id": "c"}']):
        house.drop(f"items{number}.{form}", content)
    landing = land(house, [column("id"), column("n", "bigint")], {"format": form, "path": f"items*.{form}"})
    assert landing.values("id", "n") == [("b", 3), ("c", 4)]
    assert [row["reason"] for row in landing.told] == ['a JSON object that holds a key twice: {"id": "a", "n": 1, "n": 2}']


# --- GeoJSON ---


@pytest.mark.parametrize(
    "twice",
    [
        '{"type": "Feature", "properties": {"id": "b", "n": 1, "n": 2}}',
        '{"type": "Feature", "properties": {"id": "b"}, "properties": {"id": "c"}}',
        '{"type": "Feature", "id": 1, "id": 2, "properties": {"id": "b"}}',
        '{"geometry": null, "properties": {"id": "b"}, "geometry": {"type": "Point", "coordinates": [1, 2]}}',
    ],
)
def test_of_a_key_that_a_feature_tells_twice_no_value_is_taken(house: House, twice: str) -> None:
    house.drop("items.geojson", f'{{"features": [{twice}, {{"properties": {{"id": "a", "x": {{"y": 1}}, "n": 4}}}}]}}')
    landing = land(house, [column("id"), column("n", optional=True)], {"format": "geojson", "path": "items.geojson"})
    assert landing.values("id") == ["a"]
    assert landing.told[0]["reason"].startswith("a JSON object that holds a key twice: ")


@pytest.mark.parametrize("twice", ['"crs": null, "crs": 1', '"features": []'])
def test_a_collection_that_tells_a_key_twice_is_refused(house: House, twice: str) -> None:
    house.drop("items.geojson", f'{{{twice}, "features": [{{"id": "a"}}]}}')
    landing = land(house, [column("id")], {"format": "geojson", "path": "items.geojson"})
    assert "twice" in landing.record["refused_files"][0][1]


def test_a_property_called_geometry_is_the_same_column_without_a_geometry(house: House) -> None:
    features = [{"geometry": geometry, "properties": {"id": "a", "geometry": "Point"}} for geometry in (POINT, None)]
    landing = land_features(house, features, column("id"), column("geometry_of_source"))
    assert landing.values("geometry_of_source") == ["Point", "Point"]


def held(row: Document) -> Document:
    """Give all that landed of a feature, what was let in included."""
    return {**{name: value for name, value in row.items() if not name.startswith("_")}, **json.loads(row["_extra"] or "{}")}


def land_features(house: House, features: list[Any], *columns: Document, **collection: Any) -> Landing:
    """Land a collection of features."""
    house.drop("items.geojson", json.dumps({"type": "FeatureCollection", "features": features, **collection}))
    return land(house, list(columns) or [column("id")], {"format": "geojson", "path": "items.geojson"})


def test_nothing_of_a_feature_vanishes(house: House) -> None:
    feature = {
        "type": "Feature",
        "id": "f.1",
        "geometry": POINT,
        "bbox": [1, 2, 3, 4],
        "title": "Bâti",
        "properties": {"id": "B1", "geometry": "Polygon", "bbox": "none", "type": "house"},
    }
    landing = land_features(house, [feature], column("id"), column("geometry", "json"))
    row = held(landing.kept[0])
    assert (row["id"], json.loads(row["geometry"]), row["type"]) == ("B1", POINT, "house")
    assert (row["feature.id"], row["geometry_of_source"], row["feature.bbox"], row["bbox"], row["feature.title"]) == (
        "f.1",
        "Polygon",
        [1, 2, 3, 4],
        "none",
        "Bâti",
    )
    assert {"feature.id", "geometry_of_source", "feature.bbox", "feature.title"} <= set(landing.record["new_columns"])


def test_what_a_feature_holds_beside_its_properties_can_be_declared(house: House) -> None:
    features = [{"type": "Feature", "id": n, "geometry": POINT, "properties": {"id": f"B{n}"} if n else None} for n in range(2)]
    columns = [column("feature.id", "bigint"), column("id", optional=True), column("feature.geometry", "json")]
    house.drop("items.geojson", json.dumps({"features": features}))
    landing = land(house, columns, {"format": "geojson", "path": "items.geojson"}, "feature.id")
    assert landing.values("feature.id", "id") == [(0, None), (1, "B1")]
    assert [json.loads(text) for text in landing.values("feature.geometry")] == [POINT] * 2


def test_without_a_property_of_its_name_the_id_of_a_feature_is_the_id(house: House) -> None:
    landing = land_features(
        house, [{"type": "Feature", "id": 7, "properties": {"n": 1}, "geometry": None}, {"id": "x"}], column("id"), column("n")
    )
    assert landing.values("id", "n") == [("7", "1"), ("x", None)]


def test_what_is_no_feature_is_not_lost(house: House) -> None:
    landing = land_features(house, [{"type": "Point", "coordinates": [1, 2], "id": "p"}, POINT, [1], "x"])
    assert held(landing.kept[0]) == {"id": "p", "feature.type": "Point", "feature.coordinates": [1, 2]}
    assert [row["reason"].partition(":")[0] for row in landing.told] == [
        "id is missing, and is in the key",
        "a JSON array where an object is awaited",
        "a JSON varchar where an object is awaited",
    ]


@pytest.mark.parametrize("is_first", [True, False])
def test_what_a_collection_says_of_itself_is_kept(house: House, is_first: bool) -> None:
    told = {"name": "bati", "crs": {"type": "name", "properties": {"name": "EPSG:2154"}}, "long": "x" * 2000}
    features = {"features": [{"id": "a"}]}
    house.drop("items.geojson", json.dumps({**told, **features} if is_first else {**features, **told}))
    landing = land(house, [column("id")], {"format": "geojson", "path": "items.geojson"})
    kept = landing.entry["metadata"]["items"]["collections"]["items.geojson"]
    assert (kept["name"], kept["crs"], kept["long"]) == (told["name"], told["crs"], "(more than 1000 characters)")


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"exceededTransferLimit": True}, "says that there is more (exceededTransferLimit)"),
        ({"properties": {"exceededTransferLimit": True}}, "says that there is more (exceededTransferLimit)"),
        ({"numberMatched": 3, "numberReturned": 1}, "says that there are 3 features (numberMatched), it holds 1"),
        ({"links": [{"rel": "self"}, {"rel": "next"}]}, "says that another page follows"),
        (
            {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}}},
            "EPSG::2154, and the table says `crs: EPSG:4326`",
        ),
        ({"numberMatched": "unknown", "links": [{"rel": "self"}], "exceededTransferLimit": False, "properties": None}, None),
        ({"numberMatched": 1, "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}}, None),
        ({"crs": {"type": "name", "properties": {"name": "http://www.opengis.net/def/crs/EPSG/0/4326"}}}, None),
        ({"crs": None}, None),
    ],
)
def test_a_page_of_more_or_of_another_crs_is_refused(house: House, members: Document, told: str | None) -> None:
    house.drop("items.geojson", json.dumps({"type": "FeatureCollection", "features": [{"id": "a", "geometry": POINT}], **members}))
    landing = land(house, [column("id")], {"format": "geojson", "path": "items.geojson"}, crs="EPSG:4326")
    assert [told in why for _, why in landing.record["refused_files"]] == ([True] if told else []), landing.record["refused_files"]


# --- Parquet ---


@pytest.mark.parametrize("is_nested", [False, True])
def test_decimals_that_duckdb_reads_as_others_refuse_their_file(house: House, is_nested: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wide: Any = (
        pa.array([[Decimal("1.5")]], pa.list_(pa.decimal256(39, 2))) if is_nested else pa.array([Decimal("1.5")], pa.decimal256(39, 2))
    )
    pq.write_table(pa.table({"id": ["a"], "n": wide}), house.drops / "items1.parquet")
    pq.write_table(pa.table({"id": ["b"], "n": pa.array([Decimal(10**35)], pa.decimal128(38, 2))}), house.drops / "items2.parquet")
    landing = land(house, [column("id"), column("n")], {"format": "parquet", "path": "items*.parquet"})
    assert landing.values("id", "n") == [("b", f"{10**35}.00")]
    [[name, reason]] = landing.record["refused_files"]
    assert name == "items1.parquet"
    assert "holds decimals of more than 38 digits, which DuckDB reads as other numbers" in reason


def test_columns_of_one_name_but_for_their_accents_are_both_kept(house: House) -> None:
    write(house, "parquet", [{"id": "a", "Énergie": "1", NFD: "2"}])
    landing = land(house, [column("id"), column("Énergie")], {"format": "parquet", "path": "items.parquet"})
    assert landing.values("Énergie", "Énergie_1") == [("1", "2")]


# --- rows and lines ---

cells = st.text(st.sampled_from('ab"\n\r; é'), max_size=5)


texts = st.tuples(
    st.lists(st.tuples(cells, st.sampled_from(["ok", "bad", "wide", "blank", "thin"])), max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=10)
@given(st.lists(texts, min_size=4, max_size=4), st.sampled_from([7, 1 << 18]))
def test_row_and_line_are_those_that_an_editor_shows(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[list[tuple[str, str]], str, bool]], block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        read_by_blocks(patch, block)
        patch.delenv("ORCHESTRA_ENDPOINT", raising=False)
        house, expected = House(tmp_path_factory.mktemp("house"), patch), []
        for place, (rows, end, is_marked) in enumerate(files):
            text, number = f"told{end}{end}id;note;n{end}", 0
            for note, kind in rows:
                line = len((text + "x").replace("\r\n", "\n").replace("\r", "\n").split("\n"))
                if kind in ("blank", "thin"):
                    text += end if kind == "blank" else f' ;"";{end}'
                    continue
                number += 1
                quoted = '"' + note.replace('"', '""') + '"'
                text += f"r{number};{quoted};{1 if kind == 'ok' else 'x' if kind == 'bad' else '2;3'}{end}"
                if kind != "ok":
                    expected.append((f"items{place}.csv", number, line))
            house.drop(f"items{place}.csv", ("\ufeff" if is_marked else "") + text)
        columns = [column("id"), column("note"), column("n", "bigint")]
        options = {"format": "csv", "path": "items*.csv", "separator": ";", "skip": 1}
        entry = house.land(house.brick("shop", [table("items", columns, ["id"], options)]))
        if entry is not None:
            failed = {file for file, _ in entry["tables"]["items"]["refused_files"]}
            told = refused_rows(house.lake, entry, 99)["items"]
            assert [(row["file"], row["row"], row["line"]) for row in told] == [each for each in expected if each[0] not in failed]
        shutil.rmtree(house.folder)


def test_lines_are_right_beyond_one_buffer_of_the_reader(house: House) -> None:
    house.drop(
        "items.csv",
        "id;note;n\n"
        + "".join(f'r{n};"{"x" * 40}\n";{"x" if n % 150_000 == 7 else "1;2" if n % 150_000 == 9 else 1}\n' for n in range(700_000)),
    )
    landing = land(house, [column("id"), column("note"), column("n", "bigint")], {"format": "csv", "path": "items.csv"})
    assert [(row["row"], row["line"]) for row in landing.told] == [
        (k * 150_000 + n + 1, 2 * (k * 150_000 + n) + 2) for k in range(5) for n in (7, 9)
    ]


def test_rows_told_after_those_before_the_cursor_have_their_lines(house: House) -> None:
    columns = [column("id"), column("day", "date"), column("n", "bigint")]
    options = {"format": "csv", "path": "items.csv", "separator": ","}
    lines = [f'"i\n{d}",2025-01-{d:02},{d}\n' for d in range(1, 20)]
    house.drop("items.csv", "id,day,n\n" + "".join(lines))
    land(house, columns, options, cursor="day")
    house.drop("items.csv", "id,day,n\n" + "".join(lines) + "j,2025-01-20,x\n,,\nk,2025-01-21,4,5\n")
    landing = land(house, columns, options, cursor="day")
    assert [(row["row"], row["line"]) for row in landing.told] == [(20, 40), (21, 42)]


def test_documents_on_lines_have_theirs(house: House) -> None:
    house.drop("items.ndjson", '{"id": "a"}\n\n  \n{"id": 1, "n": "x"}\n{"id"\n')
    landing = land(house, [column("id"), column("n", "bigint", optional=True)], {"format": "ndjson", "path": "items.ndjson"})
    assert [(row["row"], row["line"]) for row in landing.told] == [(2, 4), (3, 5)]


# --- refusals ---


def test_a_refusal_is_a_struct(house: House) -> None:
    house.drop("items.csv", "id;n\na;x\n;1\nb;1;2\n")
    landing = land(house, [column("id"), column("n", "bigint")], {"format": "csv", "path": "items.csv"})
    assert sorted((row["_refused"] for row in landing.refused), key=lambda refused: refused["rule"]) == [
        {"column": "id", "rule": "is missing, and is in the key", "value": None},
        {"column": "n", "rule": "is not a whole number", "value": "x"},
        {"column": None, "rule": "unreadable (too many columns)", "value": "b;1;2"},
    ]


def test_masks_of_history_leave_no_value_in_a_refusal(house: House) -> None:
    columns, options = [column("id"), column("n", "bigint")], {"format": "csv", "path": "items*.csv"}
    house.drop("items1.csv", "id;n\na;secret: x\nb;1\nc;1;secret\n")
    land(house, columns, options)
    house.drop("items2.csv", "id;n\nd;2\n")
    brick = house.brick(
        "shop",
        [table("items", [column("id"), column("n", "bigint", personal=True, mask="drop")], ["id"], options)],
        legal_basis="x",
        purpose="y",
    )
    house.land(brick)
    masked = next(house.journal.whole(load) for load in house.journal.loads("shop").values() if load["tables"]["items"]["refused"])
    assert [row["reason"] for row in refused_rows(house.lake, masked, 9)["items"]] == [
        "n is not a whole number",
        "line 4 is unreadable (too many columns)",
    ]
    for file in masked["tables"]["items"]["files"]:
        assert b"secret" not in Path(house.lake.path(file)).read_bytes()
    assert house.rows(brick, "items", "id") == [("b",), ("d",)]


def test_older_loads_whose_refusals_are_sentences_are_read_beside(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    columns, options = [column("id"), column("n", "bigint")], {"format": "csv", "path": "items*.csv"}
    house.drop("items1.csv", "id;n\na;1\nb;x\n")
    older = land(house, columns, options)
    brick = house.brick("shop", [table("items", columns, ["id"], options)])
    journal, record = house.journal, older.record
    old_file = house.lake.path(record["files"][0])
    connection = house.lake.connect()
    connection.execute(
        f"copy (select * replace (case when _refused is not null then 'n is not a whole number: x' end as _refused) from read_parquet('{old_file}', hive_partitioning = false)) to '{old_file}.new' (format parquet)"
    )
    connection.close()
    Path(f"{old_file}.new").replace(old_file)
    written = {name: value for name, value in record.items() if name not in ("refused_as", "lines")}
    journal.amend(older.entry, tables={"items": written})
    house.drop("items2.csv", "id;n\nc;2\nd;y\n")
    newer = house.land(brick)
    assert newer
    assert house.rows(brick, "items", "id, n", "id") == [("a", 1), ("c", 2)]
    loads = house.journal.loads("shop")
    assert [row["reason"] for load in loads.values() for row in refused_rows(house.lake, load, 9)["items"]] == [
        "n is not a whole number: x",
        "n is not a whole number: y",
    ]


# --- the cases that are told with the issue ---

RIGHT: dict[str, Callable[[Landing], bool]] = {
    "f02_file_row_number": lambda it: it.values("id", "v") == [("1", 5), ("2", 6)],
    "f03_filename": lambda it: [row["reason"] for row in it.told] == ["v is not a whole number: x"],
    "f04_reserved_refused": lambda it: (len(it.kept), len(it.refused)) == (8, 2) and "_refused_of_source" in it.kept[0],
    "f06_feature_id": lambda it: {"feature.id", "geometry_of_source"} <= set(it.record["new_columns"]),
    "f07_cp1252_one_byte": lambda it: (len(it.kept), len(it.refused)) == (5, 1),
    "f08_separator": lambda it: it.values("id", "valeur") == [("A1", "2,5"), ("A2", "3,1")],
    "f10_json_array": lambda it: it.told[0]["reason"].startswith("a JSON array where an object is awaited"),
    "f12_blank_rows": lambda it: (it.record["source_count"], len(it.kept)) == (5, 5),
    "f13_gz_in_zip": lambda it: it.values("id", "v") == [("1", "2")],
    "f14_line_numbers": lambda it: it.told[0]["reason"].startswith("line 5 is unreadable"),
    "f15_nfd": lambda it: it.values("Énergie") == ["2"],
    "f16_zip_accents": lambda it: it.values("id", "v") == [("1", "2")],
    "f17_header_quotes": lambda it: it.record["new_columns"] == ['Nom "usuel"'],
}


@pytest.mark.parametrize("case", RIGHT)
def test_the_cases_of_the_issue(house: House, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    from ingestion.census import read_brick

    if not (CASES / case).is_dir():
        pytest.skip("the cases of ../shared/cases/inputs are not there")
    monkeypatch.setenv(f"ORCHESTRA_ENDPOINT_{case.upper()}", str(CASES / case / "data"))
    brick = read_brick(CASES / case / f"{case}.yml")
    entry = house.land(brick)
    assert entry
    entry["tables"]["items"] = entry["tables"]["rows"]
    landing = Landing(house, brick, entry)
    assert RIGHT[case](landing)
