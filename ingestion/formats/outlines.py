"""Reference outlines: polygons with a key, read from a file of the territory, for what is summed up by them."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from ingestion.connectors import Strict
from ingestion.formats.spool import escaped
from ingestion.lake import PROJECT, VERIFIED, literal, load_extension, quoted


class Outlines(Strict):
    """Where outlines are, the property that is their key, and their layer where the file has several."""

    path: str = Field(min_length=1)
    key: str = Field(min_length=1)
    layer: str | None = None

    @property
    def file(self) -> Path:
        """Where the file is: a path is relative to the folder of `territory.yml`."""
        return Path(os.environ.get("ORCHESTRA_TERRITORY", PROJECT / "territory.yml")).parent / self.path

    def digest(self) -> str:
        """Sum up what the file holds; raises ValueError where it is not there."""
        try:
            with self.file.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:16]
        except OSError as error:
            raise ValueError(f"the outlines {self.path} cannot be read ({error.strerror}). Mend: `outlines.path`") from error


def read_outlines(outlines: Outlines, crs: str) -> list[tuple[str, dict[str, Any], float]]:
    """Give the key, the polygon (GeoJSON) and the area of each outline, in a CRS; raises ValueError for those that are no such thing."""
    import duckdb
    import pyarrow as pa

    told = f"the outlines {outlines.path}"
    with duckdb.connect(config=VERIFIED) as connection:
        load_extension(connection, "spatial")
        found = (_of_parquet if outlines.file.suffix == ".parquet" else _of_layer)(outlines, told, connection)
        keys = [None if key is None else str(key) for key in found.keys]
        if None in keys:
            raise ValueError(f"{told} have an outline without {outlines.key}. Mend: a key that tells them apart")
        if twice := next((key for key, count in Counter(keys).items() if count > 1), None):
            raise ValueError(f"{told} hold the {outlines.key} {twice} more than once. Mend: a key that tells them apart")
        moved = f"st_transform(st_geomfromwkb(place::wkb_blob), {literal(found.crs)}, {literal(crs)}, always_xy := true)"
        connection.register("given", pa.table({"n": range(len(keys)), "place": found.places}))
        try:
            rows = connection.execute(
                f"with moved as materialized (select n, {moved} as place from given) select st_asgeojson(place)::varchar, st_area(place), "
                "st_geometrytype(place)::varchar in ('POLYGON', 'MULTIPOLYGON') and st_isvalid(place) and not st_isempty(place) "
                "from moved order by n"
            ).fetchall()
        except duckdb.Error as error:
            raise ValueError(
                f"{told} cannot be placed where the raster is ({type(error).__name__}). Mend: polygons in a known CRS"
            ) from error
    for key, (_, _, is_polygon) in zip(keys, rows, strict=True):
        if not is_polygon:
            raise ValueError(f"{told} hold what is no valid polygon: {key}. Mend: repair it")
    return [(str(key), json.loads(place), area) for key, (place, area, _) in zip(keys, rows, strict=True)]


class _Found(NamedTuple):
    """Keys, places in WKB, and their CRS."""

    keys: list[Any]
    places: Any
    crs: str


def _of_layer(outlines: Outlines, told: str, _: Any) -> _Found:
    import pyarrow as pa
    import pyogrio

    try:
        meta, table = pyogrio.read_arrow(outlines.file, layer=outlines.layer)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise ValueError(f"{told} cannot be read ({str(error)[:150]}). Mend: GeoJSON, GeoPackage, FlatGeobuf or GeoParquet") from error
    if outlines.key not in table.column_names:
        raise _unknown_key(outlines, told, [str(name) for name in meta["fields"]])
    own = meta["geometry_name"] or "wkb_geometry"
    if own not in table.column_names or not meta["crs"]:
        raise ValueError(f"{told} have no places, or no CRS. Mend: polygons with their CRS")
    return _Found(table[outlines.key].to_pylist(), table[own].cast(pa.binary()), str(meta["crs"]))


def _of_parquet(outlines: Outlines, told: str, connection: Any) -> _Found:
    """Read GeoParquet in longitude and latitude, as marts are published."""
    import duckdb

    place = f"read_parquet({literal(escaped(outlines.file))})"
    try:
        kinds = {row[0]: row[1] for row in connection.execute(f"describe from {place}").fetchall()}
        asked = f"select decode(value) from parquet_kv_metadata({literal(escaped(outlines.file))}) where decode(key) = 'geo'"
        geo = json.loads((connection.execute(asked).fetchone() or ("{}",))[0])
    except duckdb.Error as error:
        raise ValueError(f"{told} are no whole Parquet. Mend: GeoParquet") from error
    own = geo.get("primary_column")
    if not own or not kinds.get(own, "").startswith("GEOMETRY"):
        raise ValueError(f"{told} are no GeoParquet. Mend: have their places told as such")
    identified = ((geo["columns"][own].get("crs") or {}).get("id") or {}) if "crs" in geo["columns"][own] else {"code": "CRS84"}
    if str(identified.get("code")) not in ("CRS84", "4326"):
        raise ValueError(f"{told} are in another CRS than longitude and latitude. Mend: have them so, or as GeoPackage")
    if outlines.key not in kinds:
        raise _unknown_key(outlines, told, list(kinds))
    table = connection.execute(
        f"select {quoted(outlines.key)} as key, st_aswkb({quoted(own)})::blob as place from {place}"
    ).to_arrow_table()
    return _Found(table["key"].to_pylist(), table["place"], "OGC:CRS84")


def _unknown_key(outlines: Outlines, told: str, names: list[str]) -> ValueError:
    return ValueError(f"{told} have no {outlines.key}; they have {', '.join(names)}. Mend: `outlines.key`")
