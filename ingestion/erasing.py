"""Erase the rows of a key from every load of a brick: a step that a kill leaves to the next run, and that asks no source."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ingestion import privacy
from ingestion.brick import Brick
from ingestion.casting import Notation, notation_of
from ingestion.clear import loads_to_clean
from ingestion.declaration import BrickError
from ingestion.entries import Entry
from ingestion.erased_keys import KNOWN, Key, digested, erasures_of, forms_of, is_erased_when_landed, prepare
from ingestion.journal import Journal
from ingestion.keyed import let_know, secret_of
from ingestion.lake import Lake, literal, quoted
from ingestion.masking import mask_history, throw_warehouses
from ingestion.particulars import without_values
from ingestion.rewriting import count_of, files_with, write_again
from ingestion.sweep import sweep
from ingestion.warehouse import shape_of

if TYPE_CHECKING:
    import duckdb


class Erased(NamedTuple):
    """What an erasure has done of a table: its entry of the journal, how many loads were written again, how many rows went."""

    table: str
    seq: int
    load_count: int
    row_count: int


def erase_rows(
    lake: Lake,
    journal: Journal,
    brick: Brick,
    keys: Sequence[Key],
    why: str,
    wait: float = 600,
    *,
    table: str | None = None,
    first: Callable[[], Any] = list,
) -> list[Erased]:
    """Erase the rows of some keys of the same columns from a table, or from every table of a brick that has these columns.

    They are gone from all its loads, and do not land again. Values of refused rows, reasons and warnings of its loads go with
    them, for they may tell of the same. `first` is called before anything is erased, where a row is. Raises BrickError for columns
    that no table has, or that cannot be sought.
    """
    values = [value for key in keys for value in key.values() if value and len(value) > 2]  # a shorter one tells nobody apart
    if any(re.search(rf"(?<!\w){re.escape(value)}(?!\w)", why, re.IGNORECASE) for value in values):
        raise BrickError(f"{brick.name}: the reason holds the value that is to be erased, and the journal keeps it. Mend: say it otherwise")
    with lake.lock(f"landing-{brick.name}", wait), lake.workspace(f"landing-{brick.name}") as work:
        journal.refresh()
        masks = privacy.masks_of(journal, brick)
        with lake.connect(is_private=True) as connection:
            privacy.prepare(connection, brick, masks)
            let_know(connection, KNOWN, secret_of(lake, KNOWN))
            finish_erasures(connection, lake, journal, brick, work)
            mask_history(connection, lake, journal, brick, work, masks)
            names = [name for name in _tables_of(journal, brick, keys) if table in (None, name)]
            if not names:
                raise BrickError(f"{brick.name}: '{table}' is no table of these columns. Mend: --table of the brick's own")
            entries = [_told(connection, journal, brick, name, keys, why) for name in names]
            loads = [(entry, load) for entry in entries for load in _loads_with(journal, brick, entry["table"])]
            tests = [_tests(journal, brick, load, entry) for entry, load in loads]  # raises before anything is written
            files = [load["tables"][entry["table"]]["files"] for entry, load in loads]
            if any(count_of(connection, lake, of_load, test) for of_load, test in zip(files, tests, strict=True)):
                first()
            seqs = [journal.append("erase", **entry) for entry in entries]
            found = finish_erasures(connection, lake, journal, brick, work)
        sweep(lake, journal, brick)
        return [found[seq] for seq in seqs]


def finish_erasures(connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, brick: Brick, work: Path) -> dict[int, Erased]:
    """Take what was erased out of the loads that still hold it; give what was done, by the entry that asked it."""
    found = {}
    for entry in journal.to_erase(brick.name):
        prepare(connection, lake, journal, brick)
        with lake.lock("build", wait=600):
            throw_warehouses(lake)
            load_count = row_count = 0
            for load in _loads_with(journal, brick, entry["table"]):
                count = _erase_of_load(connection, lake, journal, brick, load, entry, work)
                load_count, row_count = load_count + (count is not None), row_count + (count or 0)
            told = {"brick": brick.name, "table": entry["table"], "of": entry["seq"]}
            journal.append("erase", **told, loads=load_count, rows=row_count)
        found[entry["seq"]] = Erased(entry["table"], entry["seq"], load_count, row_count)
    return found


def take_back(
    connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, brick: Brick, work: Path, masks: privacy.Masks
) -> list[str]:
    """End the erasures that were killed, then mask what older loads hold in clear; give the names of those that were masked."""
    finish_erasures(connection, lake, journal, brick, work)
    return mask_history(connection, lake, journal, brick, work, masks)


def take_back_of(lake: Lake, journal: Journal, brick: Brick, wait: float = 0) -> list[str]:
    """Do the same of a brick, whether it is plugged in or not; give the names of the loads that were masked.

    Raises BrickError when the key or the zones are missing, or are others than before: nothing is masked then.
    """
    with lake.lock(f"landing-{brick.name}", wait), lake.workspace(f"landing-{brick.name}") as work:
        journal.refresh()
        with lake.connect(is_private=True) as connection:
            finish_erasures(connection, lake, journal, brick, work)
            masks = privacy.masks_of(journal, brick)
            privacy.prepare(connection, brick, masks)
            found = mask_history(connection, lake, journal, brick, work, masks)
        sweep(lake, journal, brick)  # what a killed run left may be in clear
        return found


def is_behind(lake: Lake, journal: Journal, brick: Brick) -> bool:
    """Say whether something of a brick is to be erased or masked, or swept after a run that was killed."""
    if journal.to_erase(brick.name):
        return True
    return brick.has_personal and bool(loads_to_clean(journal, brick) or lake.begun(f"landing-{brick.name}"))


def _erase_of_load(
    connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, brick: Brick, load: Entry, entry: Entry, work: Path
) -> int | None:
    """Write a load again without the rows of an erasure; give how many went, None where nothing of it was to be written again."""
    name = entry["table"]
    whole = journal.whole(journal.said(brick.name)[load["load_id"]])
    told, record = without_values(whole, keeps_columns=True), load["tables"][name]
    tests = _tests(journal, brick, load, entry)
    touched = set(files_with(connection, lake, record["files"], tests))
    if not touched and told == {part: whole[part] for part in told}:
        return None
    before = told["tables"][name]
    columns = {each: (quoted(each), kind) for each, kind in before["columns"].items()}
    places = [n for n, file in enumerate(record["files"]) if file in touched]
    part = write_again(connection, lake, load, {**before, "files": sorted(touched, key=record["files"].index)}, columns, tests, work)
    lists: dict[str, Any] = {}
    for each in ("files", "sizes", "rows"):
        lists[each] = list(record[each])
        for place, value in zip(places, part[each], strict=True):
            lists[each][place] = value
    told["tables"][name] = {**part, **lists}
    journal.amend(load, **told)
    lake.delete(journal.unnamed(whole))
    return int(part.get("erased", 0) - before.get("erased", 0))


def _loads_with(journal: Journal, brick: Brick, table: str) -> list[Entry]:
    return [load for load in journal.loads(brick.name).values() if load["tables"].get(table, {}).get("files")]


def _tests(journal: Journal, brick: Brick, load: Entry, entry: Entry) -> list[str]:
    """Write which rows of a load are of the keys that an entry erases."""
    shape = shape_of(journal, load, entry["table"])
    return [is_erased_when_landed(brick, entry["table"], each, shape) for each in erasures_of(entry)]


def _told(connection: duckdb.DuckDBPyConnection, journal: Journal, brick: Brick, name: str, keys: Sequence[Key], why: str) -> Entry:
    """Give what the journal will say of an erasure: the digests of its keys by column, never a value."""
    own = next((each for each in brick.tables if each.name == name), None)
    notation = notation_of(brick, own) if own else Notation()
    # Of a table that the brick has no more, a column is what its others call so.
    tables = [own] if own else list(brick.tables)
    connection.execute(f"set TimeZone = {literal(own.meta.time_zone if own else 'UTC')}")
    shapes = [shape_of(journal, load, name) for load in _loads_with(journal, brick, name)]

    def kinds_of(names: Collection[str]) -> set[str]:
        return {kind for shape in shapes for each, kind in shape.items() if each.casefold() in names}

    for called, value in ((called, value) for key in keys for called, value in key.items()):
        if value is not None and value in notation.null_values:
            told = f"{brick.name}.{name}: '{value}' is how its source writes no value"
            raise BrickError(f"{told}. Mend: --key {called}= for rows without one")
    found = digested(connection, brick, tables, keys, lambda c, value, kinds: forms_of(c, value, kinds, notation), kinds_of)
    connection.execute("set TimeZone = 'UTC'")
    return {"brick": brick.name, "table": name, "keys": found, "why": why}


def _tables_of(journal: Journal, brick: Brick, keys: Sequence[Key]) -> list[str]:
    """Name the tables that have the columns of a key, of today or of loads that stand.

    Raises BrickError for none, and for a column whose values are not kept.
    """
    key = dict.fromkeys(name for key in keys for name in key)
    found = [table for table in brick.tables if key and all(table.named(name) for name in key)]
    for table, name in ((table, name) for table in found for name in key):
        if (column := table.named(name)) and column.meta.mask in ("drop", "zone"):
            raise BrickError(
                f"{brick.name}.{table.name}: {name} is masked by {column.meta.mask}: no row is known by it. Mend: another column"
            )
    older = {name: record["columns"] for load in journal.loads(brick.name).values() for name, record in load["tables"].items()}
    today, wanted = {table.name for table in brick.tables}, {name.casefold() for name in key}
    names = [table.name for table in found]
    names += [name for name, columns in older.items() if name not in today and key and wanted <= {each.casefold() for each in columns}]
    if not names:
        held = "; ".join(f"{table.name}: {', '.join(c.name for c in table.columns if c.is_landed)}" for table in brick.tables)
        raise BrickError(f"{brick.name}: no table has {', '.join(key) or 'a key'}. Mend: --key <column>=<value>, of {held}")
    return names
