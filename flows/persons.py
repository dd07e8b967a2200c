"""What is done for persons: `orchestra erase`, `expire`, `person` and `register`, imported when one of them is typed."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from flows.commands import Bricks, Json, Misuse, chosen_bricks, show
from flows.stewards import Why
from ingestion.journal import Journal, standing
from ingestion.lake import Lake

Key = Annotated[tuple[str, ...], Parameter("--key", help="column=value, or column: its value is asked for. Repeated, for a key of several")]
Brick = Annotated[str, Parameter("--brick", help="the brick that holds the rows")]
Domain = Annotated[str, Parameter("--domain", help="pseudonym_domain of the bricks that are asked")]


def erase(
    *,
    brick: Brick,
    key: Key,
    why: Why,
    table: Annotated[str | None, Parameter(help="of this table alone; of every one that has the columns, unless said")] = None,
    forget_kept: Annotated[bool, Parameter("--forget-kept", help="marts may lose what they keep of expired loads")] = False,
    is_json: Json = False,
) -> list[str]:
    """Erase the rows of a key for good: from loads, models, marts and their past; what a source gives of it again does not land."""
    from flows import report, taking_back

    (of,) = chosen_bricks([brick]).values()
    parts = [each.partition("=") for each in key]
    if len({name.casefold() for name, *_ in parts}) < len(parts):
        raise Misuse("a column is named twice by --key, which tells one key. Mend: erase one key at a time")
    if not why.strip():
        raise Misuse("--why is empty: say the reason, which the journal keeps")
    asked = {name: _value(name, told, is_told=bool(mark), is_masked=_is_masked(of, name)) for name, mark, told in parts}
    lake = Lake()
    standing(lake)
    with report.showing(is_quiet=is_json) as progress:
        erased, outcome = taking_back.erase(lake, of, asked, why, progress, table=table, forgets_kept=forget_kept)
    rows = [{"brick": of.name, "table": each.table, "rows": each.row_count, "loads": each.load_count, "entry": each.seq} for each in erased]
    told = "they are gone, and will not land again" if any(each.row_count for each in erased) else "no load held such a row; none will land"
    show(is_json, {"erased": rows, **report.as_json(outcome)}, f"{report.table(rows)}\n{told}\n\n{report.as_text(outcome)}")
    return outcome.failures


def expire(*, brick: Bricks = (), is_json: Json = False) -> list[str]:
    """Let the loads go that are older than the retention of their brick; build and publish what remains."""
    from flows import report, taking_back

    lake = Lake()
    standing(lake)
    with report.showing(is_quiet=is_json) as progress:
        expired, outcome = taking_back.expire(lake, chosen_bricks(brick), progress)
    rows = [{"brick": each.brick, "loads": each.load_count, "rows": each.row_count, "entry": each.seq} for each in expired]
    told = report.table(rows) if rows else "no load is older than the retention of its brick"
    show(is_json, {"expired": rows, **report.as_json(outcome)}, f"{told}\n\n{report.as_text(outcome)}" if rows else told)
    return outcome.failures


def person(*, domain: Domain, is_json: Json = False) -> list[str]:
    """Tell what the lake holds of a person (GDPR, art. 15), by the name or number of whom, asked for and never typed on the line."""
    from flows import report
    from ingestion.census import read_bricks
    from ingestion.person import gone_bricks, rows_of_person

    bricks = [brick for brick in read_bricks().values() if brick.meta.pseudonym_domain == domain]
    if not bricks:
        known = sorted({str(brick.meta.pseudonym_domain) for brick in read_bricks().values() if brick.meta.pseudonym_domain})
        raise Misuse(f"no brick has the pseudonym_domain '{domain}': {', '.join(known) or 'none says one'}")
    lake = Lake()
    journal = standing(lake)
    if not (called := _asked(f"what the person is called in domain {domain}").strip()):
        raise Misuse("nobody was named")
    found, gone = rows_of_person(lake, journal, bricks, called), gone_bricks(journal, domain, bricks)
    told = [f"{len(each.rows)} rows of {each.brick}.{each.table}, by {each.column}:\n{report.table(each.rows)}" for each in found]
    mends = [f'orchestra erase --brick {each.brick} --key {each.column} --why "..."' for each in found]
    content = [{"brick": each.brick, "table": each.table, "column": each.column, "rows": each.rows} for each in found]
    none = f"the lake holds nothing of that person in domain {domain}: {', '.join(brick.name for brick in bricks)} were asked"
    lines = [*told, "to erase it, with what is made of it:\n  " + "\n  ".join(dict.fromkeys(mends))] if found else [none]
    lines += [f"not sought in {', '.join(gone)}, whose YAML has left: put it back to ask there too"] if gone else []
    show(is_json, content, "\n\n".join(lines))
    return []


def register(
    *,
    to: Annotated[Path | None, Parameter(help="folder it is written in: register/ of the state unless said")] = None,
    is_json: Json = False,
) -> list[str]:
    """Write the register of processing (GDPR, art. 30), in French, a page by brick with personal columns; say what it lacks."""
    from flows.dbt_process import written_by_dbt
    from ingestion.census import read_bricks
    from ingestion.territory import read_territory
    from redistribution.mart import read_marts
    from redistribution.register import write_register

    lake, bricks = Lake(), read_bricks()
    manifest = written_by_dbt(lake, "manifest.json")
    marts = read_marts(manifest, {name: brick.meta.access_class for name, brick in bricks.items()}) if manifest else []
    to = to or lake.state_path("register")
    told, files = write_register(to, bricks.values(), read_territory(), Journal(lake), marts)
    lacks = {each.brick: each.unsaid for each in told if each.unsaid}
    lines = [f"{len(told)} processing of personal data, of {len(bricks)} bricks: {to / 'index.html'}, {to / 'registre.csv'}"]
    lines += [f"to be said of {brick}: {', '.join(unsaid)}" for brick, unsaid in lacks.items()]
    lines += [] if manifest else ["who reads the marts is not told, for nothing was built here. Mend: orchestra run, then again"]
    show(is_json, {"processings": [each.brick for each in told], "files": [str(file) for file in files], "lacks": lacks}, "\n".join(lines))
    return []


def _is_masked(brick: Any, name: str) -> bool:
    return any((column := table.named(name)) and column.meta.mask for table in brick.tables)


def _value(name: str, told: str, *, is_told: bool, is_masked: bool) -> str | None:
    """Give the value of a column of a key, None for `name=`; one of a masked column stands in no line of a shell, which keeps it."""
    if told and is_masked:
        raise Misuse(f"--key {name}=... would leave the value in the history of the shell: --key {name} asks for it")
    if is_told:
        return told or None
    if value := _asked(f"value of {name}"):
        return value
    raise Misuse(f"no value of {name} was given. Mend: give one; for the rows without one, --key {name}=")


def _asked(what: str) -> str:
    """Ask for a value, which is not shown as it is typed; from a pipe, read its first line."""
    return getpass.getpass(f"{what}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
