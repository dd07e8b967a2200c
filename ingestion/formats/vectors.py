"""Shapefile, GeoPackage, FlatGeobuf: features by GDAL, in batches, their places as GeoJSON in longitude and latitude."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingestion.connectors import OF_SOURCE, Request
from ingestion.formats import features
from ingestion.formats.loose import Loose
from ingestion.formats.parquet import look_at_parquet
from ingestion.formats.shape import Counted, Shape
from ingestion.formats.spool import Spool
from ingestion.lake import VERIFIED, literal, load_extension, quoted

BATCH_FEATURES = 8192
FORMS = {"shapefile": "ESRI Shapefile", "geopackage": "GPKG", "flatgeobuf": "FlatGeobuf"}
IN_DEGREES = ("EPSG:4326", "OGC:CRS84")
# How far a place may be from where it stood, there and back, in units of its own CRS and per unit.
MOST_ASTRAY = 1e-6
DEGREES = 1e-9  # by which a rounded longitude may pass 180
PLACE = "place"


def look_at_vector(name: str, request: Request, spool: Spool) -> tuple[Shape, Counted]:
    """Write the features of a layer as Parquet; raises ValueError for what is not whole, or whose place on Earth is not known."""
    options, path = request.table_options, spool.path(name)
    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always")
        try:
            if options.format == "geopackage":
                features.check_geopackage(path)
                source = _source(options.format, path, is_private=request.is_private)
                layer = _layer(source, request)
                counted = features.of_geopackage(path, layer, is_private=request.is_private)
            else:
                counted = features.of_shapefile(path) if options.format == "shapefile" else features.of_flatgeobuf(path)
                source = _source(options.format, path, is_private=request.is_private)
                layer = _layer(source, request)
            encoding = _encoding(options, counted)
            target = f"_layers/{spool.aliases.get(name, name)}"
            crs, count = _write(source, layer, encoding, request, spool, target, counted.loose)
        except (RuntimeError, OSError) as error:  # pyogrio's own, and those of an Arrow stream, which have no number
            if isinstance(error, OSError) and error.errno is not None:
                raise
            why = "" if request.is_private else f" ({' '.join(str(error).replace(str(path), '').split())[:200]})"
            raise ValueError(f"is no whole {FORMS[options.format]}{why}. {features.MEND}") from error
    if count != counted.features:
        raise ValueError(f"holds {counted.features:,} features, of which GDAL reads {count:,}. {features.MEND}")
    spool.roots[name] = spool.root / "_layers"
    shape, landed = look_at_parquet(name, request, spool)
    of_gdal = [str(each.message)[:200] for each in met if each.category is RuntimeWarning and "extension" not in str(each.message)]
    told = [] if request.is_private else of_gdal
    if counted.overflown:
        told.append(f"{counted.overflown} numbers did not fit their field (***) and are missing. Mend: have the source widen the field")
    said = {"crs": crs or "none"}
    if options.format == "geopackage" and not request.is_private:
        said["layer"] = layer
    return shape, landed._replace(records=counted.features, warnings=tuple(dict.fromkeys(told)), said=said)


def _source(form: str, path: Path, *, is_private: bool) -> Any:
    """Give what GDAL opens: a path, a part of a bundle, or bytes where nothing may touch the disk."""
    if form == "shapefile":
        return f"/vsizip/{{{path}}}/{features.IN_BUNDLE}.shp"
    if not is_private:
        return str(path)
    return features.bytes_of_geopackage(path) if form == "geopackage" else path.read_bytes()


def _layer(source: Any, request: Request) -> str:
    """Give the layer that is meant; raises ValueError with those that there are."""
    import pyogrio

    layers, wanted = [(str(name), kind) for name, kind in pyogrio.list_layers(source)], request.table_options.layer
    offered = f"{len(layers)} layers" if request.is_private else ", ".join(name for name, _ in layers) or "none"
    if request.table_options.format != "geopackage":
        if wanted:
            raise ValueError("holds one layer alone. Mend: leave `layer` out")
        if not layers:
            raise ValueError(f"holds no layer. {features.MEND}")
        return layers[0][0]
    if wanted is not None:
        if wanted not in [name for name, _ in layers]:
            raise ValueError(f"has no layer {wanted!r}; it has {offered}. Mend: `layer`")
        return wanted
    # What has no place (the styles of QGIS) is meant where it is named.
    placed = [name for name, kind in layers if kind is not None] or [name for name, _ in layers]
    if len(placed) != 1:
        raise ValueError(f"has several layers: {offered}. Mend: declare which of them is the `layer`" if placed else "has no layer")
    return placed[0]


def _encoding(options: Any, counted: features.Counted) -> str | None:
    """Give the encoding of texts where the brick says one; raises ValueError where neither it nor the file does."""
    if options.format != "shapefile":
        return None
    if "encoding" in options.model_fields_set:
        return str(options.encoding).replace("utf-8-sig", "utf-8")
    if not counted.tells_encoding:
        raise ValueError("does not tell the encoding of its texts (no .cpg). Mend: declare its `encoding`, often utf-8 or cp1252")
    return None


def _crs(told: str | None, request: Request) -> str:
    """Give the CRS of a layer, its own or the declared one; raises ValueError where there is none, or they differ."""
    declared, own = request.table_options.source_crs, told or ""
    if request.crs and request.crs.upper() not in IN_DEGREES:
        raise ValueError(f"lands in longitude and latitude, and the table says `crs: {request.crs}`. Mend: EPSG:4326, or none")
    if not own or own.startswith(("LOCAL_CS", "ENGCRS")) or "Undefined" in own[:80]:
        if not declared:
            raise ValueError("does not tell its CRS. Mend: declare its `source_crs`, EPSG:2154 for Lambert 93")
        return str(declared)
    if declared and own.startswith("EPSG:") and own.upper() != declared.upper():
        raise ValueError(f"is in {own}, and the table says `source_crs: {declared}`. Mend: one of them")
    return str(declared or own)


def _write(
    source: Any, layer: str, encoding: str | None, request: Request, spool: Spool, target: str, loose: Loose | None
) -> tuple[str | None, int]:
    """Write a layer as Parquet in the spool; give its CRS, None without places, and how many features were read."""
    import pyarrow.parquet as pq
    import pyogrio

    form = request.table_options.format
    with pyogrio.open_arrow(
        source,
        layer=layer,
        encoding=encoding,
        use_pyarrow=True,
        batch_size=BATCH_FEATURES,
        return_fids=form == "geopackage",
        datetime_as_string=True,
    ) as (meta, batches):
        own = meta["geometry_name"] or "wkb_geometry"
        if own not in batches.schema.names:
            own = ""
        crs = _crs(meta["crs"], request) if own else None
        count, writer = 0, None
        with spool.create(target) as out:
            for table in _placed(batches, own, crs, loose):
                writer = writer or pq.ParquetWriter(out, table.schema, compression="zstd")
                writer.write_table(table)
                count += len(table)
            if writer:
                writer.close()
    return crs, count


def _placed(batches: Any, own: str, crs: str | None, loose: Loose | None) -> Iterator[Any]:
    """Give batches whose places are GeoJSON texts; raises ValueError for those that are no place, or that cannot be said so."""
    import duckdb
    import pyarrow as pa

    names = [name for name in batches.schema.names if name != own]
    renamed = {name: f"{name}{OF_SOURCE}" if name.casefold() == "geometry" and own else name for name in names}
    with duckdb.connect(config=VERIFIED) as connection:
        if own:
            load_extension(connection, "spatial")
        number = 0
        for batch in _with_last(batches):
            try:
                batch.validate(full=True)
            except pa.ArrowInvalid as error:
                raise ValueError("holds texts that are not of the encoding that it tells. Mend: declare its `encoding`") from error
            table = pa.Table.from_batches([batch]).select(names)
            table = loose.put(table, number) if loose else table
            table = table.rename_columns([renamed[name] for name in names])
            if own:
                wkb = pa.table({PLACE: batch.column(batch.schema.get_field_index(own)).cast(pa.binary())})
                connection.register("wkb", wkb)
                table = table.append_column("geometry", _as_text(connection, crs or "", number))
                connection.unregister("wkb")
            number += len(table)
            yield table


def _with_last(batches: Any) -> Iterator[Any]:
    """Give batches, an empty one where there is none: columns are told by a file without features too."""
    import pyarrow as pa

    is_empty = True
    for batch in batches:
        is_empty = False
        yield batch
    if is_empty:
        yield pa.RecordBatch.from_pylist([], schema=batches.schema)


def _as_text(connection: Any, crs: str, number: int) -> Any:
    """Write the places of a batch as GeoJSON in longitude and latitude, once it is known that they are none elsewhere."""
    import duckdb

    is_moved = crs.upper() not in IN_DEGREES
    corner = "st_point(st_xmax(own), st_ymax(own))"
    there, corner_there = (f"st_transform({each}, {literal(crs)}, 'OGC:CRS84', always_xy := true)" for each in ("own", corner))
    there = there if is_moved else "own"
    back = f"st_transform({corner_there}, 'OGC:CRS84', {literal(crs)}, always_xy := true)"
    far = f"greatest(1, abs(st_xmax(own)), abs(st_ymax(own))) * {MOST_ASTRAY}"
    is_back = f"st_distance({back}, {corner}) <= {far}" if is_moved else "true"
    limit = [f"st_{side}(placed) {test} {bound}" for side, test, bound in _LIMITS]
    sql = (
        f"with given as (select row_number() over () as n, st_geomfromwkb({quoted(PLACE)}::wkb_blob) as own from wkb), "
        f"moved as materialized (select n, own, {there} as placed from given) "
        "select st_asgeojson(placed)::varchar as text, own is null or (st_isempty(own) and contains(text, '[]')) or "
        "coalesce(starts_with(text, '{') and not regexp_matches(text, '(?i)nan|inf') and "
        f"{' and '.join(limit)} and {is_back}, false) as is_place from moved order by n"
    )
    try:
        found = connection.execute(sql).to_arrow_table()
    except duckdb.Error as error:
        told = str(error)
        if "Unsupported geometry" in told:
            raise ValueError("holds curves or surfaces, which GeoJSON has not. Mend: have the source give lines and polygons") from error
        if "projection" in told:
            raise ValueError(f"is in {crs[:60]}, which is no known CRS. Mend: declare its `source_crs`") from error
        raise ValueError(f"holds a geometry that cannot be read ({type(error).__name__}). {features.MEND}") from error
    if False in (told := found["is_place"].to_pylist()):
        raise ValueError(
            f"has a place outside of what {crs[:60]} can say, its feature {number + told.index(False) + 1}. Mend: `source_crs`"
        )
    return found["text"].combine_chunks()


_LIMITS = (
    ("xmin", ">=", -180 - DEGREES),
    ("xmax", "<=", 180 + DEGREES),
    ("ymin", ">=", -90 - DEGREES),
    ("ymax", "<=", 90 + DEGREES),
)
