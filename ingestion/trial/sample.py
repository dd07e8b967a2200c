"""The first rows that a connector gives of a source that no brick describes, as texts, in one table of DuckDB."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.connectors import Part, Reading, Request, SourceError, connector
from ingestion.declaration import said
from ingestion.lake import literal, quoted

if TYPE_CHECKING:
    import duckdb

SAMPLE_ROWS = 50_000  # rows that are profiled; a source that pages is not asked for more
MOST_COLUMNS = 1000
NAME = "trial"  # what the source is called in messages until a brick names it


@dataclass
class Sample:
    """Rows of a source as texts: the table `sample`, whose columns are c0, c1, ... and whose names are `names`.

    `types` are those that the source tells itself (of Parquet: DuckDB's; of JSON: its own), by the number of the column. `row_count`
    is that of the sample, `is_whole` whether it is all the source has, `announced` how many rows the source says that it has.
    """

    connection: duckdb.DuckDBPyConnection
    names: tuple[str, ...]
    row_count: int
    is_whole: bool
    types: dict[int, str] = field(default_factory=dict)
    announced: int | None = None
    seconds: float = 0.0
    bytes_read: int = 0
    request_count: int = 0
    refused: tuple[str, ...] = ()
    left_out: int = 0
    reading: Any = None


def request_of(
    endpoint: str, protocol: str, of_brick: dict[str, Any], of_table: dict[str, Any], *, connection: Any, spool: Path
) -> Request:
    """Give what a connector is asked for a sample: no column is declared, all of it is read, the first rows are enough.

    Raises SourceError for options that the connector does not have.
    """
    from pydantic import ValidationError

    module = connector(protocol)
    try:
        options, own = module.TableOptions.model_validate(of_table), module.BrickOptions.model_validate(of_brick)
    except ValidationError as error:
        fault = error.errors()[0]
        told = f"`{protocol}` cannot read it so: {'.'.join(map(str, fault['loc']))}: {said(fault)}"
        raise SourceError(f"{NAME}: {told}. Mend: write its brick by hand.") from None
    return Request.alone(
        NAME, "sample", endpoint, brick_options=own, table_options=options, connection=connection, spool=spool, tables=(options,),
        sample_rows=SAMPLE_ROWS,
    )  # fmt: skip


def read_sample(request: Request, protocol: str) -> Sample:
    """Have a connector read the first rows; raises SourceError where it gives none."""
    begun = time.monotonic()
    reading: Reading = connector(protocol).read(request)
    if reading.refused_files and not reading.parts:
        raise SourceError(f"{NAME}: {'; '.join(f'{name} {why}' for name, why in reading.refused_files[:3])}")
    if not reading.parts:
        raise SourceError(f"{NAME}: {request.endpoint} holds no row. Mend: try one that has some.")
    sample = _hold(reading.parts, request.connection)
    _leave_out(sample, reading.parts)
    sample.seconds = time.monotonic() - begun
    sample.announced, sample.bytes_read, sample.request_count = reading.announced, reading.bytes_read, reading.request_count
    sample.refused, sample.reading = tuple(f"{name} {why}" for name, why in reading.refused_files), reading
    counted = [part.counted for part in reading.parts]
    total = sum(count for count in counted if count is not None) if None not in counted else None
    sample.is_whole = total is not None and total == sample.row_count + sample.left_out and reading.announced in (None, total)
    return sample


def _leave_out(sample: Sample, parts: list[Part]) -> None:
    """Leave out of a sample of texts what is no row: blank values alone, and the header once more."""
    if any(part.columns is None or part.is_typed for part in parts):
        return
    columns = range(len(sample.names))
    blank = " and ".join(f"coalesce(trim(c{number}), '') = ''" for number in columns)
    again = " and ".join(f"lower(trim(c{number})) = {literal(sample.names[number].lower())}" for number in columns)
    sample.left_out = sample.connection.execute(f"delete from sample where ({blank}) or ({again})").fetchall()[0][0]
    sample.row_count -= sample.left_out


def _hold(parts: list[Part], connection: duckdb.DuckDBPyConnection) -> Sample:
    """Hold the first rows of parts as texts: of documents, one column a key."""
    documents = [part for part in parts if part.columns is None]
    if documents:
        return _hold_documents(documents, connection)
    names: dict[str, str] = {}
    for part in parts:
        for name in part.columns or ():
            names.setdefault(name.casefold(), name)
    own = tuple(names.values())[:MOST_COLUMNS]
    selects, types = [], dict[int, str]()
    for part in parts:
        held = {name.casefold(): name for name in part.columns or ()}
        if part.is_typed:
            kinds = dict(zip(*_described(connection, part.relation), strict=True))
            types |= {number: kinds[held[name.casefold()]] for number, name in enumerate(own) if held.get(name.casefold()) in kinds}
        columns = ", ".join(
            f"{quoted(held[name.casefold()])}::varchar as c{number}" if name.casefold() in held else f"null::varchar as c{number}"
            for number, name in enumerate(own)
        )
        selects.append(f"(select {columns} from ({part.relation}) limit {SAMPLE_ROWS})")
    connection.execute(f"create or replace temp table sample as select * from ({' union all '.join(selects)}) limit {SAMPLE_ROWS}")
    return Sample(connection, own, _count(connection), is_whole=False, types=types)


def _described(connection: duckdb.DuckDBPyConnection, relation: str) -> tuple[list[str], list[str]]:
    rows = connection.execute(f"describe select * from ({relation}) limit 0").fetchall()
    return [row[0] for row in rows], [row[1] for row in rows]


def _hold_documents(parts: list[Part], connection: duckdb.DuckDBPyConnection) -> Sample:
    # A document begins at `from` in a packed relation, and is a SELECT otherwise.
    relations = [part.relation if part.relation.lstrip().lower().startswith("select") else f"select * {part.relation}" for part in parts]
    union = " union all ".join(f"(select _doc from ({relation}) limit {SAMPLE_ROWS})" for relation in relations)
    connection.execute(f"create or replace temp table documents as select _doc from ({union}) limit {SAMPLE_ROWS}")
    keys = "select unnest(json_keys(_doc)) as name, rowid as place, generate_subscripts(json_keys(_doc), 1) as position from documents"
    found = connection.execute(
        f"select name, min(place * 10000 + position) from ({keys}) group by name order by 2 limit {MOST_COLUMNS}"
    ).fetchall()
    names = tuple(row[0] for row in found)
    if not names:
        raise SourceError(f"{NAME}: its documents hold no key. Mend: say where its rows are (`records`).")
    paths = [literal("$." + '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"') for name in names]
    columns = ", ".join(f"json_extract_string(_doc, {path}) as c{number}" for number, path in enumerate(paths))
    connection.execute(f"create or replace temp table sample as select {columns} from documents")
    kinds = ", ".join(f"list(distinct json_type(_doc, {path}))" for path in paths)
    told = connection.execute(f"select {kinds} from documents").fetchall()[0]
    types = {}
    for number, each in enumerate(told):
        met = {kind for kind in each or () if kind not in (None, "NULL")}
        types[number] = "OBJECT" if met & {"OBJECT", "ARRAY"} else next(iter(met)) if len(met) == 1 else "MIXED" if met else "NULL"
        if met and met <= {"BIGINT", "UBIGINT", "DOUBLE"}:
            types[number] = "DOUBLE" if "DOUBLE" in met else "BIGINT"
    connection.execute("drop table documents")
    return Sample(connection, names, _count(connection), is_whole=False, types=types)


def _count(connection: duckdb.DuckDBPyConnection) -> int:
    count: int = connection.execute("select count(*) from sample").fetchall()[0][0]
    return count
