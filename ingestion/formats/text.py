"""CSV and NDJSON: texts whose records are lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ingestion.connectors import Request
from ingestion.formats.count import Scan, scan
from ingestion.formats.header import read_header
from ingestion.formats.shape import Shape
from ingestion.formats.spool import Spool, escaped
from ingestion.lake import listed, literal, quoted

# DuckDB reads lines of 2 MB, by 32 MB, unless told to expect more.
PLAIN_LINE_BYTES, BUFFER_BYTES = 1 << 20, 32 << 20
# What makes no value: a record that holds nothing else is none.
BLANK = " \t"
SOUGHT_NAMES = 4  # names of a header that are looked for further on


def look_at_csv(name: str, request: Any, spool: Spool) -> tuple[Shape, int]:
    """Every value is text."""
    options = request.table_options
    columns, separator, skip, header = read_header(spool.path(name), request)
    scanned = (separator, options.quote, skip, BLANK if len(columns) > 1 else None, len(columns))
    declared = _declared(request, columns, header)
    seen = _scanned(name, spool, *scanned, sought=_count_of(declared, separator, options.quote))
    quote = literal(options.quote)
    reader = f"header = {options.header}, delim = {literal(separator)}, quote = {quote}, escape = {quote}, skip = {skip}"
    after = _delimited(name, spool, seen, columns, reader)
    is_met = any(count > 1 for count in seen.met.values())
    again = _header_again(request, spool.path(name), after, columns, header, declared) if is_met else None
    shape = Shape("read_csv(", after, columns, scanned=scanned, header=int(options.header), is_thin=seen.thin > 0, again=again)
    return shape, seen.records - options.header


def look_at_ndjson(name: str, _: Any, spool: Spool) -> tuple[Shape, int]:
    """A document a line; blank lines count for nothing."""
    scanned = ("", "", 0, BLANK, 0)
    seen = _scanned(name, spool, *scanned)
    after = _delimited(name, spool, seen, ("_doc",), "header = false, delim = chr(1), quote = '', escape = ''")
    after += " where trim(_doc, ' ' || chr(9)) <> ''" if seen.has_blank else ""
    return Shape("read_csv(", after, scanned=scanned), seen.records


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


def _declared(request: Request, columns: Sequence[str], header: Sequence[str]) -> list[str]:
    """Give the names of a header, in small letters, of the columns that the brick declares."""
    wanted = {name.casefold() for name in (*request.columns, *request.formerly)}
    return [name.lower() for name, column in zip(header, columns, strict=False) if name and column.casefold() in wanted]


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


def _header_again(
    request: Request, path: Path, after: str, columns: Sequence[str], header: Sequence[str], declared: Sequence[str]
) -> str | None:
    """Give SQL that tells whether a row is the header once more, None where no row is; raises ValueError for another header.

    That is a row of all its names in another order, or one that holds half of the names declared, two at least, and under the
    columns that are no texts nothing that is of their type. Of texts alone, nothing tells such a row from one of names.
    """
    values = [f"coalesce(lower(trim({quoted(column)}, ' ' || chr(9))), '')" for column in columns]
    names = [name.lower() for name in header]
    again = " and ".join(f"{value} = {literal(name)}" for value, name in zip(values, names, strict=True))
    held = f"list_sort([{', '.join(values)}]) = list_sort([{', '.join(map(literal, names))}])"
    other = f"({held})" if len({*names}) > 1 else "false"
    casts = {name.casefold(): value_of for name, value_of in request.casts.items()}
    typed = [(quoted(column), casts[column.casefold()]) for column in columns if column.casefold() in casts]
    if typed and len(declared) > 1:
        met = " + ".join(f"list_contains([{', '.join(values)}], {literal(name)})::int" for name in declared)
        is_none = " and ".join(f"trim(coalesce({value}, '')) <> '' and {value_of(value)} is null" for value, value_of in typed)
        other += f" or (({met}) >= {max(2, (len(declared) + 1) // 2)} and {is_none})"
    tally = f"count(*) filter (where {again}), count(*) filter (where not ({again}) and ({other}))"
    relation = f"read_csv({listed([escaped(path)])}{after.removesuffix(')')}, ignore_errors = true)"
    ((repeated, others),) = request.connection.execute(f"select {tally} from {relation}").fetchall()
    if others:
        raise ValueError("holds another header further on, under which the columns are not the same. Mend: give each its own file")
    return again if repeated else None
