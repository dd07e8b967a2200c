"""Parquet: typed columns, counted from the footer."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from ingestion.formats.header import check_columns, named
from ingestion.formats.shape import Counted, Shape
from ingestion.formats.spool import Spool, escaped
from ingestion.lake import quoted

# DuckDB's decimals hold so many digits; it reads those of Parquet that have more as other numbers.
DECIMAL_DIGITS = 38


def look_at_parquet(name: str, request: Any, spool: Spool) -> tuple[Shape, Counted]:
    """Counted from the footer; a declared column of bytes is text where it is UTF-8."""
    path = spool.path(name)
    ((count,),) = _ask(request, "select num_rows from parquet_file_metadata(?)", path)
    described = _ask(request, "describe from read_parquet(?, hive_partitioning = false)", path)
    written: tuple[str, ...]
    written, types = zip(*[row[:2] for row in described], strict=True)
    columns = named(request, written, is_spelled=True)
    check_columns(request, columns)
    held = _ask(request, "select name, precision from parquet_schema(?)", path)
    # DuckDB renames the second of two columns whose names it takes for one.
    if twins := [column for column in written if column not in {name for name, _ in held}]:
        raise ValueError(f"has columns that share a name, whatever its case ({', '.join(twins)}). Mend: rename them at the source")
    if wide := [name for name, precision in held if (precision or 0) > DECIMAL_DIGITS]:
        told = "" if request.is_private else f" ({', '.join(wide)})"
        raise ValueError(
            f"holds decimals of more than {DECIMAL_DIGITS} digits, which DuckDB reads as other numbers{told}. "
            "Mend: have the source write fewer digits, or text"
        )
    declared = {column.casefold() for column in (*request.columns, *request.formerly)}
    values = [
        f"coalesce(try(decode({quoted(own)})), {quoted(own)}::varchar)" if kind == "BLOB" and name.casefold() in declared else quoted(own)
        for own, name, kind in zip(written, columns, types, strict=True)
    ]
    selected = ", ".join(f"{value} as {quoted(name)}" for value, name in zip(values, columns, strict=True))
    taken = {column.casefold() for column in written}
    held_path = next(each for size in itertools.count() if (each := "_path" + "_" * size) not in taken)
    after = f", filename = '{held_path}', hive_partitioning = false)"
    return Shape("read_parquet(", after, columns, types, selected, held_path), Counted(count)


def _ask(request: Any, sql: str, path: Path) -> list[Any]:
    """Ask DuckDB about a Parquet file; raises ValueError when it cannot say."""
    import duckdb

    try:
        return request.connection.execute(sql, [escaped(path)]).fetchall()
    except duckdb.Error as error:
        raise ValueError(f"is not whole Parquet: {str(error)[:200]}") from error
