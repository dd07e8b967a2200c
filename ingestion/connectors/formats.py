"""Files as relations that DuckDB reads itself: CSV, NDJSON, GeoJSON, Parquet, JSON documents, with a count of their own."""

from __future__ import annotations

import codecs
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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TextIO, cast

from ingestion.connectors import OF_SOURCE, Part, Reading, Request, declared_name, landed_name
from ingestion.lake import listed, literal, quoted

# What a processor's cache holds is scanned a fifth faster than a mebibyte.
BLOCK_BYTES = 1 << 18
# DuckDB reads lines of 2 MB, by 32 MB, unless told to expect more.
PLAIN_LINE_BYTES, BUFFER_BYTES, WIDE_LINE_BYTES = 1 << 20, 32 << 20, 64 << 20
# So many lines in a quoted value, each like a row, are rows that a stray quote has swallowed.
SWALLOWED_LINES = 3
# DuckDB's decimals hold so many digits; it reads those of Parquet that have more as other numbers.
DECIMAL_DIGITS = 38
# Where so much of a text is zeros, it is in another encoding.
MOST_ZEROS = 0.25
# What makes no value: a record that holds nothing else is none.
BLANK = " \t"
# The separators that are looked for, and the records that must agree with one where no header tells it.
SEPARATORS, SAMPLE_RECORDS = ";,\t|", 100
SOUGHT_NAMES = 4  # names of a header that are looked for further on
# The character, and the byte of no UTF-8, that stand for bytes that an encoding does not know.
IMPOSSIBLE, UNDECODED = "\udcff", "orchestra.undecoded"
ESCAPED, NO_TEXT = json.dumps(IMPOSSIBLE)[1:-1], "bytes that are no text in "
# A line that begins with marks of the byte order.
MARKED = re.compile(rb"(^|[\r\n])(?:\xef\xbb\xbf)+")
# What stands before the name of what a GeoJSON feature holds beside its properties, and what is told of a collection's own.
OF_FEATURE, MEMBER_CHARACTERS = "feature.", 1000
_numbers = itertools.count(1)


def _undecoded(error: UnicodeError) -> tuple[str | bytes, int]:
    """Have bytes that an encoding does not know stand as one that no UTF-8 holds: their row is refused, and nothing else."""
    if isinstance(error, UnicodeDecodeError):
        return IMPOSSIBLE, error.end
    if isinstance(error, UnicodeEncodeError):
        return b"\xff" * (error.end - error.start), error.end
    raise error


codecs.register_error(UNDECODED, _undecoded)


@dataclass(frozen=True)
class Scan:
    """What the bytes tell: records (the header's too), the longest in bytes, whether lines end in several ways or hold nothing.

    `thin` are the records of blank values alone, `met` what was looked for; `is_marked` tells of marks of the byte order that
    begin lines further on, and nothing else was told then.
    """

    records: int
    longest: int
    is_mixed: bool
    has_blank: bool
    thin: int = 0
    met: Counter[bytes] = field(default_factory=Counter)
    is_marked: bool = False


@dataclass(frozen=True)
class Shape:
    """What files that are read as one have in common: the SQL before and after their paths, their columns and types.

    `selected` is SQL of the columns, `path` the one that holds the path. `scanned` is how a text is scanned, `header` its
    records that are no rows, `is_thin` when some hold blank values alone, `again` SQL that tells a header among the rows.
    """

    before: str
    after: str = ")"
    columns: tuple[str, ...] | None = None
    types: tuple[str, ...] = ()
    selected: str = "* exclude (_path)"
    path: str = "_path"
    scanned: tuple[Any, ...] = ()
    header: int = 0
    is_thin: bool = False
    again: str | None = None


class Spool:
    """Where files wait for DuckDB: a folder, or, for what is private, the memory, with a folder of links that name the files.

    `roots` gives, by a file's name, the folder under which it stands under that name: where it is read in place, not the
    spool's own. `aliases` gives, by a file's name, the one under which it stands where no file can have its own. Files in
    memory go when the spool is garbage collected.
    """

    def __init__(self, folder: Path, *, is_private: bool) -> None:
        self.root, self.is_private = folder, is_private
        self.roots: dict[str, Path] = {}
        self.aliases: dict[str, str] = {}
        self._in_memory: dict[Path, weakref.finalize] = {}

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self.roots[name] / self.aliases.get(name, name)

    def create(self, name: str) -> BinaryIO:
        """Open a new file for writing; raises ValueError for a name that leads elsewhere.

        A name that no file can have here, or that another's folder has, is kept, and the file stands under one of ours.
        """
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or not place.parts:
            raise ValueError(f"the name {name!r} leads out of its folder")
        try:
            path = self._room(self.root / place)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
                raise
            alias = self.aliases.setdefault(name, f"_named/{len(self.aliases)}")
            path = self._room(self.root / alias)
        self.roots[name] = self.root
        if self.is_private:
            if path in self._in_memory:
                self._in_memory[path]()
            handle = os.memfd_create("city-orchestra")
            self._in_memory[path] = weakref.finalize(self, os.close, handle)
            path.symlink_to(f"/proc/self/fd/{handle}")
        return path.open("wb")

    @staticmethod
    def _room(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def temporary(self) -> BinaryIO:
        """Open a file for writing and reading that goes when it is closed."""
        return os.fdopen(os.memfd_create("city-orchestra"), "w+b") if self.is_private else tempfile.TemporaryFile(dir=self.root)

    def end_lines_alike(self, name: str) -> None:
        """Copy a file with each line ending in a line feed: DuckDB gives up a file whose lines end in several ways."""
        told: Any = {"encoding": "utf-8", "errors": "surrogateescape"}
        alike = f"_lines/{self.aliases.get(name, name)}"
        with self.path(name).open(**told) as source, io.TextIOWrapper(self.create(alike), newline="\n", **told) as target:
            shutil.copyfileobj(source, target, BLOCK_BYTES)
        self.roots[name] = self.root / "_lines"

    def unmark_lines(self, name: str) -> None:
        """Copy a file without the marks of the byte order that begin its lines: of files put end to end, each has its own."""
        with self.path(name).open("rb") as source, self.create(f"_unmarked/{self.aliases.get(name, name)}") as target:
            for block in _blocks(source):
                target.write(MARKED.sub(rb"\1", block))
        self.roots[name] = self.root / "_unmarked"


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
    return [_part(spool, root, shape, counts) for (root, shape), counts in groups.items()]


def _part(spool: Spool, root: Path, shape: Shape, counts: dict[str, int]) -> Part:
    paths = listed([_escaped(spool.path(name)) for name in counts])
    start, own = len(str(root).rstrip("/")) + 2, {spool.aliases[name]: name for name in counts if name in spool.aliases}

    def named(path: str) -> str:
        place = f"substr({path}, {start})"
        cases = " ".join(f"when {literal(alias)} then {literal(name)}" for alias, name in own.items())
        return f"case {place} {cases} else {place} end" if own else place

    relation = f"select {shape.selected}, {named(shape.path)} as _file from {shape.before}"
    part = Part(f"{relation}{paths}{shape.after}", tuple(counts), shape.columns, bool(shape.types), sum(counts.values()))
    if shape.before != "read_csv(":
        return part
    number = next(_numbers)
    scans, errors = f"reject_scans_{number}", f"reject_errors_{number}"
    paths += f", store_rejects = true, rejects_scan = '{scans}', rejects_table = '{errors}', rejects_limit = 0"

    def places(name: str, at: Sequence[int], rows: Sequence[int]) -> tuple[list[tuple[int, int]], list[int]]:
        sought = _Sought(at, [row - 1 + shape.header for row in rows])
        separator, quote, skip, blank, width = shape.scanned
        scan(spool.path(name), separator, quote, skip, blank, width, sought)
        return [(number + 1 - shape.header, line) for number, line in sought.at()], sought.lines()

    rejects = (scans, errors, named("scans.file_path"))
    texts: dict[str, Any] = {"relation": f"{relation}{paths}{shape.after}", "rejects": rejects, "places": places, "again": shape.again}
    if shape.is_thin:
        separator, quote, *_ = shape.scanned
        spaces = "' '" if separator == "\t" else "' ' || chr(9)"
        tests = [f"coalesce(trim({quoted(column)}, {spaces}), '') = ''" for column in shape.columns or ()]
        texts["thin"] = (" and ".join(tests), rf"[\r\n]*{_blank_record(separator, quote)}[\r\n]*")
    return replace(part, **texts)


def _escaped(path: Path) -> str:
    """Write a path so that DuckDB, which reads paths as patterns, means no other file."""
    return re.sub(r"[\[*?]", r"[\g<0>]", str(path))


def _look_at_csv(name: str, request: Any, spool: Spool) -> tuple[Shape, int]:
    """Every value is text."""
    options = request.table_options
    columns, separator, skip, header = _read_header(spool.path(name), request)
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


def _scanned(name: str, spool: Spool, *how: Any, sought: Callable[[bytes], Counter[bytes]] | None = None) -> Scan:
    """Scan a text, first made free of the marks of the byte order that begin lines of it further on."""
    seen = scan(spool.path(name), *how, sought=sought)
    if seen.is_marked:
        spool.unmark_lines(name)
        seen = scan(spool.path(name), *how, sought=sought)
    return seen


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
    relation = f"read_csv({listed([_escaped(path)])}{after.removesuffix(')')}, ignore_errors = true)"
    ((repeated, others),) = request.connection.execute(f"select {tally} from {relation}").fetchall()
    if others:
        raise ValueError("holds another header further on, under which the columns are not the same. Mend: give each its own file")
    return again if repeated else None


def _look_at_ndjson(name: str, _: Any, spool: Spool) -> tuple[Shape, int]:
    """A document a line; blank lines count for nothing."""
    scanned = ("", "", 0, BLANK, 0)
    seen = _scanned(name, spool, *scanned)
    after = _delimited(name, spool, seen, ("_doc",), "header = false, delim = chr(1), quote = '', escape = ''")
    after += " where trim(_doc, ' ' || chr(9)) <> ''" if seen.has_blank else ""
    return Shape("read_csv(", after, scanned=scanned), seen.records


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
    written: tuple[str, ...]
    written, types = zip(*[row[:2] for row in described], strict=True)
    columns = _named(request, written, is_spelled=True)
    _check_columns(request, columns)
    held = _ask(request, "select name, precision from parquet_schema(?)", path)
    # DuckDB renames the second of two columns whose names it takes for one.
    if twins := [column for column in written if column not in {name for name, _ in held}]:
        raise ValueError(f"has columns that share a name, whatever its case ({', '.join(twins)}). Mend: rename them at the source")
    if wide := [name for name, precision in held if (precision or 0) > DECIMAL_DIGITS]:
        told = "" if request.is_private else f" ({', '.join(wide)})"
        raise ValueError(
            f"holds decimals of more than {DECIMAL_DIGITS} digits, which DuckDB reads as other numbers{told}. "
            "Mend: have the source write fewer digits, or text"
        )
    declared = {column.casefold() for column in (*request.columns, *request.formerly)}
    values = [
        f"coalesce(try(decode({quoted(own)})), {quoted(own)}::varchar)" if kind == "BLOB" and name.casefold() in declared else quoted(own)
        for own, name, kind in zip(written, columns, types, strict=True)
    ]
    selected = ", ".join(f"{value} as {quoted(name)}" for value, name in zip(values, columns, strict=True))
    taken = {column.casefold() for column in written}
    held_path = next(each for size in itertools.count() if (each := "_path" + "_" * size) not in taken)
    return Shape("read_parquet(", f", filename = '{held_path}', hive_partitioning = false)", columns, types, selected, held_path), count


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
    documents, request = Documents(spool), reading.request
    declared = [name for name in (*request.columns, *request.formerly) if name.startswith(OF_FEATURE)]
    own = frozenset(name.removeprefix(OF_FEATURE) for name in declared)
    for name in dict.fromkeys(names):
        members: dict[str, Any] = {}
        try:
            documents.add_all(name, _read_features(spool.path(name), members, own, request.crs))
        except (ValueError, RecursionError) as error:
            reading.refused_files.append((name, f"is not a whole GeoJSON FeatureCollection: {error}"))
        else:
            told = {member: value for member, value in members.items() if len(json.dumps(value)) <= MEMBER_CHARACTERS}
            if members and not request.is_private:
                # What the collection says of itself is in no row.
                reading.metadata.setdefault("collections", {})[name] = told | {
                    member: f"(more than {MEMBER_CHARACTERS} characters)" for member in members if member not in told
                }
    return documents.parts()


def _read_features(path: Path, members: dict[str, Any], own: frozenset[str] = frozenset(), crs: str | None = None) -> Iterator[str]:
    """Give the features of a collection one by one, each as a document; `members` takes what else the collection holds.

    Raises ValueError for a collection that says itself that there is more, or that it is in another CRS than was declared.
    """
    with path.open(encoding="utf-8", errors=UNDECODED) as file:
        text, is_collection, count = _Json(file), False, 0
        for _ in text.each("{", "}"):
            name = text.value()
            text.take(":")
            if name in members:
                raise ValueError(f"it has `{name}` twice")
            if name != "features":
                value = text.value()
                if ESCAPED in json.dumps([name, value]):
                    raise ValueError("it is not UTF-8 text")
                if (name, value) != ("type", "FeatureCollection"):
                    members[name] = value
                continue
            if is_collection:
                raise ValueError("it has `features` twice")
            is_collection = True
            for _ in text.each("[", "]"):
                count += 1
                document = json.dumps(_flattened(text.value(), own), separators=(",", ":"))
                # A document that holds bytes of no text is none: landing refuses it, and says so.
                yield f"{NO_TEXT}{document.replace(ESCAPED, '?')}" if ESCAPED in document else document
        if text.peek():
            raise ValueError("something follows it")
        if not is_collection:
            raise ValueError("it has no `features`")
        if fault := _partial(members, count) or _elsewhere(members, crs):
            raise ValueError(fault)


def _partial(members: dict[str, Any], count: int) -> str | None:
    """Say how a collection tells that it is one page of more: ArcGIS, WFS and OGC API Features have each their way."""
    matched, links, properties = members.get("numberMatched"), members.get("links"), members.get("properties")
    more = [members, *([properties] if isinstance(properties, dict) else [])]
    if any(each.get("exceededTransferLimit") is True for each in more):
        return "its server says that there is more (exceededTransferLimit)"
    if isinstance(matched, int) and matched > count:
        return f"its server says that there are {matched} features (numberMatched), it holds {count}"
    if isinstance(links, list) and any(isinstance(link, dict) and link.get("rel") == "next" for link in links):
        return "its server says that another page follows (links)"
    return None


def _elsewhere(members: dict[str, Any], declared: str | None) -> str | None:
    """Say that the coordinates of a collection are in another CRS than was declared, by the last word of its name."""
    told = members.get("crs")
    name = str(told.get("properties", {}).get("name", "")) if isinstance(told, dict) and isinstance(told.get("properties"), dict) else ""
    codes = ["4326" if each == "CRS84" else each for each in (re.split("[:/]", text)[-1].upper() for text in (name, declared or ""))]
    if all(codes) and codes[0] != codes[1]:
        return f"it is in {name}, and the table says `crs: {declared}`"
    return None


def _flattened(feature: Any, own: frozenset[str]) -> Any:
    """Give a feature as one object; what is no feature as it is, for landing to refuse.

    Its properties under their names, and what the feature holds beside them under `feature.` and its name, but for `id` and
    `geometry` that neither a property nor a column of the brick (`own`) tells apart. Bare, `id` is rather the property, and `geometry` the
    feature's: the property is `geometry_of_source` then.
    """
    if isinstance(feature, dict) and any(isinstance(name, _Again) for name in feature):
        return feature
    properties = feature.get("properties") if isinstance(feature, dict) else feature
    if not isinstance(feature, dict) or not isinstance(properties, dict | None):
        return properties
    flat = dict(properties or {})
    if "geometry" in feature and "geometry" in flat:
        flat |= {_free(f"geometry{OF_SOURCE}", flat): flat["geometry"], "geometry": feature["geometry"]}
    for name, value in feature.items():
        if name == "properties" or value is None or (name, value) == ("type", "Feature"):
            continue
        is_bare = name in ("id", "geometry") and name not in own and name not in (properties or {})
        flat[name if is_bare else _free(f"{OF_FEATURE}{name}", flat)] = value
    return flat


def _free(name: str, taken: dict[str, Any]) -> str:
    return next(free for n in itertools.count() if (free := f"{name}_{n}" if n else name) not in taken)


class _Again(str):
    """A key that its object has told before: it is no other's equal, so that both values stay, for landing to refuse."""

    __slots__ = ()
    __eq__, __ne__, __hash__ = object.__eq__, object.__ne__, object.__hash__


def _told(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON, whose keys told twice stay twice."""
    told = dict(pairs)
    if len(told) < len(pairs):
        told = {}
        for name, value in pairs:
            told[_Again(name) if name in told else name] = value
    return told


class _Json:
    """A JSON text that is read value by value, of which only the value at hand is in memory."""

    decoder, spaces = json.JSONDecoder(object_pairs_hook=_told), re.compile(r"[ \t\r\n\ufeff]*")

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


class _Sought:
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


def _blank_record(separator: str, quote: str) -> str:
    """Write a regular expression of a record whose values are all blank."""
    gap = " *" if separator == "\t" else r"[ \t]*"
    mark = re.escape(quote)
    value = f"{gap}(?:{mark}{gap}{mark}{gap})?" if quote else gap
    return f"{value}(?:{re.escape(separator)}{value})*"


class _Starts:
    """Where lines of a text begin, block by block: those that are blank, those of records of blank values, and where for `note`."""

    def __init__(self, separator: str, quote: str, blank: str | None, skip: int, note: _Sought | None) -> None:
        import numpy as np

        self._note, self._is_asked, self._has_values = note, blank is not None, bool(separator)
        none = (_blank_record(separator, quote) if separator else f"[{blank}]*") if blank else ""
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
    note: _Sought | None = None,
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
    records, longest, unended, inside, met = 0, 0, 0, False, Counter[bytes]()
    line_ends: set[int] = set()

    def slowly() -> Scan:
        plain = scan(path, skip=skip, sought=sought)
        if plain.is_marked:
            return plain
        count, most, thin = _count_slowly(path, separator, quote, skip, blank, width, note)
        return replace(plain, records=count, longest=max(plain.longest, most), thin=thin)

    with path.open("rb") as file, path.open(encoding="latin-1", newline="") as lines:
        at = file.seek(sum(len(lines.readline()) for _ in range(skip)) or 3 * (file.read(3) == b"\xef\xbb\xbf"))
        for block in _blocks(file):
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
    return Scan(records - starts.blanks, longest, len(line_ends) > 1, starts.blanks > 0, starts.thin, met)


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


def _count_slowly(
    path: Path, separator: str, quote: str, skip: int, blank: str | None, width: int, note: _Sought | None = None
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


def _read_header(path: Path, request: Request) -> tuple[tuple[str, ...], str, int, list[str]]:
    """Give a CSV's names of columns, its separator, the lines to skip, its header; raises ValueError for what is no table."""
    options, columns = request.table_options, request.columns
    with path.open("rb") as file:
        text = file.read(1 << 20).decode("utf-8-sig", "surrogateescape")
    if re.match(r"\s*<(!doctype|html|\?xml)", text, re.IGNORECASE):
        raise ValueError("is an HTML or XML page, not a table")
    if (zeros := text.count("\0") / max(1, len(text))) > MOST_ZEROS:
        raise ValueError(f"is not {options.encoding}: {zeros:.0%} of it is zeros. Mend: check `encoding`, often utf-16 or utf-32")
    lines = io.StringIO(text, newline="").readlines()
    thin = f"\r\n {options.quote}{options.separator or SEPARATORS}"
    # What Excel alone reads: the separator, on a line before the header.
    of_excel = re.fullmatch(r'"?sep=(.)"?\s*', lines[0], re.IGNORECASE) if lines else None
    first = max(options.skip, int(of_excel is not None))
    skip = next((number for number, line in enumerate(lines) if number >= first and line.strip(thin)), None)
    if skip is None:
        raise ValueError("is empty")
    separator, record = _read_separator(lines[skip : skip + SAMPLE_RECORDS * 10], request, of_excel and of_excel[1])
    if not options.header:
        if len(record) < len(columns):
            raise ValueError(f"has {len(record)} columns by position where the brick declares {len(columns)}")
        record = [*columns, *[""] * (len(record) - len(columns))]
    if re.search("[\udc80-\udcff]", "".join(record)):
        if options.encoding != "utf-8-sig":
            raise ValueError(f"cannot be read: its header holds bytes that {options.encoding} does not know. Mend: check `encoding`")
        often = "utf-16" if text[:2] in ("\udcff\udcfe", "\udcfe\udcff") else "cp1252"
        raise ValueError(f"has a header that is not UTF-8. Mend: declare its `encoding`, often {often}")
    header = [_clean(name, options.quote) for name in record] if options.header else []
    names = _named(request, header or record)
    _check_columns(request, names)
    return names, separator, skip, header


def _clean(name: str, quote: str) -> str:
    """Give a name of a header without what stands around it: blanks, marks of the byte order, quotes that are not the reader's."""
    name = name.strip().strip("\ufeff").strip()
    return name[1:-1].strip() if quote != '"' and len(name) > 1 and name[0] == name[-1] == '"' else name


def _read_separator(lines: Sequence[str], request: Request, told: str | None) -> tuple[str, list[str]]:
    """Give a CSV's separator and its first record; raises ValueError for several.

    Unless the brick says it, or the file (`told`), it is the one that gives what the brick declares.
    """
    options, columns = request.table_options, request.columns
    csv.field_size_limit(sys.maxsize)
    quoting: Any = {"quotechar": options.quote, "skipinitialspace": True} if options.quote else {"quoting": csv.QUOTE_NONE}

    def records(separator: str) -> list[list[str]]:
        rows = csv.reader(lines, delimiter=separator, **quoting)
        return [row for row in itertools.islice(rows, SAMPLE_RECORDS) if any(value.strip(" \t") for value in row)]

    if mark := options.separator or told:
        return mark, records(mark)[0]
    bare, text = re.sub('"[^"]*"', "", lines[0]), "".join(lines)
    # The most frequent first; last, what stands in no line, which makes one column.
    met = sorted(filter(bare.count, SEPARATORS), key=bare.count, reverse=True)
    found = {mark: records(mark) for mark in [*met, *[mark for mark in ",;\t|" if mark not in text][:1]] or ","}
    if options.header:
        wanted = {column.casefold() for column in (*columns, *request.formerly)}
        held = {m: wanted & {n.casefold() for n in _named(request, [_clean(n, options.quote) for n in found[m][0]])} for m in found}
        best = max(found, key=lambda mark: len(held[mark]))
        return best, found[best][0]
    fits = [mark for mark, rows in found.items() if len(rows[0]) == len(columns)]
    fits = [mark for mark in fits if all(len(row) == len(columns) for row in found[mark])] or fits
    if len(fits) > 1:
        told = " and ".join(map(repr, fits))
        raise ValueError(f"gives the {len(columns)} declared columns by {told} alike. Mend: declare its `separator`")
    best = (fits or list(found))[0]
    return best, found[best][0]


def _named(request: Request, names: Sequence[str], *, is_spelled: bool = False) -> tuple[str, ...]:
    """Give the names under which the columns of a file land, as the brick spells them where it declares them, or `is_spelled`.

    What stands under an older name is the declared column, in a file that has none of the present one. DuckDB does not know
    that É is é.
    """
    declared = {column.casefold(): column for column in (*request.columns, *request.formerly)}
    found: dict[str, str] = {}
    written = [landed_name(name) or f"column{number}" for number, name in enumerate(names)]
    taken = {name.casefold() for name in written}
    for name in written:
        clean = name if is_spelled else declared.get(name.casefold(), name)
        # The second column of a name takes none that another one has.
        others = (new for n in itertools.count(1) if (new := f"{clean}_{n}").casefold() not in {*found, *taken})
        own = clean if clean.casefold() not in found else next(others)
        found[own.casefold()] = own
    for column, older in request.formerly.items():
        if column.casefold() not in found:
            present = next((name.casefold() for name in map(declared_name, older) if name.casefold() in found), None)
            if present and present not in declared:
                found[present] = column
    return tuple(found.values())


def _check_columns(request: Request, names: Sequence[str]) -> None:
    present = {name.casefold() for name in names}
    if missing := [column for column in request.columns if column.casefold() not in present]:
        # Without a header, the first row stands in its place.
        found = f"{len(names)} columns" if request.is_private else ", ".join(name[:60] for name in names[:40])
        raise ValueError(f"lacks the declared columns {', '.join(missing)}; it has {found}. Mend: the brick's columns, or its options")
