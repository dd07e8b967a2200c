"""A run with one new day on 30 days of history, against one on 900."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from benchmarks.measure import Result, Spent, alternate
from benchmarks.territory import FIRST_DAY, orchestra, territory

HISTORIES, QUICK_HISTORIES = (30, 900), (30, 400)
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
    day = FIRST_DAY + dt.timedelta(days=histories[1] - 1)
    # Both lakes stand at the same day, with the same referentials, weather and bills; the frames go back 30 or 900 days.
    since = {length: day - dt.timedelta(days=length - 1) for length in histories}
    until = dict.fromkeys(histories, day)

    def next_run(length: int) -> Spent:
        with territory(folder / str(length), until[length], since=since[length]) as places:
            until[length] += dt.timedelta(days=1)
            return orchestra(command, places)

    first = {length: next_run(length) for length in histories}
    spent = alternate(rounds, {str(length): lambda length=length: next_run(length) for length in histories})
    short, long = (spent[str(length)] for length in histories)
    figures = [f"{length} days of frames: {spent[str(length)]}, their first run {first[length]}" for length in histories]
    figures.append(f"in CPU seconds: {long.cpu_s / short.cpu_s:.2f}")
    name = f"one new day, orchestra {command}, on {histories[1]} days over {histories[0]}"
    return Result(name, long.wall_s / short.wall_s, LIMIT, figures=figures)
