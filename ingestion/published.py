"""What stands published of each mart: folded from the journal, and shown to the models of dbt, so that a mart may remember."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake, Stored, listed, quoted

if TYPE_CHECKING:
    import duckdb


WHOLE = "whole"  # the unit of a mart that is one file


def standing(publications: Iterable[Entry]) -> dict[str, tuple[Entry, dict[str, Any]]]:
    """Give, by mart, the last of some publications that holds it, and what it says of it; those withdrawn left out."""
    last: dict[str, tuple[Entry, dict[str, Any]]] = {}
    for entry in publications:
        last |= {name: (entry, record) for name, record in entry["marts"].items()}
        for name, record in entry["withdrawn"].items():
            if name in last and last[name][1]["class"] == record["class"]:
                del last[name]
    return last


def stable_name(access_class: str, name: str, unit: str) -> str:
    """Give the lasting name of the last good file of a unit of a mart."""
    return f"files/{access_class}/{name}{'' if unit == WHOLE else f'/{unit}'}.parquet"


def files_of(lake: Lake, name: str, record: dict[str, Any], stored: Mapping[str, Stored]) -> list[str] | None:
    """Give the files of a publication of a mart, or their stable names for those that are gone; None where one is found under neither."""
    found = []
    for unit, file in sorted(record["files"].items()):
        stable = stable_name(record["class"], name, unit)
        size = record.get("sizes", {}).get(unit)
        found += [each for each in (file, stable) if each in stored and size in (None, stored[each].size)][:1]
    return [lake.path(file) for file in found] if len(found) == len(record["files"]) else None


def say_published(connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal) -> None:
    """Make the schema `published`: of each mart that stands published, a view over the files that readers have of it.

    The table `meta.published` (mart, is_whole) names them all, for one whose files are lost has no view: the macro `published`
    refuses it, since a mart that has forgotten what it gave would give more than it may.
    """
    connection.execute("create schema if not exists published")
    connection.execute("create or replace table meta.published (mart varchar, is_whole boolean)")
    for (name,) in connection.execute(
        "select view_name from duckdb_views() where schema_name = 'published' and database_name = current_database()"
    ).fetchall():
        connection.execute(f"drop view published.{quoted(name)}")
    stored = lake.listing("marts") | lake.listing("files")
    for name, (_, record) in sorted(standing(journal.of("publication")).items()):
        if files := files_of(lake, name, record, stored):
            connection.execute(f"create view published.{quoted(name)} as from read_parquet({listed(files)})")
        connection.execute("insert into meta.published values (?, ?)", [name, files is not None])
