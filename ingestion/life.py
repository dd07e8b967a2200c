"""The life of a brick: its status and the day of it are written in its YAML, of which nothing else changes, not a comment."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from ingestion.brick import Brick
from ingestion.census import Census, folder_of_bricks, read_brick_or_tool
from ingestion.declaration import BrickError, read_yaml
from ingestion.disk import write_whole
from ingestion.journal import Journal
from ingestion.likeness import alike
from ingestion.probing import never_reached
from ingestion.territory import read_territory
from ingestion.tool import Tool


def adopt(of: Brick | Tool, census: Census, journal: Journal, noted: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write that a brick or a tool is adopted; give its file. Raises BrickError, which says why not, as `docs/contracts.md` does."""
    if of.meta.status == "adopted":
        raise BrickError(f"{of.name} is adopted already. Mend: nothing is to be done.")
    has_landed = not journal.is_synthetic and any(True for _ in journal.accepted(of.name))
    is_asked = isinstance(of, Brick) or of.meta.endpoint is not None
    faults = []
    if is_asked and not has_landed and never_reached(noted, [of.name]):
        faults.append(f"{of.name} was never reached from here, and nothing of it has landed. Mend: orchestra bricks probe {of.name}")
    if isinstance(of, Brick):
        after = of.model_copy(update={"config": of.config.model_copy(update={"meta": of.meta.model_copy(update={"status": "adopted"})})})
        others = [brick for name, brick in census.bricks.items() if name != of.name]
        faults += [fault for other in others for fault in alike([other, after])[0]]
    path, text = _edited(of, "adopted", today())
    try:
        _hold(path, text)
    except BrickError as error:
        faults.append(str(error))
    if faults:
        raise BrickError("\n".join(faults))
    _note_on_sheet(path, "adopted")
    return _write(path, text)


def retire(of: Brick | Tool, marts: Iterable[str], *, keeps_marts: bool = False) -> Path:
    """Write that a brick or a tool is retired; give its file.

    Raises BrickError where marts rest on it, which are named, unless they are kept.
    """
    if of.meta.status == "retired":
        raise BrickError(f"{of.name} is retired already. Mend: nothing is to be done.")
    if (resting := sorted(marts)) and not keeps_marts:
        raise BrickError(
            f"{len(resting)} marts rest on {of.name}: {', '.join(resting)}. Mend: have another brick stand in their place, or "
            f"orchestra bricks retire {of.name} --keep-marts: they are then made of what has landed, until its retention lets it go"
        )
    path, text = _edited(of, "retired", today())
    _hold(path, text)
    _note_on_sheet(path, "retired")
    return _write(path, text)


def today() -> dt.date:
    """Give the day that it is in the territory."""
    return dt.datetime.now(ZoneInfo(read_territory().time_zone)).date()


def _edited(of: Brick | Tool, status: str, day: dt.date) -> tuple[Path, str]:
    """Give the file of a brick and its text with another status; raises BrickError where it cannot be edited without changing more."""
    folder = folder_of_bricks()
    path = next(path for path in sorted(folder.glob("*.y*ml")) if path.stem == of.name)
    text = path.read_bytes().decode("utf-8")
    wanted = read_yaml(path)[2]
    wanted["sources"][0]["config"]["meta"] |= {"status": status, "status_date": day.isoformat()}
    try:
        after = with_status(text, status, day)
        is_that = _loaded(after) == wanted
    except (ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError, BrickError):
        is_that = False
    if not is_that:
        told = f"{path.name}: its `status` is written in a way that cannot be edited without changing more"
        raise BrickError(f'{told}. Mend: write `status: {status}` and `status_date: "{day}"` by hand')
    return path, after


def with_status(text: str, status: str, day: dt.date) -> str:
    """Give the text of a brick's YAML with another status, and the day of it; raises LookupError where it says none."""
    skipped = len(text) - len(text.removeprefix("\ufeff"))  # which YAML does not count
    meta: Any = yaml.compose(text[skipped:], Loader=yaml.SafeLoader)
    for step in ("sources", 0, "config", "meta"):
        meta = dict(enumerate(meta.value))[step] if isinstance(step, int) else _pairs(meta)[step]
    fields = _pairs(meta)
    old, dated = fields["status"], fields.get("status_date")
    edits = [(old.start_mark.index, old.end_mark.index, status)]
    if dated is not None:
        edits.append((dated.start_mark.index, dated.end_mark.index, f'"{day}"'))
    elif meta.flow_style:
        edits.append((old.end_mark.index, old.end_mark.index, f', status_date: "{day}"'))
    else:
        key = next(key for key, value in meta.value if value is old)
        line_end = text.find("\n", skipped + old.end_mark.index)
        ending = "\r\n" if "\r\n" in text else "\n"
        place = len(text) if line_end < 0 else line_end + 1
        before = ending if line_end < 0 else ""
        edits.append((place - skipped, place - skipped, f'{before}{" " * key.start_mark.column}status_date: "{day}"{ending}'))
    for start, end, written in sorted(edits, reverse=True):
        text = text[: skipped + start] + written + text[skipped + end :]
    return text


def _pairs(node: Any) -> dict[str, Any]:
    return {key.value: value for key, value in node.value}


def _loaded(text: str) -> Any:
    """Read a text as the census reads a file."""
    with tempfile.TemporaryDirectory(prefix="orchestra-") as folder:
        path = Path(folder) / "brick.yml"
        path.write_bytes(text.encode())
        return read_yaml(path)[2]


def _hold(path: Path, text: str) -> None:
    """Raise BrickError for a text that would not be what the contract asks of this file."""
    with tempfile.TemporaryDirectory(prefix="orchestra-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(text.encode())
        read_brick_or_tool(copy)


def _write(path: Path, text: str) -> Path:
    """Write a file where it stands, through what leads to it, with the rights that it had."""
    own = path.resolve()
    mode = own.stat().st_mode
    write_whole(own, text.encode())
    own.chmod(mode & 0o7777)
    return path


def _note_on_sheet(path: Path, decision: str) -> None:
    """Write a decision, and its day, on the sheet that a trial has left beside a brick; nothing where there is none."""
    sheet = path.with_suffix(".md")
    if sheet.is_file():
        write_whole(sheet, f"{sheet.read_text(encoding='utf-8').rstrip()}\n| {today()} | {decision} |\n".encode())
