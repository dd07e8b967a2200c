"""Landing 5 million rows of Parquet, CSV and NDJSON against DuckDB's own copy of the same bytes to Parquet."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Result, Spent, alternate, environment
from benchmarks.readings import plain_copy, write_brick, write_source
from ingestion.lake import Lake

ROWS, QUICK_ROWS = 5_000_000, 200_000
LIMIT, LIMIT_WITH_GATE = 0.5, 2.0


def run(folder: Path, *, quick: bool) -> list[Result]:
    """Give two ratios a format: seconds of the copy over seconds of the landing, 1 being as fast; and of both with the gate over the copy.

    Landing: listing, independent count, the SELECT that casts and refuses, booking by dlt, journal entry. Imports are
    done before; the landed gate is timed apart. The copy: to the declared types, on as many threads; it skips rows that
    do not fit, or lands them unseen.
    """
    import dlt  # noqa: F401
    import great_expectations  # noqa: F401

    rows, rounds = (QUICK_ROWS, 1) if quick else (ROWS, 3)
    return [result for format_ in ("parquet", "csv", "ndjson") for result in _compare(folder / format_, format_, rows, rounds)]


def _compare(folder: Path, format_: str, rows: int, rounds: int) -> list[Result]:
    from expectations.gate import judge_load
    from ingestion.journal import Journal
    from ingestion.landing import land_brick

    source = write_source(folder / "source", format_, rows)
    brick = write_brick(folder, format_)
    gate: list[float] = []
    entry: dict[str, Any] = {}

    def judge(*arguments: Any) -> list[str]:
        start = time.perf_counter()
        reasons = judge_load(*arguments)
        gate.append(time.perf_counter() - start)
        return reasons

    def land() -> Spent:
        shutil.rmtree(folder / "lake", ignore_errors=True)
        lake = Lake(str(folder / "lake"))
        wall, cpu = time.perf_counter(), time.process_time()
        landed = land_brick(lake, Journal(lake), brick, "benchmark", judge)
        entry.update(landed.entry or {})
        return Spent(time.perf_counter() - wall - gate[-1], time.process_time() - cpu)

    connection = Lake(str(folder / "plain")).connect()
    copy = plain_copy(source, format_, folder / "plain.parquet")
    with environment(ORCHESTRA_ENDPOINT=source.parent):
        land()  # what is made once a process is not counted: dlt's providers, the first pages of the file
        spent = alternate(rounds, {"copy": lambda: connection.execute(copy) and None, "land": land})
    connection.close()
    record = entry["tables"]["readings"]
    figures = [
        f"{rows:,} rows, {source.stat().st_size / 1e6:,.0f} MB: {record['kept']:,} kept, {record['refused']} refused; {entry['verdict']}",
        f"copy {spent['copy']}; landing {spent['land'].wall_s:.2f} s without the gate, {rows / spent['land'].wall_s:,.0f} rows/s",
    ]
    shutil.rmtree(folder)
    copied, landed, judged = spent["copy"].wall_s, spent["land"].wall_s, sorted(gate)[len(gate) // 2]
    told = [f"the landed gate: {judged:.2f} s; CPU of landing and gate: {spent['land'].cpu_s:.2f} s"]
    return [
        Result(f"landing {format_}, share of a plain copy's speed", copied / landed, LIMIT, is_floor=True, figures=figures),
        Result(f"landing {format_} with its gate, times a plain copy", (landed + judged) / copied, LIMIT_WITH_GATE, figures=told),
    ]
