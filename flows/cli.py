"""The command line `orchestra`, also `python -m flows.cli`: what can be typed; `commands.py` obeys."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

DONE, FAILED, MISUSE = 0, 1, 2

ENVIRONMENT = """environment:
  ORCHESTRA_LAKE               folder or s3://bucket/prefix that holds the lake (default: lake/)
  ORCHESTRA_STATE              local, disposable folder (default: lake/state; required with s3://)
  ORCHESTRA_ENDPOINT           where every brick is read, {brick} standing for its name: a URL or a folder
  ORCHESTRA_ENDPOINT_<BRICK>   where one brick is read; none: it is not
  ORCHESTRA_PSEUDONYM_KEY      key of the pseudonyms; no brick with pseudonyms lands without it, nor by another than before
  ORCHESTRA_MEMORY, ORCHESTRA_THREADS   limits of DuckDB (default: 500MB, 4 at most)
  ORCHESTRA_PREFECT_PORT       port of Prefect and its UI, served by `orchestra up` (default: 4200); Data Docs take the one that follows
  ORCHESTRA_DOCS_URL           where Data Docs are served by another server than that (the folder data_docs/ of the state)
  ORCHESTRA_ALERT_WEBHOOK, ORCHESTRA_ALERT_TOKEN, ORCHESTRA_ALERT_MAIL   who is told what needs a hand, by runs on schedules
  ORCHESTRA_SMTP, ORCHESTRA_MAIL_FROM    smtp://user:password@host:port that mails go through, and who they are from
  ORCHESTRA_DEPOSITOR_<BRICK>  mail address of who deposits a brick, for its refused rows
exit status: 0 done (refused rows are no failure), 1 a load refused, a mart withheld or a step failed, 2 misuse"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; give its exit status."""
    options = _parser().parse_args(arguments)
    from flows import commands  # not for `--help`: the rooms take longer to import than to type
    from ingestion.declaration import BrickError
    from ingestion.lake import LakeError

    try:
        return FAILED if getattr(commands, options.command)(options) else DONE
    except (commands.Misuse, BrickError, LakeError) as error:
        print(f"orchestra: {error}", file=sys.stderr)
        return MISUSE if isinstance(error, commands.Misuse) else FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        mends = {"botocore": "check the AWS_ variables and the bucket", "_duckdb": "check the disk, and who else uses the lake"}
        mend = "check the disk and its rights" if isinstance(error, OSError) else mends.get(library)
        if not mend:
            raise
        print(f"orchestra: {type(error).__name__}: {error}. Mend: {mend}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    """Give the parser; each command's default `command` names the function of `commands.py` that obeys."""
    parser = argparse.ArgumentParser(
        prog="orchestra", description="From the bricks of a territory to audited marts.", epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(brick=[], use_case=[], json=False)
    json, choice, load, mart = (argparse.ArgumentParser(add_help=False) for _ in range(4))
    json.add_argument("--json", action="store_true", help="print JSON")
    choice.add_argument("--brick", action="append", default=[], metavar="B", help="only this brick (may be repeated)")
    choice.add_argument("--use-case", action="append", default=[], metavar="U", help="only the bricks of this use case")
    load.add_argument("load")
    mart.add_argument("mart")
    commands = parser.add_subparsers(metavar="command", required=True)

    def group(name: str, told: str) -> Any:
        return commands.add_parser(name, help=told, description=told).add_subparsers(metavar="action", required=True)

    def command(within: Any, name: str, told: str, obeys: str, *shared: Any, **defaults: Any) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = within.add_parser(name, help=told, description=told, parents=shared)
        sub.set_defaults(command=obeys, **defaults)
        return sub

    command(commands, "run", "land, build and publish", "run", json, choice, steps=("land", "build", "publish"))
    command(commands, "land", "read what is new of the bricks into the lake", "run", json, choice, steps=("land",))
    command(commands, "build", "have dbt build the models that are behind", "run", json, steps=("build",))
    command(commands, "publish", "judge the marts and make them visible", "run", json, steps=("publish",))
    command(commands, "site", "write the static site of a class; each run keeps it up to date from then on", "site", json).add_argument(
        "--class", dest="access_class", default="open", metavar="C", help="open (default), partner, internal or restricted"
    )
    command(
        commands, "prove", "make a published row again from what its receipt names, and nothing else", "prove", json, mart
    ).add_argument("key", nargs="+", help="the values of its grain in their order, or each as name=value")
    command(commands, "rebuild", "throw away warehouse and catalogues, and catch up from zero", "rebuild", json)
    command(commands, "status", "say what the lake holds and what is behind", "status", json)
    bricks = group("bricks", "the census of the bricks")
    command(bricks, "list", "list the bricks", "bricks_list", json)
    command(bricks, "show", "show a brick", "bricks_show", json).add_argument("brick", nargs=1)
    command(bricks, "check", "check every brick's YAML", "bricks_check")
    loads = group("loads", "the loads of the journal")
    command(loads, "list", "list the loads", "loads_list", json, choice).add_argument(
        "--all", action="store_true", help="those dropped, or read again since, too"
    )
    show = command(loads, "show", "show a load and its refused rows", "loads_show", json, load)
    show.add_argument("--limit", type=int, default=20, help="refused rows shown by table (default 20)")
    command(loads, "accept", "accept a refused load", "loads_accept", load).add_argument(
        "--why", required=True, help="why the refusal does not stand"
    )
    drop = command(loads, "drop", "take a load away, and delete its files", "loads_drop", load)
    drop.add_argument("--why", help="why it is dropped; `loads list --all` shows it")
    way = drop.add_mutually_exclusive_group(required=True)
    way.add_argument("--refetch", action="store_true", help="put the cursor back: the next run reads the same again")
    way.add_argument("--forget", action="store_true", help="leave the cursor where it is")
    command(commands, "verify", "check that the lake is what its journal says", "verify", json).add_argument(
        "--deep", action="store_true", help="read every row too"
    )
    lost = command(group("journal", "the journal itself"), "lost", "put an entry in the place of one that is lost for good", "journal_lost")
    lost.add_argument("--seq", type=int, required=True, help="number of the entry")
    lost.add_argument("--why", required=True, help="how it was lost")
    lost.add_argument("--forget", action="store_true", help="it is known what it said: the files that it may have named may be swept")
    accept = command(
        group("marts", "the marts that are withheld"), "accept", "publish a withheld mart as it is, once", "marts_accept", mart
    )
    accept.add_argument("--why", required=True, help="why its gate is not to be followed")
    serve = command(group("sandbox", "a synthetic territory"), "serve", "serve the bricks with made-up data", "sandbox_serve")
    serve.add_argument("--port", type=int, required=True)
    serve.add_argument("--scale", type=float, default=1.0, help="1 is a dozen buildings, up to 100")
    serve.add_argument("--until", help="the sandbox's today, YYYY-MM-DD (default 2025-12-31)")
    serve.add_argument("--key-file", type=Path, help="where to write what was planted")
    command(commands, "schema", "write the JSON schemas of the YAML files, by which editors complete and check them", "schema")
    command(commands, "up", "serve the schedules of all bricks, with Prefect and its UI", "up")
    return parser


if __name__ == "__main__":
    sys.exit(main())
