"""What every benchmark shares: a ratio against its limit, medians of alternated timings, processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingestion.lake import PROJECT

THREADS = int(os.environ.get("ORCHESTRA_THREADS", min(4, os.cpu_count() or 1)))


@dataclass
class Result:
    """One ratio: the limit it is held against, None for one that has none, and the figures that it comes from."""

    name: str
    value: float | None
    limit: float | None
    is_floor: bool = False
    unit: str = ""
    figures: list[str] = field(default_factory=list)

    @property
    def is_met(self) -> bool:
        """Whether the limit is kept."""
        if self.value is None or self.limit is None:
            return self.limit is None
        return self.value >= self.limit if self.is_floor else self.value <= self.limit

    def told(self) -> str:
        """Write the result as lines of text."""
        value = "not measured" if self.value is None else f"{self.value:.3g}{self.unit}"
        if self.limit is None:
            return "\n".join([f"{self.name}: {value} (no limit)", *(f"    {line}" for line in self.figures)])
        sign = "at least" if self.is_floor else "at most"
        verdict = "met" if self.is_met else "NOT MET"
        return "\n".join([f"{self.name}: {value} ({sign} {self.limit:g}{self.unit}): {verdict}", *(f"    {line}" for line in self.figures)])


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock and of the processor."""

    wall_s: float
    cpu_s: float
    peak_mb: float = 0.0
    text: str = ""

    def __str__(self) -> str:
        """Write both."""
        return f"{self.wall_s:.2f} s ({self.cpu_s:.2f} CPU s)"

    def json(self) -> Any:
        """Read the last line that the process printed as JSON."""
        return json.loads(self.text.strip().splitlines()[-1])


def alternate(rounds: int, actions: dict[str, Callable[[], Any]]) -> dict[str, Spent]:
    """Time actions in turn (A B A B), so that the machine's noise falls on all; give the medians of each."""
    spent: dict[str, list[Spent]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            given = action()
            measured = Spent(time.perf_counter() - wall, time.process_time() - cpu)
            spent[name].append(given if isinstance(given, Spent) else measured)
    return {name: _median(values) for name, values in spent.items()}


def _median(values: list[Spent]) -> Spent:
    wall, cpu, peak = (statistics.median(getattr(spent, name) for spent in values) for name in ("wall_s", "cpu_s", "peak_mb"))
    return Spent(wall, cpu, peak, values[-1].text)


def spend(arguments: list[str], environment: dict[str, str] | None = None, accepted: tuple[int, ...] = (0,)) -> Spent:
    """Run Python to its end in a process of its own; give what it spent with its children, start and imports included.

    Raises RuntimeError when it ends with a status that is not accepted.
    """
    with tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        places = {**os.environ, **(environment or {})}
        process = subprocess.Popen([sys.executable, *arguments], cwd=PROJECT, env=places, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        peak = _Peak(process.pid)
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        told = errors.read()
    if process.returncode not in accepted or (process.returncode and "Traceback" in told):
        raise RuntimeError(f"python {arguments[0]} ended with status {process.returncode}: {(text + told).strip()[-600:]}")
    return Spent(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, peak.read_mb(), text)


class _Peak(threading.Thread):
    """Watches the peak memory of a process: ru_maxrss would not do, a child begins with its parent's."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status, self._peak = Path(f"/proc/{pid}/status"), 0
        self.start()

    def run(self) -> None:
        """Look twenty times a second, until there is no process any more."""
        with contextlib.suppress(OSError, IndexError):
            while True:
                self._peak = int(self._status.read_text().split("VmHWM:")[1].split()[0])
                time.sleep(0.05)

    def read_mb(self) -> float:
        """Give the peak in megabytes, once the process has ended."""
        self.join()
        return self._peak / 1024


@contextlib.contextmanager
def environment(**values: str | Path) -> Iterator[None]:
    """Set variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
