"""What each kind of database is asked so that nothing of a value changes on the way: all of it comes as a text, in the words of the house.

A scanner of DuckDB that reads a value in the database's own type changes some: NaN becomes 0, a numeric without scale a double, 2 true.
"""

from __future__ import annotations

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb

from ingestion.connectors import SourceError
from ingestion.connectors.since import moment_of
from ingestion.lake import literal, load_extension, quoted

CONNECT_SECONDS = 10
INEXACT = re.compile(r"(real|float).*|numeric.*|decimal.*|double.*")
GEOMETRIES = ("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection")
SSL_OF_POSTGRES = {"prefer": "prefer", "require": "require", "verify": "verify-full sslrootcert=system"}
SSL_OF_MYSQL = {"prefer": "preferred", "require": "required", "verify": "verify_identity"}
# No clock is farther from UTC: what is asked from so much before holds what is new, whatever the zone of the source's clocks.
FARTHEST = timedelta(hours=14)


class Database(ABC):
    """A database that is attached to a connection of DuckDB as `source`, for reading only.

    `columns` are what a SELECT gives, with their types as the database names them.
    """

    scanner: str | None = None
    kind, function = "", ""
    settings, afterwards = "", ""  # what is set before it is attached, and after

    def __init__(self, connection: duckdb.DuckDBPyConnection, endpoint: str, user: str | None, password: str | None, tls: str) -> None:
        self.connection, self.parts = connection, urlsplit(endpoint)
        load_extension(connection, self.scanner or "spatial")
        if self.settings:
            connection.execute(self.settings)
        if self.scanner and self.kind != "sqlite":
            told = {"user": user, "password": password}
            secret = ", ".join(f"{name} {literal(value)}" for name, value in told.items() if value)
            connection.execute(f"create temporary secret source (type {self.kind}{', ' + secret if secret else ''})")
        secret = ", secret source" if self.scanner and self.kind != "sqlite" else ""
        of_kind = f"type {self.kind}{secret}, " if self.kind != "duckdb" else ""
        connection.execute(f"attach {literal(self._address(tls))} as source ({of_kind}read_only)")
        if self.afterwards:
            connection.execute(self.afterwards)

    @abstractmethod
    def _address(self, tls: str) -> str:
        """Give what is attached, without user nor password."""

    def relation(self, query: str) -> str:
        """Write what a SELECT of the database gives as a relation of DuckDB."""
        return f"{self.function}('source', {literal(query)})"

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Give the rows of a SELECT of the database."""
        return self.connection.execute(f"select * from {self.relation(query)}").fetchall()

    def columns(self, query: str) -> list[tuple[str, str]]:
        """Give the names and the types of the columns that a SELECT gives."""
        return [(row[0], row[1]) for row in self.connection.execute(f"describe select * from {self.relation(query)}").fetchall()]

    def named(self, name: str) -> str:
        """Quote a name."""
        return quoted(name)

    def table(self, told: str) -> str:
        """Write the name of a table, its schema before it where it is told: `public.stations`, `"a.b"`."""
        found = [bare or own.replace('""', '"') for own, bare in re.findall(r'"((?:[^"]|"")+)"|([^."]+)', told)]
        return ".".join(map(self.named, found))

    @abstractmethod
    def text(self, name: str, kind: str) -> str:
        """Write a column as a text that is its value and nothing else."""

    @abstractmethod
    def since(self, name: str, kind: str, reached: str, back: timedelta) -> str | None:
        """Write which rows are at the cursor or above, and more where the database cannot tell; None where it cannot at all."""

    def misplaced(self, name: str, kind: str) -> str | None:
        """Write which values of a column are geometries that are not in longitude and latitude; None for another column."""
        return None

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Have all that is asked meanwhile see the database at one instant."""
        self.connection.execute("begin transaction")
        try:
            yield
        finally:
            with contextlib.suppress(duckdb.Error):  # the server may be gone
                self.connection.execute("rollback")


def _instant(reached: str, back: timedelta) -> datetime | None:
    """Give the instant from which on is asked; None for what is none."""
    try:
        return moment_of(reached) - back
    except ValueError:
        return None


def _number(reached: str, kind: str = "") -> str | None:
    """Give the number from which on is asked, a little below for what is not whole: as a double, or a real, it may be above itself."""
    try:
        number = Decimal(reached)
        if number.is_finite() and (told := INEXACT.fullmatch(kind.lower())):
            number -= abs(number) / (10**6 if told[1] else 10**12)
        return f"{number:f}" if number.is_finite() else None
    except ArithmeticError:
        return None


class Postgres(Database):
    """PostgreSQL, and PostGIS in it; all is asked in one read-only transaction (repeatable read)."""

    scanner, kind, function = "postgres_scanner", "postgres", "postgres_query"
    NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision", "oid")

    def _address(self, tls: str) -> str:
        host = (
            unquote(self.parts.hostname or "") if not self.parts.netloc.startswith("%") else unquote(self.parts.netloc.rpartition("@")[2])
        )
        told = {"host": host, "port": self.parts.port if not host.startswith("/") else None, "dbname": unquote(self.parts.path.strip("/"))}
        words = [f"{name}={_libpq(str(value))}" for name, value in told.items() if value]
        return " ".join(
            [*words, f"connect_timeout={CONNECT_SECONDS}", f"sslmode={SSL_OF_POSTGRES[tls]}", "application_name=city-orchestra"]
        )

    def columns(self, query: str) -> list[tuple[str, str]]:
        """Give the columns of a SELECT, and their types as PostgreSQL names them."""
        names = [name for name, _ in super().columns(query)]
        kinds = ", ".join(f"pg_typeof(q.{quoted(name)})::text as t{number}" for number, name in enumerate(names))
        (told,) = self.ask(f"select {kinds} from (select 1) as one left join (select * from ({query}) as p limit 0) as q on true")
        return list(zip(names, told, strict=True))

    def text(self, name: str, kind: str) -> str:
        """Write a column as a text: instants in UTC, bytes in hexadecimal, lists as JSON, geometry as GeoJSON in longitude and latitude."""
        own = quoted(name)
        formats = {
            "date": (own, "YYYY-MM-DD"),
            "timestamp without time zone": (own, "YYYY-MM-DD HH24:MI:SS.US"),
            "timestamp with time zone": (f"{own} at time zone 'UTC'", 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        }
        if kind in formats:
            value, form = formats[kind]
            # An infinity, and a year before the first, are no date of the house: refused where one is declared, and told.
            dated = f"case when extract(year from {value}) > 0 then to_char({value}, '{form}') else to_char({value}, '{form} BC') end"
            return f"case when isfinite({own}) then {dated} else {own}::text end"
        if kind.rpartition(".")[2].strip('"') in ("geometry", "geography"):
            value = f"{own}::geometry"
            moved = f"case when st_srid({value}) in (4326, 4258) then {value} else st_transform({value}, 4326) end"
            return f"st_asgeojson({moved}, 9, 0)"
        if kind.endswith("[]"):
            return f"to_json({own})::text"
        return {"bytea": f"encode({own}, 'hex')", "money": f"{own}::numeric::text"}.get(kind, f"{own}::text")

    def since(self, name: str, kind: str, reached: str, back: timedelta) -> str | None:
        """Write which rows are at the cursor or above; an instant without zone is asked from so much before that no zone is farther."""
        own, moment = quoted(name), _instant(reached, back)
        if kind == "timestamp with time zone" and moment:
            return f"{own} >= {literal(moment.isoformat())}::timestamptz"
        if kind in ("timestamp without time zone", "date") and moment:
            from_on = (moment - FARTHEST).replace(tzinfo=None).isoformat() if kind != "date" else (moment - FARTHEST).date().isoformat()
            return f"{own} >= {literal(from_on)}::{kind}"
        if kind in self.NUMBERS and (number := _number(reached, kind)):
            return f"({own} >= {number} or {own}::text = 'NaN')"
        return f'{own} >= {literal(reached)} collate "C"' if kind in ("text", "character varying") else None


def _libpq(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class MySql(Database):
    """MySQL and MariaDB; all is asked in one transaction (repeatable read)."""

    scanner, kind, function = "mysql_scanner", "mysql", "mysql_query"
    # An instant (TIMESTAMP) is written in the zone of the session.
    settings = "set mysql_session_time_zone = '+00:00'; set mysql_tinyint1_as_boolean = false; set mysql_bit1_as_boolean = false"

    def _address(self, tls: str) -> str:
        told = {"host": self.parts.hostname, "port": self.parts.port, "database": unquote(self.parts.path.strip("/"))}
        return " ".join([*(f"{name}={value}" for name, value in told.items() if value), f"ssl_mode={SSL_OF_MYSQL[tls]}"])

    def named(self, name: str) -> str:
        """Quote a name."""
        return "`" + name.replace("`", "``") + "`"

    def columns(self, query: str) -> list[tuple[str, str]]:
        """Give the columns of a SELECT: their types as DuckDB takes them, but for those of a table that it takes for bytes."""
        found = super().columns(query)
        if not (table := re.fullmatch(r"select \* from ((?:`[^`]+`\.)?`([^`]+)`)", query)):
            return found
        schema = table[1].split("`")[1] if "`.`" in table[1] else None
        where = f"table_schema = {literal(schema) if schema else 'database()'} and table_name = {literal(table[2])}"
        told = dict(
            self.ask(f"select cast(column_name as char) n, cast(data_type as char) t from information_schema.columns where {where}")
        )
        return [(name, told.get(name, kind)) for name, kind in found]

    def text(self, name: str, kind: str) -> str:
        """Write a column as a text: instants in UTC, bytes in hexadecimal, bits as a number, geometry as GeoJSON."""
        own = self.named(name)
        as_text = f"cast({own} as char character set utf8mb4)"
        match kind.lower():
            case "float":  # which is written with six digits
                return f"cast(cast({own} as double) as char)"
            case "bit":
                return f"cast({own} + 0 as char)"
            case "timestamp" | "timestamp with time zone":
                return f"concat({as_text}, 'Z')" if kind == "timestamp" else as_text
            case told if told in GEOMETRIES:
                return f"st_asgeojson({own})"
            case "blob" | "tinyblob" | "mediumblob" | "longblob" | "binary" | "varbinary":
                return f"case charset({own}) when 'binary' then hex({own}) else {as_text} end"
        return as_text

    def since(self, name: str, kind: str, reached: str, back: timedelta) -> str | None:
        """Write which rows are at the cursor or above."""
        own, moment = self.named(name), _instant(reached, back)
        if kind.lower() in ("date", "datetime", "timestamp") and moment:
            from_on = moment if kind == "timestamp" else moment - FARTHEST
            return f"{own} >= {literal(from_on.replace(tzinfo=None).isoformat(' ')[: 10 if kind.lower() == 'date' else 26])}"
        if re.match("(?i)u?(tiny|small|medium|big)?int|integer|decimal|double|float", kind) and (number := _number(reached, kind)):
            return f"{own} >= {number}"
        return f"cast({own} as binary) >= {literal(reached)}" if kind.lower() in ("varchar", "char", "text") else None

    def misplaced(self, name: str, kind: str) -> str | None:
        """Write which geometries are not in longitude and latitude: by what they say, and by the middle of where they are."""
        own = self.named(name)
        middle = f"st_centroid(st_envelope({own}))"
        wrong = f"st_srid({own}) not in (0, 4326, 4258) or abs(st_x({middle})) > 180 or abs(st_y({middle})) > 90"
        return wrong if kind.lower() in GEOMETRIES else None


class Sqlite(Database):
    """A file of SQLite, whose values have each a type of their own."""

    scanner, kind, function = "sqlite_scanner", "sqlite", "sqlite_query"

    def _address(self, tls: str) -> str:
        return unquote(self.parts.path)

    def text(self, name: str, kind: str) -> str:
        """Write a column as a text: a real with all its digits, bytes in hexadecimal."""
        own = quoted(name)
        real = f"case when cast(printf('%!.15g', {own}) as real) = {own} then printf('%!.15g', {own}) else printf('%!.17g', {own}) end"
        return f"case typeof({own}) when 'real' then {real} when 'blob' then hex({own}) else cast({own} as text) end"

    def since(self, name: str, kind: str, reached: str, back: timedelta) -> str | None:
        """Write which rows are at the cursor or above, and those whose value is of another type."""
        own, moment, number = quoted(name), _instant(reached, back), _number(reached, "double")
        if number:
            return f"({own} >= {number} or typeof({own}) not in ('integer', 'real'))"
        if moment:
            from_on = literal((moment - FARTHEST).replace(tzinfo=None).isoformat(" "))
            return f"(typeof({own}) <> 'text' or julianday({own}) is null or julianday({own}) >= julianday({from_on}))"
        return None


class DuckDb(Database):
    """A file of DuckDB."""

    # A query reads what is attached, and no other file of this machine.
    kind, afterwards = "duckdb", "use source; set enable_external_access = false"

    def _address(self, tls: str) -> str:
        return unquote(self.parts.path)

    def relation(self, query: str) -> str:
        """Write what a SELECT gives as a relation."""
        return f"({query})"

    def text(self, name: str, kind: str) -> str:
        """Write a column as a text: lists and documents as JSON, bytes in hexadecimal, geometry as GeoJSON."""
        own = quoted(name)
        if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
            return f"to_json({own})::varchar"
        return {"BLOB": f"hex({own})", "GEOMETRY": f"st_asgeojson({own})::varchar"}.get(kind, f"{own}::varchar")

    def since(self, name: str, kind: str, reached: str, back: timedelta) -> str | None:
        """Write which rows are at the cursor or above."""
        own, moment = quoted(name), _instant(reached, back)
        if kind.startswith(("TIMESTAMP", "DATE")) and moment:
            from_on = moment if kind.startswith("TIMESTAMP WITH") else moment - FARTHEST
            return f"{own} >= {literal(from_on.isoformat())}::{'timestamptz' if kind.startswith('TIMESTAMP WITH') else 'timestamp'}"
        if re.match("U?(TINY|SMALL|BIG|HUGE)?INT|DECIMAL|DOUBLE|FLOAT", kind) and (number := _number(reached, kind)):
            return f"{own} >= {number}"
        return f"{own} >= {literal(reached)}" if kind == "VARCHAR" else None

    def misplaced(self, name: str, kind: str) -> str | None:
        """Write which geometries are not in longitude and latitude."""
        own = quoted(name)
        bounds = f"st_xmin({own}) < -180 or st_xmax({own}) > 180 or st_ymin({own}) < -90 or st_ymax({own}) > 90"
        return bounds if kind.startswith("GEOMETRY") else None


KINDS: dict[str, type[Database]] = {
    "postgresql": Postgres, "postgres": Postgres, "mysql": MySql, "mariadb": MySql, "sqlite": Sqlite, "duckdb": DuckDb,
}  # fmt: skip


def kind_of(endpoint: str, brick: str) -> type[Database]:
    """Give the kind of database that an endpoint names; raises SourceError."""
    scheme = endpoint.partition("://")[0].lower()
    if scheme not in KINDS or "://" not in endpoint:
        told = f"its endpoint is no address of a database ({', '.join(dict.fromkeys(KINDS))}://...)"
        raise SourceError(f"{brick}: {told}. Mend: postgresql://host:5432/database, or sqlite:///path/of/a/file")
    try:
        _ = urlsplit(endpoint).port
    except ValueError as error:
        raise SourceError(f"{brick}: its endpoint is no address ({error}). Mend: postgresql://host:5432/database") from None
    if "@" in endpoint:
        raise SourceError(f"{brick}: no user nor password stands in its endpoint. Mend: `user_env` and `password_env` in its options.")
    return KINDS[scheme]
