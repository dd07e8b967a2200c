"""What a workbook holds in its cells that its reader leaves out: errors, formulas without a value, merged cells, zeros before codes."""

from __future__ import annotations

import contextlib
import io
import itertools
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from xml.etree import ElementTree

# Cells of a sheet, the empty ones among them, that are held in memory at most: far fewer hold a value in any table that a person made.
MOST_CELLS = 32_000_000
SHEET_BYTES = 1 << 20
Cell = tuple[int, int]  # row and column, from 0
_LETTERS = re.compile(r"([A-Z]+)([0-9]+)")
_CELL = re.compile(rb"""<(?:\w+:)?c\b[^>]*?\br=["']([A-Z]+)([0-9]+)["'][^>]*[^/>]>""")
_ERROR = re.compile(rb"""<(?:\w+:)?c\b([^>]*\bt=["']e["'](?:[^>]*[^/>])?)>(.*?)</(?:\w+:)?c>""", re.DOTALL)
_UNTOLD = re.compile(
    rb"""<(?:\w+:)?c\b([^>]*)>\s*<(?:\w+:)?f\b(?:[^>]*/>|[^>]*>[^<]*</(?:\w+:)?f>)\s*(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v>\s*</(?:\w+:)?v>)?\s*</(?:\w+:)?c>"""
)
# The format of a code: as many digits as it has zeros, which stand before a number that has fewer.
_ZEROS = re.compile(r"(?:\[\$[^]]*\])?(0{2,})(?:;@)?")
_PLACE, _VALUE = re.compile(rb"""\br=["']([A-Z]+[0-9]+)["']"""), re.compile(rb"<(?:\w+:)?v>([^<]*)<")
_IS_NO_NUMBER = re.compile(rb"""\bt=["'](?!n["'])""")
_IS_TEXT = re.compile(rb"""\bt=["'](?:str|s|inlineStr)["']""")
# What offices of several languages show in place of a value that cannot be computed.
_SHOWN_ERROR = re.compile(r"#[A-Z/0]+ ?[!?]?|(?:Err|Erreur) ?: ?[0-9]+")
_TABLE, _OFFICE, _TEXT = (f"{{urn:oasis:names:tc:opendocument:xmlns:{name}:1.0}}" for name in ("table", "office", "text"))
# What a broken archive, or what it holds, raises.
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ElementTree.ParseError)
_CALC_TYPE = "{urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0}value-type"


@dataclass
class Cells:
    """Of a sheet: its errors by place, formulas without a value; numbers that are shown by so many digits; merged cells, of an ODS."""

    errors: dict[Cell, str] = field(default_factory=dict)
    untold: list[Cell] = field(default_factory=list)
    digits: dict[Cell, int] = field(default_factory=dict)
    merged: list[tuple[Cell, Cell]] = field(default_factory=list)


def cells_of(file: BinaryIO, number: int, name: str) -> Cells:
    """Look at the cells of a sheet, by its number (from 0) and its name, before it is read; raises ValueError for one too large."""
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    if start == b"\xd0\xcf\x11\xe0":
        return _of_xls(file, name)
    try:
        with zipfile.ZipFile(file) as archive:
            is_ods = "content.xml" in archive.namelist()
            place = "content.xml" if is_ods else _sheet_in(archive, name)
            if place.endswith(".bin"):
                raise ValueError("is a binary workbook (.xlsb). Mend: save it as .xlsx")
            with archive.open(place) as sheet:
                return _of_ods(sheet, number) if is_ods else _of_xlsx(sheet, _padded(archive))
    except _BROKEN as error:
        raise ValueError(f"is no whole workbook ({type(error).__name__}). Mend: save it anew in an office suite") from error


def indented(file: BinaryIO) -> str | None:
    """Say that an ODS has spaces between its cells, which its reader takes for a fault; None for another file."""
    with (
        contextlib.suppress(*_BROKEN, OSError),
        zipfile.ZipFile(file) as archive,
        archive.open("content.xml") as content,
    ):
        if re.search(rb"<table:table-row\b[^>]*>\s+<table:", content.read(SHEET_BYTES)):
            return "is an ODS whose XML is indented, as GDAL writes it. Mend: open it in an office suite and save it, or have it as XLSX"
    return None


def cell_name(cell: Cell) -> str:
    """Write the place of a cell as a person reads it: B3."""
    row, column = cell
    letters, column = "", column + 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return f"{letters}{row + 1}"


def _cell(place: str) -> Cell:
    found = _LETTERS.fullmatch(place)
    assert found
    return int(found[2]) - 1, _column(found[1])


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _of_xls(file: BinaryIO, name: str) -> Cells:
    import xlrd

    try:
        with xlrd.open_workbook(file_contents=file.read(), logfile=io.StringIO(), on_demand=True, formatting_info=True) as book:
            sheet = book.sheet_by_name(name)
            formats = {number: book.format_map[xf.format_key].format_str for number, xf in enumerate(book.xf_list)}
            padded = {number: digits for number, told in formats.items() if (digits := _digits(told))}
            shown = {
                (row, column): padded[style]
                for row in range(sheet.nrows if padded else 0)
                for column, kind in enumerate(sheet.row_types(row))
                if kind == xlrd.XL_CELL_NUMBER and (style := sheet.cell_xf_index(row, column)) in padded
            }
            told = {
                (row, column): xlrd.error_text_from_code.get(sheet.cell_value(row, column), "#?")
                for row in range(sheet.nrows)
                for column, kind in enumerate(sheet.row_types(row))
                if kind == xlrd.XL_CELL_ERROR
            }
    except Exception as error:  # it raises whatever its reading meets
        raise ValueError(f"is no whole .xls ({type(error).__name__}). Mend: save it as .xlsx") from error
    return Cells(told, digits=shown)


def _digits(form: str) -> int:
    """Give by how many digits at least a format shows a number, where it says nothing else; 0 where it does."""
    found = _ZEROS.fullmatch(form)
    return len(found[1]) if found else 0


def _padded(archive: zipfile.ZipFile) -> dict[bytes, int]:
    """Give the styles of an XLSX whose numbers are shown by so many digits."""
    with contextlib.suppress(KeyError):
        styles = ElementTree.fromstring(archive.read("xl/styles.xml"))
        formats = {each.get("numFmtId"): _digits(each.get("formatCode", "")) for each in styles.iterfind(".//{*}numFmts/{*}numFmt")}
        used = enumerate(styles.iterfind("./{*}cellXfs/{*}xf"))
        return {b"%d" % number: digits for number, each in used if (digits := formats.get(each.get("numFmtId")))}
    return {}


def _sheet_in(archive: zipfile.ZipFile, name: str) -> str:
    """Give where an XLSX holds a sheet; '' where it does not say."""
    try:
        book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
        links = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    except (KeyError, ElementTree.ParseError):
        return ""
    sheet = next((each for each in book.iter() if each.tag.endswith("}sheet") and each.get("name") == name), None)
    told = {} if sheet is None else {key.rpartition("}")[2]: value for key, value in sheet.attrib.items() if key.startswith("{")}
    target = next((each.get("Target", "") for each in links if each.get("Id") == told.get("id")), "")
    return target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"xl/{target}")


def _of_xlsx(sheet: Any, padded: dict[bytes, int]) -> Cells:
    cells, columns, last = Cells(), set[bytes](), 0
    styled = re.compile(rb"""<(?:\w+:)?c\b([^>]*\bs=["'](%b)["'](?:[^>]*[^/>])?)>(.*?)</(?:\w+:)?c>""" % b"|".join(padded), re.DOTALL)
    for block in _rows(sheet):
        places = _CELL.findall(block)
        columns.update(letters for letters, _ in places)
        last = max(last, max((int(row) for _, row in places), default=0))
        for attributes, inside in _ERROR.findall(block):
            value, place = _VALUE.search(inside), _PLACE.search(attributes)
            if not place:
                raise ValueError("holds an error in a cell that tells no place. Mend: save it anew in an office suite")
            cells.errors[_cell(place[1].decode())] = value[1].decode("utf-8", "replace") if value else "#?"
        for attributes, style, inside in styled.findall(block) if padded else ():
            place, value = _PLACE.search(attributes), _VALUE.search(inside)
            if place and value and len(value[1]) < padded[style] and not _IS_NO_NUMBER.search(attributes):
                cells.digits[_cell(place[1].decode())] = padded[style]
        for attributes in _UNTOLD.findall(block) if b"f" in block else ():
            if not _IS_TEXT.search(attributes):
                place = _PLACE.search(attributes)
                cells.untold.append(_cell(place[1].decode()) if place else (0, 0))
    width = 1 + max((_column(letters.decode()) for letters in columns), default=0)
    _check_extent(last, width)
    return cells


def _rows(sheet: Any) -> Iterator[bytes]:
    """Give the XML of a sheet in blocks that end where a row does."""
    rest = b""
    while block := sheet.read(SHEET_BYTES):
        block = rest + block
        end = block.rfind(b"</row>") + 6
        if end < 6:
            end = block.rfind(b":row>") + 5
            if end < 5:
                rest = block
                continue
        yield block[:end]
        rest = block[end:]
    yield rest


def _of_ods(content: Any, number: int) -> Cells:
    """Walk through the cells of the table of an ODS that has a number."""
    table_tag, row_tag, at = f"{_TABLE}table", f"{_TABLE}table-row", -1
    cells, row, stack = Cells(), 0, list[Any]()
    extent = (0, 0)
    for event, element in ElementTree.iterparse(content, ("start", "end")):
        if event == "start":
            is_inner = any(each.tag == table_tag for each in stack)
            stack.append(element)
            at += element.tag == table_tag and not is_inner
            continue
        stack.pop()
        if element.tag == row_tag:
            if at == number:
                repeated = int(element.get(f"{_TABLE}number-rows-repeated", 1))
                if width := _of_ods_row(cells, element, row, repeated):
                    extent = row + repeated, max(extent[1], width)
                    _check_extent(*extent)
                row += repeated
            stack[-1].remove(element)  # what was walked through is let go
        elif element.tag == table_tag and at == number and not any(each.tag == table_tag for each in stack):
            break
    return cells


def _of_ods_row(cells: Cells, element: Any, row: int, repeated: int) -> int:
    """Look at the cells of a row; give the column after the last that holds something, 0 for none."""
    column, last = 0, 0
    for cell in element:
        if cell.tag not in (f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
            continue
        width, formula = int(cell.get(f"{_TABLE}number-columns-repeated", 1)), cell.get(f"{_TABLE}formula")
        kind, shown = cell.get(f"{_OFFICE}value-type"), "".join(text for each in cell.iterfind(f"{_TEXT}p") for text in each.itertext())
        is_error = cell.get(_CALC_TYPE) == "error" or (formula is not None and bool(_SHOWN_ERROR.fullmatch(shown)))
        if is_error or kind is not None or formula is not None:
            last = column + width
            _check_extent(row + repeated, last)
        places = itertools.product(range(row, row + repeated), range(column, column + width))
        if is_error:
            cells.errors.update(dict.fromkeys(places, shown or "#?"))
        elif kind == "float" and re.fullmatch("0[0-9]+", shown):
            cells.digits.update(dict.fromkeys(places, len(shown)))
        elif formula is not None and kind is None:
            cells.untold.append((row, column))
        down, across = (int(cell.get(f"{_TABLE}number-{each}-spanned", 1)) for each in ("rows", "columns"))
        if down > 1 or across > 1:
            cells.merged.append(((row, column), (row + down - 1, column + across - 1)))
        column += width
    return last


def _check_extent(rows: int, columns: int) -> None:
    """Raise ValueError for a sheet that has more cells, empty ones among them, than are held in memory."""
    if rows * columns > MOST_CELLS:
        raise ValueError(
            f"spans {rows:,} rows and {columns:,} columns, up to {cell_name((rows - 1, columns - 1))}, more than the "
            f"{MOST_CELLS:,} cells that are held in memory. Mend: delete what stands apart from the table, or have it as CSV"
        )
