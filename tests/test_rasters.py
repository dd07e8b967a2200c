"""GeoTIFF: means by outline, held against overlaps that are computed by hand, and rasters of which nothing can be said."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from conftest import House, column, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.connectors import Reading, Request, files
from ingestion.formats import rasters
from tests.test_inputs import Landing

rasterio = pytest.importorskip("rasterio", reason="the extra `raster` is not installed")

WEST, NORTH = 350000.0, 6790000.0  # in Lambert 93


def write(path: Path, values: Any, size: float = 10, crs: str | None = "EPSG:2154", place: Any = None, **how: Any) -> Path:
    from rasterio.transform import from_origin

    bands = np.asarray(values)
    bands = bands if bands.ndim == 3 else bands[np.newaxis]
    told = {"driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype, "crs": crs}
    path.parent.mkdir(parents=True, exist_ok=True)
    after: Callable[[Any], None] = how.pop("after", lambda _: None)
    with rasterio.open(path, "w", **told, transform=place or from_origin(WEST, NORTH, size, size), **how) as raster:
        raster.write(bands)
        after(raster)
    return path


def box(left: float, top: float, right: float, bottom: float, size: float = 10) -> dict[str, Any]:
    """A rectangle, in pixels from the upper left."""
    x = [WEST + size * each for each in (left, right)]
    y = [NORTH - size * each for each in (bottom, top)]
    return {"type": "Polygon", "coordinates": [[[x[0], y[0]], [x[1], y[0]], [x[1], y[1]], [x[0], y[1]], [x[0], y[0]]]]}


def outline(path: Path, places: dict[str, Any], crs: str = "EPSG:2154") -> Path:
    """Write outlines as GeoPackage, by their keys."""
    import pyogrio
    import shapely

    path.parent.mkdir(parents=True, exist_ok=True)
    wkb = [shapely.from_geojson(json.dumps(place)).wkb for place in places.values()]
    held = pa.table({"iris": list(places), "wkb": pa.array(wkb, pa.binary())})
    pyogrio.write_arrow(held, path, driver="GPKG", crs=crs, geometry_type="Unknown", geometry_name="wkb")
    return path


def read(raster: Path, outlines: Path, path: str | None = None, key: str = "iris", **options: Any) -> tuple[Reading, dict[str, Any]]:
    spool = raster.parent.parent / f"spool{len(list(raster.parent.parent.iterdir()))}"
    spool.mkdir()
    told = {"format": "geotiff", "path": path or raster.name, "outlines": {"path": str(outlines), "key": key}, **options}
    request = Request(
        brick="shop", table="items", endpoint=str(raster.parent), brick_options=files.BrickOptions(),
        table_options=files.TableOptions.model_validate(told), columns=(), cursor=None, lookback_days=0, position={}, known={},
        connection=duckdb.connect(), spool=spool, is_private=False, whole=False, progress=lambda _: None,
    )  # fmt: skip
    reading, found = files.read(request), {}
    for part in reading.parts:
        rows = request.connection.execute(f"select * exclude (_file) from ({part.relation})").fetchall()
        assert part.counted == len(rows)
        found |= {row[0]: row[1:] for row in rows}
    return reading, found


def fault(*what: Any, **how: Any) -> str:
    reading, found = read(*what, **how)
    assert not found
    return reading.refused_files[0][1]


def test_a_mean_by_hand(tmp_path: Path) -> None:
    raster = write(tmp_path / "in" / "a.tif", np.array([[1, 2, 3], [4, 5, 6], [7, 8, -1]], np.float32), nodata=-1)
    places = {
        "whole": box(0, 0, 3, 3),
        "01": box(0, 0, 1, 1),
        "half": box(0.5, 0, 1.5, 1),
        "hole": box(1.5, 1.5, 3, 3),
        "beyond": box(-1, 0, 1, 1),
        "away": box(50, 50, 60, 60),
        "void": box(2, 2, 3, 3),
    }
    _, found = read(raster, outline(tmp_path / "o.gpkg", places))
    assert found["whole"] == (36 / 8, pytest.approx(8 / 9), 8)
    assert found["01"] == (1, 1, 1)
    assert found["half"] == (1.5, 1, 1)
    # A quarter of 5, half of 6, half of 8, all of what has no value.
    assert found["hole"] == (pytest.approx((5 / 4 + 6 / 2 + 8 / 2) / 1.25), pytest.approx(1.25 / 2.25), pytest.approx(1.25))
    assert found["beyond"] == (1, pytest.approx(0.5), 1)
    assert found["away"] == found["void"] == (None, 0, 0)


EDGES = st.tuples(st.integers(-20, 120), st.integers(1, 90)).map(lambda edge: (edge[0] / 10, (edge[0] + edge[1]) / 10))


@pytest.mark.parametrize("block", [2_000_000, 7])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=12)
@given(across=EDGES, down=EDGES, seed=st.integers(0, 99))
def test_means_are_those_of_overlaps(tmp_path: Path, block: int, across: Any, down: Any, seed: int) -> None:
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    drawn = np.random.default_rng(seed)
    values = drawn.normal(10, 5, (8, 9)).round(3)
    values[drawn.random(values.shape) < 0.2] = np.nan
    raster, outlines = (
        write(folder / "in" / "a.tif", values),
        outline(folder / "o.gpkg", {"a": box(across[0], down[0], across[1], down[1])}),
    )

    def overlap(edge: tuple[float, float], count: int) -> Any:
        at = np.arange(count)
        return np.clip(np.minimum(edge[1], at + 1) - np.maximum(edge[0], at), 0, None)

    share = np.where(np.isnan(values), 0, np.outer(overlap(down, 8), overlap(across, 9)))
    size, before = (across[1] - across[0]) * (down[1] - down[0]), rasters.BLOCK_PIXELS
    rasters.BLOCK_PIXELS = block
    try:
        mean, valid, count = read(raster, outlines)[1]["a"]
    finally:
        rasters.BLOCK_PIXELS = before
    assert count == pytest.approx(share.sum(), abs=1e-6)
    assert valid == pytest.approx(share.sum() / size, abs=1e-6)
    if share.sum() > 1e-5:
        assert mean == pytest.approx(float((share * np.nan_to_num(values)).sum() / share.sum()), abs=1e-5)


def test_outlines_are_moved_to_where_the_raster_is(tmp_path: Path) -> None:
    raster = write(tmp_path / "in" / "a.tif", np.arange(10_000, dtype=np.int16).reshape(100, 100), compress="deflate", tiled=True)
    there = box(20, 20, 60, 60)["coordinates"][0]
    with duckdb.connect() as connection:
        from ingestion.lake import load_extension

        load_extension(connection, "spatial")
        moved = "st_transform(st_point(?, ?), 'EPSG:2154', 'OGC:CRS84', always_xy := true)"
        ring = [connection.execute(f"select st_x(p), st_y(p) from (select {moved} as p)", point).fetchone() for point in there]
    feature = {"type": "Feature", "properties": {"iris": "01"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tmp_path / "o.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    import geopandas

    geopandas.read_file(tmp_path / "o.geojson").to_parquet(tmp_path / "o.parquet")
    mean, share, count = read(raster, tmp_path / "o.geojson")[1]["01"]
    assert read(raster, tmp_path / "o.parquet")[1]["01"] == (pytest.approx(mean), pytest.approx(1), pytest.approx(count))
    geopandas.read_file(tmp_path / "o.geojson").to_crs(2154).to_parquet(tmp_path / "far.parquet")
    assert "are in another CRS than longitude and latitude" in fault(raster, tmp_path / "far.parquet")
    assert (mean, share, count) == (
        pytest.approx(np.arange(10_000).reshape(100, 100)[20:60, 20:60].mean(), abs=0.1),
        pytest.approx(1),
        pytest.approx(1600),
    )


def test_scales_masks_and_declared_nodata(tmp_path: Path) -> None:
    outlines = outline(tmp_path / "o.gpkg", {"a": box(0, 0, 2, 1)})

    def scaled(raster: Any) -> None:
        raster.scales, raster.offsets = (0.1,), (-5,)

    def masked(raster: Any) -> None:
        raster.write_mask(np.array([[255, 0]], np.uint8))

    pixels = np.array([[100, 200]], np.int16)
    assert read(write(tmp_path / "a" / "a.tif", pixels, after=scaled), outlines)[1]["a"] == (pytest.approx(10), 1, 2)
    assert read(write(tmp_path / "b" / "a.tif", pixels, nodata=200), outlines)[1]["a"] == (100, 0.5, 1)
    assert read(write(tmp_path / "c" / "a.tif", pixels), outlines, nodata=100)[1]["a"] == (200, 0.5, 1)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        assert read(write(tmp_path / "d" / "a.tif", pixels, after=masked), outlines)[1]["a"] == (100, 0.5, 1)
    told = fault(write(tmp_path / "e" / "a.tif", np.array([[100, -9999]], np.int16)), outlines)
    assert "holds -9999, and does not say which value stands for none. Mend: declare its `nodata`" in told


def test_the_value_for_none_is_the_one_that_pixels_of_32_bits_hold(tmp_path: Path) -> None:
    outlines = outline(tmp_path / "o.gpkg", {"a": box(0, 0, 3, 1)})
    for nodata in (-9999.9, 0.1, -3.4028235e38):
        raster = write(tmp_path / "in" / "a.tif", np.array([[2, 4, nodata]], np.float32))
        assert read(raster, outlines, nodata=nodata)[1]["a"] == (3, pytest.approx(2 / 3), 2)
    # Too few digits are another value, and what is left is no measure.
    assert "holds -3.4028234663852886e+38, beside the value" in fault(raster, outlines, nodata=-3.40282e38)


def turned() -> Any:
    from rasterio.transform import Affine

    return Affine(10, 1, WEST, 1, -10, NORTH)


@pytest.mark.parametrize(
    ("how", "options", "told"),
    [
        ({"crs": None}, {}, "does not tell its CRS. Mend: declare its `source_crs`"),
        ({}, {"source_crs": "EPSG:3948"}, "is in EPSG:2154, and the table says `source_crs: EPSG:3948`"),
        ({"place": turned}, {}, "is not placed, or not with the north above"),
        ({"values": np.ones((2, 4, 4), np.uint8)}, {}, "has the bands 1, 2. Mend: declare which of them is the `band`"),
        ({}, {"band": 3}, "has the bands 1. Mend"),
        ({}, {"key": "code"}, "have no code; they have iris. Mend: `outlines.key`"),
        ({"outlines": {"a": {"type": "Point", "coordinates": [WEST, NORTH]}}}, {}, "hold what is no valid polygon: a"),
    ],
)
def test_rasters_of_which_nothing_can_be_said(tmp_path: Path, how: dict[str, Any], options: dict[str, Any], told: str) -> None:
    how = {**how, **({"place": how["place"]()} if "place" in how else {})}
    outlines = outline(tmp_path / "o.gpkg", how.pop("outlines", {"a": box(0, 0, 2, 1)}))
    raster = write(tmp_path / "in" / "a.tif", how.pop("values", np.ones((4, 4), np.uint8)), **how)
    assert told in fault(raster, outlines, **options)


@pytest.mark.parametrize("compress", ["none", "lzw", "deflate"])
def test_a_raster_that_is_cut_is_no_mean(tmp_path: Path, compress: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 9999, (200, 200)).astype(np.int32)
    raster = write(tmp_path / "in" / "a.tif", pixels, compress=compress)
    outlines, whole = outline(tmp_path / "o.gpkg", {"a": box(0, 0, 200, 200)}), raster.read_bytes()
    for kept in (0.0, 0.001, 0.3, 0.9, 0.999):
        raster.write_bytes(whole[: int(len(whole) * kept)])
        assert fault(raster, outlines)
    raster.write_bytes(whole)
    assert read(raster, outlines)[1]["a"] == (pytest.approx(pixels.mean()), 1, 40_000)


def test_a_raster_lands_and_again_when_its_outlines_change(house: House) -> None:
    raster = write(house.drops / "no2_2024.tif", np.array([[1, 2], [3, 4]], np.float64))
    with zipfile.ZipFile(house.drops / "no2.zip", "w") as archive:
        archive.write(raster, "no2_2024.tif")
        archive.writestr("lisez-moi.txt", "x")
    columns = [column("iris"), column("mean", "double"), column("valid_share", "double"), column("pixel_count", "double")]
    told = {"path": str(house.folder / "o.gpkg"), "key": "iris"}
    outline(house.folder / "o.gpkg", {"01": box(0, 0, 1, 2)})
    brick = house.brick("shop", [table("items", columns, ["iris"], {"format": "geotiff", "path": "no2.zip", "outlines": told})])
    entry = house.land(brick)
    assert entry
    assert Landing(house, brick, entry).values("iris", "mean", "valid_share", "pixel_count") == [("01", 2, 1, 2)]
    assert entry["metadata"]["items"]["layers"] == {"no2.zip/no2_2024.tif": {"crs": "EPSG:2154"}}
    assert house.land(brick) is None
    (house.folder / "o.gpkg").unlink()
    outline(house.folder / "o.gpkg", {"01": box(0, 0, 2, 2)})
    entry = house.land(brick)
    assert entry
    assert Landing(house, brick, entry).values("mean") == [2.5]


def test_without_the_extra_the_mend_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raster = write(tmp_path / "in" / "a.tif", np.ones((2, 2), np.uint8))
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with pytest.raises(files.SourceError, match=r"pip install '.\[raster\]'"):
        read(raster, outline(tmp_path / "o.gpkg", {"a": box(0, 0, 2, 1)}))


def test_a_raster_declares_its_outlines_and_nothing_else_does() -> None:
    for told in ({"format": "geotiff"}, {"format": "csv", "outlines": {"path": "x", "key": "y"}}):
        with pytest.raises(ValueError, match="a GeoTIFF lands by `outlines`, and nothing else does"):
            files.TableOptions.model_validate({"path": "a", **told})
