"""What stewards look at and decide on: `orchestra loads`, `marts` and `journal`, imported when one of them is typed."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from cyclopts import App, Parameter

from flows.commands import Bricks, Json, Misuse, UseCases, Whole, chosen_bricks, show
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.lake import Lake


def _refuse_option(_: type, why: str) -> None:
    """Refuse an option in the place of a reason, which may begin with a dash too."""
    if why.startswith("-") and " " not in why:
        raise ValueError("It is no reason.")


loads_app, marts_app, journal_app = (App(name, version_flags=()) for name in ("loads", "marts", "journal"))
LONGEST_NAME = 80  # of a file, in a table
All = Annotated[bool, Parameter("--all", help="those dropped, or read again since, too")]
Why = Annotated[str, Parameter(help="the reason, which the journal keeps", allow_leading_hyphen=True, validator=_refuse_option)]


@loads_app.command(name="list")
def loads_list(*, brick: Bricks = (), use_case: UseCases = (), is_all: All = False, is_json: Json = False) -> None:
    """List the loads."""
    from flows.report import row_counts, table

    chosen = chosen_bricks(brick, use_case)
    journal = Journal(Lake())
    loads = [{**journal.whole(load), "dropped": None} for load in journal.loads().values() if load["brick"] in chosen]
    if is_all:
        stand, drops = {load["load_id"] for load in loads}, {drop["load_id"]: drop for drop in journal.of("drop")}
        gone = {load["load_id"]: load for load in journal.of("load") if load["brick"] in chosen and load["load_id"] not in stand}
        loads += [{"reasons": [], **load, "dropped": drops.get(load_id, {}).get("why", "")} for load_id, load in gone.items()]
        loads.sort(key=lambda load: load["load_id"])

    def row(load: Entry) -> dict[str, Any]:
        verdict = load["verdict"] if load["dropped"] is None else f"gone, was {load['verdict']}"
        said = [f"dropped: {load['dropped']}"] if load["dropped"] else []
        said += [f"accepted: {load['accepted_because']}"] if "accepted_because" in load else []
        said += load["reasons"]  # last: a terminal cuts it
        counts = row_counts([load])
        return {"load": load["load_id"], "verdict": verdict, "read_at": load["read_at"], **counts, "why": "; ".join(said)}

    show(is_json, loads, table([row(load) for load in loads]))


@loads_app.command(name="show")
def loads_show(load_id: str, /, *, limit: Whole = 20, is_json: Json = False) -> None:
    """Show a load and its refused rows, in the steward's words.

    Args:
        load_id: its name, as `orchestra loads list` says it
        limit: refused rows shown by table
    """
    from flows.report import table
    from ingestion.steward import refused_rows

    lake, _, load = _of_load(load_id)
    refused = refused_rows(lake, load, limit)
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
        rows = [
            {"file": _shown(r["file"]), "row": r["row"], "line": r.get("line"), "why it was refused": r["reason"]} for r in refused[name]
        ]
        told += [table(rows)] if rows else []
    show(is_json, {**load, "refused_rows": refused}, "\n".join(told))


@loads_app.command(name="accept")
def loads_accept(load_id: str, /, *, why: Why) -> None:
    """Accept a refused load, or give up the files that an accepted one could not read."""
    from ingestion.steward import accept_load

    lake, journal, load = _of_load(load_id)
    if load["verdict"] == "accepted" and load_id not in journal.unread(load["brick"]):
        raise Misuse(f"load {load_id} is accepted already")
    seq = accept_load(lake, journal, load, why)
    print(f"load {load_id} accepted (journal entry {seq}); next: orchestra build")


@loads_app.command(name="drop")
def loads_drop(load_id: str, /, *, why: Why = "", refetch: bool = False, forget: bool = False) -> None:
    """Take a load away, and delete its files.

    Args:
        refetch: put the cursor back: the next run reads the same again
        forget: leave the cursor where it is
    """
    from flows.report import row_counts
    from ingestion.steward import drop_load

    if refetch == forget:
        raise Misuse("loads drop takes one of --refetch (its rows are read again) and --forget (they are given up)")
    lake, journal, load = _of_load(load_id)
    seq = drop_load(lake, journal, load, refetch=refetch, why=why)
    count = row_counts([load])["kept"]
    told = "it is read again" if refetch else f"its {count:,} rows are given up: they are not read again"
    print(f"load {load_id} dropped (journal entry {seq}): {told}; next: orchestra run --brick {load['brick']}")


@marts_app.command(name="accept")
def marts_accept(mart: str, /, *, why: Why) -> None:
    """Publish a withheld mart as it is, once."""
    from redistribution.withheld import accept_mart

    lake = Lake()
    seq = accept_mart(lake, Journal(lake), mart, why)
    print(f"mart {mart} accepted as it is withheld (journal entry {seq}); next: orchestra publish")


@journal_app.command(name="lost")
def journal_lost(*, seq: Whole, why: Why, forget: bool = False) -> None:
    """Put an entry in the place of one that is lost for good, and list the files that it may have named; or give those up.

    Args:
        seq: number of the entry
        forget: it is known what it said: the files that it may have named may be swept
    """
    from ingestion.census import read_bricks
    from ingestion.lost import declare_lost

    lake = Lake()
    if forget:
        print(f"journal entry {Journal(lake).forget(seq, why)}: what entry {seq} may have named will be swept")
        return
    entry = declare_lost(lake, seq, why, read_bricks().values())
    if entry["kind"] != "lost":
        print(f"entry {seq} stands again, from the local copy of the journal: a {entry['kind']} of {entry['at'][:19]}")
        return
    named = Counter(_owner(file) for file in entry["kept"])
    print(
        f"entry {seq} is told as lost. It may have been a load, a drop, an erasure or a publication: look for what it did.\n"
        + "".join(f"  {owner}: {count} files that no entry names any more\n" for owner, count in sorted(named.items()))
        + "They are kept, and seen by nobody; the next run reads again what the sources still give. When they are needed no more: "
        f'orchestra journal lost --seq {seq} --forget --why "..."\nnext: orchestra run'
    )


def _shown(file: str) -> str:
    """Cut the name of a file that is a whole query, which would hide why its rows were refused; --json tells all of it."""
    return file if len(file) <= LONGEST_NAME else f"{file[: LONGEST_NAME - 3]}..."


def _owner(file: str) -> str:
    """Say what a landed or published file is of: a load, or a mart."""
    folder, first, second, *rest = file.split("/")
    return f"load {rest[0].removeprefix('load_id=')}" if folder == "landed" else f"mart {second} ({first})"


def _of_load(load_id: str) -> tuple[Lake, Journal, Entry]:
    lake = Lake()
    journal = Journal(lake)
    if load_id not in (loads := journal.loads()):
        raise Misuse(f"no load '{load_id}' in {lake.root}: see orchestra loads list")
    return lake, journal, journal.whole(loads[load_id])
