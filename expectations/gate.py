"""The gates: a load, or a mart, is judged by what came before and by what a steward wrote, before any reader sees it."""

from __future__ import annotations

import datetime as dt
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from expectations.profile import FORMER_SAMPLE, GARBLED, MART_SAMPLE, days_of, profile_of
from expectations.suite import LANDED, MART, Expectation, LandedSuite, Suite, read_suite
from expectations.validation import Asked, judge
from ingestion.connectors import PUSHED
from ingestion.deletion import deleted_count, test_of
from ingestion.lake import Lake, LakeError, listed, literal, quoted
from ingestion.parquet import Footers

if TYPE_CHECKING:
    import duckdb

    from ingestion.brick import Brick, Table
    from ingestion.entries import Entry
    from ingestion.journal import Journal

FEW = 20  # rows of which the number says nothing
HISTORY = 10  # accepted loads that a load is compared with


class MartFigures(NamedTuple):
    """What a mart says of its figures: the column of its periods, the one that says how whole a row is, those that sum."""

    period: str | None = None
    completeness: str | None = None
    sums: tuple[str, ...] = ()


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


def judge_load(lake: Lake, journal: Journal, brick: Brick, staged: Staged, read_at: dt.datetime) -> list[str]:
    """Judge the files of a load before it is seen; give why it is refused, nothing when it is accepted.

    Each table's record gains `profile`, which later loads are compared with, and holds the warnings. Raises LakeError for
    an expectations file that cannot be used.
    """
    suites = read_suite(LandedSuite, f"landed/{brick.name}.yml").tables
    if unknown := sorted(set(suites) - {table.name for table in brick.tables}):
        raise LakeError(f"expectations/landed/{brick.name}.yml: {', '.join(unknown)} is no table of the brick")
    earlier = [load for load in journal.accepted(brick.name) if load["read_at"] <= read_at.isoformat()]
    # A load accepted late is not the last that was read.
    history = [journal.whole(load) for load in sorted(earlier, key=lambda load: load["read_at"])[-HISTORY:]]
    # What is pushed comes at least once, and no page of it is repeated.
    of_pushed = {"key_share": None} if brick.meta.connector in PUSHED else {}
    sets = []
    with lake.connect(is_private=brick.has_personal) as connection:
        for name, (files, record) in staged.items():
            if not files:
                continue
            table, suite = brick.table(name), suites.get(name, Suite())
            paths = [str(file) for file in files]
            footers = Footers(connection, paths)
            # A deletion has its key alone: what it lacks says nothing of the others.
            is_judged = f"_refused is null and not {test}" if (test := test_of(table)) else "_refused is null"
            rows = f"(select * from read_parquet({listed(paths)}, union_by_name = true) where {is_judged})"
            deleted = deleted_count(connection, table, files)
            columns = [column.name for column in table.columns if column.is_landed]
            warnings = record.get("profile", {}).get("warnings", [])  # of landing itself
            record["profile"] = profile_of(
                connection, footers, record["refused"] + deleted, rows, columns, table.meta.key, days_of(table, footers, rows, read_at)
            )
            record["profile"]["warnings"] += warnings
            before = [load for load in history if "row_count" in load["tables"].get(name, {}).get("profile", {})]
            told = suite.tolerated(LANDED | of_pushed)
            figures = _of_load(table, record, before, read_at, told, may_be_none=deleted > 0)
            sets += _sets(name, rows, record["profile"], figures, suite)
        return judge(lake, f"landed/{brick.name}", connection, sets, is_private=brick.has_personal)


def judge_mart(
    lake: Lake,
    mart: str,
    files: list[str],
    columns: list[str],
    key: list[str],
    before: dict[str, Any] | None,
    told: MartFigures | None = None,
    is_private: bool = False,
) -> tuple[list[str], dict[str, Any]]:
    """Judge the files of a mart before readers see them; give why it is withheld, and its profile, which holds the warnings.

    `before` is the profile of the last publication, None for a first one; `told` what the mart says of its figures. Of what is made
    of a brick with personal columns (`is_private`) no value is told. Raises
    LakeError for an expectations file that cannot be used.
    """
    suite = read_suite(Suite, f"marts/{mart}.yml")
    tolerated = suite.tolerated(MART)
    rows = f"(select * from read_parquet({listed(files)}, union_by_name = true))"
    with lake.connect() as connection:
        profile = profile_of(connection, Footers(connection, files), 0, rows, columns, key, {}, MART_SAMPLE)
        key_share = profile["key_share"] if profile["row_count"] else 1  # of no row, none is twice
        figures = [_Figure(key_share, 1, None, f"two rows or more of one {', '.join(key)}")]
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
        figures += _of_figures(connection, rows, profile, before or {}, told or MartFigures(), tolerated)
        return judge(lake, f"marts/{mart}", connection, _sets(mart, rows, profile, figures, suite), is_private=is_private), profile


def _of_figures(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    profile: dict[str, Any],
    before: dict[str, Any],
    told: MartFigures,
    tolerated: dict[str, Any],
) -> list[_Figure]:
    """Give the figures of a mart by which it is judged: a completeness is a share, and no figure without an end is held.

    Of the periods that the last publication held, less the last one, which was open: its completeness has not fallen, its sums
    are of the same order. The profile notes the same of this one.
    """
    columns = connection.execute(f"select column_name, column_type from (describe select * from {rows})").fetchall()
    names = [name for name, _ in columns]
    floats = " + ".join(f"count(*) filter (where not isfinite({quoted(name)}))" for name, kind in columns if kind in ("DOUBLE", "FLOAT"))
    endless = connection.execute(f"select {floats or '0 * count(*)'} from {rows}").fetchall()[0][0]
    figures = [_Figure(endless, None, 0, f"figures that are no number, or infinite: {endless}")]
    period = quoted(told.period) if told.period and told.period in names else "null"
    completeness = quoted(told.completeness) if told.completeness and told.completeness in names else None
    whole = f"avg({completeness})" if completeness else "null"
    sums = [name for name in told.sums if name in names]
    held = [(literal(name), quoted(name)) for name in sums]
    summed = ", ".join(f"{name}: coalesce(sum({of}) filter (where isfinite({of}::double)), 0)" for name, of in held)

    def of(until: str | None) -> tuple[float | None, dict[str, float]]:
        where = f"where {period}::varchar < {literal(until)}" if until else ""
        asked = f"select {whole}, {f'{{{summed}}}' if sums else 'null'}, count(*) from {rows} {where}"
        share, totals, _ = connection.execute(asked).fetchall()[0]  # a count: one row, of an empty mart too
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


def _of_load(
    table: Table, record: dict[str, Any], history: list[Entry], read_at: dt.datetime, tolerated: dict[str, Any], *, may_be_none: bool
) -> list[_Figure]:
    """Give the figures of a table by which a load is judged: its own, then those that earlier loads say something of."""
    profile, profiles = record["profile"], [load["tables"][table.name]["profile"] for load in history]
    # A table may be empty as long as it never held anything, and its source says so.
    is_told_empty = record["source_count"] == 0 and record["count_method"] == "announced"
    # Of a file of somebody who was erased, nothing is left; of a day of deletions, they alone.
    may_be_none = may_be_none or bool(record.get("erased"))
    least_count = 0 if may_be_none or (is_told_empty and not any(p["row_count"] for p in profiles)) else 1
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
    # Of more rows, older loads have it estimated from a sample that may hold none of few values.
    covered = [p["coverage"] for p in profiles if "sampled_among" in p or p["row_count"] < 2 * FORMER_SAMPLE]
    if tolerated["coverage"] and is_comparable and covered:
        usual = statistics.median(covered)
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


def _sets(name: str, rows: str, profile: dict[str, Any], figures: list[_Figure], suite: Suite) -> list[Asked]:
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
    written = [Asked(name, f"select * from {rows}", suite.expectations, profile)] if suite.expectations else []
    return [Asked(name, f"select {values}", expectations, profile), *written]
