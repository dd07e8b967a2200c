"""The sandbox as the benchmarks read it: folders of files where a brick is one, the others served over HTTP."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Spent, spend
from ingestion.sandbox.files import write_drops

FIRST_DAY = dt.date(2024, 1, 1)
DROPPED = ("insee_cog", "lora_batiments", "meteo_stations")


@contextlib.contextmanager
def territory(folder: Path, until: dt.date, scale: float = 1.0) -> Iterator[dict[str, str]]:
    """Lay the sandbox out until a day, and give the environment that plugs it in with a lake of its own."""
    from flows.servers import endpoints, sandbox

    for brick in DROPPED:
        write_drops(folder / "drops" / brick, brick, scale, until)
    with sandbox(until.isoformat(), folder / "planted.json", scale) as url:
        yield {
            **endpoints(url),
            **{f"ORCHESTRA_ENDPOINT_{brick.upper()}": str(folder / "drops" / brick) for brick in DROPPED},
            "ORCHESTRA_ENDPOINT_REPONSES_ALERTES": "none",
            "ORCHESTRA_LAKE": str(folder / "lake"),
        }


def orchestra(command: str, places: dict[str, str]) -> Spent:
    """Run `orchestra run` or `orchestra land` in a process of its own; raises RuntimeError when a step fails."""
    spent = spend(["-m", "flows.cli", command, "--json"], places, accepted=(0, 1))
    failures = json.loads(spent.text)["failures"]
    if failures:
        raise RuntimeError(f"orchestra {command}: {'; '.join(failures)[:500]}")
    return spent
