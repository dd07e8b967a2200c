"""GeoTIFF: the mean of its pixels by reference outline, each pixel weighing by the share of it that lies within."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

from ingestion.connectors import Request, SourceError
from ingestion.formats.outlines import read_outlines
from ingestion.formats.parquet import look_at_parquet
from ingestion.formats.shape import Counted, Shape
from ingestion.formats.spool import Spool

# Pixels that are in memory at once.
BLOCK_PIXELS = 2_000_000
# What stands for no value in rasters that do not say so.
USUAL_NODATA, LEAST_REAL = (-9999, -99999, -32768), -1e30
# Nothing beside the file is looked at: another store would not give it.
ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
CACHE_BYTES = 64 << 20  # of GDAL, for which a twentieth of the memory is usual
MEND = "Mend: have the source give it whole"


def look_at_raster(name: str, request: Request, spool: Spool) -> tuple[Shape, Counted]:
    """Write a row by outline as Parquet: its key, `mean`, `valid_share` and `pixel_count`.

    Raises ValueError for what is no whole raster with values on Earth, SourceError where the reader is not installed.
    """
    try:
        import rasterio
    except ImportError as error:
        told = f"{request.brick}.{request.table}: a GeoTIFF is read by rasterio and exactextract, which are not installed"
        raise SourceError(f"{told}. Mend: pip install '.[raster]'.") from error
    import pyarrow as pa
    import pyarrow.parquet as pq

    options = request.table_options
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, **ALONE), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # it is an error here
        try:
            with rasterio.open(spool.path(name), driver="GTiff") as raster:
                crs = _checked(raster, request)
                outlines = read_outlines(options.outlines, crs)
                rows = [(key, *_mean(raster, place, area, options)) for key, place, area in outlines]
        except rasterio.errors.RasterioError as error:
            told = "" if request.is_private else f" ({' '.join(str(error).replace(str(spool.path(name)), 'it').split())[:150]})"
            raise ValueError(f"is no whole GeoTIFF{told}. {MEND}") from error
    names = (options.outlines.key, "mean", "valid_share", "pixel_count")
    kinds = (pa.string(), pa.float64(), pa.float64(), pa.float64())
    columns = [pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True) if rows else [()] * 4, kinds, strict=True)]
    with spool.create(f"_outlines/{spool.aliases.get(name, name)}") as out:
        pq.write_table(pa.table(dict(zip(names, columns, strict=True))), out)
    spool.roots[name] = spool.root / "_outlines"
    shape, landed = look_at_parquet(name, request, spool)
    return shape, landed._replace(records=len(rows), said={"crs": crs})


def _checked(raster: Any, request: Request) -> str:
    """Give the CRS of a raster; raises ValueError for one that is not placed, that is turned, or that holds colours."""
    from rasterio.enums import ColorInterp

    options = request.table_options
    band = options.band or 1
    if band > raster.count or (options.band is None and raster.count > 1):
        told = ", ".join(f"{n} {text or ''}".strip() for n, text in enumerate(raster.descriptions, 1))
        raise ValueError(f"has the bands {told}. Mend: declare which of them is the `band`")
    if raster.colorinterp[band - 1] == ColorInterp.palette:
        raise ValueError("holds colours of a palette, which have no mean. Mend: have the source give values")
    if raster.dtypes[band - 1].startswith("complex"):
        raise ValueError("holds complex numbers, which have no mean that lands")
    if not raster.crs and not options.source_crs:
        raise ValueError("does not tell its CRS. Mend: declare its `source_crs`")
    own = (raster.crs.to_string() if raster.crs else "") or options.source_crs
    if raster.crs and options.source_crs and own.startswith("EPSG:") and own.upper() != options.source_crs.upper():
        raise ValueError(f"is in {own}, and the table says `source_crs: {options.source_crs}`. Mend: one of them")
    place = raster.transform
    if place.is_identity or place.b or place.d or place.a <= 0 or place.e >= 0:
        raise ValueError("is not placed, or not with the north above. Mend: have it made so (gdalwarp)")
    return str(own)


def _mean(raster: Any, place: dict[str, Any], area: float, options: Any) -> tuple[float | None, float, float]:
    """Give the mean within an outline (None where no pixel has a value), the share of it that has values, and how many pixels that is."""
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    feature = [{"type": "Feature", "properties": {}, "geometry": place}]
    sums, counts = list[float](), list[float]()
    for values, bounds in _blocks(raster, place, options):
        (found,) = exact_extract(NumPyRasterSource(values, *bounds, nodata=math.nan), feature, ["sum", "count"])
        told = found["properties"]
        if told["count"]:
            sums.append(told["sum"])
            counts.append(told["count"])
    count, band = math.fsum(counts), (options.band or 1) - 1
    share = min(1.0, count * raster.transform.a * -raster.transform.e / area)
    mean = math.fsum(sums) / count * raster.scales[band] + raster.offsets[band] if count else None
    return mean, share, count


def _blocks(raster: Any, place: dict[str, Any], options: Any) -> Iterator[tuple[Any, tuple[float, float, float, float]]]:
    """Give the pixels that an outline may hold, in blocks of rows, with NaN for those without value, and where the blocks are."""
    import numpy as np
    from rasterio.features import bounds as bounds_of

    west, south, east, north = bounds_of(place)
    x, y, width, height = raster.transform.c, raster.transform.f, raster.transform.a, -raster.transform.e
    left, right = max(0, math.floor((west - x) / width)), min(raster.width, math.ceil((east - x) / width))
    top, bottom = max(0, math.floor((y - north) / height)), min(raster.height, math.ceil((y - south) / height))
    if left >= right:
        return
    step = max(1, BLOCK_PIXELS // (right - left))
    for first in range(top, bottom, step):
        last = min(bottom, first + step)
        values = _values(raster, ((first, last), (left, right)), options, np)
        yield values, (x + left * width, y - last * height, x + right * width, y - first * height)


def _values(raster: Any, window: Any, options: Any, np: Any) -> Any:
    """Read pixels as numbers, NaN for those without value; raises ValueError where they hold what usually is none, unsaid."""
    band = options.band or 1
    read = raster.read(band, window=window, masked=True)
    with np.errstate(invalid="ignore"):
        values = np.ma.filled(read.astype(np.float64), np.nan)
        # As the pixels hold it: -9999.9 is another number in 32 bits.
        none = options.nodata if options.nodata is None or read.dtype.kind in "iu" else np.float64(read.dtype.type(options.nodata))
    is_unsaid = raster.nodatavals[band - 1] is None and not np.ma.is_masked(read)
    if none is not None:
        values[values == none] = np.nan
        is_unsaid = False
    # What no measure is so far below is no value that was declared in too few digits.
    odd = values[(values < LEAST_REAL) | (np.isin(values, USUAL_NODATA) if is_unsaid else False)]
    if odd.size:
        told = "and does not say which value stands for none" if is_unsaid else "beside the value that is said to stand for none"
        raise ValueError(f"holds {odd[0]:.17g}, {told}. Mend: declare its `nodata`, to the digit")
    values[~np.isfinite(values)] = np.nan
    return values
