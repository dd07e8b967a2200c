"""What a run does and did, in words and tables that a person wants to read: on a terminal, and in Prefect."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from flows.outcome import BuildStep, LandStep, MaskStep, Outcome, PublishStep
from flows.steps import Progress, silent
from ingestion.entries import Entry
from ingestion.footprint import METHOD

# A row of a table; names of columns are shown without their underscores.
Row = dict[str, Any]
WIDEST = 100  # characters of a cell on a terminal
# What would break the line of a row, or speak to the terminal.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


# What a step or a run is told as, from the worst to the best; the first three fail.
FAILED, REFUSED, WITHHELD, REFUSALS, LATE, UNPLUGGED, DONE = VERDICTS = (
    "Failed", "Load refused", "Mart withheld", "With refusals", "Brick late", "Not plugged in", "Completed",
)  # fmt: skip


class Verdict(NamedTuple):
    """What an operator reads at a glance: one of VERDICTS, and why, in a line or a few."""

    name: str
    told: str

    @property
    def is_failed(self) -> bool:
        """Whether somebody must do something before it is green again."""
        return self.name in (FAILED, REFUSED, WITHHELD)


def verdict_of(step: MaskStep | LandStep | BuildStep | PublishStep) -> Verdict:
    """Sum up a step."""
    failures = "\n".join(step.failures)
    if isinstance(step, MaskStep):
        return Verdict(FAILED if failures else DONE, failures or _masked(step))
    if isinstance(step, BuildStep):
        return Verdict(FAILED if failures else DONE, failures or _built(step))
    if isinstance(step, PublishStep):
        count = len(step.entry["marts"]) if step.entry else 0
        is_withheld = step.withheld or (step.entry and step.entry["withheld"])
        return Verdict(WITHHELD if is_withheld else FAILED if failures else DONE, failures or f"{count} marts published")
    if failures:
        return Verdict(FAILED if step.error else REFUSED, failures)
    if step.skipped:
        return Verdict(UNPLUGGED, step.skipped)
    counts = row_counts([step.entry] if step.entry else [])
    if step.entry and counts["refused"]:
        told = f"{counts['refused']:,} rows refused, {counts['kept']:,} kept: orchestra loads show {step.entry['load_id']}"
        return Verdict(REFUSALS, f"{step.brick}: {told}")
    if step.late:
        return Verdict(LATE, f"{step.brick}: {step.late}")
    return Verdict(DONE, f"{step.brick}: {counts['kept']:,} rows kept" if step.entry else f"{step.brick}: nothing new")


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Sum up a run: the worst of its steps names it, and what each has to say stands in that order."""
    ranked = sorted(verdicts, key=lambda verdict: VERDICTS.index(verdict.name))
    return Verdict(ranked[0].name, "\n".join(verdict.told for verdict in ranked)) if ranked else Verdict(DONE, "nothing was asked")


def _masked(step: MaskStep) -> str:
    return "masked: " + "; ".join(f"{len(loads)} loads of {brick}" for brick, loads in step.masked.items() if loads)


def _built(step: BuildStep) -> str:
    ran = Counter(node["kind"] for node in step.nodes)
    return f"dbt: {ran['model']} models and {ran['test']} tests ran" if ran else "dbt: no model is behind"


def as_json(run: Outcome) -> dict[str, Any]:
    """Give a run as JSON, failures and warnings told."""
    return {**asdict(run), "failures": run.failures, "warnings": run.warnings}


def as_text(run: Outcome) -> str:
    """Give a run as text: a table of bricks, a table of marts, what it cost, what failed."""
    parts = [_masked(run.mask)] if run.mask and any(run.mask.masked.values()) else []
    parts += [table([land_row(step) for step in run.lands])] if run.lands else []
    if run.build:
        parts.append(_built(run.build))
    if run.publish:
        parts.append(table(mart_rows(run.publish)) if run.publish.entry else "marts: nothing new to publish")
        parts += [f"site of class {site.access_class}: {len(site.written)} files written" for site in run.publish.sites]
    parts += [f"Data Docs: file://{run.data_docs}"] if run.data_docs else []
    spent = "{wall_s:.1f} s, {cpu_s:.1f} CPU seconds, about {energy_wh:.3f} Wh".format(**run.footprint)
    parts.append(f"run {run.run_id}: {spent}\n  energy: {METHOD}")
    parts += [f"WARNING {warning}" for warning in run.warnings]
    parts += [f"FAILED {failure}" for failure in run.failures]
    return "\n\n".join(parts)


def table(rows: list[Row]) -> str:
    """Lay out rows under their names, numbers to the right; a row is a line, and whole where no terminal shows it."""
    if not rows:
        return "none"
    lines = [[name.replace("_", " ") for name in rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    # "<" and ">" say on which side a column of text and one of numbers stand.
    sides = ["<" if any(isinstance(row[name], str) for row in rows) else ">" for name in rows[0]]
    shown = ["  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)) for line in lines]
    return "\n".join(line.rstrip() for line in shown)


def fitted(text: str) -> str:
    """Cut the lines of a table where a terminal would fold them; whole where no terminal shows them."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(line if len(line) <= width else line[: width - 1] + "…" for line in text.splitlines())


def facts(told: Mapping[str, Any]) -> str:
    """Lay out what is told, a name and a value a line; what is not told is left out."""
    lines = {name.replace("_", " "): _fact(value) for name, value in told.items() if value not in (None, [], (), {}, "")}
    width = max(map(len, lines), default=0)
    return "\n".join(f"{name:{width}}  {CONTROLS.sub(' ', value)}" for name, value in lines.items())


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_fact(each)}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else f"{value:,}" if isinstance(value, int) else str(value)


def _cell(value: Any) -> str:
    text = CONTROLS.sub(" ", "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value))
    return text if len(text) <= WIDEST or not sys.stdout.isatty() else text[: WIDEST - 1] + "…"


def row_counts(loads: Iterable[Entry]) -> dict[str, int]:
    """Count the rows of loads: kept, refused."""
    records = [record for load in loads for record in load["tables"].values()]
    return {name: sum(record[name] for record in records) for name in ("kept", "refused")}


def land_row(step: LandStep) -> Row:
    """Give the row of a brick: its rows kept and refused, the bytes that it cost, what happened."""
    counts: Row = {**row_counts([step.entry] if step.entry else []), "bytes_fetched": step.bytes_read}
    told = "nothing new"
    if step.entry:
        unread = sum(len(record["refused_files"]) for record in step.entry["tables"].values())
        told = f"{step.entry['verdict']}: {', '.join(step.entry['tables'])}" + (f"; {unread} files refused" if unread else "")
    elif step.error or step.skipped:
        counts, told = dict.fromkeys(counts), "failed" if step.error else f"not plugged in: {step.skipped}"
    return {"brick": step.brick, **counts, "what_happened": told}


def mart_rows(step: PublishStep) -> list[Row]:
    """Give a row per mart of a publication: those published, with the snapshot of their class, withheld and why, and withdrawn."""
    rows: list[Row] = []
    for verdict, group in (("published", "marts"), ("withheld", "withheld"), ("withdrawn", "withdrawn")):
        for name, record in sorted(step.entry[group].items() if step.entry else ()):
            why = f"{verdict}: {'; '.join(record['reasons'])}" if "reasons" in record else verdict
            snapshot = step.snapshots.get(record["class"]) if verdict == "published" else None
            rows.append({"mart": name, "class": record["class"], "rows": record["row_count"], "verdict": why, "snapshot": snapshot})
    return rows


@contextlib.contextmanager
def showing(*, is_quiet: bool) -> Iterator[Progress]:
    """Show on stderr the steps of a run as they go on: moving lines on a terminal, plain lines elsewhere, nothing when quiet."""
    if is_quiet:
        yield silent
    elif not sys.stderr.isatty():
        yield lambda step, detail: None if detail else print(f"{step} ...", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Lines

        # How much a source will give is known when it has given it: a bar moves until then.
        columns = (TextColumn("{task.description:24}"), BarColumn(20), TimeElapsedColumn(), TextColumn("{task.fields[detail]}"))
        with Lines(*columns, console=Console(stderr=True)) as lines:

            def end() -> None:
                for each in lines.task_ids:
                    lines.update(each, total=1, completed=1)

            def tell(step: str, detail: str) -> None:
                if detail:
                    lines.update(lines.task_ids[-1], detail=detail)
                else:
                    end()
                    lines.add_task(step, total=None, detail="")

            yield tell
            end()
