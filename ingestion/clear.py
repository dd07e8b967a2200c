"""What a load holds in clear of a brick whose columns are personal: told by what it holds, whatever its tables are called today."""

from __future__ import annotations

from collections.abc import Iterable

from ingestion.brick import Brick, Table
from ingestion.column import Column
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import LakeError
from ingestion.particulars import tells_values

Mask = str | tuple[str, ...] | None
UNTIL_DONE = "nothing that is made of it is published before that is done. Mend: orchestra mask"


def clear_columns(journal: Journal, load: Entry, table: Table) -> list[Column]:
    """Give the columns of a table that are personal today and that a load holds in clear, or masked otherwise than today.

    By any of their names, whatever its case (a source that says NOM gives the column nom), or among the values that were let in.
    """
    record, personal = load["tables"].get(table.name, {}), [column for column in table.columns if column.masked_by]
    if not personal or not record.get("files"):
        return []
    names = {*landed_columns(journal, load, table.name)}
    if "_extra" in names and record["new_column_count"]:
        names |= set(journal.whole(load)["tables"][table.name]["new_columns"])
    landed = {name.casefold() for name in names}
    masks = landed_masks(journal, load, table.name)

    def is_clear(column: Column) -> bool:
        told = (*names_of(column), *map(str.casefold, column.meta.position or ()))
        return any(name in landed and not _hides(masks.get(name), column.masked_by) for name in told)

    return [column for column in personal if is_clear(column)]


def clear_names(journal: Journal, brick: Brick, load: Entry, name: str) -> list[str]:
    """Name the columns of a table of a load, one that the brick has no more included, that are personal today and stand there in clear.

    Nothing says what a table without declaration has become: a column of it is personal by its name, in whatever table of the brick.
    """
    if table := next((table for table in brick.tables if table.name == name), None):
        return [column.name for column in clear_columns(journal, load, table)]
    masks, today = landed_masks(journal, load, name), dict[str, Mask]()
    for column in (column for table in brick.tables for column in table.columns if column.masked_by):
        today |= dict.fromkeys((*names_of(column), *map(str.casefold, column.meta.position or ())), column.masked_by)
    held = {each: each.casefold() for each in landed_columns(journal, load, name)}
    return sorted(each for each, key in held.items() if key in today and not _hides(masks.get(key), today[key]))


def tables_to_clean(journal: Journal, brick: Brick, load: Entry) -> dict[str, list[str]]:
    """Give the tables of a load that hold more than a brick with personal columns lands, each with its personal columns in clear.

    Columns that were let in without being declared, and the values of refused rows and of lines that could not be read, may hold
    what is personal whatever they are called: they count too, though no source shows them.
    """
    found = {}
    for name, record in load["tables"].items() if brick.has_personal else ():
        if not record["files"]:
            continue
        masks = landed_masks(journal, load, name)
        is_private = load.get("is_private") or any(masks.values())
        lets_in = record["refused"] or record["new_column_count"] or record["columns"].keys() - {"_extra"} - _declared(journal, load, name)
        is_known = is_private and load.get("are_names_keyed")
        if (columns := clear_names(journal, brick, load, name)) or (lets_in and not is_private) or not is_known:
            found[name] = columns
    return found


def loads_to_clean(journal: Journal, brick: Brick) -> dict[str, dict[str, list[str]]]:
    """Give, by load of a brick, accepted or refused, its tables that are to be written again, as `tables_to_clean` does.

    None of a load, a dropped one included, of which only what is told of it may hold what is personal: names of files, reasons.
    """
    if not brick.has_personal:
        return {}
    said, standing = journal.said(brick.name), journal.loads(brick.name)
    replaced = {load_id for load in said.values() for load_id in load.get("replaces", ())}
    found = {load_id: tables_to_clean(journal, brick, load) for load_id, load in standing.items()}
    told = [load_id for load_id, load in said.items() if load_id not in replaced and _is_told_in_clear(journal, load)]
    return {load_id: found.get(load_id, {}) for load_id in said if found.get(load_id) or load_id in told}


def hidden_because(journal: Journal, bricks: Iterable[Brick]) -> dict[str, str]:
    """Say, by brick of which loads hold in clear a column that is personal today, that nothing made of it is published, and the mend.

    So it is of a brick with personal columns of which nobody knows how a load landed.
    """
    told = {}
    for brick in bricks:
        if journal.to_erase(brick.name):
            told[brick.name] = f"{brick.name}: rows that are to be erased may still stand: {UNTIL_DONE}"
            continue
        try:
            tables = [clear for clear in loads_to_clean(journal, brick).values() if any(clear.values())]
        except LakeError as error:
            told[brick.name] = str(error)
            continue
        if columns := sorted({f"{table}.{name}" for clear in tables for table, names in clear.items() for name in names}):
            told[brick.name] = (
                f"{brick.name}: {len(tables)} loads hold {', '.join(columns)} in clear, or masked otherwise than today: {UNTIL_DONE}"
            )
    return told


def taken_back_since(journal: Journal) -> dict[str, int]:
    """Give, by brick, the last entry that masked a column of a load that had landed in clear, or that erased rows."""
    masked = [entry for entry in journal.of("load") if any(entry.get("masked", {}).values())]
    erased = [entry for entry in journal.of("erase") if entry.get("loads")]  # those that found something
    return {entry["brick"]: entry["seq"] for entry in sorted([*masked, *erased], key=lambda entry: entry["seq"])}


def landed_columns(journal: Journal, load: Entry, name: str) -> dict[str, str]:
    """Give the types, by name, of the columns of a table in the files of a load; those that its brick did not declare included."""
    record = load["tables"][name]
    if record.get("new_column_count") and "new_columns" not in record:
        record = journal.whole(load)["tables"][name]
    columns: dict[str, str] = record["columns"]
    return columns


def landed_masks(journal: Journal, load: Entry, name: str) -> dict[str, Mask]:
    """Give by what the columns of a table were masked in a load (`Column.masked_by`), by their name in small letters."""
    columns = journal.declaration(load, name)["columns"]
    return {column["name"].casefold(): column.get("mask") or tuple(column.get("personal_paths") or ()) or None for column in columns}


def _hides(landed: Mask, today: Mask) -> bool:
    """Say whether what landed under a mask shows nothing that today's one hides."""
    return landed == today or (isinstance(landed, tuple) and isinstance(today, tuple) and set(today) <= set(landed))


def names_of(column: Column) -> tuple[str, ...]:
    """Give the name of a column and its older ones, in small letters."""
    return tuple(name.casefold() for name in (column.name, *column.meta.formerly))


def _is_told_in_clear(journal: Journal, load: Entry) -> bool:
    return not load.get("are_names_keyed") or (not load.get("is_private") and tells_values(journal.whole(load)))


def _declared(journal: Journal, load: Entry, name: str) -> set[str]:
    return {column["name"] for column in journal.declaration(load, name)["columns"]}
