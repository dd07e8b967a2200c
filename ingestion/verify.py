"""Check that what the journal says of landed files is so: each is there, of its size, and can be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError, Stored, listed
from ingestion.particulars import read_particulars

if TYPE_CHECKING:
    import duckdb


class Fault(NamedTuple):
    """What is wrong, and what to do."""

    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.what}. Mend: {self.mend}"


def landed_faults(lake: Lake, journal: Journal, *, is_deep: bool = False) -> Iterator[Fault]:
    """Give what is wrong with the landed files of the loads that stand, one fault a table of a load; `is_deep` reads every row."""
    for entry in journal.of("erase"):
        if "of" in entry and journal.entries[entry["of"] - 1]["kind"] == "lost":
            what = f"{entry['brick']}.{entry['table']}: what entry {entry['of']} of the journal erased is not known any more"
            yield Fault(f"{what}, and may land again", f"orchestra erase --brick {entry['brick']}, of what was asked for")
    connection = lake.connect() if is_deep else None
    loads = list(journal.loads().values())
    for brick in sorted({load["brick"] for load in loads}):
        standing = lake.listing(f"landed/{brick}")
        for load in (load for load in loads if load["brick"] == brick):
            for table in load["tables"]:
                if told := _fault(lake, standing, connection, load, table):
                    way = f"orchestra loads drop {load['load_id']} --refetch, then orchestra run --brick {brick}"
                    yield Fault(f"{brick}.{table}: load {load['load_id']}: {told}", f"put it back from a backup, or {way}")
    if connection:
        connection.close()


def _fault(lake: Lake, standing: dict[str, Stored], connection: duckdb.DuckDBPyConnection | None, load: Entry, table: str) -> str | None:
    record = load["tables"][table]
    files = record["files"]
    if gone := [file for file in files if file not in standing]:
        return f"{gone[0]} is gone" + (f", and {len(gone) - 1} more" if gone[1:] else "")
    if (told := load["particulars"])["name"] not in standing:
        return f"{told['name']} is gone"
    if (held := standing[told["name"]].size) != told["size"]:
        return f"{told['name']} is of {held:,} bytes, and was written with {told['size']:,}"
    if connection:
        try:
            read_particulars(lake, load)
        except LakeError as error:
            return str(error).partition(". Mend: ")[0]
    for file, size in zip(files, record["sizes"], strict=True):
        if standing[file].size != size:
            return f"{file} is of {standing[file].size:,} bytes, and landed with {size:,}"
    if connection and files:
        return unread(connection, [lake.path(file) for file in files], sum(record["rows"]))
    return None


def unread(connection: duckdb.DuckDBPyConnection, paths: list[str], row_count: int) -> str | None:
    """Read Parquet files whole; say why they cannot be, or that they hold another number of rows."""
    import duckdb

    try:
        sql = f"select count(*), bit_xor(hash(held)) from read_parquet({listed(paths)}, hive_partitioning = false) as held"
        count = connection.execute(sql).fetchall()[0][0]
    except duckdb.Error as error:
        return f"{paths[0]} cannot be read ({str(error).splitlines()[0]})"
    return None if count == row_count else f"{paths[0]} holds {count:,} rows, and {row_count:,} were written"
