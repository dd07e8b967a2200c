"""`orchestra where DATASET`: which brick holds it, how fresh it is, who may read it, and where it is read."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.cadence import promise_of
from flows.commands import Json, Misuse, show
from flows.standing import title_of
from ingestion.census import Census, read_census
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.words import plain

if TYPE_CHECKING:
    from flows.lineage import Lineage

READERS = {
    "open": "anybody",
    "partner": "partners, and whom the classes above are for",
    "internal": "agents of the territory, and those of class restricted",
    "restricted": "agents who are named",
}
KINDS = ("mart", "brick", "tool", "table", "seed", "staging", "intermediate")  # what is asked for most first
MOST = 15  # matches of some words that are listed


class Dataset(NamedTuple):
    """What can be asked for: its kind, its name, the one that it has inside its brick, its title, and what words find it."""

    kind: str
    name: str
    own: str
    title: str
    words: str


def where(*dataset: str, is_json: Json = False) -> None:
    """Say which brick holds a dataset, how fresh it is, who may read it, and where.

    Args:
        dataset: name of a mart, a brick, a table, a model or a tool, or words of its title
    """
    from flows import report
    from flows.lineage import read_lineage

    asked = " ".join(dataset).strip()
    census, lineage, lake = read_census(), read_lineage(), Lake()
    known = datasets(census, lineage)
    exact, found = found_in(known, asked)
    if not found:
        near = near_misses(known, asked)
        raise Misuse(f"nothing is called {asked!r}{', nor titled so' if asked else ''}" + (f"; near: {', '.join(near)}" if near else ""))
    if not exact and len(found) > 1:
        rows = [{"kind": each.kind, "name": each.name, "title": each.title} for each in found[:MOST]]
        more = f"\n{len(found) - MOST} more" if len(found) > MOST else ""
        return show(is_json, rows, f"{report.table(rows)}{more}\n\norchestra where <name> says it of one")
    journal = Journal(lake)
    told = [_told(each, census, lineage, journal, lake) for each in found]
    return show(is_json, told, "\n\n".join(map(report.facts, told)))


def datasets(census: Census, lineage: Lineage) -> list[Dataset]:
    """Give all that can be asked for, in the order of KINDS and of their names."""
    found = []
    for name, each in census.all.items():
        titles, claims = " ".join(each.meta.titles.values()), " ".join(getattr(each.meta, "authoritative_for", ()))
        kind = "brick" if name in census.bricks else "tool"
        found.append(Dataset(kind, name, name, title_of(each), f"{name} {titles} {claims} {each.description}"))
    for brick in census.bricks.values():
        for table in brick.tables:
            words = f"{table.name} {table.description} {' '.join(brick.meta.titles.values())}"
            found.append(Dataset("table", f"{brick.name}.{table.name}", table.name, table.description, words))
    for name, node in lineage.nodes.items():
        title = next(iter(node.titles.values()), "-")
        found.append(Dataset(node.layer, name, name, title, f"{name} {' '.join(node.titles.values())}"))
    return sorted(found, key=lambda each: (KINDS.index(each.kind), each.name))


def found_in(known: list[Dataset], asked: str) -> tuple[bool, list[Dataset]]:
    """Give what bears a name, and that it does; else what all the words of a text are of, in its name or its title."""
    name = asked.casefold()
    if bearing := [each for each in known if name in (each.name.casefold(), each.own.casefold())]:
        # A table and its brick may have one name: the more telling one is said first.
        return True, bearing
    words = plain(asked).split()
    return False, [each for each in known if words and all(word in plain(each.words) for word in words)]


def near_misses(known: list[Dataset], asked: str) -> list[str]:
    """Name what is nearly called so, or has most of the words."""
    names = {each.own.casefold(): each.name for each in known} | {each.name.casefold(): each.name for each in known}
    near = [names[match] for match in difflib.get_close_matches(asked.casefold(), names, 4, 0.6)]
    for word in plain(asked).split():
        vocabulary = {each for dataset in known for each in plain(f"{dataset.own} {dataset.title}").split() if len(each) > 3}
        for match in difflib.get_close_matches(word, vocabulary, 2, 0.75):
            near += [each.name for each in known if match in plain(f"{each.own} {each.title}").split()][:3]
    return list(dict.fromkeys(near))[:6]


def _told(of: Dataset, census: Census, lineage: Lineage, journal: Journal, lake: Lake) -> dict[str, Any]:
    """Say all of one dataset."""
    told: dict[str, Any] = {of.kind: of.name, "title": of.title}
    if of.kind == "tool":
        meta = census.tools[of.name].meta
        access = {"operator": meta.operator, "access_mode": meta.access_mode, "protocols": list(meta.protocols)}
        return told | access | {"endpoint": meta.endpoint or meta.endpoint_reason, **_readers(meta.access_class)}
    if of.kind in ("brick", "table"):
        brick = census.bricks[of.name.partition(".")[0]]
        tables = [of.own] if of.kind == "table" else [table.name for table in brick.tables]
        marts = lineage.marts_on(brick.name, of.own if of.kind == "table" else None)
        loads = [load for load in journal.accepted(brick.name) if any(name in load["tables"] for name in tables)]
        read = {
            "dbt": ", ".join(f"source('{brick.name}', '{name}')" for name in tables),
            "files": [lake.path("landed", brick.name, name) for name in tables if any(name in load["tables"] for load in loads)],
        }
        told |= {"producer": brick.meta.producer, "freshness": {brick.name: _freshness(census, journal, brick.name)}, "marts": marts}
        return told | _readers(brick.meta.access_class) | read
    tables_by_brick: dict[str, list[str]] = {}
    for name, table in sorted(lineage.tables_of(of.name)):
        tables_by_brick.setdefault(name, []).append(table)
    told["made_of"] = [f"{brick} ({', '.join(tables)})" for brick, tables in tables_by_brick.items()]
    told["freshness"] = {brick: _freshness(census, journal, brick) for brick in tables_by_brick}
    if of.kind == "mart":
        return told | _of_mart(of.name, lineage.nodes[of.name].meta, lineage, journal, lake)
    told["marts"] = [mart for mart in lineage.marts if of.name in lineage.made_of(mart)]
    schema = "seeds" if of.kind == "seed" else of.kind
    return told | {"read": f"{schema}.{of.name} of {lake.state / 'warehouse.duckdb'}, while nothing is built; ref('{of.name}') in a model"}


def _of_mart(name: str, meta: Mapping[str, Any], lineage: Lineage, journal: Journal, lake: Lake) -> dict[str, Any]:
    """Say who may read a mart, and where: what stands published, as the journal says it."""
    from ingestion.published import stable_name, standing
    from redistribution.catalogue import catalogue
    from redistribution.mart import CLASSES
    from redistribution.site import standing_sites
    from redistribution.withheld import still_withheld, why_withheld

    told: dict[str, Any] = {"use_case": lineage.nodes[name].use_case, **_readers(str(meta.get("access_class")))}
    if withheld := still_withheld(journal).get(name):
        told["withheld"] = why_withheld(name, withheld)
    if (found := standing(journal.of("publication")).get(name)) is None:
        return told | {"published": "not yet: orchestra run"}
    entry, record = found
    access = record["class"]
    told |= _readers(access) | {"published": f"{entry['at'][:16]}, {record['row_count']:,} rows"}
    told["files"] = [lake.path(stable_name(access, name, unit)) for unit in sorted(record["files"])]
    told["sql"] = f"attach 'ducklake:sqlite:{catalogue(lake, access)}' as lake (read_only); from lake.{name}"
    sites = [each for each in standing_sites(lake) if CLASSES.index(each) >= CLASSES.index(access)]
    return told | {"site": [lake.path("site", each, "index.html") for each in sites]}


def _readers(access_class: str) -> dict[str, str]:
    return {"access_class": access_class, "who_may_read_it": READERS.get(access_class, READERS["restricted"])}


def _freshness(census: Census, journal: Journal, name: str) -> str:
    brick = census.bricks.get(name)
    promise = promise_of(journal, brick) if brick else None
    if not brick or not promise:
        return "never landed"
    late = ", late" if promise.is_late else ""
    return f"read {promise.last[:16]}, {promise.days:.1f} days ago of the {brick.config.freshness.error_after.days:g} promised{late}"
