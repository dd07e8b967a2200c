"""A run with one new day on 120 days of history, against one on 900."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

from benchmarks.measure import Result, Spent, alternate
from benchmarks.territory import FIRST_DAY, orchestra, territory
from ingestion.census import read_bricks
from ingestion.journal import Journal
from ingestion.lake import Lake
from redistribution.mart import read_marts

HISTORIES, QUICK_HISTORIES = (120, 900), (120, 400)
LIMIT = 1.3


def run(folder: Path, *, quick: bool) -> list[Result]:
    """Give the ratio of the two runs, as processes: land, build and publish; then landing alone."""
    results = []
    for command in ("land",) if quick else ("land", "run"):
        try:
            results.append(_compare(folder / command, command, QUICK_HISTORIES if quick else HISTORIES, 1 if quick else 3))
        except RuntimeError as error:
            results.append(Result(f"one new day, orchestra {command}", None, LIMIT, figures=[str(error)]))
    return results


def _compare(folder: Path, command: str, histories: tuple[int, ...], rounds: int) -> Result:
    # Frames, weather and bills alike began so many days before: a meter without its past has its months withheld, and so has a
    # first month without a bill.
    until = {length: FIRST_DAY + dt.timedelta(days=length - 1) for length in histories}

    def next_run(length: int) -> Spent:
        with territory(folder / str(length), until[length]) as places:
            until[length] += dt.timedelta(days=1)
            return orchestra(command, places)

    first = {length: next_run(length) for length in histories}
    spent = alternate(rounds, {str(length): lambda length=length: next_run(length) for length in histories})
    short, long = (spent[str(length)] for length in histories)
    figures = [f"{length} days: {spent[str(length)]}, their first run {first[length]}" for length in histories]
    figures.append(f"in CPU seconds: {long.cpu_s / short.cpu_s:.2f}")
    if command == "run":
        figures += cost_of_marts(folder / str(histories[1]) / "lake")
    name = f"one new day, orchestra {command}, on {histories[1]} days over {histories[0]}"
    return Result(name, long.wall_s / short.wall_s, LIMIT, figures=figures)


def cost_of_marts(lake: Path) -> list[str]:
    """Say of each mart what its last build took: the seconds of its model, of all it is made of, and the bytes written of it."""
    target = lake / "state" / "target"
    results = json.loads((target / "run_results.json").read_bytes())["results"]
    seconds = {result["unique_id"]: result["execution_time"] for result in results if result["unique_id"].startswith("model.")}
    manifest = json.loads((target / "manifest.json").read_bytes())
    last = next(reversed(list(Journal(Lake(str(lake))).of("publication"))), {"marts": {}, "run_id": ""})
    told = []
    for mart in read_marts(manifest, {name: brick.meta.access_class for name, brick in read_bricks().items()}):
        record = last["marts"].get(mart.name, {"files": {}, "sizes": {}})
        written = sum(size for unit, size in record["sizes"].items() if last["run_id"] in record["files"][unit])
        own = seconds.get(f"model.city_orchestra.{mart.name}", 0.0)
        made_of = sum(seconds.get(node, 0.0) for node in mart.lineage)
        told.append(f"{mart.name}: its model {own:.2f} s, all that it is made of {made_of:.1f} s, {written / 1000:.0f} kB written")
    return told
