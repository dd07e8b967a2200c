"""Count the records of a text from its bytes, apart from the reader that parses them: no row is lost without its being said."""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ingestion.formats.spool import BLOCK_BYTES, MARKED, WIDE_LINE_BYTES, blocks

# So many lines in a quoted value, each like a row, are rows that a stray quote has swallowed.
SWALLOWED_LINES = 3


@dataclass(frozen=True)
class Scan:
    """What the bytes tell: records (the header's too), the longest in bytes, whether lines end in several ways or hold nothing.

    `thin` are the records of blank values alone, `met` what was looked for; `is_marked` tells of marks of the byte order that
    begin lines further on, and nothing else was told then. `is_plain` says that each line is a record.
    """

    records: int
    longest: int
    is_mixed: bool
    has_blank: bool
    thin: int = 0
    met: Counter[bytes] = field(default_factory=Counter)
    is_marked: bool = False
    is_plain: bool = False


class Sought:
    """Where the records stand that hold some bytes, or have some numbers (from 0): told block by block, memory stays bounded."""

    def __init__(self, at: Sequence[int], numbers: Sequence[int]) -> None:
        import numpy as np

        self._at, self._numbers = np.asarray(at, np.int64), np.asarray(numbers, np.int64)
        self.begin()

    def begin(self) -> None:
        """Forget what was told: the text is read again."""
        import numpy as np

        # Of each byte, the record that it stands in; of each number, its line.
        self._found, self._lines = np.zeros((len(self._at), 2), np.int64), np.zeros(len(self._numbers), np.int64)

    def __call__(self, first: int, starts: Any, lines: Any) -> None:
        """Take the bytes and the lines at which records begin, the first of which has a number."""
        import numpy as np

        if not len(starts):
            return
        places = np.searchsorted(starts, self._at, "right") - 1
        is_here = places >= 0
        self._found[is_here] = np.column_stack((first + places, lines[places]))[is_here]
        is_here = (self._numbers >= first) & (self._numbers < first + len(starts))
        self._lines[is_here] = lines[self._numbers[is_here] - first]

    def at(self) -> list[tuple[int, int]]:
        """Give the number and the line of the record at each byte."""
        return [(int(number), int(line)) for number, line in self._found]

    def lines(self) -> list[int]:
        """Give the line of each number."""
        return [int(line) for line in self._lines]


def blank_record(separator: str, quote: str) -> str:
    """Write a regular expression of a record whose values are all blank."""
    gap = " *" if separator == "\t" else r"[ \t]*"
    mark = re.escape(quote)
    value = f"{gap}(?:{mark}{gap}{mark}{gap})?" if quote else gap
    return f"{value}(?:{re.escape(separator)}{value})*"


class _Starts:
    """Where lines of a text begin, block by block: those that are blank, those of records of blank values, and where for `note`."""

    def __init__(self, separator: str, quote: str, blank: str | None, skip: int, note: Sought | None) -> None:
        import numpy as np

        self._note, self._is_asked, self._has_values = note, blank is not None, bool(separator)
        none = (blank_record(separator, quote) if separator else f"[{blank}]*") if blank else ""
        self._is_blank = re.compile(rf"(?:{none})(?:[\r\n]|\Z)".encode())
        marks = (b"\r\n", b"\r\n \t" + f"{separator}{quote}".encode())
        self._is_end, self._is_thin = (np.isin(np.arange(256), list(each)) for each in marks)
        self._line, self._number = 1 + skip, 0
        self.blanks, self.thin = 0, 0

    def take(self, block: bytes, data: Any, at: int, starts: Any, breaks: Any) -> None:
        """Take a block that begins at a byte: where its lines begin outside of values, and where any line ends."""
        import numpy as np

        starts = starts[starts < len(block)]
        found = self._blank(block, data, starts) if self._is_asked else starts[:0]
        empty = found[self._is_end[data[found]]] if self._has_values else found
        self.blanks += len(empty)
        self.thin += len(found) - len(empty)
        if self._note:
            kept = np.setdiff1d(starts, found, assume_unique=True)
            self._note(self._number, at + kept, self._line + np.searchsorted(breaks, kept))
            self._number += len(kept)
        self._line += len(breaks)

    def _blank(self, block: bytes, data: Any, starts: Any) -> Any:
        import numpy as np

        ended = np.False_
        # By the first bytes of all lines at once; the few that are left one by one.
        for offset in range(4):
            byte = data[np.minimum(starts + offset, len(block) - 1)]
            ended = ended | self._is_end[byte]
            is_left = ended | self._is_thin[byte]
            starts, ended = starts[is_left], ended[is_left]
        return np.asarray([start for start in starts if self._is_blank.match(block, start)], np.int64)


def scan(
    path: Path,
    separator: str = "",
    quote: str = "",
    skip: int = 0,
    blank: str | None = "",
    width: int = 0,
    note: Sought | None = None,
    *,
    sought: Callable[[bytes], Counter[bytes]] | None = None,
) -> Scan:
    """Count the records of a text from its bytes, `skip` lines aside, as DuckDB and Python's csv module understand them.

    A line that holds nothing is no record, nor one that holds only characters of `blank`; with None it is. Where there are a
    separator and `blank`, one of such values alone is thin. `note` is told where the records that are not thin begin. Where a
    quote opens elsewhere than where a field begins, is never closed, or holds what looks like rows of `width` columns, Python's
    csv module counts: slower, and of one mind with DuckDB on all that can be read. Raises ValueError for a record that is too
    long, and for rows that a stray quote has swallowed.
    """
    import numpy as np

    mark = quote.encode()
    before_quote = list(b"\r\n" + mark + separator.encode())
    starts = _Starts(separator, quote, blank, skip, note)
    records, longest, unended, inside, met, is_plain = 0, 0, 0, False, Counter[bytes](), True
    line_ends: set[int] = set()

    def slowly() -> Scan:
        plain = scan(path, skip=skip, sought=sought)
        if plain.is_marked:
            return plain
        count, most, thin = _count_slowly(path, separator, quote, skip, blank, width, note)
        return replace(plain, records=count, longest=max(plain.longest, most), thin=thin, is_plain=False)

    with path.open("rb") as file, path.open(encoding="latin-1", newline="") as lines:
        at = file.seek(sum(len(lines.readline()) for _ in range(skip)) or 3 * (file.read(3) == b"\xef\xbb\xbf"))
        for block in blocks(file):
            if b"\xef" in block and MARKED.search(block):  # one byte is looked for much faster than three
                return Scan(0, 0, is_mixed=False, has_blank=False, is_marked=True)
            met.update(sought(block) if sought else ())
            was_inside, first = inside, int(inside or unended > 0)
            data = np.frombuffer(block, np.uint8)
            is_feed, has_returns = data == 10, b"\r" in block
            ends = np.flatnonzero(is_feed | (data == 13) & ~np.append(is_feed[1:], False) if has_returns else is_feed)
            breaks = ends
            if quote and (inside or mark in block):
                quotes = np.flatnonzero(data == mark[0])
                opening = quotes[int(inside) :: 2]
                if len(mark) > 1 or not np.isin(data[opening[opening > 0] - 1], before_quote).all():
                    return slowly()
                values = np.searchsorted(quotes, ends)
                is_held = (values + inside) % 2 == 1
                if is_held.any():
                    is_plain = False
                    ends, held = ends[~is_held], ends[is_held]
                    # Between two ends of lines in one value, as many separators as a row has, again and again.
                    separators = np.searchsorted(np.flatnonzero(data == separator.encode()[0]), held)
                    is_row = (np.diff(separators) == width - 1) & (np.diff(values[is_held]) == 0)
                    if is_row.any() and np.convolve(is_row, np.ones(SWALLOWED_LINES)).max() == SWALLOWED_LINES:
                        return slowly()
                inside = was_inside ^ (len(quotes) % 2 == 1)
            if has_returns:  # a line feed after a carriage return is one end with it, told as 20
                told = data[ends] + 10 * ((data[ends] == 10) & (data[ends - 1] == 13) & (ends > 0))
                line_ends |= set(np.flatnonzero(np.bincount(told)).tolist())
            elif len(ends):
                line_ends.add(10)
            longest = max(longest, int(np.diff(ends, prepend=-1 - unended).max(initial=0)))
            unended = len(block) - 1 - int(ends[-1]) if len(ends) else unended + len(block)
            if unended > WIDE_LINE_BYTES or longest > WIDE_LINE_BYTES:
                break
            records += len(ends) + (not inside and not block.endswith((b"\r", b"\n")))
            starts.take(block, data, at, np.append(0, ends + 1)[first:], breaks)
            at += len(block)
    if inside:
        return slowly()
    longest = max(longest, unended)
    if longest > WIDE_LINE_BYTES:
        raise ValueError(f"holds a record of more than {WIDE_LINE_BYTES >> 20} MB. Mend: split it at the source, or check `quote`")
    is_plain = is_plain and not (starts.blanks or starts.thin)
    return Scan(records - starts.blanks, longest, len(line_ends) > 1, starts.blanks > 0, starts.thin, met, is_plain=is_plain)


def _count_slowly(
    path: Path, separator: str, quote: str, skip: int, blank: str | None, width: int, note: Sought | None = None
) -> tuple[int, int, int]:
    """Count the records, the bytes of the longest that has several lines, and the records of blank values alone.

    Raises ValueError for a quote that swallows rows.
    """
    import numpy as np

    csv.field_size_limit(sys.maxsize)
    count, longest, thin, at, line = 0, 0, 0, 0, 1 + skip
    # The lines of the record at hand, and where the records before it begin.
    held: list[str] = []
    begun: list[tuple[int, int]] = []
    dialect: Any = {"delimiter": separator, "quotechar": quote, "skipinitialspace": True}
    spaces = " " if separator == "\t" else " \t"

    def tell(first: int) -> None:
        if note and begun:
            note(first, *np.asarray(begun, np.int64).T)
        begun.clear()

    if note:
        note.begin()
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        for _ in range(skip):
            at += _size(file.readline())
        if not skip and file.read(1) != "\ufeff":
            file.seek(0)
        elif not skip:
            at = 3

        def lines() -> Iterator[str]:
            size = 0
            for text in file:
                size = len(text) + (size if held else 0)
                held.append(text)
                if size > WIDE_LINE_BYTES:
                    raise ValueError(_swallowing(skip + rows.line_num - len(held) + 2, len(held)))
                yield text

        rows = csv.reader(lines(), **dialect)
        for row in rows:
            is_record = bool(row) or blank is None
            is_thin = bool(row and blank) and not any(value.strip(spaces) for value in row)
            size = sum(map(_size, held)) if note or len(held) > 1 else 0
            if note and is_record and not is_thin:
                begun.append((at, line))
            count, thin, at, line = count + is_record, thin + is_thin, at + size, line + len(held)
            if len(begun) == BLOCK_BYTES:
                tell(count - thin - len(begun))
            if len(held) > 1:
                longest = max(longest, size)
                if width and _has_swallowed(held, row, separator, width, dialect):
                    raise ValueError(_swallowing(skip + rows.line_num - len(held) + 1, len(held)))
            held.clear()
        tell(count - thin - len(begun))
    return count, longest, thin


def _size(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))


def _has_swallowed(lines: list[str], row: list[str], separator: str, width: int, dialect: Any) -> bool:
    """Say whether a record of several lines holds rows, which a stray quote has made the text of a value."""
    try:
        next(csv.reader(lines, strict=True, **dialect))
        is_well_formed = len(row) == width
    except csv.Error:
        is_well_formed = False
    if not is_well_formed:
        return any(line.count(separator) >= width - 1 for line in lines[1:])

    def kind(line: str) -> tuple[int, str]:
        first = line.partition(separator)[0].strip(f" {dialect['quotechar']}")
        return line.count(separator), re.sub(r"[^\W\d]+", "a", re.sub(r"\d+", "0", first))

    like = (width - 1, kind(lines[0])[1])
    whole = (value.splitlines()[1:-1] for value in row)
    return width > 1 and any(len(inner) >= SWALLOWED_LINES and all(kind(line) == like for line in inner) for inner in whole)


def _swallowing(line: int, count: int) -> str:
    return f"line {line}: a stray quote makes one value of {count} lines. Mend: repair it at the source, or declare `quote: ''`"
