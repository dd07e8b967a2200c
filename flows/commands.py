"""What each command of `orchestra` does: it prints, and gives what failed, nothing when it is done."""

from __future__ import annotations

import datetime as dt
import json
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import yaml

from expectations import docs
from flows import report, steps
from flows.cadence import lateness, next_run
from flows.outcome import Run
from flows.reached import reached
from ingestion.brick import Brick
from ingestion.census import read_bricks
from ingestion.journal import Entry, Journal
from ingestion.lake import Lake, LakeError
from ingestion.lost import declare_lost
from ingestion.steward import accept_load, drop_load, refused_rows, standing_refusals
from ingestion.verify import landed_faults
from ingestion.warehouse import warehouse_fault
from redistribution.mart import CLASSES
from redistribution.publications import last_published
from redistribution.site.mark import site_faults
from redistribution.verify import published_faults
from redistribution.withheld import accept_mart, still_withheld, why_withheld


class Misuse(Exception):
    """A command that cannot be obeyed as it was typed."""


def run(options: Namespace) -> list[str]:
    """Run the steps that were asked of the bricks that were chosen."""
    bricks = _chosen(options)

    def action(progress: steps.Progress) -> Run:
        outcome = steps.run_chain(Lake(), bricks, progress, options.steps)
        for step in outcome.lands:
            if step.brick in options.brick:  # asked for by its name, and not to be had
                step.error = step.error or step.skipped
        return outcome

    return _shown(options, action)


def rebuild(options: Namespace) -> list[str]:
    """Catch up from zero."""
    return _shown(options, lambda progress: steps.rebuild(Lake(), progress))


def site(options: Namespace) -> list[str]:
    """Write the site of a class, or bring it to what is published; give what failed."""
    if options.access_class not in CLASSES:
        raise Misuse(f"--class {options.access_class} is none of {', '.join(CLASSES)}")
    lake = Lake()
    with report.showing(is_quiet=options.json) as progress:
        sites = steps.follow_sites(lake, Journal(lake), progress, options.access_class)
    told = [
        f"site of class {each.access_class}: {each.address}\n  {len(each.written)} files written, {len(each.taken_away)} taken away"
        for each in sites
    ]
    failures = [failure for each in sites for failure in each.failures]
    told += [f"FAILED {failure}" for failure in failures]
    _print(options, [asdict(each) for each in sites], "\n".join(told))
    return failures


def prove(options: Namespace) -> list[str]:
    """Make a row again; give what differs, or is not what its receipt says."""
    from redistribution.site.receipt import Prover

    with report.showing(is_quiet=options.json) as progress:
        prover = Prover(Lake(), options.mart, lambda step: progress(f"prove {options.mart}", step))
        try:
            proof = prover.prove(prover.key_of(options.key))
        finally:
            prover.close()
    rows = [{"column": name, "published": value, "again": proof.again.get(name)} for name, value in proof.row.items() if name != "geometry"]
    made = f"from {proof.loads} loads, {proof.files} files and {proof.models} SELECTs, in {proof.seconds:.1f} s"
    told = [
        f"mart {proof.mart}, {', '.join(f'{name} {value}' for name, value in proof.key.items())}; receipt {proof.receipt}",
        report.table([{name: None if value is None else str(value) for name, value in row.items()} for row in rows]),
        *([f"WRONG {fault}" for fault in proof.faults] or [f"made again, equal, {made}"]),
    ]
    _print(options, asdict(proof), "\n\n".join(told))
    return proof.faults


def status(options: Namespace) -> list[str]:
    """Say what the lake holds, and what is behind: the warehouse, sources that are late, loads refused, marts withheld."""
    lake = Lake()
    journal = Journal(lake)
    seq = reached(lake, journal).seq
    bricks = {
        name: {**_sum_up(brick, list(journal.loads(name).values())), "late": lateness(journal, brick), "next_run": next_run(brick)}
        for name, brick in read_bricks().items()
    }
    marts = {
        name: {"class": record["class"], "row_count": record["row_count"], "withheld": None}
        for name, record in last_published(journal).items()
    }
    for name, record in still_withheld(journal).items():
        marts.setdefault(name, {"class": record["class"], "row_count": 0})["withheld"] = why_withheld(name, record)
    content = {"lake": lake.root, "is_synthetic": journal.is_synthetic, "seq": journal.seq, "warehouse_seq": seq, "as_of": journal.as_of()}
    nature = "empty" if not journal.seq else "synthetic data" if journal.is_synthetic else "real data"
    told = [
        f"lake {lake.root}: {nature}, journal at {journal.seq}, warehouse at {seq}, as of {journal.as_of()}",
        report.table([{"brick": name, **figures} for name, figures in bricks.items()]),
        *([report.table([{"mart": name, **figures} for name, figures in marts.items()])] if marts else []),
    ]
    if page := docs.last_page(lake):
        told.append(f"Data Docs of the last run that judged something: file://{page}")
    failures = [why for brick in {load["brick"]: None for load in journal.of("load")} for why in standing_refusals(journal, brick).values()]
    failures += [f"mart {name} is withheld: {figures['withheld']}" for name, figures in marts.items() if figures["withheld"]]
    told += [f"FAILED {failure}" for failure in failures]
    _print(options, {**content, "bricks": bricks, "marts": marts, "data_docs": page, "failures": failures}, "\n\n".join(told))
    return failures


def _sum_up(brick: Brick, loads: list[Entry]) -> report.Row:
    """Sum up the loads of a brick; rows are those that its accepted loads hold, of a table delivered whole those of its last photo."""
    refused = sum(load["verdict"] == "refused" for load in loads)
    accepted = sorted((load for load in loads if load["verdict"] == "accepted"), key=lambda load: load["read_at"])
    whole = {table.name for table in brick.tables if table.meta.delivers == "whole"}
    photos = {name: record for load in accepted for name, record in load["tables"].items() if name in whole}
    records = [r for load in accepted for name, r in load["tables"].items() if name not in whole] + list(photos.values())
    return {
        "loads": len(loads),
        "refused_loads": refused,
        "kept": sum(record["kept"] for record in records),
        "refused": sum(record["refused"] for record in records),
        "last_read_at": max((load["read_at"] for load in loads), default=None),
    }


def bricks_list(options: Namespace) -> None:
    """Print the census."""
    bricks = read_bricks()
    rows = [
        {"brick": name, "status": meta.status, "class": meta.access_class, "connector": meta.connector, "cadence": meta.cadence,
         "use_cases": ", ".join(meta.use_cases), "title": next(iter(meta.titles.values()))}
        for name, meta in ((name, brick.meta) for name, brick in bricks.items())
    ]  # fmt: skip
    _print(options, [brick.model_dump(mode="json") for brick in bricks.values()], report.table(rows))


def bricks_show(options: Namespace) -> None:
    """Print a brick as its YAML says it, defaults left out."""
    (brick,) = _chosen(options).values()
    said = brick.model_dump(mode="json", exclude_defaults=True)
    _print(options, brick.model_dump(mode="json"), yaml.safe_dump(said, allow_unicode=True, sort_keys=False, width=120).rstrip())


def bricks_check(_: Namespace) -> None:
    """Check every brick; reading them does."""
    print(f"{len(read_bricks())} bricks are what the contract asks")


def schema(_: Namespace) -> None:
    """Write the JSON schemas of docs/schemas."""
    from flows.schema import FOLDER, write_schemas

    written = write_schemas()
    print("\n".join(map(str, written)) or f"{FOLDER}: nothing differs")


def loads_list(options: Namespace) -> None:
    """Print the loads of the bricks that were chosen."""
    chosen = _chosen(options)
    journal = Journal(Lake())
    loads = [{**load, "dropped": None} for load in journal.loads().values() if load["brick"] in chosen]
    if options.all:
        stand, drops = {load["load_id"] for load in loads}, {drop["load_id"]: drop for drop in journal.of("drop")}
        gone = {load["load_id"]: load for load in journal.of("load") if load["brick"] in chosen and load["load_id"] not in stand}
        loads += [{**load, "dropped": drops.get(load_id, {}).get("why", "")} for load_id, load in gone.items()]
        loads.sort(key=lambda load: load["load_id"])

    def row(load: Entry) -> report.Row:
        verdict = load["verdict"] if load["dropped"] is None else f"gone, was {load['verdict']}"
        said = [f"dropped: {load['dropped']}"] if load["dropped"] else []
        said += [f"accepted: {load['accepted_because']}"] if "accepted_because" in load else []
        said += load["reasons"]  # last: a cell is cut
        return {
            "load": load["load_id"],
            "verdict": verdict,
            "read_at": load["read_at"],
            **report.row_counts([load]),
            "why": "; ".join(said),
        }

    rows = [row(load) for load in loads]
    _print(options, loads, report.table(rows))


def loads_show(options: Namespace) -> None:
    """Print a load and its refused rows, in the steward's words."""
    lake, _, load = _of_load(options.load)
    refused = refused_rows(lake, load, options.limit)
    told = [f"load {load['load_id']}: {load['verdict']}, read at {load['read_at']}"]
    told += [f"  why: {reason}" for reason in load["reasons"]]
    for name, record in load["tables"].items():
        count = f"{record['source_count']} rows at the source ({record['count_method']})"
        told.append(f"\n{name}: {count} = {record['kept']} kept + {record['refused']} refused")
        if record["before_cursor"]:
            told.append(f"  {record['before_cursor']} rows before the cursor left out, of files that an earlier load holds")
        if record["new_columns"]:
            told.append(f"  columns that the brick does not declare: {', '.join(record['new_columns'])}")
        told += [f"  warning: {warning}" for warning in record.get("profile", {}).get("warnings", [])]
        told += [f"  file {file} refused: {reason}" for file, reason in record["refused_files"]]
        rows = [{"file": r["file"], "row": r["row"], "line": r.get("line"), "why it was refused": r["reason"]} for r in refused[name]]
        told += [report.table(rows)] if rows else []
    _print(options, {**load, "refused_rows": refused}, "\n".join(told))


def loads_accept(options: Namespace) -> None:
    """Accept a refused load, or give up the files that an accepted one could not read."""
    lake, journal, load = _of_load(options.load)
    if load["verdict"] == "accepted" and options.load not in journal.unread(load["brick"]):
        raise Misuse(f"load {options.load} is accepted already")
    seq = accept_load(lake, journal, load, options.why)
    print(f"load {options.load} accepted (journal entry {seq}); next: orchestra build")


def marts_accept(options: Namespace) -> None:
    """Accept what is withheld of a mart."""
    lake = Lake()
    seq = accept_mart(lake, Journal(lake), options.mart, options.why)
    print(f"mart {options.mart} accepted as it is withheld (journal entry {seq}); next: orchestra publish")


def loads_drop(options: Namespace) -> None:
    """Drop a load."""
    lake, journal, load = _of_load(options.load)
    seq = drop_load(lake, journal, load, refetch=options.refetch, why=options.why)
    count = report.row_counts([load])["kept"]
    told = "it is read again" if options.refetch else f"its {count:,} rows are given up: they are not read again"
    print(f"load {options.load} dropped (journal entry {seq}): {told}; next: orchestra run --brick {load['brick']}")


def verify(options: Namespace) -> list[str]:
    """Check the journal, the landed files, the catalogues and the stable files; give what is wrong."""
    lake, faults = Lake(), []
    try:
        journal = Journal(lake)
        faults = [str(f) for check in (landed_faults, published_faults) for f in check(lake, journal, is_deep=options.deep)]
        faults += map(str, site_faults(lake, journal))
        if fault := warehouse_fault(lake, journal, reached(lake, journal).seq):
            faults.append(f"{lake.state / 'warehouse.duckdb'} {fault}. Mend: orchestra build")
        seq = journal.seq
    except LakeError as error:  # nothing else can be said of a lake whose journal is broken
        faults, seq = [str(error)], None
    told = "\n".join(f"WRONG {fault}" for fault in faults) or f"lake {lake.root}: all is what its journal says, up to entry {seq}"
    _print(options, {"lake": lake.root, "seq": seq, "is_deep": options.deep, "faults": faults}, told)
    return faults


def journal_lost(options: Namespace) -> None:
    """Put an entry in the place of a lost one, and list the files that it may have named; or give those up."""
    lake = Lake()
    if options.forget:
        seq = Journal(lake).forget(options.seq, options.why)
        print(f"journal entry {seq}: what entry {options.seq} may have named will be swept")
        return
    entry = declare_lost(lake, options.seq, options.why, read_bricks().values())
    if entry["kind"] != "lost":
        print(f"entry {options.seq} stands again, from the local copy of the journal: a {entry['kind']} of {entry['at'][:19]}")
        return
    named = Counter(_owner(file) for file in entry["kept"])
    print(
        f"entry {options.seq} is told as lost. It may have been a load, a drop, an erasure or a publication: look for what it did.\n"
        + "".join(f"  {owner}: {count} files that no entry names any more\n" for owner, count in sorted(named.items()))
        + "They are kept, and seen by nobody; the next run reads again what the sources still give. When they are needed no more: "
        f'orchestra journal lost --seq {options.seq} --forget --why "..."\nnext: orchestra run'
    )


def _owner(file: str) -> str:
    """Say what a landed or published file is of: a load, or a mart."""
    folder, first, second, *rest = file.split("/")
    return f"load {rest[0].removeprefix('load_id=')}" if folder == "landed" else f"mart {second} ({first})"


def sandbox_serve(options: Namespace) -> None:
    """Serve a synthetic territory until it is interrupted."""
    from ingestion.sandbox.server import serve

    try:
        until = dt.date.fromisoformat(options.until) if options.until else None
    except ValueError as error:
        raise Misuse(f"--until {options.until}: {error}") from error
    if not 0 < options.scale <= 100:
        raise Misuse(f"--scale {options.scale} is not between 0 and 100")
    if not 0 < options.port < 65536:
        raise Misuse(f"--port {options.port} is no port")
    url = f"http://127.0.0.1:{options.port}"
    print(f"synthetic territory on {url}; export ORCHESTRA_ENDPOINT={url}/{{brick}}", flush=True)
    try:
        serve(options.port, scale=options.scale, until=until, key_file=options.key_file)
    except (ValueError, OSError) as error:
        raise Misuse(f"the sandbox cannot be served: {error}") from error


def up(_: Namespace) -> None:
    """Serve every schedule until Ctrl-C."""
    from flows.servers import up

    up()


def _chosen(options: Namespace) -> dict[str, Brick]:
    """Give the bricks that the options name, all but the retired when they name none."""
    bricks = read_bricks()
    cases = {case for brick in bricks.values() for case in brick.meta.use_cases}
    if unknown := [name for name in options.brick if name not in bricks]:
        raise Misuse(f"no brick '{unknown[0]}': {', '.join(bricks)}")
    if unknown := [name for name in options.use_case if name not in cases]:
        raise Misuse(f"no brick serves the use case '{unknown[0]}': {', '.join(sorted(cases))}")
    is_all = not options.brick and not options.use_case
    return {
        name: brick
        for name, brick in bricks.items()
        if name in options.brick or (brick.meta.status != "retired" and (is_all or set(options.use_case) & set(brick.meta.use_cases)))
    }


def _of_load(load_id: str) -> tuple[Lake, Journal, Entry]:
    lake = Lake()
    journal = Journal(lake)
    if load_id not in (loads := journal.loads()):
        raise Misuse(f"no load '{load_id}' in {lake.root}: see orchestra loads list")
    return lake, journal, loads[load_id]


def _shown(options: Namespace, action: Callable[[steps.Progress], Run]) -> list[str]:
    """Show how a run goes on, then what it did; give what failed."""
    with report.showing(is_quiet=options.json) as progress:
        outcome = action(progress)
    _print(options, report.as_json(outcome), report.as_text(outcome))
    return outcome.failures


def _print(options: Namespace, content: Any, text: str) -> None:
    print(json.dumps(content, ensure_ascii=False, indent=2, default=str) if options.json else text)
