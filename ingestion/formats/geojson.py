"""GeoJSON: the features of a collection one by one, of which nothing vanishes; memory stays bounded."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

from ingestion.connectors import OF_SOURCE, Part, Reading
from ingestion.formats.documents import Documents
from ingestion.formats.spool import BLOCK_BYTES, IMPOSSIBLE, UNDECODED, WIDE_LINE_BYTES, Spool

ESCAPED, NO_TEXT = json.dumps(IMPOSSIBLE)[1:-1], "bytes that are no text in "
# What stands before the name of what a GeoJSON feature holds beside its properties, and what is told of a collection's own.
OF_FEATURE, MEMBER_CHARACTERS = "feature.", 1000


def parts_of_collections(names: Iterable[str], reading: Reading, spool: Spool) -> list[Part]:
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
                yield document_of(text.value(), own)
        if text.peek():
            raise ValueError("something follows it")
        if not is_collection:
            raise ValueError("it has no `features`")
        if fault := partial(members, count) or elsewhere(members, crs):
            raise ValueError(fault)


def read_feature(text: bytes) -> Any:
    """Give what a feature of JSON is, as it is written: a key that is told twice is there twice, for landing to refuse."""
    return _Json.decoder.decode(text.decode("utf-8", UNDECODED))


def document_of(feature: Any, own: frozenset[str]) -> str:
    """Give a feature as one document on one line; one that holds bytes of no text is none: landing refuses it, and says so."""
    document = json.dumps(flattened(feature, own), separators=(",", ":"))
    return f"{NO_TEXT}{document.replace(ESCAPED, '?')}" if ESCAPED in document else document


def partial(members: dict[str, Any], count: int) -> str | None:
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


def elsewhere(members: dict[str, Any], declared: str | None) -> str | None:
    """Say that the coordinates of a collection are in another CRS than was declared, by the last word of its name."""
    name = crs_of(members)
    codes = ["4326" if each == "CRS84" else each for each in (re.split("[:/]", text)[-1].upper() for text in (name, declared or ""))]
    if all(codes) and codes[0] != codes[1]:
        return f"it is in {name}, and the table says `crs: {declared}`"
    return None


def crs_of(members: Mapping[str, Any]) -> str:
    """Give the name of the CRS that a collection says that it is in, '' where it says none."""
    told = members.get("crs")
    return str(told.get("properties", {}).get("name", "")) if isinstance(told, dict) and isinstance(told.get("properties"), dict) else ""


def flattened(feature: Any, own: frozenset[str]) -> Any:
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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON, whose keys told twice stay twice."""
    told = dict(pairs)
    if len(told) < len(pairs):
        told = {}
        for name, value in pairs:
            told[_Again(name) if name in told else name] = value
    return told


class _Json:
    """A JSON text that is read value by value, of which only the value at hand is in memory."""

    decoder, spaces = json.JSONDecoder(object_pairs_hook=_object), re.compile(r"[ \t\r\n\ufeff]*")

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
