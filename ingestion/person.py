"""What the lake holds of a person: the rows of every load, accepted or not, that hold one of the pseudonyms of whom is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ingestion import privacy
from ingestion.brick import Brick
from ingestion.clear import loads_to_clean
from ingestion.column import Column
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError, listed, literal, quoted

if TYPE_CHECKING:
    import duckdb


class Held(NamedTuple):
    """What a table holds of a person, and by which column: rows as they landed, each with its load."""

    brick: str
    table: str
    column: str
    rows: list[dict[str, Any]]


def rows_of_person(lake: Lake, journal: Journal, bricks: Iterable[Brick], value: str) -> list[Held]:
    """Give what the loads of some bricks of one domain hold of a person. Raises BrickError where the key is missing, or is another."""
    found = []
    for brick in bricks:
        masks = privacy.masks_of(journal, brick)
        if loads_to_clean(journal, brick):
            raise LakeError(f"{brick.name}: older loads hold in clear what is sought by its mask. Mend: orchestra mask, then again")
        with lake.connect(is_private=True) as connection:
            privacy.prepare(connection, brick, masks)
            columns = [column for table in brick.tables for column in table.columns if column.meta.mask == "pseudonym"]
            # By what loads hold, whatever their tables are called today.
            tables = {name for load in journal.loads(brick.name).values() for name in load["tables"]}
            for table in sorted(tables):
                for column in {column.name: column for column in columns}.values():
                    if rows := _rows(connection, lake, journal, brick, table, column, value):
                        found.append(Held(brick.name, table, column.name, rows))
    return found


def gone_bricks(journal: Journal, domain: str, bricks: Iterable[Brick]) -> list[str]:
    """Name the bricks of a domain whose loads stand, and whose YAML has left: nobody is sought there."""
    known = {brick.name for brick in bricks}
    of_domain = {load["brick"] for load in journal.loads().values() if (load.get("pseudonyms") or {}).get("domain") == domain}
    return sorted(of_domain - known)


def _rows(
    connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, brick: Brick, table: str, column: Column, value: str
) -> list[dict[str, Any]]:
    """Read the rows of a table that hold the pseudonym of a value in a column, of whatever name it had as they landed."""
    [[pseudonym]] = connection.execute(f"select {privacy.masked(column, {column.name: literal(value)})}").fetchall()
    rows: list[dict[str, Any]] = []
    for load in journal.loads(brick.name).values():
        record = load["tables"].get(table)
        spelt = {name.casefold(): name for name in record["columns"]} if record else {}
        held = [spelt[name.casefold()] for name in (column.name, *column.meta.formerly) if name.casefold() in spelt]
        if not record or not record["files"] or not held or pseudonym is None:
            continue
        files = listed([lake.path(file) for file in record["files"]])
        is_of = " or ".join(f"{quoted(name)} = $1" for name in held)
        sql = f"select * exclude (_refused, _row) from read_parquet({files}, hive_partitioning = false, union_by_name = true) where {is_of}"
        result = connection.execute(sql, [pseudonym])
        names = [each[0] for each in result.description or ()]
        said = {"load": load["load_id"], "verdict": load["verdict"]}
        rows += [said | dict(zip(names, map(_shown, row), strict=True)) for row in result.fetchall()]
    return rows


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | bool | str) else str(value)
