"""Which columns of a sample hold a position, in which coordinates, and which hold codes of places of the territory."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from ingestion.lake import literal
from ingestion.trial.profile import CODED, Profile

if TYPE_CHECKING:
    from ingestion.trial.sample import Sample

ANGLES = (
    ("longitude (WGS 84)", 180, "(.* )?(lon|lng|long|longitude|x wgs84)( .*)?"),
    ("latitude (WGS 84)", 90, "(.* )?(lat|latitude|y wgs84)( .*)?"),
)
AXES = (("easting", 0, "(.* )?(x|east|easting|coord x|coordx)( .*)?"), ("northing", 1, "(.* )?(y|north|northing|coord y|coordy)( .*)?"))
# The bounds, in metres, of what projections of France give: eastings, northings.
PROJECTIONS = (
    ("EPSG:2154, Lambert 93", ((0, 1_300_000), (6_000_000, 7_200_000))),
    # Conic by zones, CC42 to CC50: a million metres from one zone's northings to the next one's.
    *((f"EPSG:39{zone}, CC{zone}", ((1_000_000, 2_500_000), ((zone - 41) * 1e6, (zone - 41) * 1e6 + 400_000))) for zone in range(42, 51)),
)
CODES = (
    ("commune, by its form alone: no reference is landed to hold it against", "([0-9]{2}|2[AB])[0-9]{3}", ".*(insee|commune|com|cog).*"),
    ("IRIS, by its form alone", "([0-9]{2}|2[AB])[0-9]{7}", ".*iris.*"),
    ("EPCI (a SIREN), by its form alone", "2[0-9]{8}", ".*(epci|siren).*"),
)
ALMOST_ALL = 0.9


def note_places(sample: Sample, found: list[Profile], communes: Collection[str] = ()) -> None:
    """Note in profiles which hold a position or a code of a place; `communes` are the codes of the reference, where one is landed."""
    for profile in found:
        if profile.data_type in ("double", "bigint") and not profile.place:
            profile.place = _axis_of(sample, profile)
        elif profile.data_type == "string" and profile.filled and not profile.place:
            profile.place = _code_of(sample, profile, communes)


def _axis_of(sample: Sample, profile: Profile) -> str:
    angle = next(((told, limit) for told, limit, named in ANGLES if re.fullmatch(named, profile.words)), None)
    axis = next(((told, place) for told, place, named in AXES if re.fullmatch(named, profile.words)), None)
    if not angle and not axis:
        return ""
    value = f"try_cast(replace(c{profile.number}, ',', '.') as double)"
    low, high = sample.connection.execute(f"select min({value}), max({value}) from sample where {value} <> 0").fetchall()[0]
    if low is None:
        return ""
    if angle and -angle[1] <= low and high <= angle[1]:
        return angle[0]
    within = [crs for crs, bounds in PROJECTIONS if axis and bounds[axis[1]][0] <= low and high <= bounds[axis[1]][1]]
    return f"{axis[0]} ({within[0]})" if axis and within else ""


def _code_of(sample: Sample, profile: Profile, communes: Collection[str]) -> str:
    value = f"trim(c{profile.number})"
    asked = f"from sample where {value} <> ''"
    if communes:
        codes = ", ".join(map(literal, communes))
        share, count = sample.connection.execute(f"select avg(({value} in ({codes}))::int), count(distinct {value}) {asked}").fetchall()[0]
        if share and share > ALMOST_ALL and (count > 1 or CODED.fullmatch(profile.words)):
            return f"commune: {share:.0%} of its values are codes of the reference"
    for told, pattern, named in CODES:
        if re.fullmatch(named, profile.words) and "postal" not in profile.words:
            share = sample.connection.execute(f"select avg(regexp_full_match({value}, {literal(pattern)})::int) {asked}").fetchall()[0][0]
            if share and share > ALMOST_ALL:
                return told
    return ""
