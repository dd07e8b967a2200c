"""The census of bricks: a YAML that is not what the contract asks is refused, and no secret stands in one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from ingestion.brick import Brick
from ingestion.connectors import connector
from ingestion.declaration import BrickError, model_at, read_yaml, said
from ingestion.territory import read_territory
from ingestion.tool import Tool, is_tool

BRICKS = Path(__file__).resolve().parent / "bricks"
_SECRET = re.compile(
    r"://[^/\s@]+@|[?&](?:api_?key|token|password|secret)=(?!\{[A-Z])|-----BEGIN|\bAKIA[0-9A-Z]{16}\b|\beyJ[\w-]{10,}\.|"
    r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abp]-|sk-)[\w-]{10,}|\b(?:Bearer|Basic|Apikey) +[\w.~+/-]{12,}",
    re.IGNORECASE,
)


class Census(NamedTuple):
    """All that a folder of bricks holds, by name: the bricks that land, and the tools, of which nothing does."""

    bricks: dict[str, Brick]
    tools: dict[str, Tool]

    @property
    def all(self) -> dict[str, Brick | Tool]:
        """Both, in the order of their names."""
        return dict(sorted((self.bricks | self.tools).items()))


def folder_of_bricks() -> Path:
    """Give the folder of the census: ORCHESTRA_BRICKS, else the project's own."""
    return Path(os.environ.get("ORCHESTRA_BRICKS", BRICKS))


def read_bricks(folder: Path | None = None) -> dict[str, Brick]:
    """Read every brick that lands of `folder` (ORCHESTRA_BRICKS, else the project's) by name; raises BrickError as `read_census` does."""
    return read_census(folder).bricks


def read_census(folder: Path | None = None) -> Census:
    """Read every brick and every tool of `folder` (ORCHESTRA_BRICKS, else the project's).

    Raises BrickError with one line per fault of any file: file, line, field, what is accepted.
    """
    folder = folder or folder_of_bricks()
    if not folder.is_dir():
        raise BrickError(f"{folder} is no folder of bricks. Mend: set ORCHESTRA_BRICKS to one, or leave it out for the project's own.")
    read_territory()  # whose faults are no brick's
    census, paths = Census({}, {}), sorted(folder.glob("*.y*ml"))
    claims: dict[str, str] = {}
    faults: list[str] = []
    for path in paths:
        try:
            found = read_brick_or_tool(path)
        except BrickError as error:
            faults.append(str(error))
            continue
        if isinstance(found, Tool):
            census.tools[path.stem] = found
            continue
        census.bricks[path.stem] = found
        for dataset in found.meta.authoritative_for:
            here = f"{path.name}:{_line_of(path, 'authoritative_for', dataset)}"
            if (other := claims.setdefault(dataset, here)) != here:
                told = f"{here}: `authoritative_for: {dataset}` is already claimed by {other}"
                faults.append(f"{told}. Mend: keep it in the one brick that decides.")
    known = {path.stem for path in paths}  # of a file that has faults too, which are told once
    for path in paths:
        if each := census.all.get(path.stem):
            faults += _unknown_links(path, each, known)
    if faults:
        raise BrickError("\n".join(faults))
    return census


def _unknown_links(path: Path, of: Brick | Tool, known: set[str]) -> list[str]:
    """Say which links of a card name nothing that the census holds, or itself."""
    faults = []
    for field, names in of.meta.links.items():
        for name in names:
            if name == of.name or name not in known:
                told = "is itself" if name == of.name else "is no brick or tool"
                faults.append(f"{path.name}:{_line_of(path, field, name)}: {field}: '{name}' {told}. Mend: the name of one beside it")
    return faults


def untold_zones(bricks: Iterable[Brick]) -> list[str]:
    """Say of which tables of files nobody has said the time zone, though an instant of theirs may tell no offset: it is read as UTC."""
    found = []
    for brick in bricks:
        for table in brick.tables if brick.meta.connector == "files" else ():
            instants = [c.name for c in table.columns if c.data_type == "timestamptz" and not c.meta.format]
            if instants and table.says_no_zone:
                told = f"{', '.join(instants)} is read as UTC where it tells no offset, and no `time_zone` says so"
                found.append(f"{brick.name}.yml: table {table.name}: {told}. Mend: `time_zone: UTC`, or the one of its clocks")
    return found


def faults_of_connectors(bricks: Iterable[Brick]) -> list[str]:
    """Say what connectors find wrong in options without asking a source, where they look further than the form (`check`)."""
    found = []
    for brick in bricks:
        module = connector(brick.meta.connector)
        for table in brick.tables if hasattr(module, "check") else ():
            of_brick, of_table = (module.BrickOptions, brick.meta.options), (module.TableOptions, table.meta.options)
            told = module.check(*(model.model_validate(options) for model, options in (of_brick, of_table)), table.name)
            if told:
                found.append(f"{brick.name}.yml: table {table.name}: {told}. Mend: the `options` of the brick or of the table")
    return found


def read_brick(path: Path) -> Brick:
    """Read one brick; raises BrickError naming file, line, field and what is accepted, or for a tool, of which nothing lands."""
    found = read_brick_or_tool(path)
    if isinstance(found, Tool):
        raise BrickError(f"{path.name}: {found.name} is a tool: nothing of it lands. Mend: name a brick that has tables")
    return found


def read_brick_or_tool(path: Path) -> Brick | Tool:
    """Read one file of the census; raises BrickError naming file, line, field and what is accepted."""
    text, root, document = read_yaml(path)
    sources = document.get("sources") if isinstance(document, dict) else None
    if not isinstance(sources, list) or len(sources) != 1:
        raise BrickError(f"{path.name}: must hold exactly one entry under `sources:`")
    faults = [
        f"{path.name}:{text.count(chr(10), 0, match.start()) + 1}: looks like a secret. "
        "Mend: keep it in an environment variable and name that variable here."
        for match in _SECRET.finditer(text)
    ]
    extra = sorted(str(name) for name in document if name not in ("version", "sources"))
    faults += [f"{path.name}: `{name}` is no field of a brick file (version, sources)" for name in extra]
    model: type[Brick | Tool] = Tool if is_tool(sources[0]) else Brick
    try:
        brick = model.model_validate(sources[0])
    except ValidationError as error:
        found = error.errors()
        # A list whose only item is faulty is not also told as empty.
        inner = {f["loc"][:depth] for f in found for depth in range(len(f["loc"]))}
        told = [f for f in found if f["type"] != "too_short" or f["loc"] not in inner]
        # A value may be the secret.
        faults += [_fault(path, root, f, model, shows_value=not (faults or "options" in f["loc"])) for f in told]
    else:
        if brick.name != path.stem:
            faults.append(f"{path.name}: `name: {brick.name}` must be the file's own name, {path.stem}")
    if faults:
        raise BrickError("\n".join(dict.fromkeys(faults)))
    return brick


def _fault(path: Path, node: Any, fault: Any, of: type[Brick | Tool], *, shows_value: bool) -> str:
    """Say one fault of pydantic in terms of the file: line, field, accepted values."""
    names: list[str] = []
    for step in ("sources", 0, *fault["loc"], *fault.get("ctx", {}).get("field", ())):
        if isinstance(node, yaml.MappingNode):
            children = {key.value: value for key, value in node.value}
        else:
            children = dict(enumerate(node.value)) if isinstance(node, yaml.SequenceNode) else {}
        if step in children:
            node = children[step]
        elif fault["type"] != "missing":
            break
        names.append(str(step))
    model = model_at(of, names[2:])
    return f"{path.name}:{node.start_mark.line + 1}: {'.'.join(names[2:]) or 'brick'}: {said(fault, model, shows_value=shows_value)}"


def _line_of(path: Path, field: str, name: str) -> int:
    """Give the line of a file where a field of its card names something."""
    text = path.read_text(encoding="utf-8")
    found = re.search(rf"\b{field}\b.*?\b{re.escape(name)}\b", text, re.DOTALL)
    return text.count("\n", 0, found.end() if found else 0) + 1
