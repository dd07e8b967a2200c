"""Randomness of the sandbox: a hash of (seed, what, who, when), never a stream, so that nothing depends on what was asked before."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def uniform(seed: int, tag: str, *keys: ArrayLike) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend only on their keys (integers, broadcast together): splitmix64 of them."""
    state: Any = np.uint64((int.from_bytes(tag.encode(), "big") * 1_000_003 + seed) % 2**64)
    with np.errstate(over="ignore"):
        for key in keys:
            spread = np.asarray(key, dtype=np.int64).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            state = state ^ spread
            for shift, factor in zip((30, 27), _MIX, strict=True):
                state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state >> np.uint64(11), dtype=np.float64) / 2.0**53


def wave(seed: int, tag: str, hours: NDArray[np.int64], period: int) -> NDArray[np.float64]:
    """Smooth noise of mean 0 and variance about 1, with a new target every `period` hours."""
    step, rest = np.divmod(hours, period)
    part = rest / period
    ease = part * part * (3 - 2 * part)
    low, high = (uniform(seed, tag, step + i) for i in (0, 1))
    return (low + (high - low) * ease - 0.5) * math.sqrt(12) * 1.2
