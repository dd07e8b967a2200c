"""The site of many marts: written from nothing, with nothing new, and after one of them changed."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.measure import Result
from ingestion.lake import Lake
from tests.fixtures.site import Town, rows

MARTS, QUICK_MARTS = 40, 2
LIMIT = 100.0  # seconds, for 40 marts in two languages
COPIES = 30  # of the buildings of the small mart: 4,890 rows


def run(folder: Path, *, quick: bool) -> list[Result]:
    """Give the seconds that the site of copies of a mart takes."""
    count = QUICK_MARTS if quick else MARTS
    town = Town(Lake(str(folder / "lake"), str(folder / "state")))
    columns = "building_id || i as building_id, building_name || ' annexe ' || i as building_name"
    select = f"select t.* replace ({columns}) from ({rows()}) as t, range({COPIES}) as u (i)"
    for number in range(count):
        town.mart(f"energy_{number}_by_month", select, questions=[])
    town.publish()
    seconds = {}
    for step in ("from nothing", "nothing new", "one mart changed"):
        if step == "one mart changed":
            town.mart("energy_0_by_month", f"{select} where i > 0", questions=[])
            town.publish()
        begun = time.monotonic()
        written = town.follow().written
        seconds[step] = (time.monotonic() - begun, len(written))
    figures = [f"{step}: {spent:.2f} s, {files} files written" for step, (spent, files) in seconds.items()]
    return [Result(f"the site of {count} marts in two languages", seconds["from nothing"][0], LIMIT, unit=" s", figures=figures)]
