"""Where the house writes what it read: one list, which is walked when something is taken back."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Callable
from typing import NamedTuple

from expectations import docs
from ingestion.census import read_bricks
from ingestion.inbox import ROOM, release
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError
from ingestion.masking import throw_warehouses

NOTES = ("built.json", "published.json", "past.json")  # they hold messages of dbt; without them all is built, judged and followed again
TASK = "taking-back"
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")  # of Prefect's states
BY_STEP = "the step that takes back"  # knows which rows go
BY_READERS = "readers follow the journal"
NO_VALUE = "it holds no value"


class Place(NamedTuple):
    """A place: what stands there, where (below the lake or its state), and how what was read goes from it.

    By the step that takes back or by those who follow the journal; else by `clean`, which keeps nothing that may hold a value.
    """

    what: str
    where: tuple[str, ...]
    how: str | Callable[[Lake], None]


def clean_warehouses(lake: Lake) -> None:
    """Throw away the warehouses, and the notes of what was built and published from them."""
    throw_warehouses(lake)
    for name in NOTES:
        lake.state.joinpath(name).unlink(missing_ok=True)


def _clean_dbt(lake: Lake) -> None:
    target = lake.state / "target"
    target.joinpath("run_results.json").unlink(missing_ok=True)
    shutil.rmtree(target / "run", ignore_errors=True)


def _clean_logs(lake: Lake) -> None:
    for path in lake.state.joinpath("logs").glob("*"):
        with path.open("r+b") as file:  # who writes to one goes on at its end
            file.truncate()


def _clean_docs(lake: Lake) -> None:
    for folder in (docs.NOTED, docs.PAGES):
        shutil.rmtree(lake.state / folder, ignore_errors=True)


def _clean_prefect(lake: Lake) -> None:
    """Empty what Prefect keeps of runs that have ended, and the messages of their states, in the database of `orchestra up`.

    The runs themselves, their names and their states stay. Another database than the one of the state is its steward's to clean.
    """
    path = lake.state / "prefect" / "prefect.db"
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=120, isolation_level=None)) as connection:
            connection.execute("pragma secure_delete = on")  # what is deleted is written over
            tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
            for name in tables & {"log", "artifact", "artifact_collection", "event_resources", "events"}:
                connection.execute(f"delete from {name}")
            for name in tables & {"flow_run_state", "task_run_state"}:
                connection.execute(f"update {name} set message = '', data = 'null' where type in {ENDED}")
            for _ in range(100):
                if not connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0]:
                    return
                time.sleep(0.2)
        told = "somebody reads it"
    except sqlite3.Error as error:
        told = str(error)
    raise LakeError(f"{path} could not be emptied of what is taken back ({told}). Mend: stop `orchestra up`, then orchestra mask")


def _clean_inboxes(lake: Lake) -> None:
    """Delete what waits in an inbox and that a load holds, refused or not; what none holds lands without the rows that are erased."""
    if (lake.state / ROOM).is_dir():
        journal = Journal(lake)
        for brick in read_bricks().values():
            release(lake, journal, brick, even_refused=True)


PLACES = (
    Place("landed files, and the particulars of loads", ("landed",), BY_STEP),
    Place("the journal: names, counts and digests; the secret of the digests", ("journal", "keys"), NO_VALUE),
    Place("the files of marts, and the particulars of what was published", ("marts", "particulars"), BY_READERS),
    Place("the files of marts under their lasting names", ("files",), BY_READERS),
    Place("the catalogues: snapshots, statistics of columns, `publications`", ("catalogues",), BY_READERS),
    Place("the pages and the downloads of sites", ("site",), BY_READERS),
    Place("the warehouse, its free pages too, and what was built", ("warehouse.duckdb", "warehouse.duckdb.wal", *NOTES), clean_warehouses),
    Place("what dbt leaves of a build", ("target",), _clean_dbt),
    Place("logs of dbt and of what `orchestra up` runs", ("logs",), _clean_logs),
    Place("Data Docs, and what is noted for them", (docs.NOTED, docs.PAGES), _clean_docs),
    Place("Prefect's logs, artifacts, events and states", ("prefect",), _clean_prefect),
    Place("what a step works with, and what a kill left of it", ("work", "spill"), BY_STEP),
    Place("what was pushed, as it came, until it has landed", (ROOM,), _clean_inboxes),
    Place("names of locks, and of what a run has begun", ("locks", "begun", "lake_id", "upgrade", "probe"), NO_VALUE),
    Place("the register of processing, made of the bricks alone", ("register",), NO_VALUE),
    Place("the local copy of a journal on S3", ("journal.ndjson",), NO_VALUE),
)


def clean(lake: Lake) -> None:
    """Have nothing of what was read stay in the places of the state; readers, and the step that takes back, see to the others.

    What was begun (`begin`) is ended: until then each run does it again. Raises LakeError for a place that could not be emptied.
    """
    for place in PLACES:
        if callable(place.how):
            place.how(lake)
    lake.end(TASK)


def begin(lake: Lake) -> None:
    """Remember that something is being taken back: a run that is killed leaves the rest to the next one."""
    lake.begin(TASK, "all")


def is_begun(lake: Lake) -> bool:
    """Say whether something was being taken back by a run that has not ended it."""
    return bool(lake.begun(TASK))
