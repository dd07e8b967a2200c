"""Write again the loads that landed in clear what is personal today, masked as the brick says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.brick import Brick, Table
from ingestion.casting import Notation, mapped, notation_of
from ingestion.clear import clear_columns, clear_names, landed_masks, loads_to_clean, names_of
from ingestion.column import Column
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.keyed import NAMES, let_know, names_by, names_sql, secret_of
from ingestion.lake import Lake, quoted
from ingestion.particulars import renamed, without_values
from ingestion.privacy import Masks, masked, without_paths
from ingestion.rewriting import write_again
from ingestion.warehouse import shape_of

if TYPE_CHECKING:
    import duckdb

Columns = dict[str, tuple[str, str]]  # by name, the SQL of a value and its type


def mask_history(connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, brick: Brick, work: Path, masks: Masks) -> list[str]:
    """Write again the older loads that hold in clear what is personal today, masked as the brick says; give their names.

    A second entry of each load names the new files and what was `masked`, and the old files are deleted. Files of the source, which
    may be called after persons, are told by keyed digests of their names. The warehouses, which hold the clear values too, are
    thrown away: the next build makes them again.
    """
    behind = loads_to_clean(journal, brick)
    if not behind:
        return []
    secret = secret_of(lake, NAMES)
    let_know(connection, NAMES, secret)
    name_of = names_by(secret)
    with lake.lock("build", wait=600):
        for load_id, clear in behind.items():
            load = journal.whole(journal.said(brick.name)[load_id])
            told, file_name = without_values(load), "_file"
            if not load.get("are_names_keyed"):
                told["tables"] = {name: renamed(record, name_of) for name, record in told["tables"].items()}
                file_name = names_sql(NAMES, "_file")
            records, contract, declarations = {}, dict(load["contract"]), dict[str, Any]()
            for name in clear:
                if table := next((table for table in brick.tables if table.name == name), None):
                    columns, (version, declared) = _masked_columns(journal, brick, load, table), table.contract()
                else:
                    columns, (version, declared) = _kept_columns(journal, brick, load, name), _kept_contract(journal, brick, load, name)
                records[name] = write_again(connection, lake, load, told["tables"][name], columns, (), work, file_name)
                contract[name], declarations[version] = version, declared
            if clear:
                throw_warehouses(lake)
            told["tables"] |= records
            how = {"is_private": True, "are_names_keyed": True, "masked": clear, **masks.told()}
            journal.amend(load, **told, contract=contract, declarations=declarations, **how)
            lake.delete(journal.unnamed(load))
    return list(behind)


def throw_warehouses(lake: Lake) -> None:
    """Delete the warehouses of this state: what they were built from is masked, or hidden, since."""
    for path in lake.state.glob("*.duckdb*"):
        path.unlink()


def _masked_columns(journal: Journal, brick: Brick, load: Entry, table: Table) -> Columns:
    """Give what is written of a table: what is declared today, masked; what a mask has made, no other mask can be made of."""
    record, clear = load["tables"][table.name], clear_columns(journal, load, table)
    shape, notation, masks = shape_of(journal, load, table.name), notation_of(brick, table), landed_masks(journal, load, table.name)
    columns: Columns = {}
    for column in table.columns:
        if not column.is_landed:
            continue
        present = [name for name in shape if name.casefold() in names_of(column)]
        if column in clear:
            is_masked = not column.meta.position and any(isinstance(masks.get(name), str) for name in names_of(column))
            text = {name: _text(name, shape) for name in column.meta.position or ()} or {column.name: mapped(column, shape, notation)}
            value = masked(column, text) if column.meta.mask else without_paths(column, text[column.name])
            columns[column.name] = "null::varchar" if is_masked else value, "string"
        elif present:
            columns |= {name: (quoted(name), record["columns"][name]) for name in present}
        elif "_extra" in shape and column.name.casefold() in {name.casefold() for name in record["new_columns"]}:
            columns[column.name] = _text(column.name, shape), "string"
    return columns


def _kept_columns(journal: Journal, brick: Brick, load: Entry, name: str) -> Columns:
    """Give what is written of a table that the brick has no more: what it declared, less what is personal today."""
    declared = {column["name"] for column in _kept_contract(journal, brick, load, name)[1]["columns"]}
    return {each: (quoted(each), kind) for each, kind in load["tables"][name]["columns"].items() if each in declared}


def _kept_contract(journal: Journal, brick: Brick, load: Entry, name: str) -> tuple[str, dict[str, Any]]:
    """Give the declaration of a table that the brick has no more, less what is personal today, and its version."""
    declared, gone = journal.declaration(load, name), {each.casefold() for each in clear_names(journal, brick, load, name)}
    kept = {**declared, "columns": [column for column in declared["columns"] if column["name"].casefold() not in gone]}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12], kept


def _text(name: str, shape: dict[str, str]) -> str:
    return mapped(Column(name=name, data_type="string", description="", data_tests=[]), shape, Notation())
