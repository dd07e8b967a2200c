"""A mart that outlives its sources (`keeps`): of the periods that began before what has expired, its rows stay as they were published."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ingestion.journal import Journal
from ingestion.lake import Lake, listed, literal, quoted
from redistribution.mart import Mart

if TYPE_CHECKING:
    import duckdb


def kept_until(journal: Journal, sources: Iterable[str]) -> str | None:
    """Give the day (ISO) before which loads of one of some bricks have expired, the latest; None where none has."""
    return max((entry["until"][:10] for brick in sources for entry in journal.of("expire", brick)), default=None)


def rows_of(lake: Lake, journal: Journal, connection: duckdb.DuckDBPyConnection, mart: Mart, before: dict[str, Any] | None) -> str:
    """Give the relation of what is to be published of a mart: what was built, with the rows that it keeps of the last publication.

    A period is frozen once it began before what has expired: a row of it that was published stays, and hides the one that is built
    from what remains; one that never was comes in.
    """
    built, until = f"warehouse.{mart.relation}", kept_until(journal, mart.sources)
    if not mart.keeps or not before or until is None:
        return built
    types = dict(connection.execute(f"select column_name, column_type from (describe {built})").fetchall())
    files = listed(map(lake.path, before["files"].values()))
    held = {name for (name,) in connection.execute(f"select column_name from (describe from read_parquet({files}))").fetchall()}
    values = ", ".join(f"try_cast({quoted(name) if name in held else 'null'} as {kind}) as {quoted(name)}" for name, kind in types.items())
    period = quoted(str(mart.figures.period))
    kept = f"(select {values} from read_parquet({files}) where {period}::varchar < {literal(until)})"
    same = " and ".join(f"built.{quoted(name)} is not distinct from kept.{quoted(name)}" for name in mart.key)
    view = quoted(f"kept_{mart.name}")
    connection.execute(
        f"create or replace temp view {view} as select * from {kept} union all by name select * from {built} as built "
        f"where not exists (select 1 from {kept} as kept where {same})"
    )
    return view
