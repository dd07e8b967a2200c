"""Files as relations that DuckDB reads itself: CSV, NDJSON, GeoJSON, Parquet, spreadsheets, layers, rasters, with a count of their own."""

from __future__ import annotations

import csv
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingestion.connectors import Part, Reading
from ingestion.formats.count import Sought, blank_record, scan
from ingestion.formats.geojson import parts_of_collections
from ingestion.formats.parquet import look_at_parquet
from ingestion.formats.rasters import look_at_raster
from ingestion.formats.shape import Counted, Shape
from ingestion.formats.sheets import look_at_sheet
from ingestion.formats.spool import Spool, escaped
from ingestion.formats.text import look_at_csv, look_at_ndjson
from ingestion.formats.vectors import FORMS, look_at_vector
from ingestion.lake import listed, literal, quoted

_numbers = itertools.count(1)
_LOOKS: dict[str, Any] = {
    "csv": look_at_csv,
    "ndjson": look_at_ndjson,
    "parquet": look_at_parquet,
    "spreadsheet": look_at_sheet,
    **dict.fromkeys(FORMS, look_at_vector),
    "geotiff": look_at_raster,
}


def parts(form: str, names: Iterable[str], reading: Reading, spool: Spool) -> list[Part]:
    """Make a part of the files of each shape; those that are not what they should be, or lack a column, are refused."""
    if form == "geojson":
        return parts_of_collections(names, reading, spool)
    groups: dict[tuple[Path, Shape], dict[str, Counted]] = defaultdict(dict)
    for name in names:
        try:
            shape, count = _LOOKS[form](name, reading.request, spool)
        except (ValueError, csv.Error) as error:
            reading.refused_files.append((name, str(error)))
        else:
            groups[spool.roots[name], shape][name] = count
            reading.warnings += [f"{reading.request.brick}.{reading.request.table}: {name}: {told}" for told in count.warnings]
            if count.said:
                reading.metadata.setdefault("layers", {})[name] = count.said
    return [_part(spool, root, shape, counts) for (root, shape), counts in groups.items()]


def _part(spool: Spool, root: Path, shape: Shape, counts: dict[str, Counted]) -> Part:
    paths = listed([escaped(spool.path(name)) for name in counts])
    start, own = len(str(root).rstrip("/")) + 2, {spool.aliases[name]: name for name in counts if name in spool.aliases}

    def named(path: str) -> str:
        place = f"substr({path}, {start})"
        cases = " ".join(f"when {literal(alias)} then {literal(name)}" for alias, name in own.items())
        return f"case {place} {cases} else {place} end" if own else place

    relation = f"select {shape.selected}, {named(shape.path)} as _file from {shape.before}"
    total = sum(counted.records for counted in counts.values())
    part = Part(f"{relation}{paths}{shape.after}", tuple(counts), shape.columns, bool(shape.types), total)

    def without(gone: set[str]) -> Part:
        return _part(spool, root, shape, {name: count for name, count in counts.items() if name not in gone})

    if shape.types:
        return part
    if shape.before != "read_csv(":

        def rows_at(name: str, _: Sequence[int], rows: Sequence[int]) -> tuple[list[tuple[int, int]], list[int]]:
            return [], [counts[name].rows[row - 1] for row in rows]

        return replace(part, places=rows_at, header=shape.names, without=without)
    number = next(_numbers)
    scans, errors = f"reject_scans_{number}", f"reject_errors_{number}"
    paths += f", store_rejects = true, rejects_scan = '{scans}', rejects_table = '{errors}', rejects_limit = 0"

    def places(name: str, at: Sequence[int], rows: Sequence[int]) -> tuple[list[tuple[int, int]], list[int]]:
        separator, quote, skip, blank, width = shape.scanned
        if counts[name].is_plain and not at:
            return [], [skip + shape.header + row for row in rows]
        sought = Sought(at, [row - 1 + shape.header for row in rows])
        scan(spool.path(name), separator, quote, skip, blank, width, sought)
        return [(number + 1 - shape.header, line) for number, line in sought.at()], sought.lines()

    rejects = (scans, errors, named("scans.file_path"))
    texts: dict[str, Any] = {"relation": f"{relation}{paths}{shape.after}", "rejects": rejects, "places": places, "header": shape.names}
    texts["without"] = without
    if shape.is_thin:
        separator, quote, *_ = shape.scanned
        spaces = "' '" if separator == "\t" else "' ' || chr(9)"
        tests = [f"coalesce(trim({quoted(column)}, {spaces}), '') = ''" for column in shape.columns or ()]
        texts["thin"] = (" and ".join(tests), rf"[\r\n]*{blank_record(separator, quote)}[\r\n]*")
    return replace(part, **texts)
