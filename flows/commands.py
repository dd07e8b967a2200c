"""What can be typed after `orchestra`: each command is a function, which prints, and gives what failed, nothing when it is done.

Its signature is what can be typed, its docstring the help. Imports that take long stand inside, for `--help` reads all of this.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from expectations import docs
from ingestion.journal import standing
from ingestion.lake import Lake, LakeError
from ingestion.verify import landed_faults

if TYPE_CHECKING:
    from ingestion.brick import Brick

app = App(
    "orchestra", help="From the bricks of a territory to audited marts.", version_flags=(), help_format="plaintext", help_formatter="plain",
    default_parameter=Parameter(negative=(), allow_repeating=True, show_default=lambda value: str(value) if value else None),
)  # fmt: skip
bricks_app = app.command(App("bricks", help="The census of the bricks.", version_flags=()))
bricks_app.command("flows.trials:try_place", "try", help="Try a source that no brick describes yet: a file, a folder, an address.")
sandbox_app = app.command(App("sandbox", help="A synthetic territory.", version_flags=()))
bricks_app.command("flows.bricks:list_bricks", "list", help="List the bricks and the tools, and how each stands.")
bricks_app.command("flows.bricks:show_brick", "show", help="Show a brick or a tool, and the marts that rest on it.")
bricks_app.command("flows.bricks:check", "check", help="Check every YAML of the census; no source is asked.")
bricks_app.command("flows.bricks:probe", "probe", help="Ask sources whether they are there; nothing lands.")
bricks_app.command("flows.bricks:adopt", "adopt", help="Write in the YAML of a brick or a tool that it is adopted.")
bricks_app.command("flows.bricks:retire", "retire", help="Write in the YAML of a brick or a tool that it is retired.")
bricks_app.command("flows.annex:annex", "annex", help="Write the clause of a tender and the checker that a contractor runs.")
bricks_app.command("flows.bricks:draw_map", "map", help="Draw what is connected to what, as SVG.")
app.command("flows.finding:where", "where", help="Say which brick holds a dataset, how fresh it is, who may read it, and where.")
app.command("flows.stewards:loads_app", "loads", help="The loads of the journal.")
app.command("flows.stewards:marts_app", "marts", help="The marts that are withheld.")
app.command("flows.stewards:journal_app", "journal", help="The journal itself.")
app.command("flows.persons:erase", "erase", help="Erase the rows of a key for good, wherever they stand.")
app.command("flows.persons:expire", "expire", help="Let loads go that are older than the retention of their brick.")
app.command("flows.persons:person", "person", help="Tell what the lake holds of a person.")
app.command("flows.persons:register", "register", help="Write the register of processing (GDPR, art. 30).")
app.command("flows.listening:listen", "listen", help="Receive what is pushed to the bricks (MQTT, webhooks), until Ctrl-C.")
app.command("flows.servers:up", help="Serve the schedules of all bricks, with Prefect and its UI, until Ctrl-C.")

# What commands take; by itself, cyclopts would round 2.5 to an int.
Json = Annotated[bool, Parameter("--json", help="print JSON")]
Bricks = Annotated[tuple[str, ...], Parameter("--brick", help="only this brick (may be repeated)")]
UseCases = Annotated[tuple[str, ...], Parameter("--use-case", help="only the bricks of this use case")]
Class = Annotated[Literal["open", "partner", "internal", "restricted"], Parameter("--class", help="who may read the site")]
Whole = Annotated[int, Parameter(converter=lambda _, tokens: int(tokens[0].value))]


class Misuse(Exception):
    """A command that cannot be obeyed as it was typed."""


@app.command(name="run")
def land_build_publish(*, brick: Bricks = (), use_case: UseCases = (), is_json: Json = False) -> list[str]:
    """Land, build and publish."""
    return _take(("land", "build", "publish"), is_json, brick, use_case)


@app.command
def mask(*, is_json: Json = False) -> list[str]:
    """Mask what older loads hold in clear of columns that are personal today; every other step begins with it."""
    return _take((), is_json)


@app.command
def land(*, brick: Bricks = (), use_case: UseCases = (), is_json: Json = False) -> list[str]:
    """Read what is new of the bricks into the lake."""
    return _take(("land",), is_json, brick, use_case)


@app.command
def build(*, is_json: Json = False) -> list[str]:
    """Have dbt build the models that are behind."""
    return _take(("build",), is_json)


@app.command
def publish(*, is_json: Json = False) -> list[str]:
    """Judge the marts and make them visible."""
    return _take(("publish",), is_json)


@app.command
def site(*, access_class: Class = "open", is_json: Json = False) -> list[str]:
    """Write the static site of a class; each run keeps it up to date from then on."""
    from flows import report, steps

    lake = Lake()
    with report.showing(is_quiet=is_json) as progress:
        sites = steps.follow_sites(lake, standing(lake), progress, access_class)
    told = [
        f"site of class {each.access_class}: {each.address}\n  {len(each.written)} files written, {len(each.taken_away)} taken away"
        for each in sites
    ]
    failures = [failure for each in sites for failure in each.failures]
    show(is_json, [asdict(each) for each in sites], "\n".join([*told, *(f"FAILED {failure}" for failure in failures)]))
    return failures


@app.command
def prove(mart: str, /, *key: Annotated[str, Parameter(required=True)], is_json: Json = False) -> list[str]:
    """Make a published row again from what its receipt names, and nothing else.

    Args:
        mart: its name
        key: the values of its grain in their order, or each as name=value
    """
    from flows import report
    from redistribution.site.receipt import Prover

    with report.showing(is_quiet=is_json) as progress:
        prover = Prover(Lake(), mart, lambda step: progress(f"prove {mart}", step))
        with closing(prover):
            try:
                row = prover.key_of(list(key))
            except LakeError as error:
                raise Misuse(str(error)) from None
            proof = prover.prove(row)
    rows = [{"column": name, "published": value, "again": proof.again.get(name)} for name, value in proof.row.items() if name != "geometry"]
    made = f"from {proof.loads} loads, {proof.files} files and {proof.models} SELECTs, in {proof.seconds:.1f} s"
    told = [
        f"mart {proof.mart}, {', '.join(f'{name} {value}' for name, value in proof.key.items())}; receipt {proof.receipt}",
        report.table([{name: None if value is None else str(value) for name, value in row.items()} for row in rows]),
        *([f"WRONG {fault}" for fault in proof.faults] or [f"made again, equal, {made}"]),
    ]
    show(is_json, asdict(proof), "\n\n".join(told))
    return proof.faults


@app.command
def upgrade(*, is_json: Json = False) -> list[str]:
    """Write the journal of a lake of an older version anew, in the format of this one; back the lake up first."""
    from ingestion import upgrade as upgrading
    from ingestion.census import read_bricks

    lake = Lake()
    held, count = upgrading.upgrade(lake, read_bricks().values())
    told = f"{count} entries of format {held} written anew; next: orchestra run" if count else "it is of the format of this version already"
    show(is_json, {"lake": lake.root, "from": held, "entries": count}, f"journal of {lake.root}: {told}")
    return []


@app.command
def rebuild(*, is_json: Json = False) -> list[str]:
    """Throw away warehouse and catalogues, and catch up from zero."""
    from flows import report, steps

    standing(lake := Lake())
    with report.showing(is_quiet=is_json) as progress:
        outcome = steps.rebuild(lake, progress)
    show(is_json, report.as_json(outcome), report.as_text(outcome))
    return outcome.failures


@app.command
def status(*, is_json: Json = False) -> list[str]:
    """Say what the lake holds and what is behind: the warehouse, sources that are late, loads refused, marts withheld."""
    from flows import report
    from flows.cadence import lateness, next_run
    from flows.reached import reached
    from flows.standing import sum_up
    from ingestion.census import read_bricks
    from ingestion.clear import hidden_because
    from ingestion.steward import standing_refusals
    from redistribution.publications import last_published
    from redistribution.verify import file_faults
    from redistribution.withheld import still_withheld, why_withheld

    journal, census = standing(lake := Lake()), read_bricks()
    seq = reached(lake, journal).seq
    bricks = {
        name: {**sum_up(brick, list(journal.loads(name).values())), "late": lateness(journal, brick), "next_run": next_run(brick)}
        for name, brick in census.items()
    }
    published = last_published(journal)
    marts = {name: {"class": each["class"], "row_count": each["row_count"], "withheld": None} for name, each in published.items()}
    for name, record in still_withheld(journal).items():
        marts.setdefault(name, {"class": record["class"], "row_count": 0})["withheld"] = why_withheld(name, record)
    content = {"lake": lake.root, "is_synthetic": journal.is_synthetic, "seq": journal.seq, "warehouse_seq": seq, "as_of": journal.as_of()}
    nature = "synthetic data" if journal.is_synthetic else "real data"
    told = [
        f"lake {lake.root}: {nature}, journal at {journal.seq}, warehouse at {seq}, as of {journal.as_of()}",
        report.table([{"brick": name, **figures} for name, figures in bricks.items()]),
        *([report.table([{"mart": name, **figures} for name, figures in marts.items()])] if marts else []),
    ]
    if page := docs.last_page(lake):
        told.append(f"Data Docs of the last run that judged something: file://{page}")
    failures = [why for brick in {load["brick"]: None for load in journal.of("load")} for why in standing_refusals(journal, brick).values()]
    failures += hidden_because(journal, census.values()).values()
    failures += [f"mart {name} is withheld: {figures['withheld']}" for name, figures in marts.items() if figures["withheld"]]
    failures += map(str, file_faults(lake, journal))
    told += [f"FAILED {failure}" for failure in failures]
    show(is_json, {**content, "bricks": bricks, "marts": marts, "data_docs": page, "failures": failures}, "\n\n".join(told))
    return failures


@app.command
def schema() -> None:
    """Write the JSON schemas of the YAML files, by which editors complete and check them."""
    from flows.schema import FOLDER, write_schemas

    written = write_schemas()
    print("\n".join(map(str, written)) or f"{FOLDER}: nothing differs")


@app.command
def verify(*, is_deep: Annotated[bool, Parameter("--deep", help="read every row too")] = False, is_json: Json = False) -> list[str]:
    """Check that the lake is what its journal says: the journal, the landed files, the catalogues, the stable files and the sites."""
    from flows.reached import reached
    from ingestion.warehouse import warehouse_fault
    from redistribution.site.mark import site_faults
    from redistribution.verify import published_faults

    lake, faults = Lake(), []
    try:
        journal = standing(lake)
        faults = [str(f) for check in (landed_faults, published_faults) for f in check(lake, journal, is_deep=is_deep)]
        faults += map(str, site_faults(lake, journal))
        if fault := warehouse_fault(lake, journal, reached(lake, journal).seq):
            faults.append(f"{lake.state / 'warehouse.duckdb'} {fault}. Mend: orchestra build")
        seq = journal.seq
    except LakeError as error:  # nothing else can be said of a lake whose journal is broken
        faults, seq = [str(error)], None
    told = "\n".join(f"WRONG {fault}" for fault in faults) or f"lake {lake.root}: all is what its journal says, up to entry {seq}"
    show(is_json, {"lake": lake.root, "seq": seq, "is_deep": is_deep, "faults": faults}, told)
    return faults


@sandbox_app.command(name="serve")
def sandbox_serve(
    *, port: Whole, scale: float = 1.0, until: dt.date = dt.date(2025, 12, 31), key_file: Path | None = None, push_to: str | None = None
) -> None:
    """Serve the bricks with made-up data, until it is interrupted.

    Args:
        port: port of 127.0.0.1
        scale: 1 is a dozen buildings, up to 100
        until: the sandbox's today, YYYY-MM-DD
        key_file: where to write what was planted; beside it stands what is no server
        push_to: http://host:port, where `orchestra listen` receives what is pushed
    """
    from ingestion.sandbox.server import serve

    if not 0 < scale <= 100:
        raise Misuse(f"--scale {scale} is not between 0 and 100")
    if not 0 < port < 65536:
        raise Misuse(f"--port {port} is no port")
    url = f"http://127.0.0.1:{port}"
    print(f"synthetic territory on {url}; export ORCHESTRA_ENDPOINT={url}/{{brick}}", flush=True)
    try:
        serve(port, scale=scale, until=until, key_file=key_file, push_to=push_to)
    except (ValueError, OSError) as error:
        raise Misuse(f"the sandbox cannot be served: {error}") from error


def chosen_bricks(names: Sequence[str], use_cases: Sequence[str] = ()) -> dict[str, Brick]:
    """Give the bricks that were named and that serve a use case that was; all but the retired where none was named."""
    from ingestion.census import read_bricks

    bricks = read_bricks()
    cases = {case for brick in bricks.values() for case in brick.meta.use_cases}
    if unknown := [name for name in names if name not in bricks]:
        raise Misuse(f"no brick '{unknown[0]}': {', '.join(bricks)}")
    if unknown := [name for name in use_cases if name not in cases]:
        raise Misuse(f"no brick serves the use case '{unknown[0]}': {', '.join(sorted(cases))}")
    chosen = {
        name: brick
        for name, brick in bricks.items()
        if (name in names if names else brick.meta.status != "retired") and (not use_cases or set(use_cases) & set(brick.meta.use_cases))
    }
    if names and not chosen:
        raise Misuse(f"{', '.join(names)} serves none of {', '.join(use_cases)}: --brick and --use-case go together")
    return chosen


def _take(asked: Sequence[str], is_json: bool, brick: Sequence[str] = (), use_case: Sequence[str] = ()) -> list[str]:
    """Take the steps that were asked, of the bricks that were chosen."""
    from flows import report, steps

    bricks, lake = chosen_bricks(brick, use_case), Lake()
    if "land" not in asked:
        standing(lake)
    with report.showing(is_quiet=is_json) as progress:
        outcome = steps.run_chain(lake, bricks, progress, asked)
    for step in outcome.lands:
        if step.brick in brick:  # asked for by its name, and not to be had
            step.error = step.error or step.skipped
    show(is_json, report.as_json(outcome), report.as_text(outcome))
    return outcome.failures


def show(is_json: bool, content: Any, text: str) -> None:
    """Print what a command has to say, to a person or as JSON."""
    print(json.dumps(content, ensure_ascii=False, indent=2, default=str) if is_json else text)
