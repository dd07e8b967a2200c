"""Keys whose rows are erased for good, by keyed digests of their values: how a row is known to be of one, landed or landing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ingestion.brick import Brick, Table
from ingestion.casting import Notation, cast, landed_under, mapped, notation_of
from ingestion.clear import names_of
from ingestion.column import Column
from ingestion.declaration import BrickError
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.keyed import LENGTH, hmac_sql, let_know, secret_of
from ingestion.lake import Lake, LakeError, listed, literal
from ingestion.privacy import masked

if TYPE_CHECKING:
    import duckdb

KNOWN = "erased"  # the name by which a connection knows the secret of what was erased

Key = Mapping[str, str | None]  # value by column; None for a row without one
# Of a key, by column as it was called then: the digests of its value, as text and as each type; None for a row without one.
Digests = Mapping[str, list[str] | None]


class Erasure(NamedTuple):
    """A key whose rows are erased: the entry that says it, and its digests by column."""

    seq: int
    digests: Digests


def prepare(connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, brick: Brick) -> None:
    """Have a connection know the secret of what was erased, where something was."""
    if any(True for _ in journal.of("erase", brick.name)):
        let_know(connection, KNOWN, secret_of(lake, KNOWN))


def erasures(journal: Journal, brick: Brick, table: str) -> list[Erasure]:
    """Give what was erased of a table; of one that the brick has no more, it is sought in every table that has its columns."""
    asked = [entry for entry in journal.of("erase", brick.name) if "keys" in entry]
    return [each for entry in asked if entry["table"] == table or _is_moved(journal, brick, entry, table) for each in erasures_of(entry)]


def erasures_of(entry: Entry) -> list[Erasure]:
    """Give what an entry erases, by key."""
    return [Erasure(entry.get("seq", 0), digests) for digests in entry["keys"]]


def digested(
    connection: duckdb.DuckDBPyConnection,
    brick: Brick,
    tables: Sequence[Table],
    keys: Iterable[Key],
    forms: Callable[[Column, str, set[str]], list[str]],
    kinds_of: Callable[[Collection[str]], set[str]],
) -> list[dict[str, list[str] | None]]:
    """Give some keys by the digests of their values, columns being those of some tables.

    `kinds_of` gives the types under which columns of some names landed, `forms` the SQL of a value of a column as each of them.
    """

    def digests(called: str, value: str | None) -> list[str] | None:
        column = next((column for table in tables if (column := table.named(called))), None)
        if value is None or column is None:
            return _digests_of(connection, brick, called, value, [])
        return _digests_of(connection, brick, called, value, forms(column, value, kinds_of(names_of(column))))

    return [{called: digests(called, value) for called, value in key.items()} for key in keys]


def _digests_of(connection: duckdb.DuckDBPyConnection, brick: Brick, name: str, value: str | None, texts: list[str]) -> list[str] | None:
    """Give the digests of a value of a column: of its text, and of each SQL of it (`texts`) that gives one."""
    if value is None:
        return None
    digests = ", ".join(f"left({_digest_sql(brick, name, text)}, {LENGTH})" for text in dict.fromkeys([literal(value), *texts]))
    [found] = connection.execute(f"select {digests}").fetchall()
    return sorted({each for each in found if each is not None})


def forms_of(column: Column, value: str, kinds: set[str], notation: Notation | None = None) -> list[str]:
    """Write, as SQL, the forms under which a value of a column may stand: of each type that it landed or is declared as.

    A value is told as ISO writes it or, with a `notation`, as the source does; an instant without offset is of the time zone that
    the connection has.
    """
    text = literal(value)
    if column.meta.mask == "pseudonym":
        return [masked(column, {column.name: text})]
    forms = []
    for kind in sorted({*kinds, column.data_type} - {"json"}):
        value_sql = cast(kind, text, Notation())
        if notation and kind == column.data_type:  # of 1.500, one source means a thousand times what another does
            told = column.meta
            own = cast(kind, text, notation, told.format, told.years_from, is_bounded=bool(told.between))
            value_sql = f"coalesce({own}, {value_sql})"
        forms.append(_as_text(value_sql, kind))
    return forms


def is_erased_when_landed(brick: Brick, name: str, erasure: Erasure, landed: Mapping[str, str]) -> str:
    """Write whether a row of files of a table that hold the columns `landed` (type by name) is of an erased key.

    Raises LakeError for a key of a column that the files do not hold: without it too much would go, or too little.
    """
    table = next((each for each in brick.tables if each.name == name), None)
    tests = []
    for called, digests in erasure.digests.items():
        column = table.named(called) if table else None
        held = landed_under((column.name, *column.meta.formerly) if column else (called,), dict(landed))
        if not held and column and column.meta.optional:
            return "false"
        if not held:
            raise LakeError(
                f"{brick.name}.{name}: rows are erased by their column '{called}', which some files do not hold ({', '.join(landed)}). "
                "Mend: tell the other name of the column by `formerly`, or `optional: true` where those loads never held it."
            )
        values = [_as_text(value, kind) for value, kind in held]
        if column and table and not column.meta.mask:
            values.append(_as_text(mapped(column, dict(landed), notation_of(brick, table)), column.data_type))
        tests.append(_is_of(brick, called, digests, values))
    return " and ".join(tests)


def is_erased_when_read(brick: Brick, table: Table, erasure: Erasure, values: Mapping[str, tuple[str, str]]) -> str:
    """Write whether a row that is landing is of an erased key; `values` are, by column, the SQL of its text and of its value.

    Raises BrickError for a key of a column that the brick declares no more: its rows would land again.
    """
    tests = []
    for name, digests in erasure.digests.items():
        column = table.named(name)
        if column is None or column.name not in values:
            raise BrickError(
                f"{brick.name}.{table.name}: rows were erased by column '{name}' (entry {erasure.seq} of the journal), which it "
                "does not declare any more: they would land again. Mend: declare it, or tell its new name by `formerly`."
            )
        text, value = values[column.name]
        tests.append(_is_of(brick, name, digests, [f"({text})::varchar", _as_text(value, column.data_type)]))
    return " and ".join(tests)


def _is_of(brick: Brick, name: str, digests: list[str] | None, values: list[str]) -> str:
    if digests is None:
        return " and ".join(f"{text} is null" for text in dict.fromkeys(values))
    tests = (f"list_contains({listed(digests)}, left({_digest_sql(brick, name, text)}, {LENGTH}))" for text in dict.fromkeys(values))
    return f"coalesce({' or '.join(f'coalesce({test}, false)' for test in tests)}, false)"


def _as_text(value: str, kind: str) -> str:
    """Write a value as a text that is the same in whatever time zone it is read."""
    return f"epoch_us({value})::varchar" if kind == "timestamptz" else f"({value})::varchar"


def _digest_sql(brick: Brick, name: str, text: str) -> str:
    return hmac_sql(KNOWN, f"{literal(f'{brick.name}.{name.casefold()}=')} || {text}")


def _is_moved(journal: Journal, brick: Brick, entry: Entry, table: str) -> bool:
    """Say whether a table may be another name of one that the brick has no more, of which rows were erased: none had it then."""
    of = next((each for each in brick.tables if each.name == table), None)
    is_gone = all(each.name != entry["table"] for each in brick.tables)
    is_new = all(table not in load["tables"] for load in journal.of("load", brick.name) if load["seq"] < entry["seq"])
    return is_gone and is_new and of is not None and all(of.named(name) for key in entry["keys"] for name in key)
