"""The zones of the territory, as a map draws them: simplified as one, so that borders that are shared stay shared."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from ingestion.lake import VERIFIED, LakeError, literal, load_extension


@dataclass(frozen=True)
class Zone:
    """A zone of the territory: its code, its name where it has one, and its rings, each a list of longitudes and latitudes."""

    code: str
    name: str
    rings: tuple[tuple[tuple[float, float], ...], ...]


@functools.cache
def read_zones(path: str | None, digest: str, precision: float) -> tuple[Zone, ...]:
    """Read the territory's zones (GeoJSON with a property `code`), simplified as one so that shared borders stay shared.

    `digest` is that of the file: another content is read again. Raises LakeError for a file that cannot be read.
    """
    import duckdb

    if path is None:
        return ()
    with duckdb.connect(config=VERIFIED) as connection:
        load_extension(connection, "spatial")
        sql = f"""
            with zones as (select code::varchar as code, geom from st_read({literal(path)}) where geom is not null),
            alike as (
                select list(code order by code) as codes, st_coveragesimplify(list(geom order by code), {precision}) as whole from zones
            )
            select unnest(codes), unnest(list_transform(st_dump(whole), part -> st_asgeojson(part.geom))) from alike
        """
        try:
            told = connection.execute(sql).fetchall()
        except duckdb.Error as error:
            mend = "a GeoJSON of polygons with a property `code`"
            raise LakeError(f"territory.yml: zones {path} (digest {digest}) cannot be read ({error}). Mend: {mend}") from error
    found = []
    features = json.loads(Path(path).read_text(encoding="utf-8"))["features"]
    names = {str(each["properties"]["code"]): str(each["properties"].get("name") or "") for each in features}
    for code, text in told:
        shape = json.loads(text)
        polygons = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
        found.append(Zone(code, names.get(code, ""), tuple(tuple((p[0], p[1]) for p in ring) for polygon in polygons for ring in polygon)))
    return tuple(found)
