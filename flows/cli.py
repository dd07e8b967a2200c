"""The command line `orchestra`, also `python -m flows.cli`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingestion.brick import Brick
    from ingestion.journal import Journal
    from ingestion.lake import Lake

DONE, FAILED, MISUSE = 0, 1, 2

ENVIRONMENT = """environment:
  ORCHESTRA_LAKE               folder or s3://bucket/prefix that holds the lake (default: lake/)
  ORCHESTRA_STATE              local, disposable folder (default: lake/state; required with s3://)
  ORCHESTRA_ENDPOINT           where every brick is read, {brick} standing for its name: a URL or a folder
  ORCHESTRA_ENDPOINT_<BRICK>   where one brick is read
  ORCHESTRA_PSEUDONYM_KEY      key of the pseudonyms; no brick with personal columns lands without it
  ORCHESTRA_MEMORY, ORCHESTRA_THREADS   limits of DuckDB (default: 500MB, 4 at most)
exit status: 0 done (refused rows are no failure), 1 a load refused, a mart withheld or a step failed, 2 misuse"""


class Misuse(Exception):
    """A command that cannot be obeyed as it was typed."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; give its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.command(options))
    except Misuse as error:
        print(f"orchestra: {error}", file=sys.stderr)
        return MISUSE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        from ingestion.brick import BrickError
        from ingestion.lake import LakeError

        if isinstance(error, BrickError | LakeError):
            print(f"orchestra: {error}", file=sys.stderr)
            return FAILED
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orchestra", description="From the bricks of a territory to audited marts.", epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(metavar="command", required=True)

    def command(name: str, run: Callable[[Any], int], told: str, within: Any = commands) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = within.add_parser(name, help=told, description=told)
        sub.set_defaults(command=run)
        return sub

    def choosing(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub.add_argument("--brick", action="append", default=[], metavar="B", help="only this brick (may be repeated)")
        sub.add_argument("--use-case", action="append", default=[], metavar="U", help="only the bricks of this use case")
        return sub

    def with_json(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub.add_argument("--json", action="store_true", help="print JSON")
        return sub

    with_json(choosing(command("run", _run, "land, build and publish"))).set_defaults(steps=("land", "build", "publish"))
    with_json(choosing(command("land", _run, "read what is new of the bricks into the lake"))).set_defaults(steps=("land",))
    for step, told in (("build", "have dbt build the models that are behind"), ("publish", "judge the marts and make them visible")):
        with_json(command(step, _run, told)).set_defaults(steps=(step,), brick=[], use_case=[])
    with_json(command("rebuild", _rebuild, "throw away warehouse and catalogues, and catch up from zero"))
    with_json(command("status", _status, "say what the lake holds and what is behind"))
    bricks = command("bricks", _bricks_list, "the census of the bricks").add_subparsers(metavar="action", required=True)
    with_json(command("list", _bricks_list, "list the bricks", bricks))
    with_json(command("show", _bricks_show, "show a brick", bricks)).add_argument("brick")
    command("check", _bricks_check, "check every brick's YAML", bricks)
    loads = command("loads", _loads_list, "the loads of the journal").add_subparsers(metavar="action", required=True)
    with_json(choosing(command("list", _loads_list, "list the loads", loads)))
    show = with_json(command("show", _loads_show, "show a load and its refused rows", loads))
    show.add_argument("load")
    show.add_argument("--limit", type=int, default=20, help="refused rows shown by table (default 20)")
    accept = command("accept", _loads_accept, "accept a refused load", loads)
    accept.add_argument("load")
    accept.add_argument("--why", required=True, help="why the refusal does not stand")
    drop = command("drop", _loads_drop, "take a load away, and delete its files", loads)
    drop.add_argument("load")
    way = drop.add_mutually_exclusive_group(required=True)
    way.add_argument("--refetch", action="store_true", help="put the cursor back: the next run reads the same again")
    way.add_argument("--forget", action="store_true", help="leave the cursor where it is")
    sandbox = command("sandbox", _sandbox, "a synthetic territory").add_subparsers(metavar="action", required=True)
    serve = command("serve", _sandbox, "serve the bricks with made-up data", sandbox)
    serve.add_argument("--port", type=int, required=True)
    serve.add_argument("--scale", type=float, default=1.0, help="1 is a dozen buildings, up to 100")
    serve.add_argument("--until", help="the sandbox's today, YYYY-MM-DD (default 2025-12-31)")
    serve.add_argument("--key-file", help="where to write what was planted")
    command("up", _up, "serve the schedules of all bricks, with Prefect and its UI")
    return parser


def _run(options: Any) -> int:
    from flows import steps

    with _Shown(options) as shown:
        outcome = steps.run(_lake(), _chosen(options), shown.progress, options.steps)
    return _tell(options, outcome)


def _rebuild(options: Any) -> int:
    from flows import steps

    with _Shown(options) as shown:
        outcome = steps.rebuild(_lake(), shown.progress)
    return _tell(options, outcome)


def _status(options: Any) -> int:
    from flows import report, steps
    from ingestion.brick import read_bricks
    from ingestion.journal import Journal
    from redistribution.publish import last_published

    lake = _lake()
    journal = Journal(lake)
    seq, _ = steps.reached(lake)
    loads = journal.loads()
    by_brick: dict[str, dict[str, Any]] = {
        name: {
            "loads": sum(1 for load in loads.values() if load["brick"] == name),
            "refused_loads": sum(1 for load in loads.values() if load["brick"] == name and load["verdict"] == "refused"),
            "kept": sum(r["kept"] for load in loads.values() if load["brick"] == name for r in load["tables"].values()),
            "refused": sum(r["refused"] for load in loads.values() if load["brick"] == name for r in load["tables"].values()),
            "last_read_at": max((load["read_at"] for load in loads.values() if load["brick"] == name), default=None),
        }
        for name in read_bricks()
    }
    status: dict[str, Any] = {
        "lake": lake.root,
        "is_synthetic": journal.is_synthetic,
        "seq": journal.seq,
        "warehouse_seq": seq,
        "as_of": journal.as_of(),
        "bricks": by_brick,
        "marts": {name: {"class": r["class"], "row_count": r["row_count"]} for name, r in last_published(journal).items()},
    }
    if options.json:
        return _json(status)
    nature = "synthetic data" if journal.is_synthetic else "real data"
    nature = nature if journal.seq else "empty"
    print(f"lake {lake.root}: {nature}, journal at {journal.seq}, warehouse at {seq}, as of {journal.as_of()}\n")
    rows = [[name, *("-" if value is None else str(value) for value in figures.values())] for name, figures in by_brick.items()]
    print(report.table(["brick", "loads", "refused loads", "rows kept", "rows refused", "last read at"], rows))
    if status["marts"]:
        print("\n" + report.table(["mart", "class", "rows"], [[n, r["class"], str(r["row_count"])] for n, r in status["marts"].items()]))
    return DONE


def _bricks_list(options: Any) -> int:
    from flows import report
    from ingestion.brick import read_bricks

    bricks = read_bricks()
    if options.json:
        return _json([brick.model_dump(mode="json") for brick in bricks.values()])
    rows = [
        [b.name, b.meta.status, b.meta.access_class, b.meta.connector, b.meta.cadence, ", ".join(b.meta.use_cases), b.meta.title_fr]
        for b in bricks.values()
    ]
    print(report.table(["brick", "status", "class", "connector", "cadence", "use cases", "title"], rows))
    return DONE


def _bricks_show(options: Any) -> int:
    brick = _named(options.brick)
    if options.json:
        return _json(brick.model_dump(mode="json"))
    import yaml

    print(yaml.safe_dump(brick.model_dump(mode="json", exclude_defaults=True), allow_unicode=True, sort_keys=False, width=120), end="")
    return DONE


def _bricks_check(_: Any) -> int:
    from ingestion.brick import read_bricks

    print(f"{len(read_bricks())} bricks are what the contract asks")
    return DONE


def _loads_list(options: Any) -> int:
    from flows import report
    from ingestion.journal import Journal

    chosen = _chosen(options)
    loads = [load for load in Journal(_lake()).loads().values() if load["brick"] in chosen]
    if options.json:
        return _json(loads)
    rows = [
        [load["load_id"], load["verdict"], load["read_at"], str(sum(r["kept"] for r in load["tables"].values())),
         str(sum(r["refused"] for r in load["tables"].values())), "; ".join(load["reasons"])]
        for load in loads
    ]  # fmt: skip
    print(report.table(["load", "verdict", "read at", "kept", "refused", "why"], rows))
    return DONE


def _loads_show(options: Any) -> int:
    from flows import report
    from ingestion.steward import refused_rows

    lake, _, load = _of_load(options.load)
    refused = refused_rows(lake, load, options.limit)
    if options.json:
        return _json({**load, "refused_rows": refused})
    print(f"load {load['load_id']}: {load['verdict']}, read at {load['read_at']}")
    for reason in load["reasons"]:
        print(f"  why: {reason}")
    for name, record in load["tables"].items():
        count = f"{record['source_count']} rows at the source ({record['count_method']})"
        print(f"\n{name}: {count} = {record['kept']} kept + {record['refused']} refused")
        if record["new_columns"]:
            print(f"  columns that the brick does not declare: {', '.join(record['new_columns'])}")
        for warning in record.get("profile", {}).get("warnings", []):
            print(f"  warning: {warning}")
        for file, reason in record["refused_files"]:
            print(f"  file {file} refused: {reason}")
        if refused[name]:
            print(report.table(["file", "row", "why it was refused"], [[r["file"], str(r["row"]), r["reason"]] for r in refused[name]]))
    return DONE


def _loads_accept(options: Any) -> int:
    from ingestion.steward import accept_load

    lake, journal, load = _of_load(options.load)
    if load["verdict"] == "accepted":
        raise Misuse(f"load {load['load_id']} is accepted already")
    seq = accept_load(lake, journal, load, options.why)
    print(f"load {load['load_id']} accepted (journal entry {seq}); next: orchestra build")
    return DONE


def _loads_drop(options: Any) -> int:
    from ingestion.steward import drop_load

    lake, journal, load = _of_load(options.load)
    seq = drop_load(lake, journal, load, refetch=options.refetch)
    print(f"load {load['load_id']} dropped (journal entry {seq}); next: orchestra run --brick {load['brick']}")
    return DONE


def _sandbox(options: Any) -> int:
    import datetime as dt
    from pathlib import Path

    from ingestion.sandbox.server import serve

    try:
        until = dt.date.fromisoformat(options.until) if options.until else None
    except ValueError as error:
        raise Misuse(f"--until {options.until}: {error}") from error
    url = f"http://127.0.0.1:{options.port}"
    print(f"synthetic territory on {url}; export ORCHESTRA_ENDPOINT={url}/{{brick}}", flush=True)
    serve(options.port, scale=options.scale, until=until, key_file=Path(options.key_file) if options.key_file else None)
    return DONE


def _up(_: Any) -> int:
    from flows.up import serve

    serve()
    return DONE


def _lake() -> Lake:
    from ingestion.lake import Lake

    return Lake()


def _named(name: str) -> Brick:
    from ingestion.brick import read_bricks

    bricks = read_bricks()
    if name not in bricks:
        raise Misuse(f"no brick '{name}': {', '.join(bricks)}")
    return bricks[name]


def _chosen(options: Any) -> dict[str, Brick]:
    """Give the bricks that the options name, all but the retired when they name none."""
    from ingestion.brick import read_bricks

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
        if brick.meta.status != "retired" and (is_all or name in options.brick or set(options.use_case) & set(brick.meta.use_cases))
    }


def _of_load(load_id: str) -> tuple[Lake, Journal, dict[str, Any]]:
    from ingestion.journal import Journal

    lake = _lake()
    journal = Journal(lake)
    loads = journal.loads()
    if load_id not in loads:
        raise Misuse(f"no load '{load_id}' in {lake.root}: see orchestra loads list")
    return lake, journal, loads[load_id]


def _tell(options: Any, run: Any) -> int:
    from flows import report

    if options.json:
        _json(report.as_json(run))
    else:
        print(report.as_text(run))
    return FAILED if run.failures else DONE


def _json(content: Any) -> int:
    print(json.dumps(content, ensure_ascii=False, indent=2, default=str))
    return DONE


class _Shown:
    """Progress: a moving line on a terminal, plain lines otherwise, nothing with --json."""

    def __init__(self, options: Any) -> None:
        self.is_json = options.json
        self.bar: Any = None
        self.task: Any = None
        self.step = ""

    def __enter__(self) -> _Shown:
        if sys.stderr.isatty() and not self.is_json:
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.fields[detail]}"), TimeElapsedColumn())
            self.bar = Progress(*columns, console=Console(stderr=True))
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self._end_step()
            self.bar.stop()
        if self.step:
            print(file=sys.stderr)

    def progress(self, step: str, detail: str) -> None:
        """Show that a step goes on."""
        if self.is_json:
            return
        if self.bar and step != self.step:
            self._end_step()
            self.task = self.bar.add_task(step, total=None, detail=detail)
        elif self.bar:
            self.bar.update(self.task, detail=detail)
        elif step != self.step:
            print(f"{step} ...", file=sys.stderr, flush=True)
        self.step = step

    def _end_step(self) -> None:
        if self.task is not None:
            self.bar.update(self.task, total=1, completed=1)


if __name__ == "__main__":
    sys.exit(main())
