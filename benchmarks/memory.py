"""Peak memory of a process that lands 1 million rows, against one that lands 30 million."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.measure import Result, Spent, spend
from benchmarks.readings import write_brick, write_source

ROWS, QUICK_ROWS = (1_000_000, 30_000_000), (100_000, 1_000_000)
FLAT, LIMIT_MB = 1.5, 1024.0

_LAND = """
import sys
import dlt, great_expectations
from pathlib import Path
from ingestion.census import read_brick
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.landing import land_brick
from expectations.gate import judge_load

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

def judge(*arguments):
    print(round(peak()), flush=True)
    return judge_load(*arguments)

lake = Lake()
entry = land_brick(lake, Journal(lake), read_brick(Path(sys.argv[1])), "benchmark", judge).entry
assert entry["verdict"] == "accepted", entry["reasons"]
"""


def run(folder: Path, *, quick: bool) -> list[Result]:
    """Give the growth of the peak from the small landing to the great one, and the greatest peak, by format.

    The peak is that of a process with all its imports (dlt, Great Expectations), gate included.
    """
    return [result for format_ in ("csv", "ndjson", "parquet") for result in _measure(folder / format_, format_, quick=quick)]


def _measure(folder: Path, format_: str, *, quick: bool) -> list[Result]:
    sizes = QUICK_ROWS if quick else ROWS
    peaks: list[Spent] = []
    folder.mkdir()
    script = folder / "land.py"
    script.write_text(_LAND, encoding="utf-8")
    for rows in sizes:
        source = write_source(folder / str(rows), format_, rows)
        write_brick(folder, format_)
        places = {"ORCHESTRA_LAKE": str(folder / f"lake-{rows}"), "ORCHESTRA_ENDPOINT": str(source.parent)}
        peaks.append(spend([str(script), str(folder / "readings.yml")], places))
        source.unlink()
    limit = os.environ.get("ORCHESTRA_MEMORY", "500MB")
    figures = [
        f"{rows:,} rows: peak {spent.peak_mb:.0f} MB ({spent.text.split()[0]} before the gate), {spent}"
        for rows, spent in zip(sizes, peaks, strict=True)
    ]
    figures.append(f"ORCHESTRA_MEMORY={limit} bounds DuckDB's own buffers; the rest is Python, its libraries and the allocator")
    growth = peaks[1].peak_mb / peaks[0].peak_mb
    return [
        Result(f"peak memory of landing {format_}, {sizes[1]:,} rows over {sizes[0]:,}", growth, FLAT, figures=figures),
        Result(f"peak memory of landing {format_}", max(spent.peak_mb for spent in peaks), LIMIT_MB, unit=" MB"),
    ]
