"""A brick of made-up meter readings in three formats, written by DuckDB, with a few rows that must be refused."""

from __future__ import annotations

from pathlib import Path

from ingestion.brick import Brick
from ingestion.census import read_brick
from ingestion.lake import literal

COLUMNS = {
    "meter_id": "string",
    "read_at": "timestamptz",
    "index_kwh": "double",
    "quality": "bigint",
    "is_estimated": "boolean",
    "note": "string",
}
REFUSED_EVERY = 100_000

_BRICK = """\
version: 2
sources:
  - name: readings
    description: Made-up readings of meters.
    config:
      freshness: {{warn_after: {{count: 2, period: day}}, error_after: {{count: 7, period: day}}}}
      loaded_at_field: _read_at
      meta:
        {{title_fr: Relevés, title_en: Readings, kind: source, producer: none, steward: none, use_cases: [energy], status: candidate,
        licence: etalab-2.0, access_class: open, connector: files, endpoint: null, endpoint_reason: A benchmark., cadence: daily,
        retention: {{count: 1, period: year}}}}
    tables:
      - name: readings
        description: One row per meter and instant.
        config: {{meta: {{delivers: changes, options: {{format: {format}, path: "*.{format}"}}, key: [meter_id, read_at]}}}}
        columns:
{columns}
"""


def write_brick(folder: Path, format_: str) -> Brick:
    """Write the brick's YAML for one format and read it as the engine does."""
    columns = "\n".join(f"          - {{name: {name}, data_type: {kind}, description: Made up.}}" for name, kind in COLUMNS.items())
    path = folder / "readings.yml"
    path.write_text(_BRICK.format(format=format_, columns=columns), encoding="utf-8")
    return read_brick(path)


def write_source(folder: Path, format_: str, rows: int) -> Path:
    """Write one file of `rows` readings; in one of REFUSED_EVERY rows the index is no number (absent key in Parquet)."""
    import duckdb

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"readings.{format_}"
    is_bad = f"i % {REFUSED_EVERY} = {REFUSED_EVERY // 2}"
    index = "round(1000 + i % 977 * 3.5 + (hash(i) % 1000) / 1000.0, 3)"
    meter = "'M' || lpad((hash(i) % 20000)::varchar, 8, '0')"
    if format_ == "parquet":
        meter = f"case when {is_bad} then null else {meter} end"
    else:
        index = f"case when {is_bad} then 'n/a' else {index}::varchar end"
    select = f"""
        select {meter} as meter_id, timestamptz '2020-01-01 00:00:00+00' + to_seconds((i * 5)::bigint) as read_at, {index} as index_kwh,
            (hash(i + 1) % 4)::bigint as quality, hash(i + 2) % 10 = 0 as is_estimated,
            case when hash(i + 3) % 20 = 0 then 'checked by hand, ' || (i % 50) end as note
        from range({rows}) as numbers (i)"""
    how = {"csv": "format csv, header", "ndjson": "format json", "parquet": "format parquet, compression snappy"}[format_]
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set enable_progress_bar = false")
        connection.execute(f"copy ({select}) to {literal(str(file))} ({how})")
    return file


def plain_copy(source: Path, format_: str, target: Path) -> str:
    """Write DuckDB's own copy of the same bytes to Parquet with the declared types; what is not of its type goes to NULL or is skipped."""
    kinds = {"string": "varchar"}
    columns = "{" + ", ".join(f"{name}: '{kinds.get(kind, kind)}'" for name, kind in COLUMNS.items()) + "}"
    readers = {
        "csv": f"read_csv({literal(str(source))}, columns = {columns}, header = true, ignore_errors = true)",
        "ndjson": f"read_json({literal(str(source))}, columns = {columns}, format = 'newline_delimited', ignore_errors = true)",
        "parquet": f"read_parquet({literal(str(source))})",
    }
    return f"copy (from {readers[format_]}) to {literal(str(target))} (format parquet, compression zstd)"
