"""Which columns of a sample may identify its rows, and which may say what is new."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING

from ingestion.trial.profile import Profile

if TYPE_CHECKING:
    from ingestion.trial.sample import Sample

# What a key is called, rather than what is measured.
KEYED = re.compile(
    "(.* )?(id|ident|identifiant|identifier|code|cle|key|uuid|uid|gid|fid|objectid|ref|reference|numero|num|siret|insee|index|slug|"
    "sequence|seq|rang|ordre)( .*)?"
)
CHANGED = re.compile(r"(.* )?(maj|modif\w*|update\w*|changed?|edit\w*|mise a jour|processed)( .*)?")
MOST_COLUMNS, TRIED, TRIED_SETS, GIVEN = 3, 14, 150, 5


def keys_of(sample: Sample, found: list[Profile]) -> list[tuple[str, ...]]:
    """Give the smallest sets of columns, three at most, that are filled in each row and alike in no two, the likeliest first.

    Rows that are alike to the letter are one, as staging takes them. A date alone identifies rows of one place only: what is constant
    beside it and called as a key is added.
    """
    row_count = sample.row_count - duplicate_count(sample)
    usable = [profile for profile in found if _may_be_of_key(sample, profile)]
    usable.sort(key=lambda p: (not KEYED.fullmatch(p.words), p.data_type != "string", -p.distinct, p.number))
    singles = [profile for profile in usable if profile.distinct == row_count]
    if named := [profile for profile in singles if KEYED.fullmatch(profile.words)] or [
        p for p in singles if p.data_type in ("string", "bigint")
    ]:
        return [(profile.name,) for profile in named[:GIVEN]]
    constant = [profile for profile in usable if profile.distinct == 1 and KEYED.fullmatch(profile.words)][:1]
    if singles:
        return [tuple(profile.name for profile in (*constant, profile)) for profile in singles[:GIVEN]]
    varied = [profile for profile in usable if profile.distinct > 1][:TRIED]
    for size in range(2, MOST_COLUMNS + 1):
        sets = [each for each in itertools.combinations(varied, size) if math.prod(p.distinct for p in each) >= row_count]
        if fits := [each for each in sets[:TRIED_SETS] if _count_of(sample, each) == row_count]:
            return [tuple(p.name for p in sorted(each, key=lambda p: p.number)) for each in fits[:GIVEN]]
    return []


def _may_be_of_key(sample: Sample, profile: Profile) -> bool:
    is_filled = profile.filled == sample.row_count and not profile.null_values
    is_geometry = profile.place.startswith(("geometry", "a position"))
    return is_filled and not is_geometry and not profile.personal and profile.data_type in ("string", "bigint", "date", "timestamptz")


def _count_of(sample: Sample, columns: tuple[Profile, ...]) -> int:
    names = ", ".join(f"trim(c{profile.number})" for profile in columns)
    count: int = sample.connection.execute(f"select count(distinct ({names})) from sample").fetchall()[0][0]
    return count


def duplicate_count(sample: Sample) -> int:
    """Count the rows of the sample that are another one to the letter."""
    columns = ", ".join(f"c{number}" for number in range(len(sample.names)))
    count: int = sample.connection.execute(f"select count(*) - count(distinct ({columns})) from sample").fetchall()[0][0]
    return count


def cursors_of(found: list[Profile]) -> list[str]:
    """Name the columns by which what is new could be asked for: instants of a change first, then other dates."""
    dated = [profile for profile in found if profile.data_type in ("timestamptz", "date") and profile.filled and not profile.personal]
    dated.sort(key=lambda p: (not CHANGED.fullmatch(p.words), p.data_type != "timestamptz", p.number))
    return [profile.name for profile in dated]
