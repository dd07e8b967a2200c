"""What files that are read as one have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """What files that are read as one have in common: the SQL before and after their paths, their columns and types.

    `selected` is SQL of the columns, `path` the one that holds the path. `scanned` is how a text is scanned, `header` its
    records that are no rows, `is_thin` when some hold blank values alone, `again` SQL that tells a header among the rows.
    """

    before: str
    after: str = ")"
    columns: tuple[str, ...] | None = None
    types: tuple[str, ...] = ()
    selected: str = "* exclude (_path)"
    path: str = "_path"
    scanned: tuple[Any, ...] = ()
    header: int = 0
    is_thin: bool = False
    again: str | None = None
