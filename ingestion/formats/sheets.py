"""Spreadsheets (XLSX, XLS, ODS): the rows of a sheet as texts, its digits and dates as it holds them."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ingestion.connectors import Request
from ingestion.formats.cells import Cell, Cells, cell_name, cells_of, indented
from ingestion.formats.header import check_columns, named
from ingestion.formats.shape import Counted, Shape
from ingestion.formats.spool import Spool
from ingestion.lake import quoted

# From here on, a number of a sheet does not hold all of its digits.
MOST_EXACT = 2**53
BATCH_ROWS = 8192


def look_at_sheet(name: str, request: Request, spool: Spool) -> tuple[Shape, Counted]:
    """Write the rows of a sheet as Parquet whose every value is text; raises ValueError for what is no table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    options = request.table_options
    with spool.path(name).open("rb") as file:
        sheet, cells = _open_sheet(file, request)
        if cells.untold:
            raise ValueError(
                f"holds {len(cells.untold)} formulas without a value, the first in {cell_name(cells.untold[0])}: it was never computed. "
                "Mend: open it in an office suite and save it"
            )
        rows = _rows(sheet, cells, is_filled=options.fill_merged)
        header, first = _header(rows, request)
        columns = named(request, header)
        check_columns(request, columns)
        texts = _Texts([_formats(request).get(column.casefold()) for column in columns], options.decimal)
        at: list[int] = []
        target = f"_sheets/{spool.aliases.get(name, name)}"
        schema = pa.schema([(column, pa.string()) for column in columns])
        held = [0] * len(columns)
        with spool.create(target) as out, pq.ParquetWriter(out, schema, compression="zstd") as writer:
            for batch in _batches(first, rows, len(columns), at):
                arrays = [pa.array(texts.of(position, values), pa.string()) for position, values in enumerate(batch)]
                held = [count + len(each) - each.null_count for count, each in zip(held, arrays, strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
        spool.roots[name] = spool.root / "_sheets"
    counted = Counted(len(at), rows=tuple(at), warnings=tuple(_warnings(texts, cells, at, options)))
    # A column without name that holds nothing is none.
    chosen = [column for column, title, count in zip(columns, header, held, strict=True) if title or count or not options.header]
    selected = ", ".join(map(quoted, chosen)) or "null as nothing"
    names = tuple(title.lower() for column, title in zip(columns, header, strict=True) if column in set(chosen)) if options.header else None
    after = ", filename = '_path', hive_partitioning = false)"
    return Shape("read_parquet(", after, tuple(chosen), selected=selected, names=names), counted


def _formats(request: Request) -> dict[str, str]:
    return {column.casefold(): told for column, told in request.formats.items()}


def _open_sheet(file: Any, request: Request) -> tuple[Any, Cells]:
    """Give the sheet that is meant, with what its reader does not tell of its cells; raises ValueError with those that there are."""
    import python_calamine as calamine

    try:
        return _meant_sheet(file, calamine.CalamineWorkbook.from_filelike(file), request)
    except calamine.PasswordError as error:
        raise ValueError("is locked by a password. Mend: have the source give it without one") from error
    except calamine.CalamineError as error:
        told = "" if request.is_private else f" ({str(error)[:150]})"
        file.seek(0)
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            raise ValueError("is an HTML or XML page, not a workbook. Mend: have the source give a workbook") from error
        raise ValueError(indented(file) or f"is no whole workbook{told}. Mend: XLSX, XLS or ODS, saved anew in an office suite") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError("is no whole workbook: its reader gives it up. Mend: save it anew in an office suite") from error


def _meant_sheet(file: Any, book: Any, request: Request) -> tuple[Any, Cells]:
    wanted = request.table_options.sheet
    sheets = [each for each in book.sheets_metadata if str(each.typ).endswith(".WorkSheet")]
    told = [f"{n} {each.name}{'' if _is_visible(each) else ' (hidden)'}" for n, each in enumerate(sheets, 1)]
    offered = f"{len(told)} sheets" if request.is_private else ", ".join(told) or "no sheet"
    meant = [
        (number, each.name)
        for number, each in enumerate(sheets)
        if (_is_visible(each) if wanted is None else number + 1 == wanted if isinstance(wanted, int) else _is_named(each, wanted))
    ]
    if not meant:
        raise ValueError(f"has no sheet {'to read' if wanted is None else repr(wanted)}; it has {offered}. Mend: `sheet`, digits in quotes")
    read = [_read_sheet(file, book, *each) for each in meant]
    held = [(sheet, cells) for sheet, cells in read if sheet.start is not None or cells.errors]
    if len(held) > 1:
        raise ValueError(f"has several sheets that hold something: {offered}. Mend: declare which of them is the `sheet`")
    return (held or read)[0]


def _read_sheet(file: Any, book: Any, number: int, name: str) -> tuple[Any, Cells]:
    """Read a sheet, once it is known to be no larger than memory holds."""
    cells = cells_of(file, number, name)
    sheet = book.get_sheet_by_name(name)
    cells.merged = cells.merged or list(sheet.merged_cell_ranges or ())
    return sheet, cells


def _is_named(sheet: Any, name: str) -> bool:
    return sheet.name.strip().casefold() == name.strip().casefold()


def _is_visible(sheet: Any) -> bool:
    return str(sheet.visible).endswith(".Visible")


def _rows(sheet: Any, cells: Cells, *, is_filled: bool) -> Iterator[tuple[int, list[Any]]]:
    """Give the rows of a sheet that hold something, by their number from 1, errors and (`is_filled`) merged cells in their places."""
    if sheet.start is None:
        return
    errors: dict[int, list[tuple[int, str]]] = {}
    for (at, column), shown in cells.errors.items():
        errors.setdefault(at, []).append((column, shown))
    padded: dict[int, list[tuple[int, int]]] = {}
    for (at, column), digits in cells.digits.items():
        padded.setdefault(at, []).append((column, digits))
    # Its rows begin with the first of the sheet, its columns with the first that any row has.
    left = min([sheet.start[1], *(column for _, column in cells.errors)])
    before, filled = [""] * (sheet.start[1] - left), _Filled(cells.merged if is_filled else [], left)
    given = iter(sheet.iter_rows())
    for number in range(max([sheet.end[0], *errors]) + 1):
        row: list[Any] = [*before, *next(given, ())]
        for column, shown in errors.get(number, ()):
            _put(row, column - left, shown)
        for column, digits in padded.get(number, ()):
            _pad(row, column - left, digits)
        filled.fill(number, row)
        if any(value != "" and not (isinstance(value, str) and not value.strip(" \t")) for value in row):
            yield number + 1, row


class _Filled:
    """Merged cells that give their value to all of their rows and columns."""

    def __init__(self, merged: list[tuple[Cell, Cell]], left: int) -> None:
        self._waiting, self._open, self._left = sorted(merged, reverse=True), list[tuple[int, range, Any]](), left

    def fill(self, number: int, row: list[Any]) -> None:
        """Fill a row, by its number from 0; rows come in their order."""
        while self._waiting and self._waiting[-1][0][0] <= number:
            (_, first), (last_row, last) = self._waiting.pop()
            columns = range(first - self._left, last + 1 - self._left)
            self._open.append((last_row, columns, row[columns.start] if 0 <= columns.start < len(row) else ""))
        if self._open:
            self._open = [span for span in self._open if span[0] >= number]
            for _, columns, value in self._open:
                for column in columns if value != "" else ():
                    _put(row, column, value)


def _pad(row: list[Any], column: int, digits: int) -> None:
    """Have a whole number be the text of so many digits by which its sheet shows it: a code."""
    value = row[column] if 0 <= column < len(row) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and float(value).is_integer() and value < MOST_EXACT:
        row[column] = f"{int(value):0{digits}}"


def _put(row: list[Any], column: int, value: Any) -> None:
    row += [""] * (column + 1 - len(row))
    row[column] = value


def _header(rows: Iterator[tuple[int, list[Any]]], request: Request) -> tuple[list[str], list[tuple[int, list[Any]]]]:
    """Give the names in the header, the first row that holds something after those that are skipped, and the row that it has taken."""
    options = request.table_options
    found = next(((number, row) for number, row in rows if number > options.skip), None)
    if found is None:
        raise ValueError("is empty" if not options.skip else f"holds nothing below row {options.skip}")
    if options.header:
        return [re.sub(r"\s+", " ", _text(value, ".")).strip() for value in found[1]], []
    width = len(found[1])
    if width < len(request.columns):
        raise ValueError(f"has {width} columns by position where the brick declares {len(request.columns)}")
    return [*request.columns, *[""] * (width - len(request.columns))], [found]


def _batches(
    first: list[tuple[int, list[Any]]], rows: Iterator[tuple[int, list[Any]]], width: int, at: list[int]
) -> Iterator[list[Sequence[Any]]]:
    """Give rows by columns, so many at once; `at` takes their numbers."""
    batch: list[list[Any]] = []
    for number, row in itertools.chain(first, rows):
        if any(value != "" for value in row[width:]):
            raise ValueError(f"row {number} holds more values than the header has names. Mend: `skip`, or the header")
        at.append(number)
        batch.append(row if len(row) == width else [*row[:width], *[""] * (width - len(row))])
        if len(batch) == BATCH_ROWS:
            yield list(zip(*batch, strict=True))
            batch = []
    if batch:
        yield list(zip(*batch, strict=True))


class _Texts:
    """Cells as texts, dates as the brick declares that its texts write them; tells of numbers that have lost digits."""

    def __init__(self, formats: Sequence[str | None], decimal: str) -> None:
        self._formats, self._decimal = formats, decimal
        self.lost, self._rows = list[tuple[int, int]](), 0

    def of(self, column: int, values: Sequence[Any]) -> list[str | None]:
        """Give the texts of a column, none for a cell without value."""
        form, texts = self._formats[column], list[str | None]()
        for place, value in enumerate(values):
            if isinstance(value, str):
                texts.append(value or None)
                continue
            if isinstance(value, float) and abs(value) >= MOST_EXACT and len(self.lost) < BATCH_ROWS:
                self.lost.append((self._rows + place, column))
            texts.append((form and _dated(value, form)) or _text(value, self._decimal))
        if column == len(self._formats) - 1:
            self._rows += len(values)
        return texts


def _dated(value: Any, form: str) -> str | None:
    """Write a date as a format does; None where that would lose something of it, or for what is no date."""
    if not isinstance(value, dt.date):
        return None
    moment = value if isinstance(value, dt.datetime) else dt.datetime(value.year, value.month, value.day)
    text = moment.strftime(form)
    try:
        return text if dt.datetime.strptime(text, form.replace("%-", "%")) == moment else None
    except ValueError:
        return None


def _text(value: Any, decimal: str) -> str:
    """Write what a cell holds: no digit more and none less, dates and times in ISO, durations in hours."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            is_whole = math.isfinite(value) and value.is_integer() and abs(value) < MOST_EXACT
            return str(int(value)) if is_whole else repr(value).replace(".", decimal)
        case dt.datetime():
            return value.isoformat(" ") if value.time() != dt.time() else value.date().isoformat()
        case dt.timedelta():
            seconds, rest = divmod(abs(value), dt.timedelta(seconds=1))
            part = f".{rest.microseconds:06}".rstrip("0") if rest else ""
            return f"{'-' if value < dt.timedelta() else ''}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{part}"
        case dt.date() | dt.time():
            return value.isoformat()
        case _:
            return str(value)


def _warnings(texts: _Texts, cells: Cells, at: list[int], options: Any) -> Iterator[str]:
    """Tell what a sheet may hold otherwise than it shows it."""
    if texts.lost:
        place, column = texts.lost[0]
        yield (
            f"{len(texts.lost)} numbers have more digits than a sheet keeps (the first in row {at[place]}, column {column + 1}): "
            f"the last ones may be others. Mend: have them written as texts at the source"
        )
    rows = {*at}
    spans = [start for start, end in cells.merged if end[0] > start[0] and start[0] + 1 in rows]
    if spans and not options.fill_merged:
        yield (
            f"{len(spans)} merged cells (the first {cell_name(spans[0])}) hold their value in their first row alone. "
            "Mend: `fill_merged: true` where it is that of all their rows, else none"
        )
