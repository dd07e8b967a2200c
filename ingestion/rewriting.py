"""Write the files of a load again, without what is taken back: rows, or values of refused rows."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ingestion.entries import Entry
from ingestion.lake import Lake, LakeError, literal, quoted
from ingestion.parquet import write
from ingestion.refusal import without_value

if TYPE_CHECKING:
    import duckdb

Columns = Mapping[str, tuple[str, str]]  # by name, the SQL of a value and its type
# The place of a row among those of its file of the source, which stays when rows are left out.
ROW = "coalesce(_row, file_row_number - min(file_row_number) over (partition by _file) + 1)"


def write_again(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    load: Entry,
    record: dict[str, Any],
    columns: Columns,
    gone: Sequence[str],
    work: Path,
    file_name: str = "_file",
) -> dict[str, Any]:
    """Write the files of a table of a load again, with other columns; give its record. The old files are for the caller to delete.

    `file_name` is the SQL of what the file of a row is called. Refused rows keep no values, nor does what is told of them; rows of
    which one of `gone` holds are left out, and counted as `erased`.
    """
    values = "".join(f"case when _refused is null then {value} end as {quoted(name)}, " for name, (value, _) in columns.items())
    is_gone = " or ".join(f"coalesce({test}, false)" for test in gone) or "false"
    files, sizes, rows, left_out = [], [], [], {"kept": 0, "refused": 0}
    for file in record["files"]:
        target = work / f"{secrets.token_hex(8)}.parquet"
        source = source_of(lake, file)
        if gone:
            kinds = ", ".join(f"count(*) filter (where _refused is {how})" for how in ("null", "not null"))
            counted = connection.execute(f"select {kinds} from {source} where {is_gone}").fetchall()[0]
            left_out = {name: left_out[name] + count for name, count in zip(left_out, counted, strict=True)}
        refused, load_id = without_value(record.get("refused_as")), literal(load["load_id"])
        marks = f"{file_name} as _file, _row, {refused} as _refused, _read_at, {load_id} as _load_id"
        numbered = f"(select * replace ({ROW} as _row) from {source})"
        write(connection, f"select {values}{marks} from {numbered} where not ({is_gone}) order by file_row_number", target)
        rows.append(connection.execute("select num_rows from parquet_file_metadata(?)", [str(target)]).fetchall()[0][0])
        files.append(str(PurePosixPath(file).parent / target.name))
        lake.begin(f"landing-{load['brick']}", target.name)
        sizes.append(lake.upload(target, files[-1]))
    landed = {name: kind for name, (_, kind) in columns.items()}
    return {**less(record, left_out), "files": files, "sizes": sizes, "rows": rows, "columns": landed}


def less(record: dict[str, Any], left_out: Mapping[str, int]) -> dict[str, Any]:
    """Give a record with fewer rows, kept and refused."""
    count = sum(left_out.values())
    if not count:
        return record
    counts = {name: record[name] - each for name, each in left_out.items()}
    return {**record, **counts, "source_count": record["source_count"] - count, "erased": record.get("erased", 0) + count}


def source_of(lake: Lake, file: str) -> str:
    """Write the relation of a landed file alone, with the number of each row in it (`file_row_number`)."""
    return f"read_parquet({literal(lake.path(file))}, file_row_number = true, hive_partitioning = false)"


def files_with(connection: duckdb.DuckDBPyConnection, lake: Lake, files: Iterable[str], tests: Sequence[str]) -> list[str]:
    """Give the files of which a row is of one of the tests, or is refused: it may tell what is sought in its place."""
    return [file for file in files if count_of(connection, lake, [file], [*tests, "_refused is not null"])]


def count_of(connection: duckdb.DuckDBPyConnection, lake: Lake, files: Iterable[str], tests: Sequence[str]) -> int:
    """Count the rows of landed files that are of one of some tests; raises LakeError for a file that cannot be read."""
    import duckdb

    found, count = " or ".join(f"coalesce({test}, false)" for test in tests) or "false", 0
    for file in files:
        try:
            count += connection.execute(f"select count(*) from {source_of(lake, file)} where {found}").fetchall()[0][0]
        except duckdb.IOException as error:
            raise LakeError(f"{lake.path(file)} cannot be read. Mend: orchestra verify, which says how it comes back") from error
    return count
