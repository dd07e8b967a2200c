"""What a run did, in words that a person wants to read."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ingestion.footprint import METHOD

if TYPE_CHECKING:
    from flows.steps import LandStep, Run

WIDEST = 100  # characters of a cell; --json cuts nothing


def as_json(run: Run) -> dict[str, Any]:
    """Give a run as JSON, failures and warnings told."""
    return {**asdict(run), "failures": run.failures, "warnings": run.warnings}


def as_text(run: Run) -> str:
    """Give a run as text: a table of bricks, a table of marts, what it cost, what failed."""
    parts = []
    if run.lands:
        head = ["brick", "kept", "refused", "bytes fetched", "what happened"]
        parts.append(table(head, [_land_row(step) for step in run.lands]))
    if run.build is not None:
        models = [node for node in run.build.nodes if node["kind"] == "model"]
        tests = [node for node in run.build.nodes if node["kind"] in ("test", "unit_test")]
        parts.append(f"dbt: {len(models)} models and {len(tests)} tests ran" if run.build.nodes else "dbt: no model is behind")
    if run.publish is not None:
        parts.append(_publication(run.publish.entry))
    footprint = run.footprint
    parts.append(
        f"run {run.run_id}: {footprint['wall_s']:.1f} s, {footprint['cpu_s']:.1f} CPU seconds, "
        f"about {footprint['energy_wh']:.3f} Wh\n  energy: {METHOD}"
    )
    parts += [f"WARNING {warning}" for warning in run.warnings]
    parts += [f"FAILED {failure}" for failure in run.failures]
    return "\n\n".join(parts)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Lay out rows of text under a head; numbers to the right, what is longer than WIDEST cut."""
    rows = [[cell if len(cell) <= WIDEST else cell[: WIDEST - 1] + "…" for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    is_number = [all(row[i].replace(",", "").replace(".", "").isdigit() or row[i] in ("", "-") for row in rows) for i in range(len(head))]

    def line(row: list[str]) -> str:
        cells = (cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, is_number, strict=True))
        return "  ".join(cells).rstrip()

    return "\n".join([line(head), "  ".join("-" * width for width in widths), *(line(row) for row in rows)])


def _land_row(step: LandStep) -> list[str]:
    fetched = f"{step.bytes_read:,}"
    if step.skipped:
        return [step.brick, "-", "-", "-", "not plugged in"]
    if step.error:
        return [step.brick, "-", "-", fetched, "failed"]
    if step.entry is None:
        return [step.brick, "0", "0", fetched, "nothing new"]
    tables = step.entry["tables"]
    unread = sum(len(record["refused_files"]) for record in tables.values())
    told = f"{step.entry['verdict']}: {', '.join(tables)}" + (f"; {unread} files refused" if unread else "")
    kept, refused = (sum(record[name] for record in tables.values()) for name in ("kept", "refused"))
    return [step.brick, f"{kept:,}", f"{refused:,}", fetched, told]


def _publication(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return "marts: nothing new to publish"
    snapshot = {"published": f"snapshot of journal entry {entry['seq']}", "withheld": "-"}
    rows = [
        [name, record["class"], f"{record['row_count']:,}", verdict, snapshot[verdict]]
        for verdict, marts in (("published", entry["marts"]), ("withheld", entry["withheld"]))
        for name, record in sorted(marts.items())
    ]
    return table(["mart", "class", "rows", "verdict", "snapshot"], rows)
