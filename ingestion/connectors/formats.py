"""Files as relations that DuckDB reads itself: CSV, NDJSON, GeoJSON, Parquet, JSON documents, with a count of their own."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TextIO, cast

from ingestion.connectors import RESERVED, Part, Reading, Request
from ingestion.lake import listed, literal, quoted

# What a processor's cache holds is scanned a fifth faster than a mebibyte.
BLOCK_BYTES = 1 << 18
# DuckDB reads lines of 2 MB, by 32 MB, unless told to expect more.
PLAIN_LINE_BYTES, BUFFER_BYTES, WIDE_LINE_BYTES = 1 << 20, 32 << 20, 64 << 20
# So many lines in a quoted value, each like a row, are rows that a stray quote has swallowed.
SWALLOWED_LINES = 3
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Scan:
    """What the bytes tell: records (the header's too), the longest in bytes, whether lines end in several ways or are blank."""

    records: int
    longest: int
    is_mixed: bool
    has_blank: bool


@dataclass(frozen=True)
class Shape:
    """What files that are read as one have in common: the SQL before and after their paths, their columns and types.

    `values` is SQL that replaces some of the columns.
    """

    before: str
    after: str = ")"
    columns: tuple[str, ...] | None = None
    types: tuple[str, ...] = ()
    values: str = ""


class Spool:
    """Where files wait for DuckDB: a folder, or, for what is private, the memory, with a folder of links that name the files.

    `roots` gives, by a file's name, the folder under which it stands under that name: where it is read in place, not the
    spool's own. Files in memory go when the spool is garbage collected.
    """

    def __init__(self, folder: Path, *, is_private: bool) -> None:
        self.root, self._is_memory = folder, is_private
        self.roots: dict[str, Path] = {}
        self._in_memory: dict[Path, weakref.finalize] = {}

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self.roots[name] / name

    def create(self, name: str) -> BinaryIO:
        """Open a new file for writing; raises ValueError for a name that leads elsewhere or that no file can have."""
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or not place.parts or "\0" in name:
            raise ValueError(f"the name {name!r} leads out of its folder")
        self.roots[name], path = self.root, self.root / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
                raise
            raise ValueError(f"the name {name[:60]!r} is too long, or is a file's and a folder's ({error.strerror})") from error
        if self._is_memory:
            if path in self._in_memory:
                self._in_memory[path]()
            handle = os.memfd_create("city-orchestra")
            self._in_memory[path] = weakref.finalize(self, os.close, handle)
            path.symlink_to(f"/proc/self/fd/{handle}")
        return path.open("wb")

    def temporary(self) -> BinaryIO:
        """Open a file for writing and reading that goes when it is closed."""
        return os.fdopen(os.memfd_create("city-orchestra"), "w+b") if self._is_memory else tempfile.TemporaryFile(dir=self.root)

    def end_lines_alike(self, name: str) -> None:
        """Copy a file with each line ending in a line feed: DuckDB gives up a file whose lines end in several ways."""
        told: Any = {"encoding": "utf-8", "errors": "surrogateescape"}
        with self.path(name).open(**told) as source, io.TextIOWrapper(self.create(f"_lines/{name}"), newline="\n", **told) as target:
            shutil.copyfileobj(source, target, BLOCK_BYTES)
        self.roots[name] = self.root / "_lines"


def parts(form: str, names: Iterable[str], reading: Reading, spool: Spool) -> list[Part]:
    """Make a part of the files of each shape; those that are not what they should be, or lack a column, are refused."""
    if form == "geojson":
        return _collections(names, reading, spool)
    groups: dict[tuple[Path, Shape], dict[str, int]] = defaultdict(dict)
    for name in names:
        try:
            shape, count = _LOOKS[form](name, reading.request, spool)
        except (ValueError, csv.Error) as error:
            reading.refused_files.append((name, str(error)))
        else:
            groups[spool.roots[name], shape][name] = count
    return [_part(root, shape, counts) for (root, shape), counts in groups.items()]


def _part(root: Path, shape: Shape, counts: dict[str, int]) -> Part:
    paths, rejects = listed([_escaped(root / name) for name in counts]), None
    if shape.before == "read_csv(":
        number = next(_numbers)
        rejects = (f"reject_scans_{number}", f"reject_errors_{number}")
        paths += f", store_rejects = true, rejects_scan = '{rejects[0]}', rejects_table = '{rejects[1]}', rejects_limit = 0"
    source, start = f"{shape.before}{paths}{shape.after}", len(str(root).rstrip("/")) + 2
    relation = f"select * exclude (_path){shape.values}, substr(_path, {start}) as _file from {source}"
    return Part(relation, tuple(counts), shape.columns, bool(shape.types), sum(counts.values()), rejects)


def _escaped(path: Path) -> str:
    """Write a path so that DuckDB, which reads paths as patterns, means no other file."""
    return re.sub(r"[\[*?]", r"[\g<0>]", str(path))


def _look_at_csv(name: str, request: Any, spool: Spool) -> tuple[Shape, int]:
    """Every value is text."""
    options = request.table_options
    columns, separator, skip = _read_header(spool.path(name), request)
    seen = scan(spool.path(name), separator, options.quote, skip, "" if len(columns) > 1 else None, len(columns))
    quote = literal(options.quote)
    reader = f"header = {options.header}, delim = {literal(separator)}, quote = {quote}, escape = {quote}, skip = {skip}"
    shape = Shape("read_csv(", _delimited(name, spool, seen, columns, reader), columns)
    return shape, seen.records - options.header


def _look_at_ndjson(name: str, _: Any, spool: Spool) -> tuple[Shape, int]:
    """A document a line; blank lines count for nothing."""
    seen = scan(spool.path(name), blank=" \t")
    after = _delimited(name, spool, seen, ("_doc",), "header = false, delim = chr(1), quote = '', escape = ''")
    return Shape("read_csv(", after + (" where trim(_doc, ' ' || chr(9)) <> ''" if seen.has_blank else "")), seen.records


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


def _look_at_parquet(name: str, request: Any, spool: Spool) -> tuple[Shape, int]:
    """Counted from the footer; a declared column of bytes is text where it is UTF-8."""
    path = spool.path(name)
    ((count,),) = _ask(request, "select num_rows from parquet_file_metadata(?)", path)
    described = _ask(request, "describe from read_parquet(?, hive_partitioning = false)", path)
    columns, types = zip(*[row[:2] for row in described], strict=True)
    _check_columns(request, columns)
    # DuckDB renames the second of two columns whose names it takes for one.
    written = {name for (name,) in _ask(request, "select name from parquet_schema(?)", path)}
    if twins := [column for column in columns if column not in written]:
        raise ValueError(f"has columns that share a name, whatever its case ({', '.join(twins)}). Mend: rename them at the source")
    declared = {column.casefold() for column in request.columns}
    packed = [quoted(column) for column, kind in zip(columns, types, strict=True) if kind == "BLOB" and column.casefold() in declared]
    texts = ", ".join(f"coalesce(try(decode({column})), {column}::varchar) as {column}" for column in packed)
    values = f" replace ({texts})" if texts else ""
    return Shape("read_parquet(", ", filename = '_path', hive_partitioning = false)", columns, types, values), count


def _ask(request: Any, sql: str, path: Path) -> list[Any]:
    """Ask DuckDB about a Parquet file; raises ValueError when it cannot say."""
    import duckdb

    try:
        return request.connection.execute(sql, [_escaped(path)]).fetchall()
    except duckdb.Error as error:
        raise ValueError(f"is not whole Parquet: {str(error)[:200]}") from error


_LOOKS = {"csv": _look_at_csv, "ndjson": _look_at_ndjson, "parquet": _look_at_parquet}


def _collections(names: Iterable[str], reading: Reading, spool: Spool) -> list[Part]:
    """Make a part of the features of GeoJSON files; those that are no whole collection are refused."""
    documents = Documents(spool)
    for name in dict.fromkeys(names):
        try:
            documents.add_all(name, _read_features(spool.path(name)))
        except UnicodeDecodeError as error:
            reading.refused_files.append((name, f"is not UTF-8 text ({error.reason} at byte {error.start})"))
        except (ValueError, RecursionError) as error:
            reading.refused_files.append((name, f"is not a whole GeoJSON FeatureCollection: {error}"))
    return documents.parts()


def _read_features(path: Path) -> Iterator[str]:
    """Give the features of a collection one by one, each as a document: its properties, its `id` and its `geometry`."""
    with path.open(encoding="utf-8-sig") as file:
        text, is_collection = _Json(file), False
        for _ in text.each("{", "}"):
            name = text.value()
            text.take(":")
            if name != "features":
                text.value()
                continue
            is_collection = True
            for _ in text.each("[", "]"):
                yield json.dumps(_flattened(text.value()), separators=(",", ":"))
        if text.peek():
            raise ValueError("something follows it")
        if not is_collection:
            raise ValueError("it has no `features`")


def _flattened(feature: Any) -> Any:
    """Give a feature as one object; what is no feature as it is, for landing to refuse."""
    properties = feature.get("properties") if isinstance(feature, dict) else feature
    if not isinstance(feature, dict) or not isinstance(properties, dict | None):
        return properties
    first, last = ({name: feature[name]} if feature.get(name) is not None else {} for name in ("id", "geometry"))
    return first | (properties or {}) | last


class _Json:
    """A JSON text that is read value by value, of which only the value at hand is in memory."""

    decoder, spaces = json.JSONDecoder(), re.compile(r"[ \t\r\n]*")

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._at, self._passed = file, "", 0, 0

    def peek(self) -> str:
        """Give the next character that is no space, '' at the end."""
        while True:
            self._at = cast("re.Match[str]", self.spaces.match(self._text, self._at)).end()
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def take(self, marks: str) -> str:
        """Pass over the next mark and give it; raises ValueError when it is none of these."""
        mark = self.peek()
        if not mark or mark not in marks:
            raise ValueError(f"{' or '.join(marks)} is not there, at character {self._passed + self._at + 1}")
        self._at += 1
        return mark

    def each(self, opening: str, closing: str) -> Iterator[None]:
        """Stop at each item of an array, or member of an object, for the caller to read."""
        self.take(opening)
        if self.peek() == closing:
            self.take(closing)
            return
        yield
        while self.take(f",{closing}") == ",":
            yield

    def value(self) -> Any:
        """Give the next value; raises ValueError for what is none."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                fault = f"{error.msg}, at character {self._passed + error.pos + 1}"
            else:
                fault = "it is cut"
                # Something follows any value of a whole collection, and a number may go on.
                if end < len(self._text):
                    self._at = end
                    return value
            if len(self._text) - self._at > WIDE_LINE_BYTES or not self._read_on():
                raise ValueError(fault)

    def _read_on(self) -> bool:
        """Read as much again as is left, so that a long value is not tried too often."""
        more = self._file.read(max(BLOCK_BYTES, len(self._text) - self._at))
        self._passed, self._text, self._at = self._passed + self._at, self._text[self._at :] + more, 0
        return bool(more)


class Documents:
    """JSON documents written to one packed NDJSON as they come, so that memory stays bounded."""

    def __init__(self, spool: Spool) -> None:
        self._path = spool.root / "documents.ndjson.gz"
        self._file = spool.create(self._path.name)
        self._packed = self._begin()
        self._count, self._longest = 0, 16 << 20
        self.names: dict[str, None] = {}

    def add(self, name: str, text: str) -> None:
        """Add a document of a file."""
        line = json.dumps({"_file": name, "_doc": text}).encode() + b"\n"
        self._packed.write(line)
        self.names[name] = None
        self._count += 1
        self._longest = max(self._longest, len(line) + 1)

    def add_all(self, name: str, texts: Iterable[str]) -> None:
        """Add the documents of a file; none of them when giving them raises."""
        self._packed.close()
        start, count, self._packed = self._file.tell(), self._count, self._begin()
        try:
            for text in texts:
                self.add(name, text)
        except BaseException:
            self._packed.close()
            self._file.seek(start)
            self._file.truncate()
            self._count, self._packed = count, self._begin()
            self.names.pop(name, None)
            raise
        self.names[name] = None

    def parts(self) -> list[Part]:
        """Close the file and give it as a part; none without files."""
        self._packed.close()
        self._file.close()
        reader = f"format = 'newline_delimited', compression = 'gzip', maximum_object_size = {self._longest}"
        relation = f"from read_json({literal(_escaped(self._path))}, columns = {{_file: 'VARCHAR', _doc: 'VARCHAR'}}, {reader})"
        return [Part(relation, tuple(self.names), counted=self._count)] if self.names else []

    def _begin(self) -> BinaryIO:
        return io.BufferedWriter(cast("io.RawIOBase", gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=1)), BLOCK_BYTES)


def scan(path: Path, separator: str = "", quote: str = "", skip: int = 0, blank: str | None = "", width: int = 0) -> Scan:
    """Count the records of a text from its bytes, `skip` lines aside, as DuckDB and Python's csv module understand them.

    A line that holds nothing, or only characters of `blank`, is no record; with None it is. Where a quote opens elsewhere than
    where a field begins, is never closed, or holds what looks like rows of `width` columns, Python's csv module counts: slower,
    and of one mind with DuckDB on all that can be read. Raises ValueError for a record that is too long, and for rows that a
    stray quote has swallowed.
    """
    import numpy as np

    mark = quote.encode()
    before_quote = list(b"\r\n" + mark + separator.encode())
    is_blank = re.compile(rf"{f'[{blank}]*' if blank else ''}(?:[\r\n]|\Z)".encode())
    records, blanks, longest, unended, inside = 0, 0, 0, 0, False
    line_ends: set[int] = set()

    def slowly() -> Scan:
        plain = scan(path, skip=skip)
        count, most = _count_slowly(path, separator, quote, skip, blank, width)
        return replace(plain, records=count, longest=max(plain.longest, most))

    with path.open("rb") as file, path.open(encoding="latin-1", newline="") as lines:
        file.seek(sum(len(lines.readline()) for _ in range(skip)) or 3 * (file.read(3) == b"\xef\xbb\xbf"))
        for block in _blocks(file):
            was_inside = inside
            data = np.frombuffer(block, np.uint8)
            is_feed, has_returns = data == 10, b"\r" in block
            ends = np.flatnonzero(is_feed | (data == 13) & ~np.append(is_feed[1:], False) if has_returns else is_feed)
            if quote and (inside or mark in block):
                quotes = np.flatnonzero(data == mark[0])
                opening = quotes[int(inside) :: 2]
                if len(mark) > 1 or not np.isin(data[opening[opening > 0] - 1], before_quote).all():
                    return slowly()
                values = np.searchsorted(quotes, ends)
                is_held = (values + inside) % 2 == 1
                if is_held.any():
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
            if blank is not None:
                starts = np.append(0, ends + 1)[int(was_inside) :]
                starts = starts[starts < len(block)]
                blanks += sum(1 for start in starts[data[starts] <= 32] if is_blank.match(block, start))
    if inside:
        return slowly()
    longest = max(longest, unended)
    if longest > WIDE_LINE_BYTES:
        raise ValueError(f"holds a record of more than {WIDE_LINE_BYTES >> 20} MB. Mend: split it at the source, or check `quote`")
    return Scan(records - blanks, longest, len(line_ends) > 1, blanks > 0)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Give a text in blocks that end where a line does, unless that is too long."""
    while block := file.read(BLOCK_BYTES):
        rest = file.readline(BLOCK_BYTES)
        if not rest.endswith(b"\n") and (end := rest.rfind(b"\r", 0, -1) + 1):
            file.seek(end - len(rest), os.SEEK_CUR)
            rest = rest[:end]
        elif len(rest) == BLOCK_BYTES and not rest.endswith(b"\n"):
            rest += file.readline(WIDE_LINE_BYTES)
        yield block + rest


def _count_slowly(path: Path, separator: str, quote: str, skip: int, blank: str | None, width: int) -> tuple[int, int]:
    """Count the records, and the bytes of the longest that has several lines; raises ValueError for a quote that swallows rows."""
    csv.field_size_limit(sys.maxsize)
    count, longest = 0, 0
    # The lines of the record at hand.
    held: list[str] = []
    dialect: Any = {"delimiter": separator, "quotechar": quote, "skipinitialspace": True}
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for _ in range(skip):
            file.readline()

        def lines() -> Iterator[str]:
            size = 0
            for line in file:
                size = len(line) + (size if held else 0)
                held.append(line)
                if size > WIDE_LINE_BYTES:
                    raise ValueError(_swallowing(skip + rows.line_num - len(held) + 2, len(held)))
                yield line

        rows = csv.reader(lines(), **dialect)
        for row in rows:
            count += bool(row) or blank is None
            if len(held) > 1:
                longest = max(longest, sum(len(line.encode(errors="surrogateescape")) for line in held))
                if width and _has_swallowed(held, row, separator, width, dialect):
                    raise ValueError(_swallowing(skip + rows.line_num - len(held) + 1, len(held)))
            held.clear()
    return count, longest


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


def _read_header(path: Path, request: Request) -> tuple[tuple[str, ...], str, int]:
    """Give a CSV's names of columns, its separator, the lines to skip; raises ValueError for what is no table."""
    options, columns = request.table_options, request.columns
    with path.open("rb") as file:
        text = file.read(1 << 20).decode("utf-8-sig", "surrogateescape")
    if re.match(r"\s*<(!doctype|html|\?xml)", text, re.IGNORECASE):
        raise ValueError("is an HTML or XML page, not a table")
    lines = io.StringIO(text, newline="").readlines()
    skip = next((number for number, line in enumerate(lines) if number >= options.skip and line.strip("\r\n")), None)
    if skip is None:
        raise ValueError("is empty")
    bare = re.sub(r'"[^"]*"', "", lines[skip])
    separator = options.separator or max([mark for mark in ";,\t|" if mark in bare] or [","], key=bare.count)
    quoting = {"quotechar": options.quote} if options.quote else {"quoting": csv.QUOTE_NONE}
    record = next(csv.reader(lines[skip:], delimiter=separator, **quoting))
    if not options.header:
        if len(record) < len(columns):
            raise ValueError(f"has {len(record)} columns by position where the brick declares {len(columns)}")
        record = [*columns, *[""] * (len(record) - len(columns))]
    if re.search("[\udc80-\udcff]", "".join(record)):
        raise ValueError("has a header that is not UTF-8. Mend: declare its `encoding`, often cp1252")
    names: list[str] = []
    met = {name.casefold() for name in RESERVED}
    # As declared: DuckDB does not know that É is é.
    declared = {column.casefold(): column for column in columns}
    for number, name in enumerate(record):
        clean = name.strip().strip('"').strip() or f"column{number}"
        clean = declared.get(clean.casefold(), clean)
        names.append(next(new for n in itertools.count() if (new := clean if not n else f"{clean}_{n}").casefold() not in met))
        met.add(names[-1].casefold())
    _check_columns(request, names)
    return tuple(names), separator, skip


def _check_columns(request: Request, names: Sequence[str]) -> None:
    present = {name.casefold() for name in names}
    if missing := [column for column in request.columns if column.casefold() not in present]:
        # Without a header, the first row stands in its place.
        found = f"{len(names)} columns" if request.is_private else ", ".join(name[:60] for name in names[:40])
        raise ValueError(f"lacks the declared columns {', '.join(missing)}; it has {found}. Mend: the brick's columns, or its options")
