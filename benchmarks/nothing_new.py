"""A run with nothing new against a full one, and what it imports."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from benchmarks.measure import Result, Spent, alternate, spend
from benchmarks.territory import FIRST_DAY, orchestra, territory

SCALE, QUICK_SCALE = 20.0, 1.0
DAYS, QUICK_DAYS = 366, 366
LIMIT = 0.05
HEAVY = ("dbt", "dlt", "great_expectations", "prefect", "pandas")

_MODULES = """
import json, sys
from flows.cli import main
main([sys.argv[1], "--json"])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def run(folder: Path, *, quick: bool) -> list[Result]:
    """Give the share of a full run's CPU seconds that a run with nothing new takes, start of Python included."""
    scale, days = (QUICK_SCALE, QUICK_DAYS) if quick else (SCALE, DAYS)
    with territory(folder, FIRST_DAY + dt.timedelta(days=days - 1), scale) as places:
        command, told = "run", "land, build and publish"
        try:
            full = orchestra("run", places)
        except RuntimeError as error:
            command, told = "land", f"landing only, for the chain stops: {' '.join(str(error).split())[:200]}"
            places["ORCHESTRA_LAKE"] = str(folder / "landed")
            full = orchestra("land", places)
        idle: Spent = alternate(1 if quick else 3, {"idle": lambda: orchestra(command, places)})["idle"]
        modules = spend(["-c", _MODULES, command], places).json()
    heavy = [name for name in HEAVY if name in modules]
    figures = [
        f"scale {scale:g}, {days} days ({told})",
        f"full {full}, peak {full.peak_mb:.0f} MB; nothing new {idle}, peak {idle.peak_mb:.0f} MB",
    ]
    return [
        Result("a run with nothing new, share of a full one's CPU", idle.cpu_s / full.cpu_s, LIMIT, figures=figures),
        Result("heavy libraries that it imports", float(len(heavy)), 0, figures=[f"of {', '.join(HEAVY)}: {', '.join(heavy) or 'none'}"]),
    ]
