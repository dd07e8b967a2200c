"""Sheets of XLSX (openpyxl), XLS (xlwt) and ODS (odfpy) land as they were written, or are told for what they are."""

# ruff: noqa: E501 (cells and XML, one a line)
from __future__ import annotations

import datetime as dt
import gzip
import io
import re
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import House, Site, column, table
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingestion.connectors import Reading, Request, files
from ingestion.formats.cells import cell_name
from ingestion.formats.spool import Spool
from tests.test_inputs import Landing

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FORM = "spreadsheet"


def xlsx(rows: Sequence[Sequence[Any]], edit: Any = None, sheet: str = "Feuil1") -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    page = book.active
    assert page
    page.title = sheet
    for row, values in enumerate(rows, 1):
        for place, value in enumerate(values, 1):
            if value is not None:
                page.cell(row, place).value = value
                if isinstance(value, str) and value.startswith("="):
                    page.cell(row, place).data_type = "s"
    if edit:
        edit(book, page)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def xls(rows: Sequence[Sequence[Any]], edit: Any = None) -> bytes:
    import xlwt

    book = xlwt.Workbook(encoding="utf-8")
    page = book.add_sheet("Feuil1")
    for row, values in enumerate(rows):
        for place, value in enumerate(values):
            form = {dt.datetime: "yyyy-mm-dd hh:mm:ss", dt.date: "yyyy-mm-dd"}.get(type(value))
            if value is not None:
                page.write(row, place, value, *([xlwt.easyxf(num_format_str=form)] if form else []))
    if edit:
        edit(book, page)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def ods(rows: Sequence[Sequence[Any]]) -> bytes:
    from odf import opendocument, text
    from odf.table import Table, TableCell, TableRow

    book, page = opendocument.OpenDocumentSpreadsheet(), Table(name="Feuil1")
    for values in rows:
        row = TableRow()
        for value in values:
            kind: dict[str, Any] = {}
            match value:
                case None:
                    pass
                case bool():
                    kind = {"valuetype": "boolean", "booleanvalue": str(value).lower()}
                case int() | float():
                    kind = {"valuetype": "float", "value": repr(value)}
                case dt.date():
                    kind = {"valuetype": "date", "datevalue": value.isoformat()}
                case _:
                    kind = {"valuetype": "string"}
            cell = TableCell(**kind)
            if isinstance(value, str):
                cell.addElement(text.P(text=value))
            row.addElement(cell)
        page.addElement(row)
    book.spreadsheet.addElement(page)
    target = io.BytesIO()
    book.write(target)
    return target.getvalue()


WRITERS = {"xlsx": xlsx, "xls": xls, "ods": ods}


def land(house: House, content: bytes, *columns: Any, name: str = "items.xlsx", key: str = "id", **options: Any) -> Landing:
    house.drop(name, content)
    brick = house.brick("shop", [table("items", list(columns), [key], {"format": FORM, "path": name, **options})])
    entry = house.land(brick)
    assert entry
    return Landing(house, brick, entry)


def shown(value: Any) -> str | None:
    match value:
        case bool():
            return str(value).lower()
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
        case dt.datetime():
            return value.isoformat(" ") if value.time() != dt.time() else value.date().isoformat()
        case dt.date():
            return value.isoformat()
        case None:
            return None
        case _:
            return str(value)


TEXTS = st.text(st.sampled_from("0123456789aé€ ;,.\"'-_#"), min_size=1, max_size=12).map(lambda text: text.strip() or "0")
MOMENTS = st.datetimes(dt.datetime(1901, 1, 1), dt.datetime(2099, 1, 1)).map(lambda moment: moment.replace(microsecond=0))
NUMBERS = st.one_of(
    st.integers(-(10**15), 10**15),
    st.decimals(-1_000_000, 1_000_000, places=4).map(float),
    st.sampled_from([1.5, 0.1, 1e-7, 123456789.123456, 12345678901234.0]),
)
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, MOMENTS, MOMENTS.map(lambda moment: moment.date()))


def read(
    folder: Path, content: bytes, name: str = "items.xlsx", columns: tuple[str, ...] = ("id",), **options: Any
) -> tuple[Reading, list[tuple[Any, ...]]]:
    """Read a workbook as the connector does; give the reading, and the rows as texts."""
    folder.mkdir(parents=True, exist_ok=True)
    spool = Path(tempfile.mkdtemp(dir=folder))
    (spool / name).write_bytes(content)
    request = Request(
        brick="shop", table="items", endpoint=str(spool), brick_options=files.BrickOptions(),
        table_options=files.TableOptions(format=FORM, path=name, **options), columns=columns, cursor=None, lookback_days=0, position={},
        known={}, connection=duckdb.connect(), spool=spool / "spool", is_private=False, whole=False, progress=lambda _: None,
    )  # fmt: skip
    request.spool.mkdir()
    reading, found = files.read(request), []
    for part in reading.parts:
        found += request.connection.execute(f"select * exclude (_file) from ({part.relation})").fetchall()
        assert len(found) == part.counted
    return reading, found


@pytest.mark.parametrize("kind", WRITERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=12)
@given(rows=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12))
@example(rows=[("01001", 1.50), ("00", 1), ("1e5", 0.125), (None, None), ("2024-01-05", dt.date(2024, 1, 5)), ("#N/A", True)])
def test_what_a_sheet_holds_lands_to_the_digit(tmp_path: Path, kind: str, rows: list[tuple[Any, Any]]) -> None:
    told = [(f"r{number}", *row) for number, row in enumerate(rows)]
    _, found = read(tmp_path, WRITERS[kind]([("id", "a", "b"), *told]), f"items.{kind}")
    assert found == [tuple(map(shown, row)) for row in told]


TYPED = (
    column("id"),
    column("n", "bigint"),
    column("x", "double"),
    column("jour", "date", format="%d/%m/%Y"),
    column("instant", "timestamptz"),
)


@pytest.mark.parametrize("kind", WRITERS)
def test_cells_and_texts_of_one_column_are_of_one_type(house: House, kind: str) -> None:
    moment = dt.datetime(2024, 1, 5, 10, 30)
    rows = [
        ("id", "n", "x", "jour", "instant"),
        ("a", 12, 1.5, moment.date(), moment),
        ("b", "12", "1,5", "05/01/2024", "2024-01-05 10:30:00"),
        ("c", 1.5, "x", moment, "?"),
    ]
    landing = land(house, WRITERS[kind](rows), *TYPED, name=f"items.{kind}", decimal=",")
    (first, second) = landing.values("n", "x", "jour", "instant")
    assert first == second == (12, 1.5, moment.date(), moment.replace(tzinfo=dt.UTC))
    # A moment is no day: nothing of it is cut off to fit.
    assert [row["line"] for row in landing.told] == [4]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_header_lower_down_empty_rows_and_twin_columns(house: House, kind: str) -> None:
    rows = [
        (None, "Suivi 2024"),
        (),
        (None, "id", "n", "n", None, "v"),
        (),
        (None, "a", 1, 2, None, 3),
        (None, None, "x"),
        (None, "b", 4, 5, "?", 6),
    ]

    def edit(_: Any, page: Any) -> None:
        import openpyxl

        for row in range(8, 500):  # an office suite keeps them for their style
            page.cell(row, 2).font = openpyxl.styles.Font(bold=True)

    content = xlsx(rows, edit) if kind == "xlsx" else WRITERS[kind](rows)
    landing = land(house, content, column("id"), column("n"), column("n_1"), column("v", "bigint"), name=f"items.{kind}", skip=1)
    assert landing.values("id", "n", "n_1", "v") == [("a", "1", "2", 3), ("b", "4", "5", 6)]
    # Row 6 of the sheet has no key.
    assert [(row["row"], row["line"]) for row in landing.told] == [(2, 6)]
    assert len(landing.record["new_columns"]) == 1


def test_repeated_rows_and_cells_of_an_ods_are_rows_and_cells(tmp_path: Path) -> None:
    content = ods([("id", "n", "v"), ("a", 1, 2), ("b", 3, 4)])
    source, target = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            held = source.read(name)
            if name == "content.xml":
                first, second, third, rest = held.split(b"<table:table-row>", 3)
                third = third.replace(b"<table:table-cell ", b'<table:table-cell table:number-columns-repeated="1" ')
                tail = b'<table:table-row table:number-rows-repeated="3"><table:table-cell/></table:table-row>'
                last = b'<table:table-row table:number-rows-repeated="1048000"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
                again = b'<table:table-row table:number-rows-repeated="2">'
                own, closing = rest.split(b"</table:table-row>", 1)
                held = (
                    first
                    + b"<table:table-row>"
                    + second
                    + again
                    + third
                    + tail
                    + b"<table:table-row>"
                    + own
                    + b"</table:table-row>"
                    + last
                    + closing
                )
            archive.writestr(name, held)
    reading, found = read(tmp_path, target.getvalue(), "items.ods")
    assert found == [("a", "1", "2"), ("a", "1", "2"), ("b", "3", "4")]
    assert reading.parts[0].places
    assert reading.parts[0].places("items.ods", [], [1, 2, 3])[1] == [2, 3, 7]


def test_without_header_columns_are_those_declared(house: House) -> None:
    landing = land(house, xlsx([(), ("01", 1), ("02", 2)]), column("id"), column("n", "bigint"), header=False)
    assert landing.values("id", "n") == [("01", 1), ("02", 2)]


def of_several(book: Any, _: Any) -> None:
    book.create_sheet("2024").append(["id", "n"])
    book["2024"].append(["b", 2])
    book.create_sheet("Cachée").sheet_state = "hidden"
    book["Cachée"].append(["id", "n"])
    book["Cachée"].append(["c", 3])
    book.create_sheet("Feuil3")


@pytest.mark.parametrize(
    ("sheet", "found"),
    [
        (1, ["a"]),
        (2, ["b"]),
        ("2024", ["b"]),
        ("feuil1 ", ["a"]),
        ("Cachée", ["c"]),
        (None, "has several sheets that hold something: 1 Feuil1, 2 2024, 3 Cachée (hidden), 4 Feuil3. Mend: declare which of them"),
        (2024, "has no sheet 2024; it has 1 Feuil1, 2 2024, 3 Cachée (hidden), 4 Feuil3. Mend: `sheet`, digits in quotes"),
        ("Feuille", "has no sheet 'Feuille'; it has 1 Feuil1"),
        (4, "is empty"),
    ],
)
def test_the_sheet_that_is_declared_is_read_or_those_that_there_are_told(tmp_path: Path, sheet: Any, found: Any) -> None:
    reading, rows = read(tmp_path, xlsx([("id", "n"), ("a", 1)], of_several), sheet=sheet)
    assert ([row[0] for row in rows] == found) if isinstance(found, list) else found in reading.refused_files[0][1]


def test_a_lone_sheet_that_holds_something_needs_no_name(tmp_path: Path) -> None:
    assert read(tmp_path, xlsx([("id",), ("a",)], lambda book, _: book.create_sheet("vide")))[1] == [("a",)]


def with_error(kind: str) -> bytes:
    """A sheet whose cell B3 holds #N/A, B4 #DIV/0!."""
    if kind == "ods":
        content = ods([("id", "n"), ("a", 1), ("b", 77777), ("c", 77778)])
        source, target = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            for name in source.namelist():
                held = source.read(name)
                if name == "content.xml":
                    calc = b' xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
                    held = held.replace(b"<office:document-content", b"<office:document-content" + calc, 1)
                    for number, error, more in ((77777, b"#N/A", b' calcext:value-type="error"'), (77778, b"#DIV/0!", b"")):
                        cell = held.index(b'office:value="%d"' % number)
                        start, end = held.rindex(b"<table:table-cell", 0, cell), held.index(b">", cell) + 1
                        own = b'<table:table-cell table:formula="of:=NA()" office:value-type="string" office:string-value=""%b><text:p>%b</text:p>'
                        closing = b"</table:table-cell>" if held[end - 2 : end] == b"/>" else b""
                        held = held[:start] + own % (more, error) + closing + held[end:]
                archive.writestr(name, held)
        return target.getvalue()
    if kind == "xls":
        return xls(
            [("id", "n"), ("a", 1), ("b",), ("c",)], lambda _, page: (page.row(2).set_cell_error(1, 0x2A), page.row(3).set_cell_error(1, 7))
        )
    return xlsx(
        [("id", "n"), ("a", 1), ("b", "#N/A"), ("c", "#DIV/0!")],
        lambda _, page: [setattr(page[cell], "data_type", "e") for cell in ("B3", "B4")],
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_an_error_is_no_missing_value_unless_it_is_declared(house: House, kind: str) -> None:
    landing = land(house, with_error(kind), column("id"), column("n", "bigint"), name=f"items.{kind}", null_values=["#N/A"])
    assert landing.values("id", "n") == [("a", 1), ("b", None)]
    assert [(row["line"], row["reason"]) for row in landing.told] == [(4, "n is not a whole number: #DIV/0!")]


def test_formulas_that_were_never_computed_refuse_the_file(tmp_path: Path) -> None:
    def edit(_: Any, page: Any) -> None:
        page["B2"] = "=1+1"

    reading, _ = read(tmp_path, xlsx([("id", "n"), ("a", 0)], edit))
    assert "holds 1 formulas without a value, the first in B2: it was never computed" in reading.refused_files[0][1]


def test_an_empty_cell_that_tells_an_error_takes_no_other_with_it(tmp_path: Path) -> None:
    source, target = zipfile.ZipFile(io.BytesIO(xlsx([("id", "n", "v"), ("a", None, 2)]))), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            held = source.read(name)
            if name.endswith("sheet1.xml"):
                held = held.replace(b'<c r="C2"', b'<c r="B2" t="e"/><c r="C2"')
            archive.writestr(name, held)
    assert read(tmp_path, target.getvalue())[1] == [("a", None, "2")]


def test_merged_cells_are_told_and_filled_where_it_is_declared(tmp_path: Path) -> None:
    rows = [("id", "n"), ("a", 1), ("b", None), ("c", None)]
    content = xlsx(rows, lambda _, page: page.merge_cells("B2:B4"))
    reading, found = read(tmp_path, content)
    assert found == [("a", "1"), ("b", None), ("c", None)]
    assert "1 merged cells (the first B2) hold their value in their first row alone" in reading.warnings[0]
    merged = xls(rows[:2], lambda _, page: page.write_merge(2, 4, 1, 1, 9) or [page.write(row, 0, f"r{row}") for row in (2, 3, 4)])
    assert read(tmp_path, merged, "items.xls", fill_merged=True)[1] == [("a", "1"), *((f"r{row}", "9") for row in (2, 3, 4))]
    reading, found = read(tmp_path, content, fill_merged=True)
    assert (found, reading.warnings) == ([("a", "1"), ("b", "1"), ("c", "1")], [])


def test_numbers_that_a_sheet_cannot_hold_are_told(tmp_path: Path) -> None:
    reading, found = read(tmp_path, xlsx([("id", "n"), ("a", 12345678901234567), ("b", 2**53 - 1)]))
    assert "1 numbers have more digits than a sheet keeps (the first in row 2, column 2)" in reading.warnings[0]
    assert found == [("a", "1.234567890123457e+16"), ("b", "9007199254740991")]  # openpyxl writes 16 digits


def coded(kind: str) -> bytes:
    """A sheet whose B2 holds 1001, B3 35238, B4 2A, B5 1.5, B6 -7 and C2 1001, the column B shown by five digits."""
    rows = [("id", "code", "n"), ("a", 1001, 1001), ("b", 35238, 1), ("c", "2A", 1), ("d", 1.5, 1), ("e", -7, 1)]
    if kind == "xlsx":
        return xlsx(rows, lambda _, page: [setattr(page.cell(row, 2), "number_format", "00000") for row in range(2, 7)])
    if kind == "xls":
        import xlwt

        def edit(_: Any, page: Any) -> None:
            for at, row in enumerate(rows[1:], 1):
                page.write(at, 1, row[1], xlwt.easyxf(num_format_str="00000"))

        return xls([(row[0], None, row[2]) if at else row for at, row in enumerate(rows)], edit)
    source, target = zipfile.ZipFile(io.BytesIO(ods(rows))), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            held = source.read(name)
            if name == "content.xml":
                held = re.sub(
                    rb'(<table:table-cell [^>]*office:value="1001"[^>]*)/>', rb"\1><text:p>01001</text:p></table:table-cell>", held, count=1
                )
            archive.writestr(name, held)
    return target.getvalue()


@pytest.mark.parametrize("kind", WRITERS)
def test_a_code_that_a_sheet_holds_as_a_number_keeps_the_zeros_that_it_shows(house: House, kind: str) -> None:
    landing = land(house, coded(kind), column("id"), column("code"), column("n"), name=f"items.{kind}")
    assert landing.values("id", "code", "n") == [
        ("a", "01001", "1001"),
        ("b", "35238", "1"),
        ("c", "2A", "1"),
        ("d", "1.5", "1"),
        ("e", "-7", "1"),
    ]
    (house.drops / f"items.{kind}").unlink()
    landing = land(house, coded(kind), column("id"), column("code", "double"), name=f"items.{kind}")
    assert landing.values("id", "code")[:2] == [("a", 1001.0), ("b", 35238.0)]


def test_a_cell_far_off_kills_nothing(tmp_path: Path) -> None:
    content = xlsx([("id", "n"), ("a", 1)], lambda _, page: page.cell(1048576, 16384).__setattr__("value", "x"))
    assert "spans 1,048,576 rows and 16,384 columns, up to XFD1048576" in read(tmp_path, content)[0].refused_files[0][1]
    assert [cell_name(cell) for cell in ((0, 0), (9, 25), (0, 26), (1048575, 16383))] == ["A1", "Z10", "AA1", "XFD1048576"]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_workbook_that_is_cut_is_refused(tmp_path: Path, kind: str) -> None:
    content = WRITERS[kind]([("id", "n"), *((f"r{n}", n) for n in range(500))])
    for kept in (0.02, 0.5, 0.9, 0.99):
        reading, found = read(tmp_path, content[: int(len(content) * kept)], f"items.{kind}")
        assert reading.refused_files
        assert not found


def test_what_gdal_indents_is_told(tmp_path: Path) -> None:
    import pandas as pd
    import pyogrio

    pyogrio.write_dataframe(pd.DataFrame({"id": ["01"]}), tmp_path / "a.ods", driver="ODS")
    reading, _ = read(tmp_path, (tmp_path / "a.ods").read_bytes())
    assert "is an ODS whose XML is indented, as GDAL writes it. Mend: open it in an office suite" in reading.refused_files[0][1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xef\xbb\xbf<html><table><tr><td>id</td></tr></table></html>", "is an HTML or XML page, not a workbook"),
        (b"id;n\n01;2\n", "is no whole workbook (Cannot detect file format)"),
        (b"", "is no whole workbook"),
    ],
)
def test_what_is_no_workbook_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    assert told in read(tmp_path, content, "items.xls")[0].refused_files[0][1]


@pytest.mark.parametrize(("path", "over_http"), [("items.zip", False), ("items.zip/a.xlsx", True)])
def test_a_workbook_in_a_zip_is_read(house: House, site: Site, path: str, over_http: bool) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.xlsx", xlsx([("id",), ("01",)]))
    house.drop("items.zip", packed.getvalue())
    site.put("/items.zip", packed.getvalue())
    brick = house.brick("shop", [table("items", [column("id")], ["id"], {"format": FORM, "path": path})], site.url if over_http else None)
    entry = house.land(brick)
    assert entry
    assert Landing(house, brick, entry).values("id") == ["01"]


def test_a_private_workbook_touches_no_disk_and_names_no_sheet(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.drop("items.xlsx.gz", gzip.compress(xlsx([("id", "nom"), ("a", "Zébulon")], of_several)))
    columns = [column("id"), column("nom", personal=True, mask="drop")]
    spooled: list[Path] = []
    create = Spool.create

    def noted(spool: Spool, name: str) -> Any:
        file = create(spool, name)
        spooled.append(spool.path(name))
        return file

    monkeypatch.setattr(Spool, "create", noted)
    for sheet, told in ((None, "has several sheets that hold something: 4 sheets"), (1, None)):
        options = {"format": FORM, "path": "items.xlsx.gz", "sheet": sheet}
        entry = house.land(house.brick("shop", [table("items", columns, ["id"], options)], legal_basis="x", purpose="y"))
        assert entry
        assert (told in str(entry["reasons"])) if told else entry["tables"]["items"]["kept"] == 1
    assert len(spooled) == 3
    assert all(str(path.readlink()).startswith("/proc/self/fd/") for path in spooled if path.is_symlink())


@pytest.mark.parametrize(
    ("path", "count", "name"),
    [
        ("messy/csv_detective/file.xls", 5, "NOM (FONDATION)"),
        ("messy/csv_detective/file.ods", 3, "Projet"),
        ("messy/hydra/catalog.xls", 2, "id"),
        ("rennes/waste/unloading_tickets_simple.xlsx", 4, "immat"),
    ],
)
def test_real_workbooks(tmp_path: Path, path: str, count: int, name: str) -> None:
    if not (DATA / path).exists():
        pytest.skip("real data is not here")
    reading, rows = read(tmp_path, (DATA / path).read_bytes(), Path(path).name, columns=(name,))
    assert not reading.refused_files
    assert len(rows) == count


def test_each_messy_file_is_a_workbook_or_told_for_what_it_is(tmp_path: Path) -> None:
    if not (found := sorted(path for path in (DATA / "messy").rglob("*") if path.is_file())):
        pytest.skip("real data is not here")
    told = {path.name: read(tmp_path, path.read_bytes(), path.name, columns=()) for path in found}
    assert {name for name, (_, rows) in told.items() if rows} == {"file.xls", "file.ods", "catalog.xls"}
    assert all(rows or "is no whole workbook" in reading.refused_files[0][1] for reading, rows in told.values())
