"""A brick as a source of dlt: its tables are resources, and the one SELECT that casts, masks and refuses runs inside them.

Landing extracts it from where the journal says; `brick` gives it to any pipeline of dlt, which keeps where it is in its own state.
"""

from __future__ import annotations

import functools
import logging
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
from dlt.common.schema import Schema
from dlt.pipeline.exceptions import PipelineStepFailed

from ingestion import privacy
from ingestion.brick import Brick, Table
from ingestion.census import folder_of_bricks, read_brick
from ingestion.cursor import usable
from ingestion.declaration import BrickError
from ingestion.keyed import names_by
from ingestion.lake import connect
from ingestion.landing import reader_of
from ingestion.position import Position
from ingestion.refusal import reasons_before_judging
from ingestion.staging import Staged, read_table, stage

if TYPE_CHECKING:
    from dlt.extract import DltSource

log = logging.getLogger("orchestra")

DLT_TYPES = {"string": "text", "json": "text", "boolean": "bool", "timestamptz": "timestamp"}
BATCH_ROWS = 100_000  # rows of an Arrow batch that a pipeline of dlt is given at once


def brick(name: str) -> DltSource:
    """Give a brick of the project (of ORCHESTRA_BRICKS) as a source of dlt, for a pipeline of one's own to any destination.

    What is new is what the state of that pipeline does not hold: no journal is read, nothing is judged, no key of pseudonyms is
    compared with the one of before. Rows that are not what the brick declares come too, and `_refused` says why; what would refuse
    a load of the house before any expectation is logged as a warning. Raises BrickError when there is no such brick.
    """
    folder = folder_of_bricks()
    path = folder / f"{name}.yml"
    if not path.exists():
        raise BrickError(f"{folder} holds no brick '{name}': {', '.join(sorted(each.stem for each in folder.glob('*.yml')))}")
    told = read_brick(path)
    return source_of(told, functools.partial(_read_new_rows, told))


def source_of(brick: Brick, rows: Callable[[Table], Iterator[Any]], naming: str | None = None) -> DltSource:
    """Give a brick as a source of dlt whose tables give what `rows` does; `naming` is the source's own, else the destination's."""
    normalizers: Any = {"names": naming, "json": {"module": "dlt.common.normalizers.json.relational"}}
    schema = Schema(brick.name, normalizers) if naming else None
    source: DltSource = _tables.clone(name=brick.name, schema=schema)(brick, rows)
    return source


@dlt.source
def _tables(brick: Brick, rows: Callable[[Table], Iterator[Any]]) -> list[Any]:
    def resource(table: Table) -> Any:
        def given() -> Iterator[Any]:
            yield from rows(table)

        return dlt.resource(given, name=table.name, write_disposition="append")

    return [resource(table) for table in brick.tables]


def _read_new_rows(brick: Brick, table: Table) -> Iterator[Any]:
    """Read what the pipeline's state does not hold of a table, as Arrow batches, then tell the state."""
    from pyarrow.parquet import ParquetFile

    state, told, read_by = dlt.current.resource_state(), f"{brick.name}.{table.name}", reader_of(brick)
    position = usable(Position.of(state), table, read_by)
    with tempfile.TemporaryDirectory(prefix="orchestra-") as name, connect(Path(name) / "spill", is_private=brick.has_personal) as opened:
        # A pipeline that began before texts had a normal form goes on as it began.
        form = state.get("form", privacy.AS_IT_STANDS if state else privacy.NORMAL)
        privacy.prepare(opened, brick, privacy.Masks({"form": form}))
        folder = Path(name)
        if brick.has_personal:  # the names of its files may be of persons: the state of the pipeline holds none
            state.setdefault("names", secrets.token_hex(32))
        name_of = names_by(bytes.fromhex(state["names"])) if brick.has_personal else str
        reading = read_table(brick, table, position, opened, folder, None, name_of)
        if reading.is_synthetic:
            log.warning("%s: the source is a sandbox: its rows are made up", told)
        if not reading.parts and not reading.refused_files:
            return
        staged = stage(opened, brick, table, reading, folder, reading.read_at, position)
        for file, why in reading.refused_files:
            log.warning("%s: %s: %s", told, file, why)
        for reason in reasons_before_judging(staged):
            log.warning("%s: a load of the house would be refused: %s", brick.name, reason)
        for staged_file in staged.files:
            with ParquetFile(staged_file) as held:
                yield from held.iter_batches(BATCH_ROWS)
        position.settle(staged.record, read_by)
        state.update(position.told(), **({"form": form} if brick.has_personal else {}))


def files_to_move(staged: Staged) -> Iterator[Any]:
    """Give the staged files of a table for dlt to move as they are.

    Told every column in the order of the files, under its own name, it does; else it writes them again: renamed, in one file,
    compressed otherwise, and none when there is no row.
    """
    columns: Any = {name: {"data_type": DLT_TYPES.get(kind, kind)} for name, kind in staged.columns.items()}
    for file in staged.files:
        yield dlt.mark.with_file_import(str(file), "parquet", items_count=0, hints=dlt.mark.make_hints(columns=columns))


def extract(pipeline: dlt.Pipeline, source: DltSource) -> None:
    """Extract a source; what goes wrong in its resources is raised as it is, without what dlt says around it."""
    # The contract of dlt comes second: the SELECT has cast to the declared types before.
    contract: Any = {"tables": "evolve", "columns": "evolve", "data_type": "freeze"}
    try:
        pipeline.extract(source, schema_contract=contract)
    except PipelineStepFailed as error:
        cause: BaseException | None = error
        while cause and type(cause).__module__.startswith("dlt."):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None
