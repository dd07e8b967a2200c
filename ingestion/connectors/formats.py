"""Files as relations that DuckDB reads itself: CSV, NDJSON, GeoJSON, Parquet, JSON documents, with a count of their own."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from ingestion.connectors import Part
from ingestion.lake import listed, literal

if TYPE_CHECKING:
    import duckdb

# (name of the file, why it is refused)
Refuse = Callable[[str, str], None]

BLOCK_BYTES = 1 << 20
WIDE_LINE_BYTES = 64 << 20
DOCUMENTS_A_BATCH, BATCH_BYTES = 2000, 32 << 20
# Names that landing writes beside those of the source.
TAKEN_NAMES = ("_file", "_path", "_doc", "_refused", "_extra", "_read_at", "_load_id", "_seq", "_row")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Local:
    """A file that DuckDB can open at root/name; `name` is what the source calls it."""

    name: str
    root: Path

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.root / self.name


@dataclass(frozen=True)
class Scan:
    """What the bytes tell: records (the header's too), whether lines end in several ways or are very long."""

    records: int
    is_mixed: bool = False
    is_wide: bool = False


class Spool:
    """Where files wait for DuckDB: a folder, or, without one, the memory, with a folder of links that name the files.

    Files in memory go when the spool is garbage collected.
    """

    def __init__(self, folder: Path | None) -> None:
        self._is_memory = folder is None
        self._handles: dict[Path, int] = {}
        self.root = folder or Path(tempfile.mkdtemp(prefix="city-orchestra-"))
        if self._is_memory:
            weakref.finalize(self, _free, self._handles, self.root)

    def create(self, name: str) -> BinaryIO:
        """Open a new file for writing; raises ValueError for a name that leads elsewhere."""
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or not place.parts or "\0" in name:
            raise ValueError(f"the name {name!r} leads out of its folder")
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if not self._is_memory:
            return path.open("wb")
        if path in self._handles:
            os.close(self._handles.pop(path))
        handle = self._handles[path] = os.memfd_create("city-orchestra")
        path.symlink_to(f"/proc/self/fd/{handle}")
        return os.fdopen(os.dup(handle), "wb")

    def temporary(self) -> BinaryIO:
        """Open a file for writing and reading that goes when it is closed."""
        return os.fdopen(os.memfd_create("city-orchestra"), "w+b") if self._is_memory else tempfile.TemporaryFile(dir=self.root)

    def with_one_line_end(self, file: Local) -> Local:
        """Copy a file with each line ending in a line feed: DuckDB gives up a file whose lines end in several ways."""
        with file.path.open(encoding="utf-8", errors="surrogateescape", newline=None) as source:
            copy = Local(file.name, self.root)
            name = file.name if file.root != self.root else f"{file.name}.lines"
            with io.TextIOWrapper(self.create(name), encoding="utf-8", errors="surrogateescape", newline="\n") as target:
                shutil.copyfileobj(source, target, BLOCK_BYTES)
        if name != file.name:
            copy.path.unlink()
            copy.path.with_name(f"{copy.path.name}.lines").rename(copy.path)
        return copy


def _free(handles: dict[Path, int], folder: Path) -> None:
    for handle in handles.values():
        os.close(handle)
    shutil.rmtree(folder, ignore_errors=True)


class _Groups:
    """Files that can be read together, by what they have in common, and their count of records."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Any, ...], tuple[list[Local], list[int]]] = {}

    def add(self, shape: tuple[Any, ...], file: Local, count: int) -> None:
        files, counts = self._groups.setdefault((file.root, *shape), ([], []))
        files.append(file)
        counts.append(count)

    def parts(self, relation: Callable[..., dict[str, Any]]) -> list[Part]:
        """Make a part of each group; `relation` gives what more a Part says, of a root, paths in SQL, and the shape."""
        parts = []
        for (root, *shape), (files, counts) in self._groups.items():
            name = f"substr(_path, {len(str(root).rstrip('/')) + 2}) as _file"
            paths = listed([str(file.path) for file in files])
            told = relation(name, paths, *shape)
            parts.append(Part(files=tuple(file.name for file in files), counted=sum(counts), **told))
        return parts


def csv_parts(files: Iterable[Local], options: Any, columns: Sequence[str], spool: Spool, refuse: Refuse) -> list[Part]:
    """Make one part of the CSV files of each header; a file that lacks one of `columns` is refused.

    Every value is text. `options` has separator, quote, header and skip, as in `files.TableOptions`.
    """
    quote = literal(options.quote)
    groups = _Groups()
    for file in files:
        try:
            names, separator, skip = _read_header(file.path, options, columns)
            scan = scan_csv(file.path, separator, options.quote, skip, is_single=len(names) == 1)
        except (ValueError, csv.Error) as error:
            refuse(file.name, str(error))
        else:
            usable = spool.with_one_line_end(file) if scan.is_mixed else file
            groups.add((names, separator, skip, scan.is_wide), usable, scan.records - options.header)

    def relation(name: str, paths: str, names: tuple[str, ...], separator: str, skip: int, is_wide: bool) -> dict[str, Any]:
        reader = f"header = {options.header}, delim = {literal(separator)}, quote = {quote}, escape = {quote}, skip = {skip}"
        source, rejects = _read_text(paths, names, reader, is_wide=is_wide)
        return {"relation": f"select * exclude (_path), {name} from {source}", "columns": names, "rejects": rejects}

    return groups.parts(relation)


def ndjson_parts(files: Iterable[Local], spool: Spool) -> list[Part]:
    """Make a part of files that hold one JSON document a line; blank lines count for nothing."""
    groups = _Groups()
    for file in files:
        scan = scan_lines(file.path)
        groups.add((scan.is_wide,), spool.with_one_line_end(file) if scan.is_mixed else file, scan.records)

    def relation(name: str, paths: str, is_wide: bool) -> dict[str, Any]:
        reader = "header = false, delim = chr(1), quote = '', escape = ''"
        source, rejects = _read_text(paths, ("_doc",), reader, is_wide=is_wide)
        return {
            "relation": f"select _doc, {name} from {source} where starts_with(_doc, '{{') or trim(_doc, ' ' || chr(9)) <> ''",
            "rejects": rejects,
        }

    return groups.parts(relation)


def geojson_parts(files: Iterable[Local], connection: duckdb.DuckDBPyConnection, refuse: Refuse) -> list[Part]:
    """Make a part of GeoJSON collections: a document is a feature's properties, its `id` and its `geometry`.

    A collection is one document: it is held in memory whole while it is read.
    """
    import duckdb

    look = (
        "select json_type(content, '$.features'), json_array_length(content, '$.features') "
        "from (select case when json_valid(content) then content end as content from read_text(?))"
    )
    groups = _Groups()
    for file in files:
        try:
            (kind, count), *_ = connection.execute(look, [str(file.path)]).fetchall()
        except duckdb.Error as error:
            # read_text gives up bytes that are not UTF-8.
            refuse(file.name, f"is not UTF-8 text: {str(error)[:200]}")
            continue
        if kind == "ARRAY":
            groups.add((), file, count)
        else:
            refuse(file.name, "is not a whole GeoJSON FeatureCollection")
    document = (
        "json_merge_patch(if((feature->'id') is null, '{}', json_object('id', feature->'id')), "
        "coalesce(nullif(feature->'properties', 'null'), '{}'), "
        "json_object('geometry', feature->'geometry'))::varchar as _doc"
    )

    def relation(name: str, paths: str) -> dict[str, Any]:
        features = f"select filename as _path, unnest(content->'$.features[*]') as feature from read_text({paths})"
        return {"relation": f"select {document}, {name} from ({features})"}

    return groups.parts(relation)


def parquet_parts(files: Iterable[Local], columns: Sequence[str], refuse: Refuse) -> list[Part]:
    """Make one part of the Parquet files of each schema, counted from the footers; one that lacks a column is refused."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    groups = _Groups()
    for file in files:
        try:
            with pq.ParquetFile(file.path) as parquet:
                schema, count = parquet.schema_arrow, parquet.metadata.num_rows
            _check_columns(columns, schema.names)
        except (pa.ArrowException, OSError) as error:
            refuse(file.name, f"is not whole Parquet: {str(error)[:200]}")
        except ValueError as error:
            refuse(file.name, str(error))
        else:
            groups.add((tuple(schema.names), tuple(map(str, schema.types))), file, count)

    def relation(name: str, paths: str, names: tuple[str, ...], _: Any) -> dict[str, Any]:
        source = f"read_parquet({paths}, filename = '_path', hive_partitioning = false)"
        return {"relation": f"select * exclude (_path), {name} from {source}", "columns": names, "is_typed": True}

    return groups.parts(relation)


class Documents:
    """JSON documents, one a file, written to one Arrow file as they come, so that memory stays bounded."""

    def __init__(self, spool: Spool) -> None:
        self._spool, self._size = spool, 0
        self._names: list[str] = []
        self._batch: list[tuple[str, str]] = []
        # Nothing is opened, nor pyarrow imported, as long as there is no document.
        self._file: BinaryIO | None = None
        self._writer: Any = None

    def add(self, name: str, text: str) -> None:
        """Add a document."""
        self._batch.append((name, text))
        self._names.append(name)
        self._size += len(text)
        if len(self._batch) >= DOCUMENTS_A_BATCH or self._size >= BATCH_BYTES:
            self._flush()

    def parts(self, connection: duckdb.DuckDBPyConnection) -> list[Part]:
        """Close the file and give it as a part (one selection reads it to its end); none without documents."""
        self._flush()
        if self._file is None:
            return []
        import pyarrow as pa

        self._writer.close()
        self._file.close()
        relation = f"documents_{next(_numbers)}"
        connection.register(relation, pa.ipc.open_stream(pa.memory_map(str(self._spool.root / "documents.arrow"))))
        return [Part(f"select _file, _doc from {relation}", tuple(self._names), counted=len(self._names))]

    def _flush(self) -> None:
        if not self._batch:
            return
        import pyarrow as pa

        schema = pa.schema({"_file": pa.string(), "_doc": pa.string()})
        if self._file is None:
            self._file = self._spool.create("documents.arrow")
            self._writer = pa.ipc.new_stream(self._file, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
        columns = [pa.array(column, pa.string()) for column in zip(*self._batch, strict=True)]
        self._writer.write_batch(pa.record_batch(columns, schema=schema))
        self._batch, self._size = [], 0


class _LineEnds:
    """Counts of the ways that lines end."""

    def __init__(self) -> None:
        self._crlf = self._lf = self._cr = 0

    def note(self, text: bytes) -> bytes:
        """Count the ends of a text's lines, and give it with line feeds only."""
        if b"\r" not in text:
            self._lf += text.count(b"\n")
            return text
        both = text.count(b"\r\n")
        self._crlf += both
        self._cr += text.count(b"\r") - both
        self._lf += text.count(b"\n") - both
        return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    @property
    def count(self) -> int:
        """How many lines have ended."""
        return self._crlf + self._lf + self._cr

    @property
    def are_mixed(self) -> bool:
        """Whether lines end in several ways."""
        return sum(map(bool, (self._crlf, self._lf, self._cr))) > 1


def _blocks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Give the rest of a file in blocks of whole lines, and the length of the line that each block cuts."""
    rest, is_last = b"", False
    while not is_last:
        block = file.read(BLOCK_BYTES)
        is_last, block = not block, rest + block
        cut = len(block) if is_last else max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1
        text, rest = block[:cut], block[cut:]
        if text or rest:
            yield text, len(rest)


def scan_csv(path: Path, separator: str, quote: str, skip: int = 0, *, is_single: bool = False) -> Scan:
    """Count the records of a CSV from its bytes, `skip` lines aside, as DuckDB and Python's csv module understand them.

    A blank line is no record, unless there is a single column. Where a quote stands where a field neither begins nor
    ends, Python's csv module counts: slower, and of one mind with DuckDB on all that can be read.
    """
    mark = quote.encode()
    # In a text without its quoted fields, a quote stands for one of them: it must follow a field's or a line's end.
    # It looks back from the quotes: thirty times faster than to look on from every other byte.
    before = re.escape(separator.encode() + mark)
    is_stray = re.compile(re.escape(mark) + b"(?<=[^\\n" + before + b"]" + re.escape(mark) + b")") if quote else None
    ends = _LineEnds()
    records = longest = 0
    outside, inside = b"", False
    with path.open("rb") as file:
        _skip_lines(file, skip)
        for text, cut_length in _blocks(file):
            longest = max(longest, cut_length)
            outside, was_inside = text, inside
            if quote and (inside or mark in text):
                pieces = text.split(mark)
                inside = was_inside ^ (len(pieces) % 2 == 0)
                outside = mark.join([b""] * was_inside + pieces[was_inside::2] + [b""] * inside)
            outside = ends.note(outside)
            if is_stray and mark in outside and is_stray.search(outside):
                return _scan_slowly(path, separator, quote, skip, is_single=is_single)
            if not is_single and (b"\n\n" in outside or outside.startswith(b"\n")):
                records -= len(re.findall(rb"(?m)^\n", outside))
    # A last record without a line's end, or with a quote that is never closed.
    records += ends.count + (inside or (bool(outside) and not outside.endswith(b"\n")))
    return Scan(records, ends.are_mixed, longest > BLOCK_BYTES)


def _scan_slowly(path: Path, separator: str, quote: str, skip: int, *, is_single: bool) -> Scan:
    csv.field_size_limit(sys.maxsize)
    with path.open("rb") as file:
        _skip_lines(file, skip)
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        rows = csv.reader(text, delimiter=separator, quotechar=quote, skipinitialspace=True)
        records = sum(1 for row in rows if row or is_single)
    lines = scan_lines(path)
    return Scan(records, lines.is_mixed, lines.is_wide)


def scan_lines(path: Path) -> Scan:
    """Count the lines of a text that hold more than white space."""
    ends = _LineEnds()
    records = longest = 0
    with path.open("rb") as file:
        for text, cut_length in _blocks(file):
            longest = max(longest, cut_length)
            records += len(list(filter(bytes.strip, ends.note(text).split(b"\n"))))
    return Scan(records, ends.are_mixed, longest > BLOCK_BYTES)


def _skip_lines(file: BinaryIO, count: int) -> None:
    if file.read(3) != b"\xef\xbb\xbf":
        file.seek(0)
    for _ in range(count):
        file.readline()


def _read_header(path: Path, options: Any, columns: Sequence[str]) -> tuple[tuple[str, ...], str, int]:
    """Give a CSV's names of columns, its separator, the lines to skip; raises ValueError for what is no table."""
    with path.open("rb") as file:
        start = file.read(BLOCK_BYTES)
    text = start.decode("utf-8-sig", "surrogateescape")
    if re.match(r"\s*<(!doctype|html|\?xml)", text, re.IGNORECASE):
        raise ValueError("is an HTML or XML page, not a table")
    lines = io.StringIO(text, newline="").readlines()
    skip = options.skip
    while skip < len(lines) and not lines[skip].strip("\r\n"):
        skip += 1
    if skip >= len(lines):
        raise ValueError("is empty")
    separator = options.separator or _separator(lines[skip])
    quoting = {"quotechar": options.quote} if options.quote else {"quoting": csv.QUOTE_NONE}
    record = next(csv.reader(lines[skip:], delimiter=separator, **quoting))
    if not options.header:
        if len(record) < len(columns):
            raise ValueError(f"has {len(record)} columns by position where the brick declares {len(columns)}")
        record = [*columns, *[""] * (len(record) - len(columns))]
    names: list[str] = []
    met = {name.casefold() for name in TAKEN_NAMES}
    for number, name in enumerate(record):
        clean = name.strip().strip('"').strip() or f"column{number}"
        names.append(next(new for n in itertools.count() if (new := clean if not n else f"{clean}_{n}").casefold() not in met))
        met.add(names[-1].casefold())
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        raise ValueError("has a header that is not UTF-8. Mend: declare its `encoding`, often cp1252") from None
    _check_columns(columns, names)
    return tuple(names), separator, skip


def _separator(line: str) -> str:
    bare = re.sub(r'"[^"]*"', "", line)
    return max(";,\t|", key=bare.count) if any(mark in bare for mark in ";,\t|") else ","


def _check_columns(columns: Sequence[str], names: Sequence[str]) -> None:
    present = {name.casefold() for name in names}
    missing = [column for column in columns if column.casefold() not in present]
    if missing:
        found = ", ".join(name[:60] for name in names[:40])
        told = f"lacks the declared columns {', '.join(missing)}; it has {found}"
        raise ValueError(f"{told}. Mend: the brick's columns, or its options")


def _read_text(paths: str, names: Sequence[str], reader: str, *, is_wide: bool) -> tuple[str, tuple[str, str]]:
    """Write the reading of delimited files of one shape, every column as text, and name its tables of rejects."""
    number = next(_numbers)
    rejects = (f"reject_scans_{number}", f"reject_errors_{number}")
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    wide = f", max_line_size = {WIDE_LINE_BYTES}" if is_wide else ""
    source = (
        f"read_csv({paths}, columns = {{{columns}}}, auto_detect = false, {reader}, store_rejects = true, "
        f"rejects_scan = '{rejects[0]}', rejects_table = '{rejects[1]}', rejects_limit = 0, filename = '_path', "
        f"hive_partitioning = false, compression = 'none'{wide})"
    )
    return source, rejects
