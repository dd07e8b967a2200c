"""What files that are read as one have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class Counted(NamedTuple):
    """How many records a file holds, and whether each of its lines is one, so that a record's number tells its line.

    Of a sheet, `rows` are the numbers of its rows that hold something. `warnings` is what a file may hold otherwise than it shows it,
    `said` what it says of itself.
    """

    records: int
    is_plain: bool = False
    rows: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    said: dict[str, str] | None = None


@dataclass(frozen=True)
class Shape:
    """What files that are read as one have in common: the SQL before and after their paths, their columns and types.

    `selected` is SQL of the columns, `path` the one that holds the path. `scanned` is how a text is scanned, `header` its
    records that are no rows, `is_thin` when some hold blank values alone, `names` those of the header where a row may be one again.
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
    names: tuple[str, ...] | None = None
