"""No clear value of a personal column is read once it is declared so: masks of what lands, and of what had landed before.

They are expressions of landing's one SELECT. The key never stands in SQL text.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ingestion.brick import Brick, Column, Table
from ingestion.casting import Notation, mapped, notation_of
from ingestion.declaration import BrickError
from ingestion.journal import Entry, Journal
from ingestion.lake import Lake, literal, load_extension, quoted
from ingestion.refusal import without_value
from ingestion.territory import read_territory
from ingestion.warehouse import clear_columns, is_erased, shape_of

if TYPE_CHECKING:
    import duckdb

KEY = "ORCHESTRA_PSEUDONYM_KEY"


def prepare(connection: duckdb.DuckDBPyConnection, brick: Brick) -> None:
    """Make a connection ready for the masks of a brick: the key as session variables, the zones as a table.

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


def check_key(journal: Journal, brick: Brick) -> dict[str, str] | None:
    """Give what an entry says of the key of a brick's pseudonyms (domain, salt, check), None for a brick without any.

    The check is scrypt (RFC 7914) of the domain's key and the salt of the first load of the domain: it tells the key apart and
    costs who guesses it as much as each guess of a password does. A lake that holds none yet adopts the present key. Raises
    BrickError for another key, or another domain, than the one by which the loads that stand were masked.
    """
    if not any(column.meta.mask == "pseudonym" for table in brick.tables for column in table.columns):
        return None
    domain = str(brick.meta.pseudonym_domain)
    told = [(load, load["pseudonyms"]) for load in journal.loads().values() if load.get("pseudonyms")]
    for load, held in told:
        if load["brick"] == brick.name and held["domain"] != domain:
            raise BrickError(
                f"{brick.name}: its pseudonyms are of domain '{held['domain']}' (load {load['load_id']}), not '{domain}': each person "
                f"would be two. Mend: `pseudonym_domain: {held['domain']}`; or drop the loads of {brick.name} and read them again "
                f"(orchestra loads drop {load['load_id']} --refetch)."
            )
    held_salts = [(load, held) for load, held in told if held["domain"] == domain]
    salt = held_salts[0][1]["salt"] if held_salts else secrets.token_hex(16)
    key = pseudonym_key(os.environ[KEY], domain)
    check = hashlib.scrypt(key, salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=32).hex()
    for load, held in held_salts[:1]:
        if not hmac.compare_digest(held["check"], check):
            raise BrickError(
                f"{brick.name}: {KEY} is not the key by which the pseudonyms of domain '{domain}' were made in this lake (load "
                f"{load['load_id']} of {load['brick']}): each person would be two. Mend: set that key again; if it is lost, drop the "
                f"loads of this domain and read them again (orchestra loads drop {load['load_id']} --refetch)."
            )
    return {"domain": domain, "salt": salt, "check": check}


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


def mask_history(
    connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, brick: Brick, work: Path, pseudonyms: dict[str, str] | None
) -> None:
    """Write again the older loads that hold in clear a column that has become personal, masked as the brick says today.

    A second entry of each load names the new files, and the old ones are deleted. The warehouses, which hold the clear values
    too, are thrown away: the next build makes them again. What was published stays in the catalogues' snapshots until they expire.
    """
    held = {load["load_id"]: [t for t in brick.tables if clear_columns(journal, load, t)] for load in journal.loads(brick.name).values()}
    behind = {load_id: tables for load_id, tables in held.items() if tables}
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
            journal.amend(load, tables=tables_said, contract=contract_said, declarations=declarations, pseudonyms=pseudonyms)
            lake.delete([file for table in tables for file in load["tables"][table.name]["files"]])


def _text(name: str, shape: dict[str, str]) -> str:
    return mapped(Column(name=name, data_type="string", description="", data_tests=[]), shape, Notation())


def _write_masked(
    connection: duckdb.DuckDBPyConnection, lake: Lake, journal: Journal, brick: Brick, load: Entry, table: Table, work: Path
) -> dict[str, Any]:
    """Write the files of a table of a load again: what is declared today, masked; give its record.

    Refused rows keep no values, nor does what is told of them; rows that were erased are left out.
    """
    record, clear = load["tables"][table.name], clear_columns(journal, load, table)
    shape, notation = shape_of(journal, load, table), notation_of(brick, table)
    columns: dict[str, tuple[str, str]] = {}  # by name: value and type
    for column in table.columns:
        if not column.is_landed:
            continue
        names = {name.casefold() for name in (column.name, *column.meta.formerly)}
        present = [name for name in shape if name.casefold() in names]
        if column in clear:
            text = {name: _text(name, shape) for name in column.meta.position or ()} or {column.name: mapped(column, shape, notation)}
            columns[column.name] = masked(column, text), "string"
        elif present:
            columns |= {name: (quoted(name), record["columns"][name]) for name in present}
        elif "_extra" in shape and column.name.casefold() in {name.casefold() for name in record["new_columns"]}:
            columns[column.name] = _text(column.name, shape), "string"
    values = ", ".join(f"case when _refused is null then {value} end as {quoted(name)}" for name, (value, _) in columns.items())
    gone = is_erased(journal, brick, table, shape)
    kept = " and ".join(f"not coalesce({test}, false)" for test in gone) or "true"
    files, sizes, row_count, refused = [], [], 0, without_value(record.get("refused_as"))
    for file in record["files"]:
        target = work / f"{secrets.token_hex(8)}.parquet"
        source = f"read_parquet({literal(lake.path(file))}, file_row_number = true, hive_partitioning = false)"
        copied = connection.execute(
            f"copy (select {values}, _file, _row, {refused} as _refused, _read_at from {source} where {kept} "
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
