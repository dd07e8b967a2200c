"""Two bricks that give the same: by what they claim, by where they are read, or by the keys and values that have landed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ingestion.brick import Brick, Table
from ingestion.connectors import connector
from ingestion.lake import quoted
from ingestion.warehouse import source_sql
from ingestion.words import plain

if TYPE_CHECKING:
    import duckdb

    from ingestion.journal import Journal
    from ingestion.lake import Lake

ACTIVE = ("tested", "adopted")
# The options by which a producer's dataset is known, whatever the host and the protocol that give it; a number counts within its place.
IDENTIFIERS = ("dataset", "collection", "type_name", "layer", "resource")
# Those that say how a dataset is asked for and written, and not which one it is.
MANNERS = frozenset({
    "format", "separator", "quote", "header", "skip", "encoding", "decimal", "thousands", "null_values", "limit", "count", "top", "version",
    "order_by", "sort_by", "output_format", "size", "page_size", "max_records", "edit_date", "always", "announces", "columns", "since",
    "data_array", "paging", "total", "total_header", "headers", "envelope",
})  # fmt: skip
SAMPLE = 1_000  # keys that are looked for in what has landed
ALIKE_SHARE = 0.9  # of the keys of a sample that a table holds, from which the two give the same


def alike(bricks: Iterable[Brick]) -> tuple[list[str], list[str]]:
    """Tell the pairs of bricks that give the same: as faults where both are tested or adopted, as warnings where one is a candidate.

    Nothing is told of retired ones, nor of two of which one says that it `replaces` or `mirrors` the other.
    """
    faults, warnings = list[str](), list[str]()
    for one, other in itertools.combinations([brick for brick in bricks if brick.meta.status != "retired"], 2):
        if is_told(one, other) or not (why := likeness(one, other)):
            continue
        told = f"{other.name}.yml: {why} as {one.name}.yml"
        mend = f"retire one of them, or say `replaces: [{one.name}]` or `mirrors: [{one.name}]`"
        is_fault = one.meta.status in ACTIVE and other.meta.status in ACTIVE
        (faults if is_fault else warnings).append(f"{told}. Mend: {mend}")
    return faults, warnings


def is_told(one: Brick, other: Brick) -> bool:
    """Say whether one of two bricks says that it gives what the other does."""
    return any(b.name in (*a.meta.replaces, *a.meta.mirrors) for a, b in ((one, other), (other, one)))


def likeness(one: Brick, other: Brick) -> str | None:
    """Say in which way two bricks give the same, by their YAML alone; None where nothing tells."""
    if title := _titles(one) & _titles(other):
        return f"one title ({min(title)}) of one producer ({one.meta.producer})"
    if claims := set(one.meta.authoritative_for) & set(other.meta.authoritative_for):
        return f"one `authoritative_for` ({min(claims)})"
    addresses, others = _addresses(one), _addresses(other)
    if both := addresses.keys() & others.keys():
        first = min(both)
        return f"table {others[first]} reads one address and dataset"
    if (named := _identifiers(one) & _identifiers(other)) and plain(one.meta.producer) == plain(other.meta.producer):
        return f"one dataset ({min(named)}) of one producer ({one.meta.producer})"
    return None


class Held(NamedTuple):
    """A landed table that holds what a sample does: the share of its keys, and of its rows where there are values to compare."""

    brick: str
    table: str
    key_share: float
    row_share: float | None


def holding(
    lake: Lake,
    journal: Journal,
    bricks: Iterable[Brick],
    sample: duckdb.DuckDBPyRelation,
    key: Iterable[str],
    connection: duckdb.DuckDBPyConnection,
) -> list[Held]:
    """Name the landed tables that hold the same keys as a sample of a source that nobody knows yet, the likest first.

    `sample` is a relation of `connection`; `key` names its columns that identify a row. Keys are compared as texts, without blanks
    around them, with the whole key of each table that has as many columns in its own, whatever they are called; of columns of one
    name, values are compared too. At most SAMPLE keys are looked for, and a table that holds less than ALIKE_SHARE of them is left
    out. A key that is masked is compared with nothing. Running numbers are in any table that has as many: `row_share` tells more.
    """
    names = list(key)
    texts = ", ".join(f"trim({quoted(name)}::varchar) as {quoted(name)}" for name in sample.columns)
    told = " and ".join(f"{quoted(name)} is not null" for name in names)
    connection.register("sampled_source", sample)
    connection.execute(
        f"create or replace temp table sampled as select distinct on ({', '.join(map(quoted, names))}) {texts} "
        f"from sampled_source where {told} limit {SAMPLE}"
    )
    connection.unregister("sampled_source")
    found = []
    (count,) = connection.execute("select count(*) from sampled").fetchall()[0]
    for brick in bricks if count else ():
        loads = journal.accepted(brick.name)
        for table in brick.tables:
            if any(table.name in load["tables"] for load in loads) and (held := _held(connection, brick, table, names, count, source_sql(
                lake, journal, brick, table, loads
            ))):  # fmt: skip
                found.append(held)
    connection.execute("drop table sampled")
    return sorted(found, key=lambda held: (-held.key_share, -(held.row_share or 0), held.brick, held.table))


def _held(connection: duckdb.DuckDBPyConnection, brick: Brick, table: Table, key: list[str], count: int, sql: str) -> Held | None:
    """Give what a table holds of the sample; None where it is less than a table that gives the same would."""
    columns = {column.name.casefold(): column.name for column in table.columns if column.is_landed and not column.meta.mask}
    if len(table.meta.key) != len(key) or any(name.casefold() not in columns for name in table.meta.key):
        return None
    best = Held(brick.name, table.name, 0.0, None)
    # Which column of one key is which of the other is told by the names where they are the same, else tried.
    for ordered in itertools.islice(itertools.permutations(table.meta.key), 6):
        pairs = " and ".join(f"trim(held.{quoted(name)}::varchar) = sampled.{quoted(own)}" for own, name in zip(key, ordered, strict=True))
        shared = [name for name in _sampled(connection) if name not in key and name.casefold() in columns]
        equal = " and ".join(
            f"trim(held.{quoted(columns[name.casefold()])}::varchar) is not distinct from sampled.{quoted(name)}" for name in shared
        )
        keys, rows = connection.execute(
            f"select count(*), count(*) filter (where is_same) from (select bool_or({equal or 'true'}) as is_same from sampled "
            f"join ({sql}) as held on {pairs} group by {', '.join(f'sampled.{quoted(name)}' for name in key)})"
        ).fetchall()[0]
        if keys / count > best.key_share:
            best = Held(brick.name, table.name, keys / count, rows / count if shared else None)
    return best if best.key_share >= ALIKE_SHARE else None


def _sampled(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [name for (name, *_) in connection.execute("describe sampled").fetchall()]


def _titles(brick: Brick) -> set[str]:
    return {f"{plain(title)} / {plain(brick.meta.producer)}" for title in brick.meta.titles.values()}


def _identifiers(brick: Brick) -> set[str]:
    told = [value for table in brick.tables for name, value in table.meta.options.items() if name in IDENTIFIERS]
    return {value for value in told if isinstance(value, str) and not value.isdigit()}


def _addresses(brick: Brick) -> dict[str, str]:
    """Give the tables of a brick by where they are read: endpoint, path, and the options that say which dataset it is."""
    if not brick.meta.endpoint:
        return {}
    module, found = connector(brick.meta.connector), {}
    for table in brick.tables:
        # What is said as it is unless said tells nothing.
        told = [model.model_validate(given) for model, given in (
            (module.BrickOptions, brick.meta.options), (module.TableOptions, table.meta.options)
        )]  # fmt: skip
        options: dict[str, Any] = {name: value for each in told for name, value in each.model_dump(exclude_defaults=True).items()}
        path = str(options.pop("path", ""))
        parts = urlsplit(f"{brick.meta.endpoint.rstrip('/')}/{path.lstrip('/')}".rstrip("/"))
        which = sorted((name, value) for name, value in options.items() if name not in MANNERS and not name.endswith("_env"))
        which = [(name, value) for name, value in which if name not in ("auth", "limits", "headers_env")]
        host = re.sub(r":(?:80|443)$", "", parts.netloc.casefold()) if parts.scheme in ("http", "https") else parts.netloc.casefold()
        scheme = "http" if parts.scheme == "https" else parts.scheme
        found[f"{scheme}://{host}{parts.path}?{parts.query} {which}"] = table.name
    return found
