"""Write again the loads that landed in clear what is personal today: a step of its own, which asks no source."""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ingestion.brick import Brick, Table
from ingestion.casting import Notation, mapped, notation_of
from ingestion.clear import clear_columns, clear_names, landed_masks, loads_to_clean, names_of
from ingestion.column import Column
from ingestion.journal import Entry, Journal
from ingestion.lake import Lake, literal, quoted
from ingestion.privacy import Masks, masked, masks_of, prepare, without_paths
from ingestion.refusal import without_value
from ingestion.sweep import sweep
from ingestion.warehouse import is_erased, shape_of

if TYPE_CHECKING:
    import duckdb

Columns = dict[str, tuple[str, str]]  # by name, the SQL of a value and its type


def mask_brick(lake: Lake, journal: Journal, brick: Brick, wait: float = 0) -> list[str]:
    """Mask what the loads of a brick hold in clear, whether it is plugged in or not; give their names.

    Raises BrickError when the key or the zones are missing, or are others than before: nothing is changed then.
    """
    with lake.lock(f"landing-{brick.name}", wait), lake.workspace(f"landing-{brick.name}") as work:
        journal.refresh()
        masks = masks_of(journal, brick)
        with lake.connect(is_private=True) as connection:
            prepare(connection, brick, masks)
            found = mask_history(connection, lake, journal, brick, work, masks)
        sweep(lake, journal, brick)  # what a killed run left may be in clear
        return found


def is_behind(lake: Lake, journal: Journal, brick: Brick) -> bool:
    """Say whether something of a brick with personal columns is to be masked, or swept after a run that was killed."""
    return brick.has_personal and bool(loads_to_clean(journal, brick) or lake.begun(f"landing-{brick.name}"))


def mask_history(connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, brick: Brick, work: Path, masks: Masks) -> list[str]:
    """Write again the older loads that hold in clear what is personal today, masked as the brick says; give their names.

    A second entry of each load names the new files and what was `masked`, and the old files are deleted. The warehouses, which hold
    the clear values too, are thrown away: the next build makes them again.
    """
    behind = loads_to_clean(journal, brick)
    if not behind:
        return []
    with lake.lock("build", wait=600):
        for load_id, clear in behind.items():
            load = journal.loads(brick.name)[load_id]
            records, contract, declarations = {}, dict(load["contract"]), dict[str, Any]()
            for name in clear:
                if table := next((table for table in brick.tables if table.name == name), None):
                    gone = is_erased(journal, brick, table, shape_of(journal, load, table))
                    columns, (version, declared) = _masked_columns(journal, brick, load, table), table.contract()
                else:
                    gone = []
                    columns, (version, declared) = _kept_columns(journal, brick, load, name), _kept_contract(journal, brick, load, name)
                records[name] = _write_again(connection, lake, brick, load["tables"][name], columns, gone, work)
                contract[name], declarations[version] = version, declared
            throw_warehouses(lake)
            journal.amend(
                load, tables={**load["tables"], **records}, contract=contract, declarations=declarations, is_private=True, masked=clear,
                **masks.told(),
            )  # fmt: skip
            lake.delete([file for name in records for file in load["tables"][name]["files"]])
    return list(behind)


def throw_warehouses(lake: Lake) -> None:
    """Delete the warehouses of this state: what they were built from is masked, or hidden, since."""
    for path in lake.state.glob("*.duckdb*"):
        path.unlink()


def _masked_columns(journal: Journal, brick: Brick, load: Entry, table: Table) -> Columns:
    """Give what is written of a table: what is declared today, masked; what a mask has made, no other mask can be made of."""
    record, clear = load["tables"][table.name], clear_columns(journal, load, table)
    shape, notation, masks = shape_of(journal, load, table), notation_of(brick, table), landed_masks(journal, load, table.name)
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


def _write_again(
    connection: duckdb.DuckDBPyConnection, lake: Lake, brick: Brick, record: dict[str, Any], columns: Columns, gone: list[str], work: Path
) -> dict[str, Any]:
    """Write the files of a table of a load again; give its record.

    Refused rows keep no values, nor does what is told of them; rows that were erased (`gone`) are left out.
    """
    values = "".join(f"case when _refused is null then {value} end as {quoted(name)}, " for name, (value, _) in columns.items())
    kept = " and ".join(f"not coalesce({test}, false)" for test in gone) or "true"
    files, sizes, row_count, refused = [], [], 0, without_value(record.get("refused_as"))
    for file in record["files"]:
        target = work / f"{secrets.token_hex(8)}.parquet"
        source = f"read_parquet({literal(lake.path(file))}, file_row_number = true, hive_partitioning = false)"
        copied = connection.execute(
            f"copy (select {values}_file, _row, {refused} as _refused, _read_at from {source} where {kept} "
            f"order by file_row_number) to {literal(str(target))} (format parquet, compression zstd)"
        ).fetchall()
        row_count += copied[0][0]
        files.append(str(PurePosixPath(file).parent / target.name))
        lake.begin(f"landing-{brick.name}", target.name)
        sizes.append(lake.upload(target, files[-1]))
    return {
        **record,
        "files": files,
        "sizes": sizes,
        "row_count": row_count,
        "columns": {name: kind for name, (_, kind) in columns.items()},
        "new_columns": [],
    }
