"""The census at the command line: `orchestra bricks list`, `show`, `check`, `probe`, `adopt` and `retire`, imported when one is typed."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.commands import Json, Misuse, show

if TYPE_CHECKING:
    from flows.lineage import Node
    from ingestion.brick import Brick
    from ingestion.probing import Probe
    from ingestion.tool import Tool

PROBES_AT_ONCE = 8


def named(name: str) -> Brick | Tool:
    """Give a brick or a tool by its name; raises Misuse, which tells those that there are."""
    from ingestion.census import read_census

    census = read_census().all
    if name not in census:
        raise Misuse(f"no brick '{name}': {', '.join(census)}")
    return census[name]


def list_bricks(*, is_json: Json = False) -> None:
    """List the bricks and the tools."""
    from flows import report
    from flows.lineage import read_lineage
    from flows.standing import brick_row, standing_of, tool_row
    from ingestion.census import read_census
    from ingestion.journal import Journal
    from ingestion.lake import Lake

    census, lineage, journal = read_census(), read_lineage(), Journal(Lake())
    standings = {name: standing_of(journal, brick, lineage) for name, brick in census.bricks.items()}
    content: list[dict[str, Any]] = [{**each.model_dump(mode="json"), "standing": standings.get(name)} for name, each in census.all.items()]
    told = [report.table([brick_row(brick, standings[name]) for name, brick in sorted(census.bricks.items())])]
    told += [report.table([tool_row(tool, census.all) for tool in census.tools.values()])] if census.tools else []
    show(is_json, content, "\n\n".join(report.fitted(each) for each in told))


def show_brick(name: str, /, *, is_json: Json = False) -> None:
    """Show a brick or a tool.

    Args:
        name: its name, as `orchestra bricks list` says it
    """
    from flows import report
    from flows.lineage import read_lineage
    from flows.standing import last_loads, standing_of, tool_row
    from ingestion.brick import Brick
    from ingestion.census import read_census
    from ingestion.journal import Journal
    from ingestion.lake import Lake
    from ingestion.probing import probed

    of, lake = named(name), Lake()
    content: dict[str, Any] = of.model_dump(mode="json")
    probe = probed(lake).get(name)
    card = of.meta.model_dump(mode="json", exclude_defaults=True)
    told = [report.facts({"name": name, "description": of.description, **card, "last_probe": probe and _said(probe)})]
    if not isinstance(of, Brick):
        row = tool_row(of, read_census().all)
        content |= {"takes_from": row["takes_from"], "gives_to": row["gives_to"], "probe": probe}
        told.append(report.facts({"takes_from": row["takes_from"], "gives_to": row["gives_to"]}))
        return show(is_json, content, "\n\n".join(told))
    journal, lineage = Journal(lake), read_lineage()
    standing, loads = standing_of(journal, of, lineage), last_loads(journal, name)
    positions = {table.name: journal.position(name, table.name).at for table in of.tables}
    landed = {table for load in journal.loads(name).values() for table in load["tables"]}
    for table in of.tables:
        reached = _position(positions[table.name], has_landed=table.name in landed)
        told.append(
            f"table {table.name}: {table.description}\n"
            f"  delivers {table.meta.delivers}, key {', '.join(table.meta.key)}; read up to: {reached}\n"
            + report.table([_column_row(column, table.meta.key) for column in table.columns])
        )
    told.append(report.facts({field: value for field, value in standing.items() if field not in ("marts", "marts_by_use_case")}))
    told += [report.table(loads)] if loads else []
    marts = [_mart_row(mart, lineage.nodes[mart]) for mart in standing["marts"]]
    told.append(report.table(marts) if marts else "no mart rests on it")
    content |= {"standing": standing, "positions": positions, "loads": loads, "probe": probe}
    return show(is_json, content, "\n\n".join(told))


def _mart_row(name: str, mart: Node) -> dict[str, Any]:
    return {"mart": name, "use_case": mart.use_case, "class": mart.meta.get("access_class"), "title": next(iter(mart.titles.values()), "-")}


def _column_row(column: Any, key: tuple[str, ...]) -> dict[str, Any]:
    meta = column.meta
    is_key = column.name in key
    told = {"key": is_key, "required": meta.required and not is_key, "optional": meta.optional, f"masked: {meta.mask}": meta.mask}
    marks = [mark for mark, holds in told.items() if holds]
    return {"column": column.name, "data_type": column.data_type, "marks": ", ".join(marks) or "-", "description": column.description}


def _position(position: dict[str, Any], *, has_landed: bool) -> str:
    told = [f"{name} {value}" for name, value in sorted(position.items()) if isinstance(value, str | int | float)]
    return ", ".join(told) or ("all of it" if has_landed else "nothing yet")


def _said(probe: dict[str, Any]) -> str:
    """Say what was noted of a probe, in a line."""
    answer = {True: "answered", False: "did not answer", None: "not asked"}[probe["is_reached"]]
    took = f" in {probe['seconds']} s" if probe["is_reached"] and probe["seconds"] is not None else ""
    return f"{probe['at'][:16]}: {answer}{took}" + (f"; {probe['told']}" if probe["told"] else "")


def check() -> None:
    """Check every YAML of the census."""
    from ingestion.census import faults_of_connectors, read_census, untold_zones
    from ingestion.declaration import BrickError
    from ingestion.lake import Lake, LakeError
    from ingestion.likeness import alike
    from ingestion.own_census import CONNECTOR
    from ingestion.probing import is_awaited, never_reached, probed

    census = read_census()
    faults, warnings = alike(census.bricks.values())
    if faults := [*faults_of_connectors(census.bricks.values()), *faults]:
        raise BrickError("\n".join(faults))
    for told in [*untold_zones(census.bricks.values()), *warnings]:
        print(f"warning: {told}", file=sys.stderr)
    tools = f", and {len(census.tools)} tools" if census.tools else ""
    print(f"{len(census.bricks)} bricks{tools} are what the contract asks")
    try:
        asked = [each for each in census.all.values() if each.meta.status != "retired" and CONNECTOR not in each.meta.protocols]
        addressed = [each.name for each in asked if each.meta.endpoint and not is_awaited(each, each.meta.endpoint)]
        if never := never_reached(probed(Lake()), addressed):
            print(f"never reached from here: {', '.join(never)} (orchestra bricks probe)")
    except (OSError, LakeError) as error:  # a state that cannot be read is no fault of a YAML
        print(f"nothing is known of probes: {error}")


def probe(name: str | None = None, /, *, is_json: Json = False) -> list[str]:
    """Ask sources whether they are there.

    Args:
        name: of one brick or tool; all that are not retired, unless it is said
    """
    from flows import report
    from ingestion.census import read_census
    from ingestion.lake import Lake
    from ingestion.probing import note_probes
    from ingestion.probing import probe as ask

    asked = [named(name)] if name else [each for each in read_census().all.values() if each.meta.status != "retired"]
    with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        found = dict(zip([of.name for of in asked], pool.map(ask, asked), strict=True))
    note_probes(Lake(), found)
    rows = [_probe_row(of, found[of.name]) for of in asked]
    show(is_json, {name: vars(each) for name, each in found.items()}, report.table(rows))
    return [each.told for each in found.values() if each.is_reached is False]


def _probe_row(of: Brick | Tool, found: Probe) -> dict[str, Any]:
    doubt = {True: "", False: f" (not {of.meta.licence})", None: f" (is it {of.meta.licence}?)"}[found.licence_fits]
    return {
        "brick": of.name,
        "answers": {True: "yes", False: "NO", None: "not asked"}[found.is_reached] + (", a sandbox" if found.is_synthetic else ""),
        "seconds": found.seconds,
        "last_change": found.changed_at,
        "rows": sum(found.rows.values()) if found.rows else None,
        "licence": found.licence and found.licence + doubt,
        "told": found.told or "-",
    }


def adopt(name: str, /, *, is_json: Json = False) -> None:
    """Write in the YAML of a brick or a tool that it is adopted, since today.

    Args:
        name: its name, as `orchestra bricks list` says it
    """
    from ingestion import life
    from ingestion.census import read_census
    from ingestion.journal import Journal
    from ingestion.lake import Lake
    from ingestion.probing import probed

    of, lake = named(name), Lake()
    _told(name, life.adopt(of, read_census(), Journal(lake), probed(lake)), "adopted", is_json)


def retire(name: str, /, *, keep_marts: Annotated[bool, Parameter(help="though marts rest on it")] = False, is_json: Json = False) -> None:
    """Write in the YAML of a brick or a tool that it is retired, since today: it is read no more, and what it landed stays.

    Args:
        name: its name, as `orchestra bricks list` says it
    """
    from flows.lineage import read_lineage
    from ingestion import life

    of, marts = named(name), read_lineage().marts_on(name)
    _told(name, life.retire(of, marts, keeps_marts=keep_marts), "retired", is_json)


def _told(name: str, path: Path, status: str, is_json: bool) -> None:
    show(is_json, {"brick": name, "status": status, "file": str(path)}, f"{name} is {status}: {path}")


def draw_map(*, out: Path | None = None, language: Annotated[str | None, Parameter(help="of the titles: fr, en, ...")] = None) -> None:
    """Draw what is connected to what, as SVG: bricks and tools by kind, staging, marts by use case, ways out.

    Args:
        out: the file to write; on the standard output unless it is said
    """
    from flows.drawing import draw
    from flows.lineage import exposures, read_lineage
    from ingestion.census import read_census
    from ingestion.disk import write_whole
    from ingestion.territory import read_territory

    territory = read_territory()
    if (told := language or territory.languages[0]) not in territory.languages:
        raise Misuse(f"--language {language} is none of the territory's: {', '.join(territory.languages)}")
    svg = draw(read_census(), read_lineage(), exposures(), told, territory.name)
    if out is None:
        print(svg, end="")
        return
    if not out.parent.is_dir():
        raise Misuse(f"--out {out}: there is no folder {out.parent}")
    write_whole(out, svg.encode())
    print(out)
