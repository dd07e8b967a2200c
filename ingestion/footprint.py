"""What a step costs: time, CPU seconds and an estimate of its energy."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, field

# An estimate, not a measurement: share of a server's power that a busy core accounts for, memory and losses included.
WATTS_PER_BUSY_CORE = 10.0
METHOD = f"CPU seconds x {WATTS_PER_BUSY_CORE:.0f} W per busy core (estimate, not a measurement)"


def cpu_seconds() -> float:
    """CPU seconds used so far by this process and its ended children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@dataclass
class Footprint:
    """Meter started when made; `read` gives what was spent since."""

    _wall: float = field(default_factory=time.monotonic)
    _cpu: float = field(default_factory=cpu_seconds)

    def read(self) -> dict[str, float]:
        """Give wall_s, cpu_s and energy_wh (see METHOD)."""
        cpu = cpu_seconds() - self._cpu
        wall = time.monotonic() - self._wall
        return {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3), "energy_wh": round(cpu * WATTS_PER_BUSY_CORE / 3600, 5)}
