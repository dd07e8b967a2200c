"""The header of a CSV: which columns a file has, told by their names, and by what the brick declares of them."""

from __future__ import annotations

import csv
import io
import itertools
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ingestion.connectors import Request, declared_name, landed_name
from ingestion.lake import literal

# Where so much of a text is zeros, it is in another encoding.
MOST_ZEROS = 0.25
# The separators that are looked for, and the records that must agree with one where no header tells it.
SEPARATORS, SAMPLE_RECORDS = ";,\t|", 100
AGAIN, ANOTHER = "the header of the file once more", "another header"  # what the rules are called that refuse a row for being one


def read_header(path: Path, request: Request) -> tuple[tuple[str, ...], str, int, list[str]]:
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
    names = named(request, header or record)
    check_columns(request, names)
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
        held = {m: wanted & {n.casefold() for n in named(request, [_clean(n, options.quote) for n in found[m][0]])} for m in found}
        best = max(found, key=lambda mark: len(held[mark]))
        return best, found[best][0]
    fits = [mark for mark, rows in found.items() if len(rows[0]) == len(columns)]
    fits = [mark for mark in fits if all(len(row) == len(columns) for row in found[mark])] or fits
    if len(fits) > 1:
        told = " and ".join(map(repr, fits))
        raise ValueError(f"gives the {len(columns)} declared columns by {told} alike. Mend: declare its `separator`")
    best = (fits or list(found))[0]
    return best, found[best][0]


def named(request: Request, names: Sequence[str], *, is_spelled: bool = False) -> tuple[str, ...]:
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


def check_columns(request: Request, names: Sequence[str]) -> None:
    """Raise ValueError where a file lacks columns that the brick declares."""
    present = {name.casefold() for name in names}
    if missing := [column for column in request.columns if column.casefold() not in present]:
        # Without a header, the first row stands in its place.
        found = f"{len(names)} columns" if request.is_private else ", ".join(name[:60] for name in names[:40])
        raise ValueError(f"lacks the declared columns {', '.join(missing)}; it has {found}. Mend: the brick's columns, or its options")


def declared_names(header: Sequence[str], columns: Sequence[str], declared: Iterable[str]) -> list[str]:
    """Give the names of a header, in small letters, of the columns that the brick declares."""
    wanted = {name.casefold() for name in declared}
    return [name.lower() for name, column in zip(header, columns, strict=False) if name and column.casefold() in wanted]


def header_tests(values: Sequence[str], header: Sequence[str], declared: Sequence[str], misfits: Sequence[str]) -> tuple[str, str]:
    """Write whether a row is its file's header once more, and whether it is another one, under which the columns are not the same.

    `values` are the SQL of the row's texts, `header` the names in small letters, `declared` those of the columns that the brick
    declares, `misfits` the SQL of whether the value of each column that is no text is of another type. Another header is a row of all
    the names in another order, or one that holds half of those declared, two at least, and no value that fits a column that is no
    text. Of texts alone, nothing tells such a row from one of names.
    """
    told = [f"coalesce(lower(trim({value}, ' ' || chr(9))), '')" for value in values]
    again = " and ".join(f"{value} = {literal(name)}" for value, name in zip(told, header, strict=True))
    others = [f"list_sort([{', '.join(told)}]) = list_sort([{', '.join(map(literal, header))}])"] if len({*header}) > 1 else []
    if misfits and len(declared) > 1:
        met = " + ".join(f"list_contains([{', '.join(told)}], {literal(name)})::int" for name in declared)
        others.append(f"({met}) >= {max(2, (len(declared) + 1) // 2)} and {' and '.join(misfits)}")
    another = " or ".join(f"({other})" for other in others) or "false"
    return f"({again})", f"(not ({again}) and ({another}))"
