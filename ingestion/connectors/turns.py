"""How much is asked of one host at once, and how often, by all the bricks that a process reads."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from ingestion.connectors import Strict


class Limits(Strict):
    """What a brick asks of its host: so many requests at once, and so many a second (null: as many as are answered)."""

    concurrency: Annotated[int, Field(ge=1, le=32)] = 8
    per_second: Annotated[float, Field(gt=0)] | None = None


POLITE = Limits(concurrency=2, per_second=10)
"""What is asked of an API of which its brick says nothing."""


@dataclass
class _Host:
    """A host: requests that are under way, the instant (of the monotonic clock) before which none begins, and who waits, in order."""

    active: int = 0
    free_at: float = 0.0
    waiting: deque[object] = field(default_factory=deque)


_hosts: defaultdict[str, _Host] = defaultdict(_Host)
_changed = threading.Condition()


@contextlib.contextmanager
def turn(name: str, limits: Limits) -> Iterator[None]:
    """Wait for one's turn at a host, first come, first served, and hold it as long as the answer is read."""
    with _changed:
        host, mine = _hosts[name], object()
        host.waiting.append(mine)
        try:
            while host.waiting[0] is not mine or host.active >= limits.concurrency or host.free_at > time.monotonic():
                left = host.free_at - time.monotonic()
                _changed.wait(left if left > 0 else None)
        finally:
            host.waiting.remove(mine)
            _changed.notify_all()
        host.active += 1
        if limits.per_second:
            host.free_at = time.monotonic() + 1 / limits.per_second
    try:
        yield
    finally:
        with _changed:
            host.active -= 1
            _changed.notify_all()


def rest(name: str, seconds: float) -> None:
    """Have no request begin at a host for some seconds: it has asked one of us to wait, and means us all."""
    with _changed:
        _hosts[name].free_at = max(_hosts[name].free_at, time.monotonic() + seconds)
