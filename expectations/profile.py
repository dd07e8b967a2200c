"""What a set of rows is summed up to, in one pass over what no footer tells: later sets are compared with it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ingestion.lake import literal, quoted
from ingestion.parquet import Footers

if TYPE_CHECKING:
    import duckdb

    from ingestion.brick import Table
    from ingestion.column import Column

GARBLED = ("Ã©", "Ã¨", "\ufffd")  # é and è of UTF-8 read as cp1252; what a reader writes for what it does not understand
FEW_REFUSED = 0.00005  # share of rows that changes no share of four digits
# Rows among which distinct keys are counted, of a load and of a mart, whose grain is to hold; of profiles that do not say theirs.
SAMPLE, MART_SAMPLE, FORMER_SAMPLE = 250_000, 1_000_000, 1_000_000
FEW_VALUES = 1000  # distinct values that are no sample of more
DAY_US = 86_400_000_000


def profile_of(
    connection: duckdb.DuckDBPyConnection,
    footers: Footers,
    refused: int,
    rows: str,
    columns: list[str],
    key: Sequence[str],
    more: dict[str, str],
    sample: int = SAMPLE,
) -> dict[str, Any]:
    """Sum up a set: rows, distinct keys, share of values held by column, and what more is written in SQL; `refused` are in files alone.

    Distinct keys are counted among about `sample` rows, those whose key's hash ends the same way, so that a repeated key is
    repeated in the sample too. So are the values of the key's first column, all of them where the sample holds few.
    """
    row_count = footers.row_count - refused
    one_in = max(1, row_count // sample)
    keys, first = f"hash({', '.join(quoted(name) for name in key)})", quoted(key[0])
    distinct = keys if len(key) > 1 else f"case when {first} is not null then {keys} end"  # no key is none
    sampled = f"filter (where {keys} % {one_in} = 0)"
    held = {name: _held(footers.held(name), row_count, refused) for name in columns}
    figures = {
        "key_share": f"count(distinct {distinct}) {sampled} / greatest(1, count(*) {sampled})",
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
    rounded = {name: round(share, 4) for name, share in filled.items()}
    return {"row_count": row_count, "sampled_among": sample, **found, "filled": rounded, "warnings": []}


def _held(told: int | None, row_count: int, refused: int) -> int | None:
    """Give how many values of a column the rows that are kept hold, of how many all hold; None where it is to be counted.

    Few refused rows change no figure that is told, unless they alone hold values.
    """
    if told is None or not refused:
        return told
    return min(told, row_count) if told > refused and refused < FEW_REFUSED * row_count else None


def days_of(table: Table, footers: Footers, rows: str, read_at: dt.datetime) -> dict[str, str]:
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
    # Days of UTC, by their number from before any year (`//` cuts towards zero): to make a date of an instant takes six times as long.
    day = quoted(clock) if dated[clock].data_type == "date" else f"(epoch_us({quoted(clock)}) + {DAY_US * 1_000_000}) // {DAY_US}"
    return {
        **told,
        "future_share": share(dated[clock], f"{at} > {horizon}", "*"),
        "peak_day_rows": f"coalesce((select max(rows) from (select count(*) as rows from {rows} group by {day})), 0)",
        "newest_at": f"(max({quoted(clock)}) filter (where {at} <= {horizon}))::timestamptz::varchar",
    }
