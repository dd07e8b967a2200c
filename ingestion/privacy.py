"""Masks of personal columns, as SQL expressions of landing's one SELECT, and of what landed before a column was personal.

The key never stands in SQL text.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ingestion.brick import Brick, BrickError, Column, Table, read_territory
from ingestion.casting import Notation, mapped, notation_of
from ingestion.journal import Entry, Journal
from ingestion.lake import Lake, literal, load_extension, quoted
from ingestion.refusal import without_value
from ingestion.warehouse import is_erased, shape_of

if TYPE_CHECKING:
    import duckdb

KEY = "ORCHESTRA_PSEUDONYM_KEY"


def prepare(connection: duckdb.DuckDBPyConnection, brick: Brick) -> None:
    """Give a connection what the masks of a brick need: the key as session variables, the zones as a table.

    Raises BrickError when the key or the zones are missing: nothing lands then.
    """
    columns = [column for table in brick.tables for column in table.columns]
    masks = {column.meta.mask for column in columns}
    if "pseudonym" in masks:
        master = os.environ.get(KEY, "")
        if len(master) < 16:
            raise BrickError(
                f"{brick.name}: has personal columns and {KEY} is not set (16 characters at least). Mend: set it, and keep it."
            )
        key = pseudonym_key(master, str(brick.meta.pseudonym_domain)).ljust(64, b"\0")
        connection.execute("set variable mask_inner = ?", [bytes(byte ^ 0x36 for byte in key)])
        connection.execute("set variable mask_outer = ?", [bytes(byte ^ 0x5C for byte in key)])
    if "zone" in masks:
        zones = read_territory().zones
        if zones is None or not Path(zones).exists():
            raise BrickError(f"{brick.name}: mask zone needs the GeoJSON that `zones` of territory.yml names ({zones}).")
        load_extension(connection, "spatial")
        connection.execute(
            "create or replace temp table zones as select feature->'properties'->>'code' as code, "
            "st_geomfromgeojson(feature->>'geometry') as shape from (select unnest(from_json(content->'features', '[\"JSON\"]')) "
            f"as feature from read_text({literal(zones)}))"
        )


def pseudonym_key(master: str, domain: str) -> bytes:
    """Derive the key of a domain, so that a pseudonym joins inside its domain only."""
    return hmac.new(master.encode(), domain.encode(), hashlib.sha256).digest()


def masked(column: Column, text: dict[str, str]) -> str:
    """Write the expression that lands in place of a personal column, from the text expressions of its source columns.

    A pseudonym is HMAC-SHA256 (RFC 2104) in hexadecimal of the text, blanks around it removed; a zone is the code of the
    zone that holds the position, NULL outside of all.
    """
    if column.meta.mask == "pseudonym":
        value = f"trim({text[column.name]})"
        inner = f"unhex(sha256(getvariable('mask_inner') || encode({value})))"
        return f"case when {value} <> '' then sha256(getvariable('mask_outer') || {inner}) end"
    if column.meta.position:
        x, y = (f"try_cast(replace({text[name]}, ',', '.') as double)" for name in column.meta.position)
        return f"(select min(zones.code) from zones where st_intersects(zones.shape, st_point({x}, {y})))"
    raise ValueError(f"{quoted(column.name)} has no mask")


def mask_history(connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, brick: Brick, work: Path) -> None:
    """Write again the older loads that hold in clear a column that has become personal, masked as the brick says today.

    A second entry of each load names the new files, and the old ones are deleted. The warehouses, which hold the clear values
    too, are thrown away: the next build makes them again. What was published stays in the catalogues' snapshots until they expire.
    """
    behind = {load["load_id"]: tables for load in journal.loads(brick.name).values() if (tables := _clear_tables(journal, brick, load))}
    if not behind:
        return
    with lake.lock("build", wait=600):
        for load_id, tables in behind.items():
            load = journal.loads(brick.name)[load_id]
            records = {table.name: _write_masked(connection, lake, journal, brick, load, table, work) for table in tables}
            contract, declarations = journal.new_contract(brick, records)
            for path in lake.state.glob("*.duckdb*"):
                path.unlink()
            tables_said, contract_said = {**load["tables"], **records}, {**load["contract"], **contract}
            journal.amend(load, tables=tables_said, contract=contract_said, declarations=declarations)
            lake.delete([file for table in tables for file in load["tables"][table.name]["files"]])


def _clear_tables(journal: Journal, brick: Brick, load: Entry) -> list[Table]:
    """Give the tables of which a load holds in clear what is personal today."""
    tables = [table for table in brick.tables if load["tables"].get(table.name, {}).get("files")]
    return [table for table in tables if any(_is_clear(column, *_landed(journal, load, table)) for column in table.columns)]


def _landed(journal: Journal, load: Entry, table: Table) -> tuple[set[str], dict[str, str | None]]:
    """Give the names under which a load holds values, those that were let in included, and the mask of each that was declared.

    Names are casefolded: a source that says NOM gives the column nom.
    """
    record = load["tables"][table.name]
    names = {*record["columns"], *(record["new_columns"] if "_extra" in record["columns"] else ())}
    masks = {column["name"].casefold(): column.get("mask") for column in journal.declaration(load, table.name)["columns"]}
    return {name.casefold() for name in names}, masks


def _is_clear(column: Column, landed: set[str], masks: dict[str, str | None]) -> bool:
    names = [name.casefold() for name in (column.name, *column.meta.formerly, *(column.meta.position or ()))]
    return column.meta.mask is not None and any(name in landed and masks.get(name) != column.meta.mask for name in names)


def _text(name: str, shape: dict[str, str]) -> str:
    return mapped(Column(name=name, data_type="string", description="", data_tests=[]), shape, Notation())


def _write_masked(
    connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, brick: Brick, load: Entry, table: Table, work: Path
) -> dict[str, Any]:
    """Write the files of a table of a load again: what is declared today, masked; give its record.

    Refused rows keep no values, nor does what is told of them; rows that were erased are left out.
    """
    record, (landed, masks) = load["tables"][table.name], _landed(journal, load, table)
    shape, notation = shape_of(journal, load, table), notation_of(brick, table)
    columns: dict[str, tuple[str, str]] = {}  # by name: value and type
    for column in table.columns:
        if not column.is_landed:
            continue
        names = {name.casefold() for name in (column.name, *column.meta.formerly)}
        present = [name for name in shape if name.casefold() in names]
        if _is_clear(column, landed, masks):
            text = {name: _text(name, shape) for name in column.meta.position or ()} or {column.name: mapped(column, shape, notation)}
            columns[column.name] = masked(column, text), "string"
        elif present:
            columns |= {name: (quoted(name), record["columns"][name]) for name in present}
        elif column.name.casefold() in landed:
            columns[column.name] = _text(column.name, shape), "string"
    values = ", ".join(f"case when _refused is null then {value} end as {quoted(name)}" for name, (value, _) in columns.items())
    gone = is_erased(journal, brick, table, shape)
    kept = " and ".join(f"not coalesce({test}, false)" for test in gone) or "true"
    files, refused = [], without_value(record.get("refused_as"))
    for file in record["files"]:
        target = work / f"{secrets.token_hex(8)}.parquet"
        source = f"read_parquet({literal(lake.path(file))}, file_row_number = true, hive_partitioning = false)"
        connection.execute(
            f"copy (select {values}, _file, _row, {refused} as _refused, _read_at from {source} where {kept} "
            f"order by file_row_number) to {literal(str(target))} (format parquet, compression zstd)"
        )
        files.append(str(PurePosixPath(file).parent / target.name))
        lake.upload(target, files[-1])
    return {**record, "files": files, "columns": {name: kind for name, (_, kind) in columns.items()}, "new_columns": []}
