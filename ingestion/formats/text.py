"""CSV and NDJSON: texts whose records are lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ingestion.formats.count import Scan, scan
from ingestion.formats.header import declared_names, read_header
from ingestion.formats.shape import Counted, Shape
from ingestion.formats.spool import Spool
from ingestion.lake import literal

# DuckDB reads lines of 2 MB, by 32 MB, unless told to expect more.
PLAIN_LINE_BYTES, BUFFER_BYTES = 1 << 20, 32 << 20
# What makes no value: a record that holds nothing else is none.
BLANK = " \t"
SOUGHT_NAMES = 4  # names of a header that are looked for further on


def look_at_csv(name: str, request: Any, spool: Spool) -> tuple[Shape, Counted]:
    """Every value is text."""
    options = request.table_options
    columns, separator, skip, header = read_header(spool.path(name), request)
    scanned = (separator, options.quote, skip, BLANK if len(columns) > 1 else None, len(columns))
    # Among values that are no texts, a header is refused, and known then; among texts alone it is looked for.
    typed = {name.casefold() for name in request.typed}
    is_told = any(column.casefold() in typed for column in columns)
    declared = declared_names(header, columns, (*request.columns, *request.formerly))
    seen = _scanned(name, spool, *scanned, sought=None if is_told else _count_of(declared, separator, options.quote))
    quote = literal(options.quote)
    reader = f"header = {options.header}, delim = {literal(separator)}, quote = {quote}, escape = {quote}, skip = {skip}"
    after = _delimited(name, spool, seen, columns, reader)
    may_come_again = options.header and (is_told or any(count > 1 for count in seen.met.values()))
    names = tuple(name.lower() for name in header) if may_come_again else None
    shape = Shape("read_csv(", after, columns, scanned=scanned, header=int(options.header), is_thin=seen.thin > 0, names=names)
    return shape, Counted(seen.records - options.header, seen.is_plain)


def row_count(name: str, request: Any, spool: Spool) -> int:
    """Give how many rows a CSV holds, those of blank values alone apart; raises ValueError for what is no table."""
    columns, separator, skip, _ = read_header(spool.path(name), request)
    blank = BLANK if len(columns) > 1 else None
    seen = _scanned(name, spool, separator, request.table_options.quote, skip, blank, len(columns), sought=None)
    return seen.records - int(request.table_options.header) - seen.thin


def look_at_ndjson(name: str, _: Any, spool: Spool) -> tuple[Shape, Counted]:
    """A document a line; blank lines count for nothing."""
    scanned = ("", "", 0, BLANK, 0)
    seen = _scanned(name, spool, *scanned)
    after = _delimited(name, spool, seen, ("_doc",), "header = false, delim = chr(1), quote = '', escape = ''")
    after += " where trim(_doc, ' ' || chr(9)) <> ''" if seen.has_blank else ""
    return Shape("read_csv(", after, scanned=scanned), Counted(seen.records, seen.is_plain)


def _scanned(name: str, spool: Spool, *how: Any, sought: Callable[[bytes], Counter[bytes]] | None = None) -> Scan:
    """Scan a text, first made free of the marks of the byte order that begin lines of it further on."""
    seen = scan(spool.path(name), *how, sought=sought)
    if seen.is_marked:
        spool.unmark_lines(name)
        seen = scan(spool.path(name), *how, sought=sought)
    return seen


def _delimited(name: str, spool: Spool, seen: Scan, columns: Sequence[str], reader: str) -> str:
    if seen.is_mixed:
        spool.end_lines_alike(name)
    types = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in columns)
    wide = ""
    if seen.longest > PLAIN_LINE_BYTES:
        # Its buffer would be of sixteen such lines.
        size = 1 << (seen.longest + 2).bit_length()
        wide = f", max_line_size = {size}, buffer_size = {max(size, BUFFER_BYTES)}"
    how = f"auto_detect = false, filename = '_path', hive_partitioning = false, compression = 'none'{wide}"
    return f", columns = {{{types}}}, {reader}, {how})"


def _count_of(declared: Sequence[str], separator: str, quote: str) -> Callable[[bytes], Counter[bytes]] | None:
    """Give what counts in a text the values that are names of a header, by name; None where there is none to look for.

    The longest, as many as it takes for half of those declared to hold one of them, and SOUGHT_NAMES at most.
    """
    usable = sorted((name for name in {*declared} if not quote or quote not in name), key=len, reverse=True)
    longest = [name.encode() for name in usable[: min(len(declared) - max(2, (len(declared) + 1) // 2) + 1, SOUGHT_NAMES) or 1]]
    marks = re.escape(f"{separator}{quote} \t\r\n").encode()
    values = {name: re.compile(b"(?:^|[%b])%b(?=[%b]|$)" % (marks, re.escape(name), marks)) for name in longest}

    def count(block: bytes) -> Counter[bytes]:
        block = block.lower()
        return Counter({name: len(value.findall(block)) for name, value in values.items() if name in block})

    return count if values else None
