"""What Prefect itself costs: the flow of a cadence whose steps do nothing, against the plain functions."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import Result, spend

_FLOW = """
import json, time
start = time.perf_counter()
from flows import steps
from flows.outcome import BuildStep, LandStep, PublishStep
done = lambda name: LandStep(name, skipped="a benchmark", footprint={})
steps.land = lambda lake, journal, brick, *rest: done(brick.name)
steps.build = lambda *arguments, **options: BuildStep()
steps.publish = lambda *arguments, **options: PublishStep()
from ingestion.census import read_bricks
from ingestion.journal import Journal
from ingestion.lake import Lake
bricks = read_bricks()

def timed(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start

plain = timed(lambda: steps.run_chain(Lake(), bricks))
before = time.perf_counter()
from flows.schedule import run as flow
imported = time.perf_counter() - before
one, all_ = list(bricks)[:1], list(bricks)
told = {"plain": plain, "import": imported, "first": timed(lambda: flow(bricks=one))}
ones, alls = [], []
for _ in range(3):
    ones.append(timed(lambda: flow(bricks=one)))
    alls.append(timed(lambda: flow(bricks=all_)))
print(json.dumps({**told, "one": sorted(ones)[1], "all": sorted(alls)[1], "bricks": len(all_)}))
"""


def run(folder: Path, *, quick: bool) -> list[Result]:
    """Give the seconds that Prefect adds by brick, in a process that starts its own ephemeral server."""
    places = {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": "",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "ORCHESTRA_LAKE": str(folder / "lake"),
    }
    try:
        spent = spend(["-c", _FLOW], places)
    except RuntimeError as error:
        return [Result("Prefect, seconds by brick", None, None, figures=[str(error)[-300:]])]
    told = spent.json()
    by_brick = (told["all"] - told["one"]) / max(1, told["bricks"] - 1)
    figures = [
        f"plain functions {told['plain']:.3f} s; import of Prefect {told['import']:.1f} s",
        f"first flow, its server's start included {told['first']:.1f} s",
        f"later flows: {told['one']:.2f} s with one brick, {told['all']:.2f} s with {told['bricks']}",
        f"the whole process: {spent}, peak {spent.peak_mb:.0f} MB",
    ]
    return [Result("Prefect, seconds by brick", by_brick, None, unit=" s", figures=figures)]
