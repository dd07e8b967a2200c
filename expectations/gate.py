"""Judge sets of rows: defaults drawn from what came before, and the expectations that a steward wrote in a YAML."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import yaml
from pydantic import Field, ValidationError

from expectations import docs
from ingestion.connectors import Strict
from ingestion.lake import Lake, LakeError, listed, literal, quoted
from ingestion.parquet import Footers
from ingestion.refusal import REFUSED

if TYPE_CHECKING:
    import duckdb

    from ingestion.brick import Brick, Column, Table
    from ingestion.journal import Entry, Journal

ROOM = Path(__file__).resolve().parent
GARBLED = ("Ã©", "Ã¨", "\ufffd")  # é and è of UTF-8 read as cp1252; what a reader writes for what it does not understand
FEW = 20  # rows of which the number says nothing
FEW_REFUSED = 0.00005  # share of rows that changes no share of four digits
SAMPLE, FEW_VALUES = 250_000, 1000  # rows among which distinct keys are counted; distinct values that are no sample of more
SEEN = ("observed_value", "unexpected_count", "partial_unexpected_list")  # what is told of a failed expectation
HISTORY = 10  # accepted loads that a load is compared with

# What the defaults tolerate; a table's YAML may override each under `defaults`.
LANDED = {
    "refused_share": 0.2,  # rows refused, at most
    "key_share": 0.9,  # distinct keys among rows, at least: below, a page was repeated
    "volume": (0.6, 3.0),  # rows of the fullest day (changes) or of the photo (whole), as multiples of those before
    "odd_date_share": 0.05,  # values of a date that is not the cursor, after the reading or before 1900, at most: a warning
    "future_share": 0.05,  # rows dated after the reading, at most: a sensor may have lost its clock, a source may not
    "garbled_share": 0.01,  # rows with a text read in a wrong encoding, at most
    "coverage": 0.5,  # distinct values of the first key column, as a share of those before
    "filled": 20,  # values that a column should have held, from what came before, for it to be all null
}
MART = {
    "volume": (0.9, 10.0),  # rows, as multiples of the last publication's
    "completeness": 0.1,  # by how much the mean completeness of what was published may fall
    "sums": (0.5, 10.0),  # what sums, of what was published, as multiples of what it was
    "filled": 20,
}


class Expectation(Strict):
    """One line of a steward's file, in the words of Great Expectations; a warning is told and stops nothing."""

    type: str
    kwargs: dict[str, Any] = Field(default={})
    severity: Literal["critical", "warning"] = "critical"
    reason: str | None = None


class Suite(Strict):
    """What is asked of a mart (`marts/<mart>.yml`), or of a table."""

    defaults: dict[str, Any] = Field(default={})
    expectations: tuple[Expectation, ...] = ()

    def tolerated(self, of: dict[str, Any]) -> dict[str, Any]:
        """Give what is tolerated: the defaults, and what the file says otherwise; raises LakeError for a name that is none."""
        if unknown := sorted(set(self.defaults) - set(of)):
            raise LakeError(f"expectations: {', '.join(unknown)} is no default (accepted: {', '.join(of)})")
        for name, value in self.defaults.items():
            is_span = isinstance(of[name], tuple)
            numbers = value if isinstance(value, list) and is_span and len(value) == len(of[name]) else [value]
            if value is not None and (isinstance(value, list) != is_span or not all(isinstance(each, int | float) for each in numbers)):
                raise LakeError(f"expectations: {name} is {'[low, high]' if is_span else 'a number'} or null, not {value!r}")
        return {**of, **self.defaults}


class LandedSuite(Strict):
    """What is asked of a load (`landed/<brick>.yml`), by table."""

    tables: dict[str, Suite] = Field(default={})


class Figures(NamedTuple):
    """What a mart says of its figures: the column of its periods, the one that says how whole a row is, those that sum."""

    period: str | None = None
    completeness: str | None = None
    sums: tuple[str, ...] = ()


_Model = TypeVar("_Model", Suite, LandedSuite)
Staged = dict[str, tuple[list[Path], dict[str, Any]]]  # by table, its files and what the journal will say of them


class _Figure(NamedTuple):
    """A figure of a set, where it should stand, and what is said when it does not; without any bound it is not judged.

    `default` names the default that bounds it.
    """

    value: float
    low: float | None
    high: float | None
    told: str
    is_strict: bool = False  # above the low bound, not at it
    severity: Literal["critical", "warning"] = "critical"
    default: str | None = None

    def reason(self) -> str:
        """Say what is wrong, the limits, and where they are told."""
        if not self.default:
            return self.told
        bounds = [f"{told} {bound:g}" for told, bound in (("at least", self.low), ("at most", self.high)) if bound]
        return f"{self.told} ({', '.join([*bounds, f'default `{self.default}`'])})"


class _Set(NamedTuple):
    """What Great Expectations judges: a SELECT, what is expected of it, and the profile that holds the warnings."""

    name: str
    select: str
    expectations: Sequence[Expectation]
    profile: dict[str, Any]


def judge_load(lake: Lake, journal: Journal, brick: Brick, staged: Staged, read_at: dt.datetime) -> list[str]:
    """Judge the files of a load before it is seen; give why it is refused, nothing when it is accepted.

    Each table's record gains `profile`, which later loads are compared with, and holds the warnings. Raises LakeError for
    an expectations file that cannot be used.
    """
    suites = _read(LandedSuite, f"landed/{brick.name}.yml").tables
    if unknown := sorted(set(suites) - {table.name for table in brick.tables}):
        raise LakeError(f"expectations/landed/{brick.name}.yml: {', '.join(unknown)} is no table of the brick")
    earlier = [load for load in journal.accepted(brick.name) if load["read_at"] <= read_at.isoformat()]
    # A load accepted late is not the last that was read.
    history = sorted(earlier, key=lambda load: load["read_at"])[-HISTORY:]
    sets = []
    with lake.connect(is_private=brick.has_personal) as connection:
        for name, (files, record) in staged.items():
            if not files:
                continue
            table, suite = brick.table(name), suites.get(name, Suite())
            paths = [str(file) for file in files]
            footers = Footers(connection, paths)
            rows = f"(select * from read_parquet({listed(paths)}, union_by_name = true) where _refused is null)"
            columns = [column.name for column in table.columns if column.is_landed]
            warnings = record.get("profile", {}).get("warnings", [])  # of landing itself
            record["profile"] = _profile(connection, footers, rows, columns, table.meta.key, _of_days(table, footers, rows, read_at))
            record["profile"]["warnings"] += warnings
            before = [load for load in history if "row_count" in load["tables"].get(name, {}).get("profile", {})]
            figures = _of_load(table, record, before, read_at, suite.tolerated(LANDED))
            sets += _sets(name, rows, record["profile"], figures, suite)
        return _judge(lake, f"landed/{brick.name}", connection, sets, is_private=brick.has_personal)


def judge_mart(
    lake: Lake, mart: str, files: list[str], columns: list[str], key: list[str], before: dict[str, Any] | None, told: Figures | None = None
) -> tuple[list[str], dict[str, Any]]:
    """Judge the files of a mart before readers see them; give why it is withheld, and its profile, which holds the warnings.

    `before` is the profile of the last publication, None for a first one; `told` what the mart says of its figures. Raises
    LakeError for an expectations file that cannot be used.
    """
    suite = _read(Suite, f"marts/{mart}.yml")
    tolerated = suite.tolerated(MART)
    rows = f"(select * from read_parquet({listed(files)}, union_by_name = true))"
    with lake.connect() as connection:
        profile = _profile(connection, Footers(connection, files), rows, columns, key, {})
        figures = [_Figure(profile["key_share"], 1, None, f"two rows or more of one {', '.join(key)}")]
        if before and tolerated["volume"]:
            low, high = (times * before["row_count"] for times in tolerated["volume"])
            figures.append(
                _Figure(
                    profile["row_count"],
                    low,
                    high,
                    f"rows: {profile['row_count']} against {before['row_count']} published",
                    default="volume",
                )
            )
        if before:
            figures += _filled(profile, [before], tolerated["filled"])
        figures += _of_figures(connection, rows, profile, before or {}, told or Figures(), tolerated)
        return _judge(lake, f"marts/{mart}", connection, _sets(mart, rows, profile, figures, suite), is_private=False), profile


def _of_figures(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    profile: dict[str, Any],
    before: dict[str, Any],
    told: Figures,
    tolerated: dict[str, Any],
) -> list[_Figure]:
    """Give the figures of a mart by which it is judged: a completeness is a share, and no figure without an end is held.

    Of the periods that the last publication held, less the last one, which was open: its completeness has not fallen, its sums
    are of the same order. The profile notes the same of this one.
    """
    columns = connection.execute(f"select column_name, column_type from (describe select * from {rows})").fetchall()
    names = [name for name, _ in columns]
    floats = " + ".join(f"count(*) filter (where not isfinite({quoted(name)}))" for name, kind in columns if kind in ("DOUBLE", "FLOAT"))
    endless = connection.execute(f"select {floats or '0'} from {rows}").fetchall()[0][0]
    figures = [_Figure(endless, None, 0, f"figures that are no number, or infinite: {endless}")]
    period = quoted(told.period) if told.period and told.period in names else "null"
    completeness = quoted(told.completeness) if told.completeness and told.completeness in names else None
    whole = f"avg({completeness})" if completeness else "null"
    sums = [name for name in told.sums if name in names]
    held = [(literal(name), quoted(name)) for name in sums]
    summed = ", ".join(f"{name}: coalesce(sum({of}) filter (where isfinite({of}::double)), 0)" for name, of in held)

    def of(until: str | None) -> tuple[float | None, dict[str, float]]:
        where = f"where {period}::varchar < {literal(until)}" if until else ""
        share, totals = connection.execute(f"select {whole}, {f'{{{summed}}}' if sums else 'null'} from {rows} {where}").fetchall()[0]
        return share, {name: float(total) for name, total in (totals or {}).items()}

    until = connection.execute(f"select max({period})::varchar from {rows}").fetchall()[0][0]
    share, totals = of(until)
    profile["settled"] = {"until": until, "completeness": share, "sums": totals}
    if completeness:
        extreme = f"coalesce(max(greatest({completeness} - 1, -{completeness})), 0)"
        beyond = connection.execute(f"select {extreme} from {rows}").fetchall()[0][0]
        figures.append(_Figure(beyond, None, 1e-9, f"{told.completeness} is not between 0 and 1"))
    settled = before.get("settled", {})
    share, totals = of(settled.get("until"))
    if tolerated["completeness"] is not None and share is not None and settled.get("completeness") is not None:
        fallen = f"mean {told.completeness} of the periods published: {share:.2f}, {settled['completeness']:.2f} before"
        figures.append(_Figure(share, settled["completeness"] - tolerated["completeness"], None, fallen, default="completeness"))
    for name, was in settled.get("sums", {}).items():
        if tolerated["sums"] and name in totals and was > 0:
            low, high = (times * was for times in tolerated["sums"])
            moved = f"sum of {name} over the periods published: {totals[name]:,.0f}, {was:,.0f} before"
            figures.append(_Figure(totals[name], low, high, moved, default="sums"))
    return figures


def _of_days(table: Table, footers: Footers, rows: str, read_at: dt.datetime) -> dict[str, str]:
    """Write what is summed up of a load and not of a mart: its days, and texts that look like UTF-8 in a wrong encoding.

    Where footers tell that no date of a column is odd, nothing is counted.
    """
    dated = {column.name: column for column in table.columns if column.data_type in ("date", "timestamptz") and column.is_landed}
    # What dates a row: the cursor, else the first dated column of the key, which in a photo dates no row.
    names = [table.meta.cursor, *(table.meta.key if table.meta.delivers == "changes" else ())]
    clock = next((name for name in names if name in dated), None)
    # A day and a half: a date has no hour, and time zones differ.
    end = read_at + dt.timedelta(days=1.5)
    horizon = f"{literal(end.isoformat())}::timestamptz"

    def share(column: Column, test: str, of: str) -> str:
        days = [text.partition(" ")[0] for text in footers.span(column.name, column.sql_type) or ("?", "?")]
        if all(len(day) == len("1900-01-02") and "1900-01-02" <= day < end.date().isoformat() for day in days):
            return "0::double"
        return f"count(*) filter (where {test}) / greatest(1, count({of}))"

    # Who says `between` of a column has said what is odd.
    others = [column for name, column in dated.items() if name != table.meta.cursor and not column.meta.between]
    odd = []
    for column in others:
        name = quoted(column.name)
        is_odd = f"{name} > {horizon}::{column.data_type} or {name} < '1900-01-01'"
        odd.append(f"{literal(column.name)}: {share(column, is_odd, name)}")
    texts = [quoted(column.name) for column in table.columns if column.is_landed and column.data_type == "string"]
    is_garbled = " or ".join(f"contains({text}, '{mark}')" for text in texts for mark in GARBLED) or "false"
    told = {
        "odd_dates": f"{{{', '.join(odd)}}}" if odd else "null",
        "garbled_share": f"count(*) filter (where {is_garbled}) / greatest(1, count(*))",
    }
    if clock is None:
        return {**told, "future_share": "0::double", "peak_day_rows": "count(*)", "newest_at": "null"}
    at = f"{quoted(clock)}::timestamptz"
    # Days of UTC, by their number: to make a date of an instant takes six times as long.
    day = quoted(clock) if dated[clock].data_type == "date" else f"epoch_us({quoted(clock)}) // 86400000000"
    return {
        **told,
        "future_share": share(dated[clock], f"{at} > {horizon}", "*"),
        "peak_day_rows": f"coalesce((select max(rows) from (select count(*) as rows from {rows} group by {day})), 0)",
        "newest_at": f"(max({quoted(clock)}) filter (where {at} <= {horizon}))::timestamptz::varchar",
    }


def _profile(
    connection: duckdb.DuckDBPyConnection, footers: Footers, rows: str, columns: list[str], key: Sequence[str], more: dict[str, str]
) -> dict[str, Any]:
    """Sum up a set: rows, distinct keys, share of values held by column, and what more is written in SQL.

    Distinct keys are counted among about SAMPLE rows, those whose key's hash ends the same way, so that a repeated key is
    repeated in the sample too. So are the values of the key's first column, all of them where the sample holds few.
    """
    refused = footers.held(*REFUSED) or 0
    row_count = footers.row_count - refused
    one_in = max(1, row_count // SAMPLE)
    keys, first = f"hash({', '.join(quoted(name) for name in key)})", quoted(key[0])
    sampled = f"filter (where {keys} % {one_in} = 0)"
    held = {name: _held(footers.held(name), row_count, refused) for name in columns}
    figures = {
        "key_share": f"count(distinct {keys}) {sampled} / greatest(1, count(*) {sampled})",
        "coverage": f"count(distinct {first}) filter (where hash({first}) % {one_in} = 0)",
        **{f"held {name}": f"count({quoted(name)})" for name, told in held.items() if told is None},
        **more,
    }
    values = connection.execute(f"select {', '.join(figures.values())} from {rows}").fetchall()[0]
    found = dict(zip(figures, values, strict=True))
    if found["coverage"] >= FEW_VALUES:
        found["coverage"] *= one_in
    elif one_in > 1:
        found["coverage"] = connection.execute(f"select count(distinct {first}) from {rows}").fetchall()[0][0]
    filled = {name: found.pop(f"held {name}", told) / max(1, row_count) for name, told in held.items()}
    return {"row_count": row_count, **found, "filled": {name: round(share, 4) for name, share in filled.items()}, "warnings": []}


def _held(told: int | None, row_count: int, refused: int) -> int | None:
    """Give how many values of a column the rows that are kept hold, of how many all hold; None where it is to be counted.

    Few refused rows change no figure that is told, unless they alone hold values.
    """
    if told is None or not refused:
        return told
    return min(told, row_count) if told > refused and refused < FEW_REFUSED * row_count else None


def _of_load(table: Table, record: dict[str, Any], history: list[Entry], read_at: dt.datetime, tolerated: dict[str, Any]) -> list[_Figure]:
    """Give the figures of a table by which a load is judged: its own, then those that earlier loads say something of."""
    profile, profiles = record["profile"], [load["tables"][table.name]["profile"] for load in history]
    # A table may be empty as long as it never held anything, and its source says so.
    is_told_empty = record["source_count"] == 0 and record["count_method"] == "announced"
    least_count = 0 if is_told_empty and not any(p["row_count"] for p in profiles) else 1
    late = f", {record['before_cursor']} are older than the lookback" if record["before_cursor"] else ""
    refused = record["refused"] / max(1, record["kept"] + record["refused"])
    garbled, future, keys = profile["garbled_share"], profile["future_share"], profile["key_share"]
    told = f"rows with a text read in a wrong encoding ({', '.join(GARBLED)}): {garbled:.0%}"
    figures = [
        _Figure(profile["row_count"], least_count, None, f"no row was kept{late}"),
        _Figure(refused, None, tolerated["refused_share"], f"refused rows: {refused:.0%}", default="refused_share"),
        _Figure(garbled, None, tolerated["garbled_share"], told, default="garbled_share"),
        _Figure(future, None, tolerated["future_share"], f"rows dated after the reading: {future:.0%}", default="future_share"),
    ]
    for column, share in (profile["odd_dates"] or {}).items():
        told = f"dates of {column} after the reading or before 1900: {share:.0%}. Mend: check its `format`, or say `between` of the column"
        figures.append(_Figure(share, None, tolerated["odd_date_share"], told, severity="warning", default="odd_date_share"))
    if profile["row_count"] >= FEW:
        told = f"distinct keys: {keys:.0%} of the rows, a page was repeated"
        figures.append(_Figure(keys, tolerated["key_share"], None, told, default="key_share"))
    if not profiles:
        return figures
    is_whole = table.meta.delivers == "whole"
    elapsed = (read_at - dt.datetime.fromisoformat(history[-1]["read_at"])).total_seconds() / 86400
    # A load of a few hours says nothing of a day's volume.
    is_comparable = is_whole or (elapsed >= 0.9 and len(profiles) >= 3)
    peak, peaks = profile["peak_day_rows"], [p["peak_day_rows"] for p in profiles]
    if tolerated["volume"] and is_comparable:
        least, most = (statistics.median(peaks),) * 2 if is_whole else (min(peaks), max(peaks))
        if max(most, peak) < FEW:
            least, most = 0, FEW
        low, high = tolerated["volume"]
        told = f"rows: {peak}, {least:.0f}" if is_whole else f"rows of the fullest day: {peak}, {least:.0f} to {most:.0f}"
        figures.append(_Figure(peak, least * low, most * high, f"{told} before", default="volume"))
    if tolerated["coverage"] and is_comparable:
        usual = statistics.median(p["coverage"] for p in profiles)
        told = f"distinct values of {table.meta.key[0]}: {profile['coverage']}, {usual:.0f} before"
        figures.append(_Figure(profile["coverage"], usual * tolerated["coverage"], None, told, default="coverage"))
    newest = [p["newest_at"] for p in profiles if p["newest_at"]]
    if profile["newest_at"] and newest and elapsed >= 0.9:
        moved = dt.datetime.fromisoformat(profile["newest_at"]) - dt.datetime.fromisoformat(max(newest))
        told = f"stale: the newest row is still {profile['newest_at']}, {elapsed:.1f} days after the last load"
        figures.append(_Figure(moved.total_seconds(), 0, None, told, is_strict=True))
    return figures + _filled(profile, profiles, tolerated["filled"])


def _filled(profile: dict[str, Any], before: list[dict[str, Any]], enough: int | None) -> list[_Figure]:
    """Expect of each column that usually holds values that it is not all null."""
    figures = []
    for name, share in profile["filled"].items():
        usual = min(p["filled"].get(name, 0.0) for p in before)
        if enough is not None and usual * profile["row_count"] >= enough:
            told = f"column {name} is all null, {usual:.0%} filled before"
            figures.append(_Figure(share, 0, None, told, is_strict=True, default="filled"))
    return figures


def _sets(name: str, rows: str, profile: dict[str, Any], figures: list[_Figure], suite: Suite) -> list[_Set]:
    """Lay out what is judged of a table or a mart: one row that holds its figures; its rows, where a steward wrote of them."""
    judged = [figure for figure in figures if figure.low is not None or figure.high is not None]
    values = ", ".join(f"{figure.value}::double as figure_{number}" for number, figure in enumerate(judged))
    expectations = [
        Expectation(
            type="expect_column_values_to_be_between",
            kwargs={"column": f"figure_{number}", "min_value": figure.low, "max_value": figure.high, "strict_min": figure.is_strict},
            reason=figure.reason(),
            severity=figure.severity,
        )
        for number, figure in enumerate(judged)
    ]
    written = [_Set(name, f"select * from {rows}", suite.expectations, profile)] if suite.expectations else []
    return [_Set(name, f"select {values}", expectations, profile), *written]


def judged_by(name: str) -> str:
    """Sum up what judges a load (`landed/<brick>.yml`) or a mart (`marts/<mart>.yml`): the defaults, and the file if there is one."""
    path, defaults = _place(name), LANDED if name.startswith("landed/") else MART
    return hashlib.sha256(json.dumps(defaults).encode() + (path.read_bytes() if path.exists() else b"")).hexdigest()[:16]


def files_of_marts() -> list[Path]:
    """Give the files that say what is expected of marts."""
    return [*_place("marts").glob("*.yml")]


def _place(name: str) -> Path:
    return Path(os.environ.get("ORCHESTRA_EXPECTATIONS", ROOM)) / name


def _read(model: type[_Model], name: str) -> _Model:
    """Read an expectations file, of ORCHESTRA_EXPECTATIONS or of the project; a model without anything when there is none."""
    path = _place(name)
    try:
        return model.model_validate((yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None) or {})
    except ValidationError as error:
        told = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise LakeError(f"expectations/{name}: {'; '.join(told)}") from error
    except (yaml.YAMLError, ValueError) as error:  # a date that is none, bytes that are no text
        raise LakeError(f"expectations/{name}: not YAML: {' '.join(str(error).split())}") from error


def _judge(lake: Lake, owner: str, connection: duckdb.DuckDBPyConnection, sets: list[_Set], *, is_private: bool) -> list[str]:
    """Have Great Expectations judge the sets of a load or a mart; give why they fail, and note in their profiles what only warns.

    What cannot be judged fails, whatever its severity: it would warn for ever of nothing.
    """
    reasons = []
    found = list(_results(connection, sets, is_private=is_private))
    docs.note(lake, owner, [(each.name if owner.startswith("marts/") else f"{Path(owner).name}.{each.name}", r) for each, r in found],
              is_private=is_private)  # fmt: skip
    for each, result in found:
        if result.success:
            continue
        wanted, told, is_judged = _told(result, is_private=is_private)
        if is_judged and wanted.severity == "warning":
            each.profile["warnings"].append(told)
        else:
            reasons.append(f"{each.name}: {told}")
    return reasons


def faults_of_suites(bricks: dict[str, Brick], marts: dict[str, dict[str, str]]) -> list[str]:
    """Try each expectation that is written on an empty table of its columns; say which cannot be judged, and what is of nobody.

    `marts` are the columns of each, by their type.
    """
    faults, sets = [], []
    for path in [*_place("landed").glob("*.yml"), *files_of_marts()]:
        name, owner = f"{path.parent.name}/{path.name}", path.stem
        if owner not in (bricks if path.parent.name == "landed" else marts):
            faults.append(f"expectations/{name}: there is no {'brick' if path.parent.name == 'landed' else 'mart'} '{owner}'")
            continue
        suites = {owner: _read(Suite, name)} if path.parent.name == "marts" else _read(LandedSuite, name).tables
        for table, suite in suites.items():
            if owner in marts and path.parent.name == "marts":
                columns = marts[owner]
            elif found := next((each for each in bricks[owner].tables if each.name == table), None):
                columns = {column.name: column.sql_type for column in found.columns if column.is_landed}
            else:
                faults.append(f"expectations/{name}: '{table}' is no table of the brick")
                continue
            suite.tolerated(MART if path.parent.name == "marts" else LANDED)
            empty = ", ".join(f"null::{kind} as {quoted(column)}" for column, kind in columns.items())
            sets.append(_Set(f"expectations/{name}: {table}", f"select {empty} where false", suite.expectations, {}))
    with Lake().connect() as connection:
        tried = [each for each in sets if each.expectations]
        failed = [
            (of, _told(result, is_private=False)) for of, result in _results(connection, tried, is_private=False) if not result.success
        ]
        faults += [f"{of.name}: {told}" for of, (_, told, is_judged) in failed if not is_judged]
    return faults


def _results(connection: duckdb.DuckDBPyConnection, sets: list[_Set], *, is_private: bool) -> Iterator[tuple[_Set, Any]]:
    """Give what Great Expectations finds of sets: each set and each result of it."""
    import great_expectations as gx
    import sqlalchemy
    from duckdb_engine import ConnectionWrapper
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    from expectations import buffered_dialect  # noqa: F401  (registers duckdb+buffered)

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)  # it has a level of its own
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}  # type: ignore[assignment]
    source = context.data_sources.add_sql(
        name="set",
        connection_string="duckdb+buffered:///:memory:",
        kwargs={"creator": lambda: ConnectionWrapper(connection), "poolclass": sqlalchemy.pool.StaticPool},
    )
    shown: Any = "BOOLEAN_ONLY" if is_private else {"result_format": "BASIC", "partial_unexpected_count": 3}
    for number, each in enumerate(sets):
        view = f"set_{number}"
        connection.execute(f"create view {view} as {each.select}")
        asked = [ExpectationConfiguration(type=e.type, kwargs=e.kwargs, meta=e.model_dump()) for e in each.expectations]
        try:
            suite = gx.ExpectationSuite(name=view, expectations=[configuration.to_domain_obj() for configuration in asked])
        except (gx.exceptions.GreatExpectationsError, ValueError) as error:  # an unknown type, an argument that it has not
            raise LakeError(f"expectations of {each.name}: {' '.join(str(error).split())}") from error
        batch = source.add_table_asset(name=view, table_name=view).add_batch_definition_whole_table(view).get_batch()
        yield from ((each, result) for result in batch.validate(suite, result_format=shown).results)


def _told(result: Any, *, is_private: bool) -> tuple[Expectation, str, bool]:
    """Give what was expected in vain, what is said of it (the steward's reason, else what was asked and seen), whether it was judged."""
    wanted = Expectation(**result.expectation_config.meta)
    faults = [fault["exception_message"] for fault in result.exception_info.values() if isinstance(fault, dict)]
    if faults or result.exception_info.get("raised_exception"):
        mend = "Mend: expect it otherwise (`make check` tries what is written), or test it with dbt"
        why = "" if is_private else f": {(faults or [result.exception_info['exception_message']])[0]}"
        return wanted, f"{wanted.type} {wanted.kwargs} could not be judged{why}. {mend}", False
    seen = {name: value for name, value in (result.result or {}).items() if name in SEEN}
    return wanted, wanted.reason or f"{wanted.type} {wanted.kwargs}" + (f", seen {seen}" if seen else ""), True
