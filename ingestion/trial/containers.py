"""What a file that holds several tables offers: the sheets of a workbook, the layers of a GeoPackage, the tables of a database."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ingestion.connectors import SourceError

LOOKED_AT_ROWS = 60


def sheets_of(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Give the sheets of a workbook, the largest first, with the options that read each: its header may stand lower down.

    Raises SourceError where it cannot be opened.
    """
    import python_calamine as calamine

    from ingestion.formats.cells import cells_of, indented

    found: list[tuple[int, str, dict[str, Any]]] = []
    with path.open("rb") as file:
        try:
            book = calamine.CalamineWorkbook.from_filelike(file)
            for number, name in enumerate(book.sheet_names):
                cells_of(file, number, name)  # what a far cell would make of it, and of this process, is refused first
                rows = book.get_sheet_by_index(number).to_python(skip_empty_area=False)
                if options := _header_of(rows):
                    found.append((len(rows) * len(rows[0]), name, {"sheet": name, **options}))
        except (calamine.CalamineError, ValueError, OSError) as error:
            file.seek(0)
            told, _, mend = (indented(file) or str(error)).partition(". Mend: ")
            raise SourceError(f"{path.name} {told}. Mend: {mend or 'save it anew in an office suite, as XLSX'}") from None
    if not found:
        raise SourceError(f"{path.name} holds no sheet of rows. Mend: give one that does.")
    return [(name, options) for _, name, options in sorted(found, key=lambda each: -each[0])]


def _header_of(rows: list[list[Any]]) -> dict[str, Any]:
    """Give the options by which the header of a sheet is found: the first row that is as filled as most; nothing for an empty sheet."""
    filled = [sum(cell not in ("", None) for cell in row) for row in rows[:LOOKED_AT_ROWS]]
    if not rows or not any(filled):
        return {}
    usual = sorted(count for count in filled if count)[len([count for count in filled if count]) // 2]
    place = next(number for number, count in enumerate(filled) if count >= max(1, usual * 0.7))
    named = all(isinstance(cell, str) for cell in rows[place] if cell not in ("", None))
    return {**({"skip": place} if place else {}), **({} if named else {"header": False}), "format": "spreadsheet"}


def layers_of(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Give the layers of a GeoPackage that have places; raises SourceError where it cannot be opened."""
    import pyogrio

    try:
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    except pyogrio.errors.DataSourceError as error:
        raise SourceError(f"{path.name} cannot be opened ({error}). Mend: ask its producer for it again") from None
    return [(name, {"format": "geopackage", "layer": name}) for name in layers]


def tables_of(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Give the tables and the views of a file of SQLite; raises SourceError where it cannot be opened."""
    try:
        held = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        try:
            rows = held.execute("select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%' order by name")
            names = [row[0] for row in rows.fetchall()]
        finally:
            held.close()
    except sqlite3.Error as error:
        raise SourceError(f"{path.name} is no whole database of SQLite ({error}). Mend: ask its producer for it again") from None
    return [(name, {"relation": '"' + name.replace('"', '""') + '"'}) for name in names]
