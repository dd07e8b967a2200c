"""What the columns of a sample hold: a type that loses nothing of their values, what stands for none, what looks personal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingestion.lake import literal
from ingestion.trial.personal import HELD, looks_personal
from ingestion.words import folded

if TYPE_CHECKING:
    from ingestion.trial.sample import Sample

# Words that stand for a missing value: a column that is a number but for them is one.
NULLS = (
    "-", "--", ".", "n/a", "na", "n.a.", "nan", "nc", "n.c.", "nd", "n.d.", "nr", "ns", "null", "none", "#n/a", "s", "secret", "inconnu",
    "non renseigné",
)  # fmt: skip
# Names of what is a number by its look alone: codes, whose zeros count.
CODED = re.compile(
    "(.* )?(code|insee|cog|siren|siret|cp|postal|zip|iris|epci|dep|departement|reg|region|num|numero|no|ref|reference|id|ident|identifiant|"
    "uuid|gid|naf|ape|tel|telephone|rne|finess|uai)( .*)?"
)
IDENTIFIER = re.compile("(.* )?(id|ident|identifiant|identifier|uuid|cle|key)")  # a text, though it be written as a date
CODE_LENGTHS = (5, 9, 14)  # of a commune, a SIREN, a SIRET: digits that are all of such a length are of a code
DATES = (
    ("%d/%m/%Y", "[0-9]{2}/[0-9]{2}/[0-9]{4}"), ("%m/%d/%Y", "[0-9]{2}/[0-9]{2}/[0-9]{4}"), ("%Y/%m/%d", "[0-9]{4}/[0-9]{2}/[0-9]{2}"),
    ("%d-%m-%Y", "[0-9]{2}-[0-9]{2}-[0-9]{4}"), ("%d.%m.%Y", r"[0-9]{2}\.[0-9]{2}\.[0-9]{4}"),
    ("%Y%m%d", "(19|20)[0-9]{2}[01][0-9][0-3][0-9]"),
)  # fmt: skip
CLOCKS = (
    ("%d/%m/%Y %H:%M:%S", "[0-9]{2}/[0-9]{2}/[0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2}"),
    ("%d/%m/%Y %H:%M", "[0-9]{2}/[0-9]{2}/[0-9]{4} [0-9]{2}:[0-9]{2}"),
    ("%m/%d/%Y %H:%M:%S", "[0-9]{2}/[0-9]{2}/[0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2}"),
    ("%m/%d/%Y %H:%M", "[0-9]{2}/[0-9]{2}/[0-9]{4} [0-9]{2}:[0-9]{2}"),
)
DAY, CLOCK = "[0-9]{4}-[0-9]{2}-[0-9]{2}", "[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?"
OFFSET = " ?(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)"  # -94 is none, but a code after a date
WHOLE = "[+-]?(0|[1-9][0-9]{0,17})"
SPACES = "[ \\x{202f}\\x{a0}]"
PATTERNS = {
    "whole": WHOLE,
    "zeros": "[+-]?0[0-9]+",
    "plain": r"[+-]?(0|[1-9][0-9]*)?(\.[0-9]+|[0-9])([eE][+-]?[0-9]+)?",
    "french": "[+-]?(0|[1-9][0-9]*)(,[0-9]+)?",
    "thousand": "[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+",
    "long": r"[^eE]*([0-9][.,]?){16,}[^eE]*",
    "grouped": f"[+-]?[1-9][0-9]{{0,2}}({SPACES}[0-9]{{3}})+",
    "grouped_french": f"[+-]?[1-9][0-9]{{0,2}}({SPACES}[0-9]{{3}})+,[0-9]+",
    "geojson": r'(?s)\{\s*"(type|coordinates|geometry)".*"coordinates"\s*:.*\}',
    "wkt": r"(?is)(SRID=[0-9]+;)?(MULTI)?(POINT|LINESTRING|POLYGON|GEOMETRYCOLLECTION).*\(.*\)",
    "pair": r"\[?-?[0-9]{1,3}\.[0-9]+ ?[,;] ?-?[0-9]{1,3}\.[0-9]+\]?",
}
WITHIN, MAIL = "within", r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"  # in a document, or a free text
GEOMETRIES = {"geojson": "geometry (GeoJSON)", "wkt": "geometry (WKT)", "pair": "a position, two numbers in a text"}
MOST = 0.5
EITHER_WAY = "days and months may be the other way round: no day above 12 in the sample"
NO_OFFSET = "no offset: the zone of its clocks is to be said"
OF_SOURCE = {
    "bigint": ("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UTINYINT", "USMALLINT", "UINTEGER"),
    "double": ("DOUBLE", "FLOAT", "DECIMAL"),
    "boolean": ("BOOLEAN",),
    "date": ("DATE",),
    "timestamptz": ("TIMESTAMP WITH TIME ZONE",),
    "json": ("OBJECT", "JSON", "STRUCT", "MAP"),
}


@dataclass
class Profile:
    """What a column of the sample holds.

    `data_type` and `date_format` are what a brick would declare; `null_values` the words that stand for a missing value in it, `decimal`
    and `thousands` how its numbers are written. `note` says what is ambiguous, `place` what position or code of a place it holds,
    `personal` why it looks personal; its lowest and highest values are not told then.
    """

    number: int
    name: str
    data_type: str = "string"
    filled: int = 0
    distinct: int = 0
    lowest: str | None = None
    highest: str | None = None
    date_format: str | None = None
    null_values: tuple[str, ...] = ()
    decimal: str | None = None
    thousands: str | None = None
    has_zone: bool = False
    note: str = ""
    place: str = ""
    personal: str | None = None

    @property
    def words(self) -> str:
        """Its name in words, without accents or capitals."""
        return folded(self.name)


@dataclass(frozen=True)
class _Values:
    """How many values of a column there are, a word for a missing one aside, and how many pass each test."""

    real: int
    counts: Mapping[str, int]
    lengths: tuple[int, int]
    told: str | None

    def all_are(self, *tests: str) -> bool:
        """Whether each value passes one of the tests, which exclude each other."""
        return sum(self.counts[test] for test in tests) == self.real


def profiles_of(sample: Sample) -> list[Profile]:
    """Profile the columns of a sample."""
    own = {folded(name) for name in sample.names}
    return [_profile(sample, number, name, own) for number, name in enumerate(sample.names)]


def _tests() -> dict[str, str]:
    """Write, by name, the tests of a value `v`."""

    def full(pattern: str) -> str:
        return f"regexp_full_match(v, {literal(pattern)})"

    tests = {name: full(pattern) for name, pattern in PATTERNS.items()}
    tests["logical"] = "lower(v) in ('true', 'false')"
    tests["day"] = f"{full(DAY)} and try_cast(v as date) is not null"
    tests["zoned"] = f"{full(DAY + CLOCK + OFFSET)} and try_cast(v as timestamptz) is not null"
    tests["clock"] = f"{full(DAY + CLOCK)} and try_cast(v as timestamp) is not null"
    tests["document"] = "left(v, 1) in ('{', '[') and json_valid(v)"
    tests |= {form: f"{full(pattern)} and try_strptime(v, {literal(form)}) is not null" for form, pattern in (*DATES, *CLOCKS)}
    tests[WITHIN] = f"contains(v, '@') and regexp_matches(v, {literal(MAIL)})"
    return tests | {why: full(pattern) for why, pattern in HELD}


def _profile(sample: Sample, number: int, name: str, own: set[str]) -> Profile:
    """Profile one column."""
    tests, ask = _tests(), sample.connection.execute
    # Each value once, with the number of rows that hold it.
    ask(
        f"create or replace temp table column_values as select trim(c{number}) as v, count(*) as n from sample "
        f"where trim(c{number}) <> '' group by 1"
    )
    asked = "coalesce(sum(n), 0)::bigint, count(*), min(v), max(v), min(length(v)), max(length(v))"
    filled, distinct, lowest, highest, shortest, longest = ask(f"select {asked} from column_values").fetchall()[0]
    bare = f"column_values where lower(v) not in ({', '.join(map(literal, NULLS))})"
    counted = ", ".join(f"coalesce(sum(n) filter ({test}), 0)::bigint" for test in tests.values())
    real, *counts = ask(f"select coalesce(sum(n), 0)::bigint, {counted} from {bare}").fetchall()[0]
    seen = _Values(real, dict(zip(tests, counts, strict=True)), (shortest, longest), sample.types.get(number))
    found = Profile(number, name, filled=filled, distinct=distinct, lowest=lowest, highest=highest)
    held = next((why for why, _ in HELD if real and seen.counts[why] > MOST * real), None)
    if not held and seen.counts[WITHIN]:
        held = f"{seen.counts[WITHIN]} values hold an e-mail address"
    found.personal = looks_personal(found.words, own - {found.words}, held)
    if not real:
        found.note = "empty in the sample: its type is not known"
        return found
    _decide(found, seen)
    found.place = next((told for test, told in GEOMETRIES.items() if seen.all_are(test)), "")
    if found.data_type in ("bigint", "double"):
        value = f"try_cast(replace(regexp_replace(v, {literal(SPACES)}, '', 'g'), ',', '.') as double)"
        found.lowest, found.highest = ask(f"select min_by(v, {value}), max_by(v, {value}) from {bare}").fetchall()[0]
    if real < filled and found.data_type != "string":
        words = ask(f"select v from column_values where lower(v) in ({', '.join(map(literal, NULLS))}) order by 1").fetchall()
        found.null_values = tuple(word for (word,) in words)
    if found.personal:
        found.lowest = found.highest = None
    return found


def _decide(found: Profile, seen: _Values) -> None:
    """Decide the type of a column: one that all its values are of, and that loses nothing of them; else it is a text."""
    bare = re.sub(r"\(.*", "", seen.told or "")
    if kind := next((kind for kind, names in OF_SOURCE.items() if bare in names), None):
        found.data_type, found.has_zone = kind, kind == "timestamptz"
        found.decimal = "." if kind == "double" else None
        found.note = "a decimal at its source: a double holds 15 digits of it" if bare == "DECIMAL" else ""
    elif not ((not IDENTIFIER.fullmatch(found.words) and _is_dated(found, seen)) or _is_other(found, seen)):
        _decide_number(found, seen)


def _is_dated(found: Profile, seen: _Values) -> bool:
    days = [form for form, _ in DATES if seen.all_are(form)]
    clocks = [form for form, _ in CLOCKS if seen.all_are(form)]
    if seen.all_are("day"):
        found.data_type = "date"
    elif seen.all_are("zoned", "clock"):
        found.data_type, found.has_zone = "timestamptz", seen.all_are("zoned")
        found.note = "" if found.has_zone else NO_OFFSET
    elif clocks:
        found.data_type, found.date_format = "timestamptz", clocks[0]
        found.note = f"{NO_OFFSET}; {EITHER_WAY}" if any(form.startswith("%m") for form in clocks[1:]) else NO_OFFSET
    elif days and (days[0] != "%Y%m%d" or "date" in found.words or "jour" in found.words):
        found.data_type, found.date_format = "date", days[0]
        found.note = EITHER_WAY if "%m/%d/%Y" in days[1:] else ""
    return found.data_type != "string"


def _is_other(found: Profile, seen: _Values) -> bool:
    kind = next((kind for test, kind in (("logical", "boolean"), ("document", "json")) if seen.all_are(test)), None)
    found.data_type = kind or "string"
    return kind is not None


def _decide_number(found: Profile, seen: _Values) -> None:
    is_sized = seen.lengths[0] == seen.lengths[1] and seen.lengths[0] in CODE_LENGTHS and found.distinct > 1
    is_text = seen.told in ("VARCHAR", "MIXED")  # digits that a JSON holds as a text
    is_whole, is_code = seen.all_are("whole"), bool(CODED.fullmatch(found.words)) or is_sized or is_text
    if seen.counts["zeros"]:
        found.note = "digits that begin with zeros: a code" if seen.all_are("zeros", "whole") else ""
    elif is_whole and is_code:
        found.note = "digits of a code: kept as a text"
    elif is_whole:
        found.data_type = "bigint"
    elif seen.counts["long"]:
        found.note = "numbers of more than 15 digits, of which a double holds 15: kept as a text"
    elif seen.all_are("plain"):
        found.data_type, found.decimal = "double", "."
    elif seen.all_are("whole", "grouped") and not is_text:
        found.data_type, found.thousands = "bigint", " "
    elif seen.counts["thousand"] and seen.all_are("whole", "thousand"):
        found.note = "a comma before three digits each time: decimals in French, thousands in English: kept as a text until it is said"
    elif seen.all_are("french", "grouped", "grouped_french") and not is_text:
        found.data_type, found.decimal = "double", ","
        found.thousands = " " if seen.counts["grouped"] or seen.counts["grouped_french"] else None
