"""The command line `orchestra`, also `python -m flows.cli`: how a command ends, and how misuse is told; `commands.py` holds them all."""

from __future__ import annotations

import os
import sys

from cyclopts import CycloptsError

from flows.commands import Misuse, app

DONE, FAILED, MISUSE = 0, 1, 2

ENVIRONMENT = """environment:
  ORCHESTRA_LAKE               folder or s3://bucket/prefix that holds the lake (default: lake/)
  ORCHESTRA_STATE              local folder (default: lake/state; required with s3://), disposable but for its inbox/
  ORCHESTRA_TERRITORY, ORCHESTRA_BRICKS   another territory.yml, another folder of bricks (default: those of the project)
  ORCHESTRA_ENDPOINT           where every brick is read, {brick} standing for its name: a URL or a folder
  ORCHESTRA_ENDPOINT_<BRICK>   where one brick is read; none: it is not
  ORCHESTRA_PSEUDONYM_KEY      key of the pseudonyms; no brick with pseudonyms lands without it, nor by another than before
  ORCHESTRA_MEMORY, ORCHESTRA_THREADS   limits of DuckDB (default: 500MB, 4 at most)
  ORCHESTRA_PREFECT_PORT       port of Prefect and its UI, served by `orchestra up` (default: 4200); Data Docs take the one that follows
  ORCHESTRA_LISTEN             host:port that `orchestra listen` receives webhooks at (default: 127.0.0.1:4280)
  ORCHESTRA_DOCS_URL           where Data Docs are served by another server than that (the folder data_docs/ of the state)
  ORCHESTRA_ALERT_WEBHOOK, ORCHESTRA_ALERT_TOKEN, ORCHESTRA_ALERT_MAIL   who is told what needs a hand, by runs on schedules
  ORCHESTRA_SMTP, ORCHESTRA_MAIL_FROM    smtp://user:password@host:port that mails go through, and who they are from
  ORCHESTRA_DEPOSITOR_<BRICK>  mail address of who deposits a brick, for its refused rows
exit status: 0 done (refused rows are no failure), 1 a load refused, a mart withheld or a step failed, 2 misuse"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; give its exit status."""
    typed = sys.argv[1:] if arguments is None else arguments
    try:
        failed = _obey(typed)
        sys.stdout.flush()  # a pipe that is closed is told here, not when Python ends
        return FAILED if failed else DONE
    except Misuse as error:
        print(f"orchestra: {error}", file=sys.stderr)
        return MISUSE
    except CycloptsError as error:
        command = " ".join(["orchestra", *(error.command_chain or ())])
        print(f"orchestra: {' '.join(str(error).split())} (see {command} --help)", file=sys.stderr)
        return MISUSE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        from ingestion.territory import TerritoryError

        if isinstance(error, TerritoryError):
            print(f"orchestra: {error}", file=sys.stderr)
            return MISUSE
        library = type(error).__module__.partition(".")[0]
        mends = {"botocore": "check the AWS_ variables and the bucket", "_duckdb": "check the disk, and who else uses the lake"}
        mend = "check the disk and its rights" if isinstance(error, OSError) else mends.get(library)
        if not mend and library != "ingestion":  # whose own errors say the mend
            raise
        told = f"{type(error).__name__}: {error}. Mend: {mend}" if mend else error
        print(f"orchestra: {told}", file=sys.stderr)
        return FAILED


def _obey(typed: list[str]) -> object:
    """Do what was typed, or print the help that was asked for; give what failed. Raises CycloptsError for what is no command."""
    command, bound, _ = app.parse_args(typed, print_error=False, exit_on_error=False)
    if command != app.help_print:
        from ingestion.territory import read_territory

        read_territory()  # whose faults are misuse of every command, before anything is done
        return command(*bound.args, **bound.kwargs)
    if not {"--help", "-h"} & set(typed):
        raise CycloptsError(msg="a command is missing", command_chain=typed)
    from rich.console import Console

    # A line is a line, which a terminal folds, and a pipe does not.
    with (console := Console(width=10_000)).capture() as told:
        app.help_print(words := bound.arguments["tokens"], console=console)
    print(told.get().rstrip() + ("" if words else f"\n\n{ENVIRONMENT}"))
    return None


if __name__ == "__main__":
    sys.exit(main())
