"""What one more frame takes in the warehouse: a lake of a year of frames against one of a month."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from benchmarks.measure import Result
from benchmarks.territory import FIRST_DAY, orchestra, territory

SCALE, QUICK_SCALE = 4.0, 1.0
DAYS, QUICK_DAYS = (31, 366), (31, 122)
LIMIT = 1040.0  # a fifth of what it was when each step from the frame to the interval was a table of its own


def run(folder: Path, *, quick: bool) -> list[Result]:
    """Give the bytes of the warehouse that one more frame takes, free blocks apart.

    The difference of two lakes leaves out what does not grow with frames: a block or two of each small table.
    """
    scale, days = (QUICK_SCALE, QUICK_DAYS) if quick else (SCALE, DAYS)
    sizes: list[tuple[int, int]] = []
    for count in days:
        with territory(folder / str(count), FIRST_DAY + dt.timedelta(days=count - 1), scale) as places:
            orchestra("land", places)
            orchestra("build", places)
        sizes.append(_measure(Path(places["ORCHESTRA_LAKE"]) / "state" / "warehouse.duckdb"))
    (few, small), (many, large) = sizes
    figures = [
        f"scale {scale:g}, {length} days: {frames:,} frames, {size / 1e6:.1f} MB, {size / frames:,.0f} bytes a frame in all"
        for length, (frames, size) in zip(days, sizes, strict=True)
    ]
    return [Result("bytes of the warehouse that one more frame takes", (large - small) / (many - few), LIMIT, unit=" B", figures=figures)]


def _measure(warehouse: Path) -> tuple[int, int]:
    """Give the frames that a warehouse holds, and the bytes of its blocks in use."""
    import duckdb

    with duckdb.connect(str(warehouse), read_only=True) as connection:
        sql = "select block_size * used_blocks from pragma_database_size() where database_name = 'warehouse'"
        frames = connection.execute("select count(*) from staging.stg_lora_batiments__frames").fetchall()[0][0]
        return frames, connection.execute(sql).fetchall()[0][0]
