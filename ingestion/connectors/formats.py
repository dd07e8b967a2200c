"""Files as relations that DuckDB reads itself: CSV, NDJSON, GeoJSON, Parquet, JSON documents, with a count of their own."""

from __future__ import annotations

import csv
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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from ingestion.connectors import RESERVED, Part, Reading
from ingestion.lake import listed, literal

# What a processor's cache holds is scanned a fifth faster than a mebibyte.
BLOCK_BYTES = 1 << 18
WIDE_LINE_BYTES = 64 << 20
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Scan:
    """What the bytes tell: records (the header's too), whether lines end in several ways, are very long, or blank."""

    records: int
    is_mixed: bool
    is_wide: bool
    has_blank: bool


@dataclass(frozen=True)
class Shape:
    """What files that are read as one have in common: the SQL before and after their paths, their columns and types."""

    before: str
    after: str = ")"
    columns: tuple[str, ...] | None = None
    types: tuple[str, ...] = ()


class Spool:
    """Where files wait for DuckDB: a folder, or, without one, the memory, with a folder of links that name the files.

    `roots` gives, by a file's name, the folder under which it stands under that name: where it is read in place, not the
    spool's own. Files in memory go when the spool is garbage collected.
    """

    def __init__(self, folder: Path | None) -> None:
        self.root = folder or Path(tempfile.mkdtemp(prefix="city-orchestra-"))
        self.roots: dict[str, Path] = {}
        self._is_memory = folder is None
        self._in_memory: dict[Path, weakref.finalize] = {}
        if self._is_memory:
            weakref.finalize(self, shutil.rmtree, self.root, ignore_errors=True)

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self.roots[name] / name

    def create(self, name: str) -> BinaryIO:
        """Open a new file for writing; raises ValueError for a name that leads elsewhere."""
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or not place.parts or "\0" in name:
            raise ValueError(f"the name {name!r} leads out of its folder")
        self.roots[name], path = self.root, self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
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
    paths, rejects = listed([str(root / name) for name in counts]), None
    if shape.before == "read_csv(":
        number = next(_numbers)
        rejects = (f"reject_scans_{number}", f"reject_errors_{number}")
        paths += f", store_rejects = true, rejects_scan = '{rejects[0]}', rejects_table = '{rejects[1]}', rejects_limit = 0"
    relation = f"select * exclude (_path), substr(_path, {len(str(root).rstrip('/')) + 2}) as _file from {shape.before}{paths}{shape.after}"
    return Part(relation, tuple(counts), shape.columns, bool(shape.types), sum(counts.values()), rejects)


def _look_at_csv(name: str, request: Any, spool: Spool) -> tuple[Shape, int]:
    """Every value is text."""
    options = request.table_options
    columns, separator, skip = _read_header(spool.path(name), options, request.columns)
    seen = scan(spool.path(name), separator, options.quote, skip, "" if len(columns) > 1 else None)
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
    wide = f", max_line_size = {WIDE_LINE_BYTES}" if seen.is_wide else ""
    how = f"auto_detect = false, filename = '_path', hive_partitioning = false, compression = 'none'{wide}"
    return f", columns = {{{types}}}, {reader}, {how})"


def _look_at_geojson(name: str, request: Any, spool: Spool) -> tuple[Shape, int]:
    """A document is a feature's properties, its `id` and its `geometry`; a collection is held in memory whole."""
    look = (
        "select json_type(content, '$.features'), json_array_length(content, '$.features') "
        "from (select case when json_valid(content) then content end as content from read_text(?))"
    )
    # read_text gives up bytes that are not UTF-8.
    ((kind, count),) = _ask(request, look, spool.path(name), "is not UTF-8 text")
    if kind != "ARRAY":
        raise ValueError("is not a whole GeoJSON FeatureCollection")
    document = (
        "json_merge_patch('{}', json_object('id', feature->'id'), "
        "coalesce(nullif(feature->'properties', 'null'), '{}'), json_object('geometry', feature->'geometry'))::varchar as _doc"
    )
    features = "select filename as _path, unnest(content->'$.features[*]') as feature from read_text("
    return Shape(f"(select {document}, _path from ({features}", ")))"), count


def _look_at_parquet(name: str, request: Any, spool: Spool) -> tuple[Shape, int]:
    """Counted from the footer."""
    path, fault = spool.path(name), "is not whole Parquet"
    ((count,),) = _ask(request, "select num_rows from parquet_file_metadata(?)", path, fault)
    described = _ask(request, "describe from read_parquet(?, hive_partitioning = false)", path, fault)
    columns, types = zip(*[row[:2] for row in described], strict=True)
    _check_columns(request.columns, columns)
    return Shape("read_parquet(", ", filename = '_path', hive_partitioning = false)", columns, types), count


def _ask(request: Any, sql: str, path: Path, fault: str) -> list[Any]:
    """Ask DuckDB about a file; raises ValueError with the fault that it means when it cannot say."""
    import duckdb

    try:
        return request.connection.execute(sql, [str(path)]).fetchall()
    except duckdb.Error as error:
        raise ValueError(f"{fault}: {str(error)[:200]}") from error


_LOOKS = {"csv": _look_at_csv, "ndjson": _look_at_ndjson, "geojson": _look_at_geojson, "parquet": _look_at_parquet}


class Documents:
    """JSON documents, one a file, written to one packed NDJSON as they come, so that memory stays bounded."""

    def __init__(self, spool: Spool) -> None:
        self._path = spool.root / "documents.ndjson.gz"
        spool.create(self._path.name).close()
        self._packed = io.BufferedWriter(cast("io.RawIOBase", gzip.GzipFile(self._path, "wb", 1)), BLOCK_BYTES)
        self._names: list[str] = []
        self._longest = 16 << 20

    def add(self, name: str, text: str) -> None:
        """Add a document."""
        line = json.dumps({"_file": name, "_doc": text}).encode() + b"\n"
        self._packed.write(line)
        self._names.append(name)
        self._longest = max(self._longest, len(line) + 1)

    def parts(self) -> list[Part]:
        """Close the file and give it as a part; none without documents."""
        self._packed.close()
        reader = f"format = 'newline_delimited', compression = 'gzip', maximum_object_size = {self._longest}"
        relation = f"from read_json({literal(str(self._path))}, columns = {{_file: 'VARCHAR', _doc: 'VARCHAR'}}, {reader})"
        return [Part(relation, tuple(self._names), counted=len(self._names))] if self._names else []


def scan(path: Path, separator: str = "", quote: str = "", skip: int = 0, blank: str | None = "") -> Scan:
    """Count the records of a text from its bytes, `skip` lines aside, as DuckDB and Python's csv module understand them.

    A line that holds nothing, or only characters of `blank`, is no record; with None it is. Where a quote opens elsewhere than
    where a field begins, Python's csv module counts: slower, and of one mind with DuckDB on all that can be read.
    """
    import numpy as np

    mark = quote.encode()
    before_quote = list(b"\r\n" + mark + separator.encode())
    is_blank = re.compile(rf"{f'[{blank}]*' if blank else ''}(?:[\r\n]|\Z)".encode())
    records, blanks, is_wide, inside = 0, 0, False, False
    line_ends: set[int] = set()
    with path.open("rb") as file, path.open(encoding="latin-1", newline="") as lines:
        file.seek(sum(len(lines.readline()) for _ in range(skip)) or 3 * (file.read(3) == b"\xef\xbb\xbf"))
        while block := file.read(BLOCK_BYTES):
            rest = file.readline()
            # DuckDB reads lines of 2 MB unless told to expect more.
            is_wide = is_wide or len(rest) > 1 << 20
            block, was_inside = block + rest, inside
            data = np.frombuffer(block, np.uint8)
            is_feed, has_returns = data == 10, b"\r" in block
            ends = np.flatnonzero(is_feed | (data == 13) & ~np.append(is_feed[1:], False) if has_returns else is_feed)
            if quote and (inside or mark in block):
                quotes = np.flatnonzero(data == mark[0])
                opening = quotes[int(inside) :: 2]
                if len(mark) > 1 or not np.isin(data[opening[opening > 0] - 1], before_quote).all():
                    return replace(scan(path, skip=skip), records=_count_slowly(path, separator, quote, skip, blank))
                ends = ends[(np.searchsorted(quotes, ends) + inside) % 2 == 0]
                inside = was_inside ^ (len(quotes) % 2 == 1)
            if has_returns:  # a line feed after a carriage return is one end with it, told as 20
                told = data[ends] + 10 * ((data[ends] == 10) & (data[ends - 1] == 13) & (ends > 0))
                line_ends |= set(np.flatnonzero(np.bincount(told)).tolist())
            elif len(ends):
                line_ends.add(10)
            records += len(ends) + (not inside and not block.endswith((b"\r", b"\n")))
            if blank is not None:
                starts = np.append(0, ends + 1)[int(was_inside) :]
                starts = starts[starts < len(block)]
                blanks += sum(1 for start in starts[data[starts] <= 32] if is_blank.match(block, start))
    return Scan(records - blanks + inside, len(line_ends) > 1, is_wide, blanks > 0)


def _count_slowly(path: Path, separator: str, quote: str, skip: int, blank: str | None) -> int:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for _ in range(skip):
            file.readline()
        rows = csv.reader(file, delimiter=separator, quotechar=quote, skipinitialspace=True)
        return sum(1 for row in rows if row or blank is None)


def _read_header(path: Path, options: Any, columns: Sequence[str]) -> tuple[tuple[str, ...], str, int]:
    """Give a CSV's names of columns, its separator, the lines to skip; raises ValueError for what is no table."""
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
    for number, name in enumerate(record):
        clean = name.strip().strip('"').strip() or f"column{number}"
        names.append(next(new for n in itertools.count() if (new := clean if not n else f"{clean}_{n}").casefold() not in met))
        met.add(names[-1].casefold())
    _check_columns(columns, names)
    return tuple(names), separator, skip


def _check_columns(columns: Sequence[str], names: Sequence[str]) -> None:
    present = {name.casefold() for name in names}
    if missing := [column for column in columns if column.casefold() not in present]:
        found = ", ".join(name[:60] for name in names[:40])
        raise ValueError(f"lacks the declared columns {', '.join(missing)}; it has {found}. Mend: the brick's columns, or its options")
