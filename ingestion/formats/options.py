"""What a table may say of how its texts are written."""

from __future__ import annotations

import codecs
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from ingestion.connectors import Strict
from ingestion.formats.outlines import Outlines

UTF_8 = "utf-8-sig"  # a byte order mark is none of the text
# The marks of other encodings; the one of two bytes begins one of four.
OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def marked(body: bytes) -> str | None:
    """Give the encoding that the first bytes of a text mark, UTF-8 aside; None where they mark none."""
    return next((other for mark, other in OTHER_MARKS.items() if body.startswith(mark)), None)


class TextOptions(Strict):
    """How texts are written: without `header`, columns are the declared ones by position.

    `decimal`, `thousands` and `null_values` are for landing.
    """

    separator: str | None = Field(None, min_length=1, max_length=1)
    encoding: str = UTF_8
    header: bool = True
    quote: str = Field('"', max_length=1)
    skip: int = Field(0, ge=0)
    decimal: Literal[".", ","] = "."
    thousands: str | None = Field(None, min_length=1, max_length=1)
    null_values: tuple[str, ...] = ()

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            "".encode(name)  # which, other than codecs, speaks encodings of text only
            return UTF_8 if codecs.lookup(name).name in ("utf-8", "ascii") else codecs.lookup(name).name
        except (LookupError, UnicodeError):
            raise ValueError(f"'{name}' is no encoding: utf-8, cp1252, latin-1, ...") from None

    @field_validator("thousands")
    @classmethod
    def _is_no_decimal_mark(cls, mark: str | None, info: ValidationInfo) -> str | None:
        if mark == info.data.get("decimal"):
            raise ValueError(f"'{mark}' is the mark of decimals as well: say which one `decimal` is")
        return mark


class SheetOptions(Strict):
    """Which sheet of a workbook is read, by its name or its number from 1, and whether merged cells hold their value in all their rows."""

    sheet: int | str | None = None
    fill_merged: bool = False

    @field_validator("sheet")
    @classmethod
    def _is_one(cls, sheet: int | str | None) -> int | str | None:
        if isinstance(sheet, int) and sheet < 1:
            raise ValueError("sheets are numbered from 1")
        return sheet


class LayerOptions(Strict):
    """Which layer of a file is read, and the CRS of its places where the file tells none."""

    layer: str | None = None
    source_crs: str | None = Field(None, pattern="^[A-Za-z]+:[A-Za-z0-9]+$")


class RasterOptions(Strict):
    """By which outlines the pixels of a raster are summed up, which band, and which value stands for none where the file does not say."""

    outlines: Outlines | None = None
    band: int | None = Field(None, ge=1)
    nodata: float | None = None
