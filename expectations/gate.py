"""Judge sets of rows: defaults drawn from what came before, and the expectations that a steward wrote in a YAML."""

from __future__ import annotations

import datetime as dt
import logging
import os
import statistics
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError

from ingestion.connectors import Strict
from ingestion.lake import Lake, LakeError, listed, literal, quoted

if TYPE_CHECKING:
    import duckdb

    from ingestion.brick import Brick, Table
    from ingestion.journal import Entry, Journal

ROOM = Path(__file__).resolve().parent
GARBLED = ("Ã©", "Ã¨", "\ufffd")  # é and è of UTF-8 read as cp1252; what a reader writes for what it does not understand
FEW = 20  # rows of which the number says nothing
SAMPLE = 1_000_000  # rows among which distinct keys are counted
HISTORY = 10  # accepted loads that a load is compared with

# What the defaults tolerate; a table's YAML may override each under `defaults`.
LANDED = {
    "refused_share": 0.2,  # rows refused, at most
    "key_share": 0.9,  # distinct keys among rows, at least: below, a page was repeated
    "volume": (0.6, 3.0),  # rows of the fullest day (changes) or of the photo (whole), as multiples of those before
    "future_share": 0.05,  # rows dated after the reading, at most: a sensor may have lost its clock, a source may not
    "garbled_share": 0.01,  # rows with a text read in a wrong encoding, at most
    "coverage": 0.5,  # distinct values of the first key column, as a share of those before
    "filled": 20,  # values that a column should have held, from what came before, for it to be all null
}
MART = {
    "volume": (0.9, 10.0),  # rows, as multiples of the last publication's
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
        return {**of, **self.defaults}


class LandedSuite(Strict):
    """What is asked of a load (`landed/<brick>.yml`), by table."""

    tables: dict[str, Suite] = Field(default={})


_Model = TypeVar("_Model", Suite, LandedSuite)


def judge_load(
    lake: Lake,
    journal: Journal,
    brick: Brick,
    staged: dict[str, tuple[list[Path], dict[str, Any]]],
    read_at: dt.datetime,
) -> list[str]:
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
    connection = lake.connect(is_private=brick.has_personal)
    checks: list[tuple[str, str, Sequence[Expectation]]] = []
    for number, (name, (files, record)) in enumerate(staged.items()):
        if not files:
            continue
        table = brick.table(name)
        rows = f"(select * from read_parquet({listed([str(file) for file in files])}, union_by_name = true) where _refused is null)"
        landed = [column for column in table.columns if column.is_landed]
        texts = [column.name for column in landed if column.data_type == "string"]
        profile = _profile(connection, rows, [column.name for column in landed], list(table.meta.key), _clock(table), read_at, texts)
        profile["refused_share"] = record["refused"] / max(1, record["kept"] + record["refused"])
        profile["before_cursor"] = record["before_cursor"]
        profile["is_told_empty"] = record["source_count"] == 0 and record["count_method"] == "announced"
        record["profile"] = profile
        before = [load for load in history if name in load["tables"]]
        suite = suites.get(name, Suite())
        expectations = _of_load(table, profile, before, read_at, suite.tolerated(LANDED))
        checks.append((name, _set_view(connection, number, profile), expectations))
        if suite.expectations:
            connection.execute(f"create view rows_{number} as select * from {rows}")
            checks.append((name, f"rows_{number}", suite.expectations))
    failed = _judge(connection, checks, is_private=brick.has_personal)
    connection.close()
    for name, severity, told in failed:
        if severity == "warning":
            staged[name][1]["profile"].setdefault("warnings", []).append(told)
    return [f"{name}: {told}" for name, severity, told in failed if severity == "critical"]


def judge_mart(
    lake: Lake, mart: str, files: list[str], columns: list[str], key: list[str], before: dict[str, Any] | None
) -> tuple[list[str], dict[str, Any]]:
    """Judge the files of a mart before readers see them; give why it is withheld, and its profile, which holds the warnings.

    `before` is the profile of the last publication, None for a first one. Raises LakeError for an expectations file that
    cannot be used.
    """
    suite = _read(Suite, f"marts/{mart}.yml")
    tolerated = suite.tolerated(MART)
    connection = lake.connect()
    rows = f"(select * from read_parquet({listed(files)}, union_by_name = true))"
    profile = _profile(connection, rows, columns, key, None, None)
    expectations = [_between("key_share", 1, None, f"two rows or more of one {', '.join(key)}")]
    if before and tolerated["volume"]:
        low, high = tolerated["volume"]
        told = f"rows: {profile['row_count']} against {before['row_count']} published"
        expectations.append(_between("row_count", before["row_count"] * low, before["row_count"] * high, told))
    if before:
        expectations += _filled(profile, [before], tolerated["filled"])
    checks: list[tuple[str, str, Sequence[Expectation]]] = [(mart, _set_view(connection, 0, profile), expectations)]
    if suite.expectations:
        connection.execute(f"create view rows_0 as select * from {rows}")
        checks.append((mart, "rows_0", suite.expectations))
    failed = _judge(connection, checks, is_private=False)
    connection.close()
    profile["warnings"] = [told for _, severity, told in failed if severity == "warning"]
    return [f"{mart}: {told}" for _, severity, told in failed if severity == "critical"], profile


def _clock(table: Table) -> str | None:
    """Name the column that dates a row: the cursor, else the first dated column of the key, which in a photo dates no row."""
    dated = {column.name for column in table.columns if column.data_type in ("date", "timestamptz")}
    names = [table.meta.cursor, *(table.meta.key if table.meta.delivers == "changes" else ())]
    return next((name for name in names if name in dated), None)


def _profile(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    columns: list[str],
    key: list[str],
    clock: str | None,
    read_at: dt.datetime | None,
    texts: Sequence[str] = (),
) -> dict[str, Any]:
    """Sum up a set: rows, distinct keys, values held by column, newest row, rows of the fullest day.

    Distinct keys are counted among about SAMPLE rows, those whose key's hash ends the same way, so that a repeated key is
    repeated in the sample too. `texts` are the columns searched for what UTF-8 looks like in a wrong encoding.
    """
    row_count = connection.execute(f"select count(*) from {rows}").fetchall()[0][0]
    one_in = max(1, row_count // SAMPLE)
    keys, first = f"({', '.join(quoted(name) for name in key)})", quoted(key[0])
    held = ", ".join(f"count({quoted(name)})" for name in columns)
    newest, is_future = "null", "false"
    if clock and read_at:
        # A day and a half: a date has no hour, and time zones differ.
        is_future = f"{quoted(clock)}::timestamptz > {literal((read_at + dt.timedelta(days=1.5)).isoformat())}::timestamptz"
        newest = f"(max({quoted(clock)}) filter (where not {is_future}))::timestamptz::varchar"
    garbled = " or ".join(f"contains({quoted(name)}, '{mark}')" for name in texts for mark in GARBLED) or "false"
    sql = (
        f"select count(*) filter (where hash({keys}) % {one_in} = 0), count(distinct {keys}) filter (where hash({keys}) % {one_in} = 0), "
        f"{one_in} * count(distinct {first}) filter (where hash({first}) % {one_in} = 0), {newest}, "
        f"count(*) filter (where {is_future}), count(*) filter (where {garbled}), "
        f"{held} from {rows}"
    )
    sampled_count, key_count, coverage, newest_at, future_count, garbled_count, *counts = connection.execute(sql).fetchall()[0]
    peak = row_count
    if clock:
        days = f"select count(*) as rows from {rows} group by {quoted(clock)}::date"
        peak = connection.execute(f"select coalesce(max(rows), 0) from ({days})").fetchall()[0][0]
    return {
        "row_count": row_count,
        "key_share": key_count / max(1, sampled_count),
        "coverage": coverage,
        "future_share": future_count / max(1, row_count),
        "garbled_share": garbled_count / max(1, row_count),
        "peak_day_rows": peak,
        "newest_at": newest_at,
        "filled": {name: round(count / max(1, row_count), 4) for name, count in zip(columns, counts, strict=True)},
    }


def _of_load(
    table: Table, profile: dict[str, Any], history: list[Entry], read_at: dt.datetime, tolerated: dict[str, Any]
) -> list[Expectation]:
    """Write the defaults of a table as expectations on its one-row profile."""
    profiles = [load["tables"][table.name]["profile"] for load in history if "profile" in load["tables"][table.name]]
    # A table may be empty as long as it never held anything, and its source says so.
    least_count = 0 if profile.pop("is_told_empty") and not any(p["row_count"] for p in profiles) else 1
    late = f", {profile['before_cursor']} are older than the lookback" if profile["before_cursor"] else ""
    expectations = [
        _between("row_count", least_count, None, f"no row was kept{late}"),
        _between("refused_share", 0, tolerated["refused_share"], f"refused rows: {profile['refused_share']:.0%}"),
    ]
    told = f"rows with a text read in a wrong encoding ({', '.join(GARBLED)}): {profile['garbled_share']:.0%}"
    expectations.append(_between("garbled_share", 0, tolerated["garbled_share"], told))
    if tolerated["key_share"] and profile["row_count"] >= FEW:
        told = f"distinct keys: {profile['key_share']:.0%} of the rows, a page was repeated"
        expectations.append(_between("key_share", tolerated["key_share"], None, told))
    told = f"rows dated after the reading: {profile['future_share']:.0%}"
    expectations.append(_between("future_share", 0, tolerated["future_share"], told))
    if not profiles:
        return expectations
    is_whole = table.meta.delivers == "whole"
    elapsed = (read_at - dt.datetime.fromisoformat(history[-1]["read_at"])).total_seconds() / 86400
    # A load of a few hours says nothing of a day's volume.
    is_comparable = is_whole or (elapsed >= 0.9 and len(profiles) >= 3)
    counts = [p["peak_day_rows"] for p in profiles]
    if tolerated["volume"] and is_comparable:
        low, high = tolerated["volume"]
        least, most = (statistics.median(counts),) * 2 if is_whole else (min(counts), max(counts))
        if max(most, profile["peak_day_rows"]) < FEW:
            least, most = 0, FEW
        span = f"{least:.0f}" if is_whole else f"{least:.0f} to {most:.0f}"
        told = f"rows{'' if is_whole else ' of the fullest day'}: {profile['peak_day_rows']}, {span} before"
        expectations.append(_between("peak_day_rows", least * low, most * high, told))
    if tolerated["coverage"] and is_comparable:
        usual = statistics.median(p["coverage"] for p in profiles)
        told = f"distinct values of {table.meta.key[0]}: {profile['coverage']}, {usual:.0f} before"
        expectations.append(_between("coverage", usual * tolerated["coverage"], None, told))
    newest = [p["newest_at"] for p in profiles if p["newest_at"]]
    if profile["newest_at"] and newest and elapsed >= 0.9:
        profile["moved_days"] = (
            dt.datetime.fromisoformat(profile["newest_at"]) - dt.datetime.fromisoformat(max(newest))
        ).total_seconds() / 86400
        told = f"stale: the newest row is still {profile['newest_at']}, {elapsed:.1f} days after the last load"
        expectations.append(_between("moved_days", 0, None, told, is_strict=True))
    return expectations + _filled(profile, profiles, tolerated["filled"])


def _filled(profile: dict[str, Any], before: list[dict[str, Any]], enough: int | None) -> list[Expectation]:
    """Expect of each column that usually holds values that it is not all null."""
    expectations = []
    for name, share in profile["filled"].items():
        usual = min((p["filled"].get(name, 0.0) for p in before), default=0.0)
        if enough is not None and usual * profile["row_count"] >= enough:
            profile[f"filled_{name}"] = share
            told = f"column {name} is all null, {usual:.0%} filled before"
            expectations.append(_between(f"filled_{name}", 0, None, told, is_strict=True))
    return expectations


def _between(column: str, low: float | None, high: float | None, reason: str, *, is_strict: bool = False) -> Expectation:
    kwargs = {"column": column, "min_value": low, "max_value": high, "strict_min": is_strict}
    return Expectation(type="expect_column_values_to_be_between", kwargs=kwargs, reason=reason)


def _set_view(connection: duckdb.DuckDBPyConnection, number: int, profile: dict[str, Any]) -> str:
    """Make the one-row view that holds the figures of a profile."""
    figures = {name: value for name, value in profile.items() if isinstance(value, int | float)}
    columns = ", ".join(f"{value}::double as {quoted(name)}" for name, value in figures.items())
    connection.execute(f"create view set_{number} as select {columns}")
    return f"set_{number}"


def _read(model: type[_Model], name: str) -> _Model:
    """Read an expectations file, of ORCHESTRA_EXPECTATIONS or of the project; a model without anything when there is none."""
    path = Path(os.environ.get("ORCHESTRA_EXPECTATIONS", ROOM)) / name
    try:
        return model.model_validate((yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None) or {})
    except ValidationError as error:
        told = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise LakeError(f"expectations/{name}: {'; '.join(told)}") from error
    except yaml.YAMLError as error:
        raise LakeError(f"expectations/{name}: not YAML: {' '.join(str(error).split())}") from error


def _judge(
    connection: duckdb.DuckDBPyConnection, checks: list[tuple[str, str, Sequence[Expectation]]], *, is_private: bool
) -> list[tuple[str, str, str]]:
    """Have Great Expectations judge each view; give name, severity and reason of the expectations that fail."""
    if not checks:
        return []
    os.environ["TQDM_DISABLE"] = "1"
    warnings.filterwarnings("ignore", category=DeprecationWarning)
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
    failed = []
    for number, (name, view, expectations) in enumerate(checks):
        asset = source.add_table_asset(name=f"{view}_{number}", table_name=view)
        batch = asset.add_batch_definition_whole_table(f"{view}_{number}").get_batch()
        suite = gx.ExpectationSuite(name=f"{view}_{number}")
        for wanted in expectations:
            told = {"reason": wanted.reason, "severity": wanted.severity}
            try:
                suite.add_expectation_configuration(ExpectationConfiguration(type=wanted.type, kwargs=wanted.kwargs, meta=told))
            except gx.exceptions.GreatExpectationsError as error:
                raise LakeError(f"expectations of {name}: {error}") from error
        format_: Any = "BOOLEAN_ONLY" if is_private else {"result_format": "BASIC", "partial_unexpected_count": 3}
        for result in batch.validate(suite, result_format=format_).results:
            configuration: Any = result.expectation_config
            if not result.success:
                failed.append((name, configuration.meta["severity"], configuration.meta["reason"] or _told(configuration, result)))
    return failed


def _told(configuration: Any, result: Any) -> str:
    """Say a failed expectation in words: what was expected, and what was seen."""
    if result.exception_info.get("exception_message"):
        return f"{configuration.type} could not be judged: {result.exception_info['exception_message']}"
    kwargs = {name: value for name, value in configuration.kwargs.items() if name not in ("batch_id", "result_format")}
    told = ("observed_value", "unexpected_count", "partial_unexpected_list")
    seen = {name: value for name, value in (result.result or {}).items() if name in told}
    return f"{configuration.type} {kwargs}" + (f", seen {seen}" if seen else "")
