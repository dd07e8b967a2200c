"""What a connector gives to landing, and the one list of the protocols that are spoken."""

from __future__ import annotations

import importlib
import re
import threading
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from ingestion.declaration import written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import duckdb

    from ingestion.connectors.shared import Shared
    from ingestion.own_census import Own

# A protocol is a module here with three names: `BrickOptions` and `TableOptions` (pydantic models of what a brick's YAML
# may say under `options`), and `read(request) -> Reading`. One that can tell more of its options than their form, without asking a
# source, has `check(brick_options, table_options, table) -> str | None`, what is wrong; one that can ask a source what it says of a
# table, without its rows, has `probe(request) -> Probed`.
CONNECTORS = (
    "arcgis",
    "census",
    "ckan",
    "csw",
    "dcat",
    "dlt",
    "files",
    "gbfs",
    "gtfs_rt",
    "job",
    "mqtt",
    "ngsi",
    "ogc_features",
    "opendatasoft",
    "rest",
    "sensorthings",
    "sql",
    "udata",
    "webhook",
    "wfs",
)
# Of these, sources that are not asked: they push, `orchestra listen` receives, and `read` drains the inbox of the brick.
PUSHED = ("mqtt", "webhook")
GIVE_BLANKS = ("arcgis", "ckan")  # of those that ask by `since`, which give rows without a value in it each time too
# Names that landing, the connectors and DuckDB write beside those of the source, which lands under another then.
OURS = ("_file", "_path", "_doc", "_refused", "_extra", "_read_at", "_load_id", "_seq", "_row", "_deleted", "load_id")
RESERVED = (*OURS, "filename", "file_row_number", "file_index")
OF_SOURCE = "_of_source"


# The name of an environment variable: a secret typed in its place is none, and no message shows it.
Variable = Annotated[
    str,
    written("^[A-Z][A-Z0-9_]*$", "is no name of an environment variable, as in ORCHESTRA_SHOP_KEY, which holds the value"),
    WithJsonSchema({"pattern": "^[A-Z][A-Z0-9_]*$", "type": "string"}),
]


class Strict(BaseModel):
    """What a YAML may say: no other field, and nothing is changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SourceError(Exception):
    """A source that cannot be read; the message names the brick, the address and the mend.

    Over HTTP: the status (None when there was no answer), what the answer said, the seconds that it asks to wait, and whether
    the same may go well later.
    """

    def __init__(self, message: str, status: int | None = None, text: str = "", wait: float = 0, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.status, self.text, self.wait, self.may_pass = status, text, wait, may_pass


class MissingFile(SourceError):
    """A file or folder that is not there."""


class ClockError(SourceError):
    """A source whose clock is far from this machine's."""


class UnreadableFile(SourceError):
    """One file that the source fails to give, while others may do."""


@dataclass(frozen=True)
class Request:
    """One table to read, from where the journal says that we are.

    `columns` are those that the source must give; `formerly` are the older names of each that it may give. `position` is what
    the last `Reading.position` of the table held ({} the first time); `known` maps the name of each file already opened
    within the position's reach to its signature; `failed` are those that could not be read, asked for again however old. `crs`
    is the one of the table's coordinates, where it says one.
    `typed` are the columns that are no text, `formats` how the texts of dates are written, by column.
    `spool` is an empty folder of this load's own.
    `is_private` for a brick with personal columns: downloads stay in memory, and messages show nothing of the content. `name_of`
    gives what a file, and a member of an archive, is called in all that a reading says, which names persons else: `known` and
    `failed` call them so. The name of a path is that of its parts. `inbox` is the folder of what was pushed to the brick, None where
    no lake is known. `tables` are the options of all the brick's tables, and `shared` holds for one landing what several of them
    read. `sample_rows` is set by a trial, to which the first so many rows are enough: what a source announces is held to nothing
    then, and it is asked once. `census` gives, to who reads it by that name, what the lake knows of all bricks; None where no lake is
    known.
    """

    brick: str
    table: str
    endpoint: str
    brick_options: Any
    table_options: Any
    columns: tuple[str, ...]
    cursor: str | None
    lookback_days: float
    position: dict[str, Any]
    known: dict[str, str]
    connection: duckdb.DuckDBPyConnection
    spool: Path
    is_private: bool
    whole: bool
    progress: Callable[[int], None]
    formerly: dict[str, tuple[str, ...]] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()
    crs: str | None = None
    typed: frozenset[str] = frozenset()
    formats: dict[str, str] = field(default_factory=dict)
    name_of: Callable[[str], str] = str
    inbox: Path | None = None
    tables: tuple[Any, ...] = ()
    shared: Shared | None = None
    sample_rows: int | None = None

    @classmethod
    def alone(cls, brick: str, table: str, endpoint: str, **told: Any) -> Request:
        """Give what is asked of a source apart from any landing: nothing of it is known, no column is asked for, nobody follows it."""
        nothing: dict[str, Any] = {
            "table_options": None, "columns": (), "cursor": None, "lookback_days": 0.0, "position": {}, "known": {}, "connection": None,
            "is_private": False, "whole": True, "progress": lambda _: None,
        }  # fmt: skip
        return cls(**{"brick": brick, "table": table, "endpoint": endpoint, **nothing, **told})

    census: Callable[[str], Own | None] | None = None


@dataclass
class Part:
    """Rows of source files of one shape, as a relation that landing selects from, once.

    With `columns`, the relation has these columns (as text unless `is_typed`) and `_file`; without, it has `_doc` (the
    text of one JSON object a row) and `_file`. `counted` is the number of records counted in the source apart from the
    reader that parses them. `rejects` are the relations (scans, errors) that hold the lines the reader could not parse, and
    the SQL that makes a file's name of the path in `scans`. Of a text, `places` gives the rows and the lines, from 1, of the
    records of a file that hold some bytes, and the lines of some rows. `thin` are the SQL and the regular expression that tell
    rows of blank values alone, which spreadsheets leave below the last and which are no rows; None where there are none. `header`
    holds the names of the files' headers, in small letters, where a row may be a header again; `without` makes the part without
    some of its files.
    """

    relation: str
    files: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    is_typed: bool = False
    counted: int | None = None
    rejects: tuple[str, str, str] | None = None
    places: Callable[[str, Sequence[int], Sequence[int]], tuple[list[tuple[int, int]], list[int]]] | None = None
    thin: tuple[str, str] | None = None
    header: tuple[str, ...] | None = None
    without: Callable[[set[str]], Part] | None = None


@dataclass
class Reading:
    """What a source gave for one table, and what that cost: no part when nothing is new.

    `position` is JSON and goes to the journal: its `cursor` and `folder_date` say how far the source was read, the rest in what
    state it was. `taken` are the files that this reading opened, by signature, `opened` those of them that a later reading may
    meet again; `refused_files` are (name, reason), `warnings` what stops nothing. `count_method` is `counted`, `announced` or `none`,
    `announced` the number of records that the source said it would give. `read_at` is in UTC, and is the source's own
    clock for a sandbox. `held` keeps what the parts are read from for as long as the reading is referred to.
    """

    request: Request = field(repr=False)
    position: dict[str, Any]
    read_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    parts: list[Part] = field(default_factory=list)
    taken: dict[str, str] = field(default_factory=dict)
    opened: dict[str, str] = field(default_factory=dict)
    refused_files: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    count_method: str = "counted"
    announced: int | None = None
    bytes_read: int = 0
    request_count: int = 0
    available_at: datetime | None = None
    is_synthetic: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    held: Any = field(default=None, repr=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def failed(self) -> set[str]:
        """The files that could not be read."""
        return {name for name, _ in self.refused_files}

    def spend(self, bytes_read: int = 0, request_count: int = 0) -> None:
        """Count bytes as transferred and requests, from any thread; the progress is told once a mebibyte."""
        with self._lock:
            told, self.bytes_read = self.bytes_read >> 20, self.bytes_read + bytes_read
            self.request_count += request_count
            if self.bytes_read >> 20 > told:
                self.request.progress(self.bytes_read)

    def note_sandbox(self, clock: datetime) -> None:
        """Note that the source is synthetic, and its clock as it first was."""
        if not self.is_synthetic:
            self.is_synthetic, self.read_at = True, clock


@dataclass(frozen=True)
class Probed:
    """What a source says of a table without giving its rows; None for what it does not say.

    `columns` as it names them, `licence` in its own words, when it last changed, how many rows it has; whether it is a sandbox.
    """

    columns: tuple[str, ...] | None = None
    licence: str | None = None
    changed_at: datetime | None = None
    row_count: int | None = None
    is_synthetic: bool = False


def landed_name(name: str) -> str:
    """Give the name under which a source's column lands: its own, in the one normal form in which names are compared."""
    name = unicodedata.normalize("NFC", name)
    return f"{name}{OF_SOURCE}" if _is_ours(name) else name


def declared_name(name: str) -> str:
    """Give the name under which a column lands that a brick declares by it, or as its source names it."""
    return landed_name(name) if name.casefold() in RESERVED else unicodedata.normalize("NFC", name)


def source_name(landed: str) -> str:
    """Give the name that a source gives to what lands under another."""
    own = landed.removesuffix(OF_SOURCE)
    return own if _is_ours(own) else landed


def _is_ours(name: str) -> bool:
    """Say whether a name is ours, or what one of ours lands as: that of a source then lands one step further."""
    return re.sub(f"({OF_SOURCE})+$", "", name.casefold()) in RESERVED


def connector(protocol: str) -> ModuleType:
    """Give the module that speaks `protocol`, one of CONNECTORS."""
    return importlib.import_module(f"ingestion.connectors.{protocol}")
