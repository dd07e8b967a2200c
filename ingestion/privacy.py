"""Masks of personal columns, as SQL expressions of landing's one SELECT; the key never stands in SQL text."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.brick import PROJECT, Brick, BrickError, Column, read_territory
from ingestion.lake import literal, load_extension, quoted

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
        path = (PROJECT / zones).resolve() if zones else None
        if path is None or not Path(path).exists():
            raise BrickError(f"{brick.name}: mask zone needs the GeoJSON that `zones` of territory.yml names ({zones}).")
        load_extension(connection, "spatial")
        connection.execute(
            "create or replace temp table zones as select feature->'properties'->>'code' as code, "
            "st_geomfromgeojson(feature->>'geometry') as shape from (select unnest(from_json(content->'features', '[\"JSON\"]')) "
            f"as feature from read_text({literal(str(path))}))"
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
