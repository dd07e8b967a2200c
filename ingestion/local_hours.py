"""Hours that clocks skip or show twice, in a text without its offset: a rule tells which is meant, and is told; none is guessed."""

from __future__ import annotations

import bisect
import functools
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from ingestion.lake import literal, quoted
from ingestion.parquet import Footers, write
from ingestion.refusal import refusal

if TYPE_CHECKING:
    import duckdb

FIRST, LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2150, 1, 1, tzinfo=UTC)
DAY, WEEK, SECOND = timedelta(days=1), timedelta(days=7), timedelta(seconds=1)
# What is added to an instant of such an hour while its file is on its way: no calendar shows it, and statistics find it.
MARK = 10_000 * 365 * 86_400_000_000
DAYS = "days_of_change"  # the session variable that holds a bit for each day


class Change(NamedTuple):
    """An instant at which the clocks of a place are changed, and what they gain: an hour in spring, less than none in autumn."""

    at: datetime
    gain: timedelta


@functools.cache
def changes(zone: str) -> tuple[Change, ...]:
    """Give the changes of a time zone, oldest first; none two of one week."""

    def offset(moment: datetime) -> timedelta:
        return moment.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()

    found = []
    weeks = [FIRST + number * WEEK for number in range((LAST - FIRST) // WEEK)]
    for (week, was), (_, is_now) in pairwise((week, offset(week)) for week in weeks):
        if is_now != was:
            seconds = bisect.bisect_left(range(WEEK // SECOND), 1, key=lambda second: offset(week + second * SECOND) != was)
            found.append(Change(week + seconds * SECOND, is_now - was))
    return tuple(found)


def floor(moment: datetime, zone: str) -> datetime:
    """Give the first instant of the hours shown twice that hold a moment, or the moment: what is before it is before both."""
    held = (change.at + change.gain for change in changes(zone) if change.gain < timedelta() and abs(moment - change.at) <= -change.gain)
    return min((*held, moment))


def watch(connection: duckdb.DuckDBPyConnection, zone: str) -> None:
    """Tell a connection the days of a zone that hold such an hour, for `twin` with `is_watched`."""
    days = bytearray(b"0" * ((LAST - FIRST) // DAY))
    for change in changes(zone):
        first, last = ((change.at + sign * abs(change.gain) - FIRST) // DAY for sign in (-1, 1))
        days[first : last + 1] = b"1" * (last + 1 - first)
    connection.execute(f"set variable {DAYS} = ?::bit", [days.decode()])


def twin(value: str, wall: str, zone: str, is_naive: str = "true", *, is_watched: bool = False) -> str:
    """Write how far another instant of a wall clock is from its value (microseconds): NULL where there is none.

    0 says that the clocks never showed it. `is_watched` asks for it on the days that `watch` told: a `case` asks for the
    dearer only there.
    """
    local = f"at time zone {literal(zone)}"
    sizes = sorted({abs(change.gain) // SECOND for change in changes(zone) if change.gain < timedelta()})
    others = [f"when (({value}) + to_seconds({far})) {local} = {wall} then {far * 1_000_000}" for size in sizes for far in (size, -size)]
    asked = f"case when {is_naive} then case when ({value}) {local} <> {wall} then 0 {' '.join(others)} end end"
    if not is_watched:
        return asked
    first, last = (f"{literal(moment.isoformat())}::timestamptz" for moment in (FIRST, LAST - DAY))
    day = f"epoch_us({value}) // 86400000000 - {(FIRST - datetime(1970, 1, 1, tzinfo=UTC)) // DAY}"
    is_such = f"case when {value} between {first} and {last} then get_bit(getvariable('{DAYS}'), ({day})::integer) = 1 end"
    return f"case when {is_such} then {asked} end"


def resolved(value: str, twin: str, fold: str) -> str:
    """Write the instant of a value whose twin is known: NULL where the clocks never showed it, the first or the second of two."""
    moved = moment(value, f"{'greatest' if fold == 'second' else 'least'}({twin}, 0)")
    return f"case when {twin} is null then {value} when {twin} <> 0 then {moved} end"


def moment(value: str, microseconds: str) -> str:
    """Write an instant some microseconds after a value."""
    return f"make_timestamptz(epoch_us({value}) + {microseconds})"


def settle(
    connection: duckdb.DuckDBPyConnection, file: Path, names: list[str], key: tuple[str, ...], zone: str, landed: list[str]
) -> list[str]:
    """Put in order the marked instants of some columns of a landed file, and say what was done; nothing where none is marked.

    Two rows of one key in one source file are the first and the second of the hour (the other way round where the file begins
    with the newest), a lone one is the first; more than two are refused, for nothing tells which is which, and lose their values
    of `landed`. Their order is that of their number in the source, where landing told it, for then the file may have another.
    """
    rows = f"read_parquet({literal(str(file))}, file_row_number = true)"
    marked = {name: f"{quoted(name)} > '9999-12-31'::timestamptz" for name in names}
    footers = Footers(connection, [file])
    last = footers.row_count
    # What no footer tells may be marked.
    highest = [(footers.span(name, "timestamptz") or ("", "infinity" if footers.held(name) != 0 else "-infinity"))[1] for name in names]
    asked = ", ".join(f"{literal(high)}::timestamptz > '9999-12-31'::timestamptz" for high in highest)
    is_held = connection.execute(f"select {asked}").fetchall()[0]
    marked = {name: test for (name, test), is_marked in zip(marked.items(), is_held, strict=True) if is_marked}
    if not marked:
        return []
    values, reasons, said = {}, [], []
    for number, (name, is_marked) in enumerate(marked.items()):
        same = f"partition by _file, {', '.join(quoted(each) for each in dict.fromkeys((*key, name)))}"
        connection.execute(
            f"create or replace temp table doubled as select _file, file_row_number as place, count(*) over ({same}) as many, "
            f"row_number() over ({same} order by _row, file_row_number) as rank from {rows} where {is_marked} and _refused is null"
        )
        later = f"case when _file in ({_newest_first(rows, name, is_marked)}) then 1 else 2 end"
        is_second, is_crowded = (
            _held(connection, f"{variable}_{number}", last, test)
            for variable, test in (("seconds", f"many = 2 and rank = {later}"), ("crowded", "many > 2"))
        )
        first = moment(quoted(name), f"(-{MARK})")
        second = moment(first, twin(first, f"(({first}) at time zone {literal(zone)})", zone))
        values[name] = f"case when {is_marked} then case when {is_second} then {second} else {first} end else {quoted(name)} end"
        tally = ", ".join(f"count(*) filter (where many {test})" for test in ("= 1", "= 2", "> 2"))
        alone, paired, crowded = connection.execute(f"select {tally} from doubled").fetchall()[0]
        said.append(_said(name, zone, alone, paired, crowded))
        if crowded:
            rule = literal(f"is one of more than two rows of one key in an hour that the clocks of {zone} show twice")
            reasons.append(f"when {is_marked} and {is_crowded} then {refusal(name, rule)}")
    replaced = [f"{value} as {quoted(name)}" for name, value in values.items()]
    if reasons:
        reason = f"case {' '.join(reasons)} end"
        kept = {name: values.get(name, quoted(name)) for name in landed}
        replaced = [f"case when {reason} is null then {value} end as {quoted(name)}" for name, value in kept.items()]
        replaced.append(f"coalesce(_refused, {reason}) as _refused")
    beside = file.with_suffix(".settled")
    write(connection, f"select * exclude (file_row_number) replace ({', '.join(replaced)}) from {rows}", beside)
    beside.replace(file)
    return said


def _newest_first(rows: str, name: str, is_marked: str) -> str:
    """Write the files whose rows, around the marked ones, go back in time: the second hour comes first there."""
    near = f"select unnest([file_row_number - 1, file_row_number, file_row_number + 1]) from {rows} where {is_marked}"
    instant = f"epoch_us({quoted(name)}) - case when {is_marked} then {MARK} else 0 end"
    step = "lead(instant) over (partition by _file order by file_row_number) - instant"
    instants = f"select _file, file_row_number, {instant} as instant from {rows} where file_row_number in ({near})"
    return f"select _file from (select _file, sign({step}) as step from ({instants})) group by _file having sum(step) < 0"


def _held(connection: duckdb.DuckDBPyConnection, variable: str, last: int, test: str) -> str:
    """Keep which of the doubled rows pass a test, a bit a row; write whether a row of the file does: no join, which loses its order."""
    bits = f"select coalesce(bitstring_agg(place, 0, {last}), bitstring('0', {last + 1})) from doubled where {test}"
    connection.execute(f"set variable {variable} = ({bits})")
    return f"get_bit(getvariable('{variable}'), file_row_number::integer) = 1"


def _said(name: str, zone: str, alone: int, paired: int, crowded: int) -> str:
    """Say how the rows of such an hour were read."""
    told = [
        f"{paired} are the first and the second of their key, in the order of the file" if paired else "",
        f"{alone} alone of their key are taken for the first" if alone else "",
        f"{crowded}, more than two of one key, are refused" if crowded else "",
    ]
    mend = "Mend: have the source write its offset, or say `time_fold: first`, `second` or `refuse` of the table"
    return (
        f"{name}: {alone + paired + crowded} rows in an hour that the clocks of {zone} show twice: {'; '.join(filter(None, told))}. {mend}"
    )
