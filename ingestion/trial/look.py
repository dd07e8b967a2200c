"""How a text is written that nobody has described: its encoding, its separator, and where its header stands."""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections import Counter
from typing import Any

from ingestion.formats.header import SEPARATORS
from ingestion.formats.options import marked

LOOKED_AT, RECORDS, FEW = 1 << 20, 400, 3
# What is no name of a column: a number, a date.
VALUE = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?|[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}.*")


def encoding_of(body: bytes) -> str:
    """Give the encoding of a text: UTF-8 where its bytes are, one that marks them, else the one of Windows."""
    if other := marked(body):
        return other
    head = body[:LOOKED_AT]
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "latin-1" if re.search(rb"[\x81\x8d\x8f\x90\x9d]", head) else "cp1252"
    return "utf-8"


def look_of(body: bytes) -> dict[str, Any]:
    """Give the options of a CSV by its first bytes: `encoding`, `separator`, `skip` and `header`, where they are not what is assumed.

    The separator is the one that gives most records the same number of columns, and most columns; the header is the first record
    of so many, above which a title may stand; a first record that holds a number or a date is none.
    """
    encoding = encoding_of(body)
    text = body[:LOOKED_AT].decode("utf-8-sig" if encoding == "utf-8" else encoding, "replace")
    if len(body) > LOOKED_AT and "\n" in text:
        text = text[: text.rindex("\n") + 1]
    told: dict[str, Any] = {} if encoding == "utf-8" else {"encoding": encoding}
    best: tuple[float, int, str, list[tuple[int, list[str]]]] | None = None
    for separator in SEPARATORS:
        records = _records(text, separator)
        widths = Counter(len(record) for _, record in records)
        width = max(widths, key=lambda each: (widths[each] * (each > 1), each), default=1)
        found = (widths[width] / max(1, len(records)), width, separator, records)
        if width > 1 and (best is None or (round(found[0], 1), found[1]) > (round(best[0], 1), best[1])):
            best = found
    if best is None:
        return told
    _, width, separator, records = best
    place = next((n for n, (_, record) in enumerate(records) if len(record) == width and _is_full(record)), 0)
    line, record = records[place]
    told["separator"] = separator
    if line:
        told["skip"] = line
    if any(VALUE.fullmatch(cell.strip()) for cell in record if cell.strip()):
        told["header"] = False
    return told


def _records(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Give the first records, each with the number of lines above it."""
    csv.field_size_limit(sys.maxsize)
    reader, records, line = csv.reader(io.StringIO(text, newline=""), delimiter=separator), list[tuple[int, list[str]]](), 0
    for record in reader:
        if any(cell.strip() for cell in record):
            records.append((line, record))
        line = reader.line_num
        if len(records) == RECORDS:
            break
    return records


def _is_full(record: list[str]) -> bool:
    """Say whether a record may be a header: most of its cells are filled."""
    return sum(bool(cell.strip()) for cell in record) * 2 > len(record)
