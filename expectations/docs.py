"""Data Docs: one page a run of what Great Expectations found of its loads and marts, drawn by its own renderer.

What is judged is noted as it is, and drawn once, when the run is over; nothing is loaded for it where nothing was judged.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

from ingestion.disk import write_whole
from ingestion.lake import Lake

log = logging.getLogger("orchestra")
HISTORY = 30  # pages kept
NOTED, PAGES = "judged", "data_docs"  # folders of the state
# A page of Great Expectations takes its looks from other servers: nothing of it is asked for, and this stands instead.
FETCHED = re.compile(
    r"<link[^>]*https?://[^>]*>|<script[^>]*https?://[^>]*>\s*</script>|<img[^>]*https?://[^>]*>|<footer.*?</footer>", re.DOTALL
)
LOOKS = """<style>body{font:15px/1.5 system-ui,sans-serif;margin:1rem 3rem;color:#222;background:#fff}table{border-collapse:collapse;
width:100%;margin:.3rem 0 1.2rem}td,th{border-bottom:1px solid #ccc;padding:.25rem .7rem .25rem 0;text-align:left;vertical-align:top}
a[href^=".."]{color:inherit;text-decoration:none;pointer-events:none}.col-lg-2,.navbar,#ge-cta-footer,.modal,.btn,#navigation{display:none}.fa-check-circle:before{content:"\\2714";color:#080}
.fa-times:before{content:"\\2718";color:#c00}.fa-exclamation-triangle:before{content:"!";color:#c60}.collapse{display:none}</style>"""


def note(lake: Lake, owner: str, found: list[tuple[str, Any]], *, is_private: bool) -> None:
    """Note what was found of a load (`landed/<brick>`) or a mart (`marts/<mart>`): each set by its name, and a result of it."""
    results = [_noted(name, result.to_json_dict(), is_private=is_private) for name, result in found]
    write_whole(lake.state_path(NOTED, f"{owner.replace('/', '-')}.json"), json.dumps(results, default=str).encode())


def begin(lake: Lake) -> None:
    """Forget what a run that was killed had noted: it is not of the run that begins."""
    for path in lake.state.joinpath(NOTED).glob("*.json"):
        path.unlink()


def render(lake: Lake, run_id: str) -> Path | None:
    """Draw the page of a run and give its path; None when nothing was judged, or when the page could not be drawn, which is told."""
    noted = sorted(lake.state.joinpath(NOTED).glob("*.json"))
    if not noted or "great_expectations" not in sys.modules:
        return None
    results = [result for path in noted for result in json.loads(path.read_bytes())]
    page = lake.state_path(PAGES, f"{run_id}.html")
    try:
        write_whole(page, _page(run_id, results).encode())
    except Exception as error:
        log.warning("the Data Docs of run %s could not be drawn: %s: %s", run_id, type(error).__name__, error)
        return None
    for path in noted:
        path.unlink()
    _list_pages(page.parent)
    return page


def last_page(lake: Lake) -> Path | None:
    """Give the page of the last run that judged something."""
    return max(lake.state.joinpath(PAGES).glob("2*.html"), default=None)


def _noted(name: str, result: dict[str, Any], *, is_private: bool) -> dict[str, Any]:
    """Give what a page shows of a result: under the name of its set, in the gate's words; nothing seen of a private brick."""
    wanted = result["expectation_config"]
    is_figure = str(wanted["kwargs"].get("column", "")).startswith("figure_")
    reason = wanted["meta"]["reason"]
    if reason and is_figure and is_private:
        bounds = re.search(r" \([^(]*default `\w+`\)$", reason)
        reason = reason.partition(":")[0] + (bounds[0] if bounds and ":" in reason else "")
    if reason and not reason.endswith("`)"):
        reason = f"fails when: {reason}"
    placed = {key: _placed(name, key, told) for key, told in wanted["kwargs"].items()}
    return {
        "success": result["success"],
        "type": wanted["type"],
        "kwargs": placed | ({"column": name} if is_figure else {}),
        "severity": wanted["meta"]["severity"],
        "description": reason,
        "result": {} if is_figure or is_private else result["result"],
        "raised": any(fault for fault in [result["exception_info"].get("raised_exception"), *_nested(result["exception_info"])]),
    }


def _placed(name: str, key: str, told: Any) -> Any:
    """Give what an expectation takes, a column under the name of its set; Great Expectations refuses a word that its kind does not take."""
    if key == "column_list":
        return [f"{name}.{column}" for column in told]
    return f"{name}.{told}" if key in ("column", "column_A", "column_B") else told


def _nested(told: dict[str, Any]) -> list[bool]:
    return [bool(fault.get("raised_exception")) for fault in told.values() if isinstance(fault, dict)]


def _page(run_id: str, results: list[dict[str, Any]]) -> str:
    from great_expectations import __version__
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult, ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    met = sum(result["success"] for result in results)
    found = [
        ExpectationValidationResult(
            success=each["success"],
            expectation_config=ExpectationConfiguration(
                type=each["type"], kwargs=each["kwargs"], description=each["description"], severity=each["severity"]
            ),
            result=each["result"],
            exception_info={"raised_exception": each["raised"], "exception_message": "see the run", "exception_traceback": ""},
        )
        for each in results
    ]
    suite = ExpectationSuiteValidationResult(
        success=met == len(results),
        results=found,
        suite_name=f"loads and marts of run {run_id}",
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": met,
            "unsuccessful_expectations": len(results) - met,
            "success_percent": 100 * met / len(results) if results else None,
        },
        # Great Expectations reads the name as a date where it can, and the id of a run is one: `...Z-2393` has an offset of no zone.
        meta={"run_id": {"run_name": f"run {run_id}", "run_time": run_id[:16]}, "great_expectations_version": __version__},
    )
    drawn = DefaultJinjaPageView().render(ValidationResultsPageRenderer(run_info_at_end=True).render(suite), show_how_to_buttons=False)
    told = f"{len(results)} expectations, {len(results) - met} not met"
    return f"<!-- {told} -->\n" + FETCHED.sub("", drawn).replace("</head>", f"{LOOKS}</head>", 1)


def _list_pages(folder: Path) -> None:
    """Keep the last pages, and list them."""
    pages = sorted(folder.glob("2*.html"), reverse=True)
    for old in pages[HISTORY:]:
        old.unlink()
    rows = []
    for page in pages[:HISTORY]:
        with page.open(encoding="utf-8") as file:
            told = file.readline().strip("<!->\n ")
        rows.append(f'<tr><td><a href="{page.name}">{page.stem}</a><td>{told}')
    content = f"<!DOCTYPE html><meta charset=utf-8><title>Data Docs</title>{LOOKS}<h1>Data Docs, by run</h1><table>{''.join(rows)}</table>"
    write_whole(folder / "index.html", content.encode())
