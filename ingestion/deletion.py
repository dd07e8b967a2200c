"""Rows that a source says are deleted: which ones they are, what is asked of them, and where they are counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from ingestion.connectors import Strict, declared_name
from ingestion.lake import listed, literal, quoted
from ingestion.refusal import Rule

if TYPE_CHECKING:
    import duckdb

    from ingestion.brick import Table

DELETED = "_deleted"  # a column of the sources of tables that may tell deletions


class Deletion(Strict):
    """By which values of a column a source says that a row is deleted."""

    column: Annotated[str, AfterValidator(declared_name)] = Field(description="The declared column that tells it.")
    values: tuple[bool | int | str, ...] = Field(min_length=1, description="Its values, one of which a deleted row has.")

    @property
    def texts(self) -> list[str]:
        """The values as texts."""
        return [str(value).lower() if isinstance(value, bool) else str(value) for value in self.values]

    def test(self, value: str) -> str:
        """Write whether a row is a deletion, of the SQL of its column."""
        return f"coalesce(trim({value}::varchar) in ({', '.join(map(literal, self.texts))}), false)"


def fault_of(table: Table) -> str | None:
    """Say why no row of a table can be told to be deleted as it declares; None where it can, or declares nothing."""
    if not (told := table.meta.deleted_when):
        return None
    column = next((each for each in table.columns if each.name == told.column), None)
    if table.meta.delivers != "changes":
        return "what a photo lacks has ended: `deleted_when` is of a table that delivers changes"
    if column is None:
        return f"'{told.column}' is not one of the table's columns: {', '.join(each.name for each in table.columns)}"
    if column.meta.mask or column.data_type not in ("string", "bigint", "boolean"):
        return f"'{told.column}' is masked, or no string, bigint or boolean: nothing tells that a row is deleted"
    if column.data_type == "boolean" and not {*told.texts} <= {"true", "false"}:
        return f"'{told.column}' is a boolean, and is one of true, false"
    return None


def test_of(table: Table) -> str | None:
    """Write whether a landed row is a deletion; None where the table declares none."""
    return table.meta.deleted_when.test(quoted(table.meta.deleted_when.column)) if table.meta.deleted_when else None


def deleted_count(connection: duckdb.DuckDBPyConnection, table: Table, files: Sequence[Path]) -> int:
    """Count the rows of staged files that are kept and are deletions."""
    if not files or not (test := test_of(table)):
        return 0
    rows = f"read_parquet({listed([str(file) for file in files])}, union_by_name = true)"
    return int(connection.execute(f"select count(*) from {rows} where _refused is null and {test}").fetchall()[0][0])


def rules_of(table: Table, rules: dict[str, Rule], values: dict[str, str]) -> list[Rule]:
    """Give the rules of columns, by their names and the SQL of their values: of a deletion, its key alone is asked for."""
    if not (told := table.meta.deleted_when):
        return list(rules.values())
    asked = {*table.meta.key, told.column}
    first, rest = ([rule for name, rule in rules.items() if (name in asked) is is_asked] for is_asked in (True, False))
    return [*first, Rule("true", [f"when {told.test(values[told.column])} then null"]), *rest]
