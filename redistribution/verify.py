"""Check that what the journal says was published is there: mart files, catalogues, stable files, and the warehouse they come from."""

from __future__ import annotations

from collections.abc import Iterator

from ingestion.journal import Journal
from ingestion.lake import Lake, Stored, literal, quoted
from ingestion.verify import Fault, unread
from redistribution.catalogue import attach, catalogue, followed, stray
from redistribution.publications import by_class, last_published
from redistribution.stable_files import stable_names

REBUILD = "orchestra rebuild"


def file_faults(lake: Lake, journal: Journal) -> Iterator[Fault]:
    """Give which published files are gone, or are of another size, without reading any: those of marts, and those of stable names."""
    standing = lake.listing("marts")
    for name, record in last_published(journal).items():
        sizes = record.get("sizes", {})
        for unit, file in record["files"].items():
            if file not in standing:
                yield Fault(f"mart {name}: {file} is gone", REBUILD)
            elif (size := standing[file].size) != sizes.get(unit, size):
                yield Fault(f"mart {name}: {file} is of {size:,} bytes, and was published with {sizes[unit]:,}", REBUILD)
    for access_class in by_class(journal):
        yield from _stable_faults(lake, journal, access_class, standing)


def published_faults(lake: Lake, journal: Journal, *, is_deep: bool = False) -> Iterator[Fault]:
    """Give what is wrong with what readers see; what merely lags behind the journal is no fault. `is_deep` reads every row."""
    yield from file_faults(lake, journal)
    if is_deep:
        yield from _row_faults(lake, journal)
    for access_class, entries in by_class(journal).items():
        yield from _catalogue_faults(lake, journal, access_class, entries[-1]["seq"], is_deep=is_deep)


def _row_faults(lake: Lake, journal: Journal) -> Iterator[Fault]:
    standing = lake.listing("marts")
    with lake.connect() as connection:
        for name, record in last_published(journal).items():
            paths = [lake.path(file) for file in record["files"].values() if file in standing]
            if len(paths) == len(record["files"]) and (told := unread(connection, paths, record["row_count"])):
                yield Fault(f"mart {name}: {told}", f"delete its files, then {REBUILD}")


def _catalogue_faults(lake: Lake, journal: Journal, access_class: str, seq: int, *, is_deep: bool) -> Iterator[Fault]:
    import duckdb

    path, found = catalogue(lake, access_class), followed(lake, access_class)
    if why := stray(lake, journal, access_class, found):
        yield Fault(f"{path} {why}", REBUILD)
    elif max(found.snapshots, default=0) < seq:
        yield Fault(f"{path} is not there, is broken, or has not followed the journal to {seq}", f"orchestra publish, or {REBUILD}")
    elif lost := sorted(found.files - lake.listing(f"marts/{access_class}").keys()):
        yield Fault(f"{path}: {lost[0]}, which readers see, is gone", REBUILD)
    else:
        connection = lake.connect()
        try:
            attach(connection, lake, access_class)
            for name, record in last_published(journal).items():
                if record["class"] != access_class:
                    continue
                sql = f"select data_file from ducklake_list_files('lake', {literal(name)})"
                # DuckLake takes no file without rows.
                files = {lake.path(file) for file in record["files"].values()} if record["row_count"] else set()
                if {row[0] for row in connection.execute(sql).fetchall()} != files:
                    yield Fault(f"{path}: mart {name} is not made of the files that were last published", REBUILD)
                elif is_deep and connection.execute(f"select count(*) from lake.{quoted(name)}").fetchall() != [(record["row_count"],)]:
                    yield Fault(f"{path}: mart {name} does not hold the {record['row_count']:,} rows that were published", REBUILD)
        except duckdb.Error as error:
            yield Fault(f"{path} cannot be read ({str(error).splitlines()[0]})", REBUILD)
        finally:
            connection.close()


def _stable_faults(lake: Lake, journal: Journal, access_class: str, held: dict[str, Stored]) -> Iterator[Fault]:
    wanted, files = stable_names(list(journal.of("publication")), access_class), lake.listing(f"files/{access_class}")
    for alias, file in wanted.items():
        if alias not in files:
            yield Fault(f"{alias} is gone", REBUILD)
        elif file in held and files[alias].size != held[file].size:
            yield Fault(f"{alias} is not {file}, which was last published", REBUILD)
    for alias in sorted(files.keys() - wanted.keys() - {f"files/{access_class}/.seq"}):
        yield Fault(f"{alias} is no mart of class {access_class}", REBUILD)
