"""What a path with wildcards, dates, alternatives and archives means of a place that holds files."""

from __future__ import annotations

import calendar
import contextlib
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import NamedTuple

from ingestion.connectors import MissingFile
from ingestion.connectors.stores import Store, StoreEntry

DATE_CODES = {"%Y": r"\d{4}", "%m": r"\d{2}", "%d": r"\d{2}"}
WILD = re.compile(r"(\*|%[Ymd])")


def walk(
    store: Store, pattern: str, floor: date | None, failed: Collection[str] = (), name_of: Callable[[str], str] = str
) -> Iterator[StoreEntry]:
    """Give the files that a pattern means, in the order of their names within each alternative, and each of them once.

    Only folders that a wildcard or a date stands for are listed, and none whose date is before `floor`, but for the files
    that failed, which `name_of` knows. Raises SourceError, and MissingFile when the folder where the listing starts is not there.
    """
    paths = _files_of(pattern)
    given: set[tuple[str, tuple[str, ...]]] = set()
    for path, members in paths.items():
        for file in _walk(store, floor, _Failed(failed, name_of), "", list(filter(None, path.split("/"))), {}, is_named=True):
            found = replace(file, members=tuple(members))
            if len(paths) == 1 or (found.name, found.members) not in given:
                yield found
            if len(paths) > 1:
                given.add((found.name, found.members))


def are_shared(pattern: str, patterns: Collection[str]) -> bool:
    """Say whether several of some patterns name files by a path, in the same words, by which this one does; members are their own."""
    named = Counter(path for each in patterns for path in _files_of(each))
    return any(named[path] > 1 for path in _files_of(pattern))


def _files_of(pattern: str) -> dict[str, list[str]]:
    """Give the paths of files that a pattern means, and the patterns of the members that are meant of each."""
    paths: dict[str, list[str]] = {}
    for alternative in expand_braces(pattern):
        # What follows a component that ends in .zip means members of it, all of them when nothing does.
        archive = re.fullmatch(r"(.*?\.(?:zip|7z))(?:/(.*))?", alternative, re.IGNORECASE | re.DOTALL)
        paths.setdefault(archive[1] if archive else alternative, []).append((archive and archive[2]) or "**")
    return paths


class _Failed(NamedTuple):
    """The files that failed, as readings call them."""

    names: Collection[str]
    name_of: Callable[[str], str]

    def are_under(self, name: str) -> bool:
        """Say whether a file of that name failed, or one below a folder of that name."""
        if not self.names:
            return False
        called = self.name_of(name)
        return any(each == called or each.startswith(f"{called}/") for each in self.names)


def _walk(
    store: Store, floor: date | None, failed: _Failed, folder: str, path: list[str], dates: dict[str, str], *, is_named: bool
) -> Iterator[StoreEntry]:
    """Give the files of a path under a folder; `dates` is what the codes above hold, `is_named` when nothing above is wild."""
    head, *rest = path
    entries: Sequence[StoreEntry] = [StoreEntry(head, is_folder=bool(rest))]
    if is_wild := bool(WILD.search(head)):
        try:
            entries = sorted(store.list(folder), key=lambda entry: entry.name)
        except MissingFile:
            if is_named:
                raise
            return
    shape = _shape(head)
    for entry in entries:
        match = shape.fullmatch(unicodedata.normalize("NFC", entry.name))
        if not match or (entry.name.startswith(".") and not head.startswith(".")) or entry.is_folder != bool(rest):
            continue
        met = {**dates, **match.groupdict()}
        days = _days(met)
        is_other_date = dates.items() - met.items() or ("Y" in met and days is None)
        name = f"{folder}/{entry.name}".lstrip("/")
        is_old = days and floor and days[1] < floor and not failed.are_under(name)
        if is_other_date or is_old:
            continue
        found = replace(entry, name=name, days=days, is_listed=is_wild, is_named=is_named and not is_wild)
        if rest:
            yield from _walk(store, floor, failed, found.name, rest, met, is_named=found.is_named)
        else:
            yield found


def halt(store: Store, pattern: str) -> tuple[str, list[str]] | None:
    """Give the folder that a pattern leads to and in which it means nothing, and the names there; None where none is listed.

    Raises SourceError where a listing fails. A web server is not asked for the listing of what the pattern names in full.
    """
    folder, found = "", None
    path = expand_braces(pattern)[0].split("/")
    is_listed = store.tells_all
    for depth, head in enumerate(path, 1):
        is_listed = is_listed or bool(WILD.search(head))
        if is_listed:
            shape, entries = _shape(head), store.list(folder)
            found = folder, sorted(entry.name for entry in entries)
            is_folder = depth < len(path)
            fit = [e.name for e in entries if e.is_folder == is_folder and shape.fullmatch(unicodedata.normalize("NFC", e.name))]
            if not fit:
                break
            folder = f"{folder}/{max(fit)}".lstrip("/")
        else:
            folder = f"{folder}/{head}".lstrip("/")
    return found


def expand_braces(pattern: str) -> list[str]:
    """Give the alternatives of a pattern: `a{b,c}` is `ab` and `ac`; braces may be nested."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        return [pattern]
    before, after = pattern[: match.start()], pattern[match.end() :]
    alternatives = (full for choice in match[1].split(",") for full in expand_braces(before + choice + after))
    return list(dict.fromkeys(alternatives))


def matches(members: str, name: str) -> bool:
    """Say whether a member of an archive is meant; accents that stand apart are those of one letter."""
    name = unicodedata.normalize("NFC", name)
    if members == "**":
        return not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    return _shape(members).fullmatch(name) is not None


def _shape(component: str) -> re.Pattern[str]:
    """Make a regular expression of `*`, %Y, %m and %d; a code met again must hold the same text."""
    written = ""
    for piece in WILD.split(component):
        if digits := DATE_CODES.get(piece):
            group = f"(?P<{piece[1]}>"
            written += f"(?P={piece[1]})" if group in written else f"{group}{digits})"
        else:
            written += "[^/]*" if piece == "*" else re.escape(piece)
    return re.compile(written, re.DOTALL)


def _days(codes: dict[str, str]) -> tuple[date, date] | None:
    """Give the first and last day that a year, a year and month, or a whole date mean; None when it is no date."""
    if "Y" not in codes:
        return None
    year, last_month = int(codes["Y"]), int(codes.get("m", 12))
    try:
        first = date(year, int(codes.get("m", 1)), int(codes.get("d", 1)))
        return first, first if "d" in codes else date(year, last_month, calendar.monthrange(year, last_month)[1])
    except ValueError:
        return None


def written_names(member: zipfile.ZipInfo) -> list[str]:
    """Give what the name of a member may be, the likeliest first: archives that say no encoding use that of who packed them."""
    if member.flag_bits & 0x800 or member.filename.isascii():
        return [member.filename]
    written, names = member.filename.encode("cp437", "replace"), []
    for encoding in ("utf-8-sig", "cp437", "cp850", "cp1252"):
        with contextlib.suppress(UnicodeDecodeError):
            names.append(written.decode(encoding))
    return names
