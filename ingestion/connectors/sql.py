"""Tables and queries of a database: PostgreSQL with PostGIS, MariaDB and MySQL, SQLite, DuckDB; read only, at one instant, as texts."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from ingestion.connectors import Reading, Request, SourceError, Strict, Variable
from ingestion.connectors.authentication import value_of
from ingestion.connectors.pages import Pages, note
from ingestion.connectors.stores import sandbox_clock
from ingestion.formats import parts
from ingestion.formats.spool import Spool
from ingestion.lake import connect, literal

if TYPE_CHECKING:
    from ingestion.connectors.databases import Database

BATCH_ROWS = 50_000


class BrickOptions(Strict):
    """What a brick of a database may say: who reads it, by the names of variables, and how its connection is ciphered.

    `tls` is `prefer` unless said, `require`, or `verify`, which holds the server to its certificate.
    """

    user_env: Variable | None = None
    password_env: Variable | None = None
    tls: Literal["prefer", "require", "verify"] = "prefer"


class TableOptions(Strict):
    """What a table of a database may say: the `relation` (a table or a view, its schema before it), or a `query`, one SELECT.

    `where` keeps some rows of a relation, in the words of the database.
    """

    relation: str | None = Field(None, min_length=1)
    query: str | None = Field(None, min_length=1)
    where: str | None = None
    null_values: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_one(self) -> TableOptions:
        if (self.relation is None) == (self.query is None):
            raise ValueError("a table is a `relation` or a `query`, one of them")
        if self.where and self.query:
            raise ValueError("`where` is of a `relation`: a `query` says its own")
        return self

    @field_validator("query")
    @classmethod
    def _is_a_select(cls, query: str | None) -> str | None:
        if query is None:
            return None
        bare = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|--[^\n]*|/\*.*?\*/", " ", query.strip().rstrip(";"), flags=re.DOTALL)
        if not re.match(r"\s*(select|with)\b", bare, re.IGNORECASE) or ";" in bare:
            raise ValueError("a `query` is one SELECT, and nothing else")
        # What is written around it begins on a line of its own: the last one may end in a comment.
        return f"{query.strip().rstrip(';').strip()}\n"


def read(request: Request) -> Reading:
    """Read a table or a query from the cursor on, at one instant, as texts; nothing when it gives the same. Raises SourceError."""
    import duckdb

    from ingestion.connectors.databases import kind_of

    reading = Reading(request, dict(request.position))
    kind, options = kind_of(request.endpoint, request.brick), request.brick_options
    user, password = (value_of(request.brick, name) if name else None for name in (options.user_env, options.password_env))
    if kind.scanner in (None, "sqlite_scanner"):
        path = Path(unquote(urlsplit(request.endpoint).path))
        if not path.is_file():
            told = f"{request.brick}: {path} is no file"
            raise SourceError(f"{told}. Mend: check the endpoint, sqlite:///path/of/a/file (three slashes, then the path from the root).")
        if clock := sandbox_clock(path.parent):
            reading.note_sandbox(clock)
    try:
        with connect(request.spool / "spill", is_private=request.is_private) as connection:
            database = kind(connection, request.endpoint, user, password, options.tls)
            _read(reading, database)
    except duckdb.Error as error:
        raise SourceError(_told(request, error, password)) from None
    return reading


def _read(reading: Reading, database: Database) -> None:
    request, options = reading.request, reading.request.table_options
    base = options.query or f"select * from {database.table(options.relation)}"
    columns = database.columns(base)
    where = [f"({options.where})"] if options.where else []
    if (since := _since(request, database, columns)) is not None:
        where.append(since)
    kept = f"select * from ({base}) as q{' where ' + ' and '.join(where) if where else ''}"
    limit = f" limit {request.sample_rows}" if request.sample_rows else ""
    texts = ", ".join(f"{database.text(name, kind)} as {database.named(name)}" for name, kind in columns)
    spool = reading.held = Spool(request.spool, is_private=request.is_private)
    name = f"{request.table}.parquet"
    with database.snapshot():
        ((announced,),) = database.ask(f"select count(*) as n from ({kept}) as c")
        rows = _spool(reading, database.relation(f"select {texts} from ({kept}) as r{limit}"), database, spool, name)
        crs = _crs(database, kept, columns)
        _check_places(reading, database, kept, columns)
    announced = int(announced)
    if rows != announced and not request.sample_rows:
        told = f"{request.brick}.{request.table}: the database counts {announced} rows and gives {rows}"
        raise SourceError(f"{told}. Mend: try later, or tell its administrator.")
    reading.metadata = {"types": dict(columns), **({"crs": crs} if crs else {})}
    read = Pages(rows=rows, pages=1, announced=announced, digest=_digest(reading, spool.path(name), [told for told, _ in columns], base))
    if note(read, reading, "`relation`, `query` and `where`"):
        reading.parts = parts("parquet", [name], reading, spool)
        if reading.refused_files:
            raise SourceError(f"{request.brick}.{request.table}: {reading.refused_files[0][1]}")


def _spool(reading: Reading, relation: str, database: Database, spool: Spool, name: str) -> int:
    """Write what a relation gives to a Parquet of the spool, by batches; give the number of its rows."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    batches = database.connection.execute(f"select * from {relation}").to_arrow_reader(BATCH_ROWS)
    schema = pa.schema([pa.field(field.name, pa.string()) for field in batches.schema])
    rows = 0
    with spool.create(name) as target, ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema))
            rows += batch.num_rows
            reading.spend(batch.nbytes)
    reading.spend(request_count=1)
    return rows


def _digest(reading: Reading, path: Path, columns: list[str], asked: str) -> Any:
    """Give a digest of the rows of a file, whatever their order, and of what was asked."""
    rows = reading.request.connection.execute(f"select count(*), sum(hash(held)::hugeint) from read_parquet({literal(str(path))}) as held")
    return hashlib.sha256(repr((rows.fetchall()[0], columns, asked)).encode())


def _since(request: Request, database: Database, columns: list[tuple[str, str]]) -> str | None:
    """Write which rows are new, and those whose cursor is not told; None where all are asked for."""
    reached, kinds = request.position.get("cursor"), dict(columns)
    if request.whole or not request.cursor or reached is None or request.cursor not in kinds:
        return None
    told = database.since(request.cursor, kinds[request.cursor], str(reached), timedelta(days=request.lookback_days))
    return f"({told} or {database.named(request.cursor)} is null)" if told else None


def _check_places(reading: Reading, database: Database, kept: str, columns: list[tuple[str, str]]) -> None:
    """Raise SourceError for geometries that are not in longitude and latitude, of a database that does not move them."""
    for name, kind in columns:
        if wrong := database.misplaced(name, kind):
            ((count,),) = database.ask(f"select count(*) as n from ({kept}) as m where {wrong}")
            if int(count):
                where = f"{reading.request.brick}.{reading.request.table}: {count} geometries of {name} are not in longitude and latitude"
                raise SourceError(f"{where}. Mend: a `query` that moves them (ST_Transform), or that leaves them out.")


def _crs(database: Database, kept: str, columns: list[tuple[str, str]]) -> str | None:
    """Give the coordinates that geometries are kept in at the source, for the load's metadata; None where there are none."""
    for name, kind in columns:
        if database.kind == "postgres" and kind.rpartition(".")[2].strip('"') in ("geometry", "geography"):
            own = database.named(name)
            found = database.ask(f"select st_srid({own}::geometry) as srid from ({kept}) as g where {own} is not null limit 1")
            return f"EPSG:{found[0][0]}" if found else None
    return None


def _told(request: Request, error: Exception, password: str | None) -> str:
    """Say what a database refuses: without a password, nor, of a private brick, a value."""
    words = " ".join(str(error).split("\n\n")[0].split())
    words = words.replace(password, "***") if password else words
    is_away = re.search("(?i)unable to connect|failed to connect|could not connect|can't connect|connection refused", words)
    if request.is_private and not is_away:
        words = type(error).__name__
    where = f"{request.brick}.{request.table}: {urlsplit(request.endpoint).hostname or urlsplit(request.endpoint).path}"
    if re.search("(?i)authentication|access denied|password", words):
        return f"{where} does not let it in ({words[:300]}). Mend: check the variables that `user_env` and `password_env` name."
    if is_away:
        return f"{where} cannot be reached ({words[:300]}). Mend: check the endpoint and the network, or try later."
    mend = "check `relation`, `query`, `where`, and that it may be read"
    if "SRID" in words:
        mend = "have its geometries say their coordinates (`select st_setsrid(...)` in a `query`)"
    return f"{where} refuses ({words[:300]}). Mend: {mend}."
