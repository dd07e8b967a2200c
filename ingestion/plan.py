"""What a build computes of a model: nothing, some of its partitions, or the whole wherever less might leave an old row standing."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ingestion.deletion import DELETED
from ingestion.lake import literal, quoted

Node = dict[str, Any]
Query = Callable[[str], list[tuple[Any, ...]]]

PARTITIONED = "partitioned"
TRANSPARENT = ("view", "ephemeral")  # they hold no rows: what changes them is what changes their parents
REACHES = ("own", "next", "all")
GRAINS = ("day", "week", "month", "quarter", "year")
EVERYTHING = "*"
NOWHERE = "none"  # the partition of the rows that have none
# A key that comes more often among new rows than this has the whole computed, rather than the SQL run as many times.
DEPTH = 8


class Whole(Exception):
    """Why the whole of a model is computed."""


@dataclass(frozen=True)
class Built:
    """What a warehouse knows of a model that it holds.

    `holds`: every key of the source it reads stands in it, so that what stood under a key tells where its rows counted.
    """

    made_as: str
    fingerprint: str
    run: int
    holds: bool


@dataclass(frozen=True)
class Plan:
    """What to compute: the partitions `touched` (none of them: nothing), or the whole and `why`.

    `is_ours`: what stands was made by the materialization, so that its partitions may be compared and replaced. `held` and
    `missed`: the columns that hold the key of the source, and the SQL that finds, once staged, the keys without a row.
    """

    made_as: str
    fingerprint: str
    touched: tuple[str, ...] | None
    why: str | None = None
    is_new: bool = False
    is_ours: bool = True
    holds: bool = False
    held: tuple[str, ...] = ()
    missed: str | None = None


def plan(model: Node, graph: Node, sql: str, query: Query, staged: str, *, stands: bool, is_refreshed: bool = False) -> Plan:
    """Decide what to compute of a model, whose compiled SELECT is `sql`.

    `graph` is dbt's manifest, `query` reads what stands: the tables of `meta` that `warehouse.catch_up` describes, and the
    models' own. `stands` says whether the model's table is there, `staged` names the one that its new rows will be put in.
    """
    asked = _Asked(model, graph, sql, query)
    fingerprint, built = asked.fingerprint(), asked.built(model["unique_id"])
    is_ours = stands and built is not None and built.made_as == made_as(model)
    is_new = not is_ours or is_refreshed or built is None or built.fingerprint != fingerprint
    told: dict[str, Any] = {"made_as": made_as(model), "fingerprint": fingerprint, "is_new": is_new, "is_ours": is_ours, "held": asked.held}
    if is_new or built is None:
        return Plan(
            **told, touched=None, why="it is new, or is made of something else", holds=bool(asked.held), missed=asked.missed(staged)
        )
    try:
        touched = asked.reached(model, built)
    except Whole as why:
        return Plan(**told, touched=None, why=str(why), holds=bool(asked.held), missed=asked.missed(staged))
    # What another input has changed may have taken the last row of a key away.
    holds = built.holds and not asked.is_touched_by_others
    return Plan(**told, touched=tuple(sorted(touched)), holds=holds, missed=asked.missed(staged, asked.news))


def made_as(node: Node) -> str:
    """Say how the table of a node is made: what another one has touched is not told in the same partitions."""
    told = node["config"]["materialized"]
    return f"{told} by {node['config'].get('partition')}" if told == PARTITIONED else told


def unit(partition: str) -> str:
    """Write a partition as text; rows without one are a partition too, so that none is lost on the way."""
    return f"coalesce(cast({partition} as string), {literal(NOWHERE)})"


def texts(values: Iterable[str]) -> str:
    """Write texts as a list of SQL."""
    return ", ".join(literal(value) for value in values)


def hashed(columns: Iterable[str]) -> str:
    """Write a number that stands for some values, whatever their types, NULL being a value like another."""
    return f"hash({', '.join(columns)})"


def following(partition: str, grain: str) -> str:
    """Give the partition that follows; raises Whole for what is no first day of the grain, which no calendar tells the next of."""
    try:
        day = dt.date.fromisoformat(partition)
        if grain in ("day", "week"):
            is_first, follower = grain == "day" or day.weekday() == 0, day + dt.timedelta(days=1 if grain == "day" else 7)
        else:
            length = {"month": 1, "quarter": 3, "year": 12}[grain]
            year, month = divmod(day.year * 12 + day.month - 1 + length, 12)
            is_first, follower = day.day == 1 and month % length == 0, dt.date(year, month + 1, 1)
    except (ValueError, OverflowError):
        is_first = False
    if not is_first or day.isoformat() != partition:
        raise Whole(f"the partition '{partition}' is no first day of a {grain}")
    return follower.isoformat()


def columns_of(setting: Any) -> tuple[str, ...]:
    """Give the names of a setting of dbt that may be one name, several or none."""
    return (setting,) if isinstance(setting, str) else tuple(setting or ())


def changes_read(model: Node, graph: Node) -> list[str]:
    """Name the sources that a model reads itself and that deliver changes: the rows of one of them are found by their key."""
    sources = [name for name in model["depends_on"]["nodes"] if name in graph["sources"]]
    return [name for name in sources if _meta(graph["sources"][name]).get("delivers") == "changes"]


class _Asked:
    """One question: the model, what it is made of, and what stands."""

    def __init__(self, model: Node, graph: Node, sql: str, query: Query) -> None:
        self.model, self.graph, self.sql, self.query = model, graph, sql, query
        self.news: list[str] = []  # loads whose rows were found by their keys
        self.is_touched_by_others = False  # whether an input that is no source has changed
        changes = changes_read(model, graph)
        self.source = graph["sources"][changes[0]] if len(changes) == 1 else None
        held = columns_of(model["config"].get("unique_key"))
        is_told = self.source is not None and model["config"].get("partition") and len(held) == len(_meta(self.source)["key"])
        self.held = held if is_told else ()

    def fingerprint(self) -> str:
        """Sum up what the model is made of, apart from the rows of its inputs."""
        config = self.model["config"]
        columns = [[column["name"], column.get("data_type")] for column in self.model["columns"].values()]
        settings = [config.get(name) for name in ("partition", "reach", "partition_grain", "unique_key")]
        told = [self.sql, self.model["relation_name"], settings, columns, self._made_of(self.model)]
        return hashlib.md5(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

    def _made_of(self, reader: Node) -> list[Any]:
        """Say what of a reader's inputs, apart from their rows, it is made of."""
        told: list[Any] = []
        for name in reader["depends_on"]["nodes"]:
            if source := self.graph["sources"].get(name):
                columns = [[column["name"], column.get("data_type")] for column in source["columns"].values()]
                told.append([name, *(_meta(source).get(each) for each in ("delivers", "key", "deleted_when")), columns])
            elif (node := self.graph["nodes"].get(name)) and node["config"]["materialized"] in TRANSPARENT:
                built, config = self.built(name), node["config"]
                settings = [config.get(setting) for setting in ("materialized", "partition", "reach", "partition_grain")]
                told.append([name, settings, built and built.fingerprint, self._made_of(node)])
            else:
                told.append(name)
        return told

    def built(self, name: str) -> Built | None:
        """Give what the warehouse knows of a model; None for one that it never held."""
        rows = self.query(f"select made_as, fingerprint, run, holds from meta.built where model = {literal(name)}")
        return Built(*rows[0]) if rows else None

    def reached(self, reader: Node, since: Built) -> set[str]:
        """Give the partitions of a reader that what changed since a build may change; raises Whole when any may."""
        found = {partition for name in reader["depends_on"]["nodes"] for partition in self._changed(name, reader, since)}
        config = reader["config"]
        partition, reach, grain = (config.get(name) for name in ("partition", "reach", "partition_grain"))
        if found and reach in ("own", "next"):
            found |= {NOWHERE}  # a reader may leave a row without a partition, by an outer join for instance
        if not found or reach == "own":
            return found
        if reach == "next" and grain in GRAINS:
            return found | {following(partition, grain) for partition in found - {NOWHERE}}
        raise Whole(f"{reader['name']} says no reach of {partition or 'a partition'} that holds a change back")

    def _changed(self, name: str, reader: Node, since: Built) -> set[str]:
        """Give the partitions of an input that changed since a build, as the reader's own."""
        if source := self.graph["sources"].get(name):
            return self._landed(source, reader, since)
        node = self.graph["nodes"].get(name)
        if node is None:
            raise Whole(f"nothing tells what changed of {name}")
        if node["config"]["materialized"] == "ephemeral":
            return self._as_own(node, reader, self.reached(node, since))
        if (built := self.built(name)) is None or built.made_as != made_as(node):
            raise Whole(f"nothing tells what changed of {name}")
        if node["config"]["materialized"] in TRANSPARENT:
            return self._as_own(node, reader, self.reached(node, since))
        rows = self.query(f"select partition from meta.touched where model = {literal(name)} and run > {since.run}")
        return self._as_own(node, reader, {partition for (partition,) in rows})

    def _as_own(self, node: Node, reader: Node, touched: set[str]) -> set[str]:
        """Give the partitions of a parent as those of its reader: the same ones, when name and type are the same."""
        if not touched:
            return touched
        self.is_touched_by_others = True
        if EVERYTHING in touched:
            raise Whole(f"the whole of {node['name']} changed")
        names = [each["config"].get("partition") for each in (node, reader)]
        if not all(names) or names[0].casefold() != names[1].casefold():
            raise Whole(f"{node['name']} changed, whose partition is {names[0] or 'none'} and not {names[1] or 'none'}")
        types = {self._type_of(each, names[0]) for each in (node, reader)}
        if len(types) > 1 or None in types:
            raise Whole(f"{node['name']} changed, whose {names[0]} is not of the same type")
        return touched

    def _type_of(self, node: Node, column: str) -> str | None:
        """Give the type of a column of what stands of a node; None for what has none, or does not stand."""
        if node["config"]["materialized"] == "ephemeral":
            return None
        types = {row[0].casefold(): row[1] for row in self.query(f"describe {node['relation_name']}")}
        return types.get(column.casefold())

    def _landed(self, source: Node, reader: Node, since: Built) -> set[str]:
        """Give the partitions that what landed of a source since a build may change."""
        name = f"{source['source_name']}.{source['name']}"
        where = f"brick = {literal(source['source_name'])} and table_name = {literal(source['name'])}"
        if not self.query(f"select 1 from meta.sources where {where}"):
            raise Whole(f"nothing tells what changed of {name}, which is no table of a brick")
        if self.query(f"select 1 from meta.rewrites where {where} and run > {since.run}"):
            raise Whole(f"rows of {name} were taken away, or are read otherwise")
        loads = [load for (load,) in self.query(f"select load_id from meta.loads where {where} and run > {since.run} order by seq")]
        if not loads:
            return set()
        if _meta(source).get("delivers") != "changes":
            raise Whole(f"{name} has a new photo")
        if source is not self.source or reader is not self.model or not self.held or not since.holds:
            raise Whole(f"{name} has new rows, and {reader['name']} does not hold every key of it")
        if reader["config"].get("reach") not in ("own", "next"):
            raise Whole(f"{name} has new rows, which may reach any partition of {reader['name']}")
        self.news = loads
        try:
            return self._partitions_of(source, loads)
        except Whole:
            raise
        except Exception as error:
            # What a SELECT says of some rows alone may be no SQL: a name with its schema, a division.
            raise Whole(f"{reader['name']} cannot be asked of the new rows of {name} alone: {error}") from error

    def _partitions_of(self, source: Node, loads: list[str]) -> set[str]:
        """Give the partitions where new rows of the source stand, and those where their keys stood before.

        The SELECT is run on the new rows alone, one of each key at a time, so that none hides behind another; then on all
        the rows of their keys, for one may tell where another stands (the end of a state is the beginning of the next). Where
        rows may be deletions, it is run as if none were, on those that stood as well: where a key is not shown, it may count.
        """
        relation, partition = source["relation_name"], unit(self.model["config"]["partition"])
        if relation not in self.sql:
            raise Whole(f"{self.model['name']} names {source['name']} otherwise than dbt does")
        key, held = (hashed(quoted(column) for column in columns) for columns in (_meta(source)["key"], self.held))
        new = f"{relation} where _load_id in ({texts(loads)})"
        depth = self.query(f"select coalesce(max(row_count), 0) from (select count(*) as row_count from {new} group by {key})")[0][0]
        if depth > DEPTH:
            raise Whole(f"a key of {source['name']} comes {depth} times among its new rows")
        stood = f"select distinct {partition} from {self.model['relation_name']} where {held} in (select {key} from {new})"
        found = {each for (each,) in self.query(stood)} if depth else set()
        # A view of the same name keeps the names by which the SELECT calls its columns.
        alone = f"temp.main.{quoted(source['identifier'])}"
        turn = f"row_number() over (partition by {key} order by _load_id, _file, _row)"
        turns = [f"{new} qualify {turn} = {place}" for place in range(1, depth + 1)]
        of_keys = f"{relation} where {key} in (select {key} from {new})"
        runs = [(rows, False) for rows in (*turns, of_keys)]
        if may_delete := bool(_meta(source).get("deleted_when")):
            runs += [(f"{of_keys} and _load_id not in ({texts(loads)})", False), (of_keys, True)]
        for rows, is_deleting in runs if depth else []:
            shown = f"* replace (false as {DELETED})" if may_delete and not is_deleting else "*"
            self.query(f"create or replace temporary view {quoted(source['identifier'])} as select {shown} from {rows}")
            given = f"select distinct {held} as key, {partition} as partition from ({self.sql.replace(relation, alone)}\n)"
            self.query(f"create or replace temporary table orchestra_news as {given}")
            unlike = f"select key from orchestra_news where key not in (select {key} from {alone})"
            absent = f"select {key} from {alone} where {key} not in (select key from orchestra_news)"
            if self.query(f"{unlike} limit 1" if is_deleting else f"{unlike} union all {absent} limit 1"):
                raise Whole(f"a new row of {source['name']} is left out, or stands under another key")
            found |= {each for (each,) in self.query("select partition from orchestra_news")}
        return found

    def missed(self, staged: str, loads: list[str] | None = None) -> str | None:
        """Write the SELECT of the keys of the source (of some loads, when told) that have no row among those staged."""
        if not self.source or not self.held or loads == []:
            return None
        key, held = (hashed(quoted(column) for column in columns) for columns in (_meta(self.source)["key"], self.held))
        of_loads = f"_load_id in ({texts(loads)}) and " if loads else ""
        missed = f"select 1 from {self.source['relation_name']} where {of_loads}{key} not in (select {held} from {staged})"
        # A key whose latest row is a deletion is rightly absent.
        latest = "order by _read_at desc, _load_id desc, _file desc, _row desc"
        is_living = f" qualify row_number() over (partition by {key} {latest}) = 1 and not {DELETED}"
        return missed + (is_living if _meta(self.source).get("deleted_when") else "")


def _meta(source: Node) -> Node:
    return source["config"].get("meta") or {}
