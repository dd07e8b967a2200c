"""A brick and its staging, written from what a trial saw: what lands and builds as it is, and is to be read by who adopts it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingestion.card import UNKNOWN, UNSAID
from ingestion.trial.profile import Profile
from ingestion.words import folded

MOST_STAGED, LONGEST_NAME, LONGEST_ALIAS, WIDTH = 50, 50, 45, 88
MOST_LINES, OWN_LINES = 80, 31  # of a model; those that hold no column
# Words that SQL keeps for itself: such a name is written between quotes.
RESERVED = frozenset(re.findall(r"\w+", (
    "all and any as asc both case cast check collate column constraint create current_date current_time date default desc describe "
    "distinct do else end except exists false fetch for foreign from full grant group having hour in initially inner intersect "
    "interval into is join lateral leading left like limit minute month natural not null offset on only or order outer partition "
    "pivot primary qualify range references returning right row rows select show some sum table then time timestamp to trailing "
    "true type union unique unpivot user using value values when where window with year day second "
)))  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """What a brick of one table would say; `licence` and `producer` are None where nothing says them."""

    name: str
    table: str
    title: str
    connector: str
    endpoint: str
    of_brick: dict[str, Any]
    of_table: dict[str, Any]
    columns: tuple[Profile, ...]
    key: tuple[str, ...]
    producer: str | None = None
    licence: str | None = None
    homepage: str | None = None
    cadence: str = "daily"
    use_cases: tuple[str, ...] = ()
    crs: str | None = None
    tried_on: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def is_personal(self) -> bool:
        """Whether a column of it looks personal."""
        return any(column.personal for column in self.columns)


def name_of(text: str, fallback: str = "source") -> str:
    """Give a name in snake_case of a text, as bricks and columns have; one that begins with a digit has a letter before it."""
    name = re.sub(r"[^a-z0-9]+", "_", folded(text)).strip("_")[:LONGEST_ALIAS].strip("_") or fallback
    return name if name[0].isalpha() else f"n_{name}"


def titled(text: str) -> str:
    """Give a title of the name of a file or of a table."""
    words = " ".join(re.sub(r"[_\s]+", " ", re.sub(r"\.(csv|txt|json|geojson|parquet|gz|zip)\b", "", text)).split())
    return words[:1].upper() + words[1:] or text


def brick_yaml(draft: Draft) -> str:
    """Write the YAML of a brick."""
    says = {name: value for name, value in draft.of_table.items() if value not in (None, {}, [], ())}
    zone = any(c.data_type == "timestamptz" and not c.has_zone for c in draft.columns)
    personal = [
        f"        legal_basis: {_quoted(UNSAID)}",
        "        purpose: \"Trial of a source; what looks personal is dropped as it lands.\"",
    ]  # fmt: skip
    lines = [
        "# yaml-language-server: $schema=../../docs/schemas/brick.json",
        f"# Written by a trial on {draft.tried_on}: its sheet, {draft.name}.md, stands beside. Read each line before you adopt it.",
        "version: 2",
        "",
        "sources:",
        f"  - name: {draft.name}",
        f"    description: {_quoted(draft.title)}",
        "    config:",
        "      freshness:",
        f"        warn_after: {_late(draft.cadence, 2)}",
        f"        error_after: {_late(draft.cadence, 7)}",
        "      loaded_at_field: _read_at",
        "      meta:",
        f"        title_fr: {_quoted(draft.title)}",
        f"        title_en: {_quoted(draft.title)}",
        "        kind: source",
        f"        producer: {_quoted(draft.producer or UNSAID)}",
        f"        steward: {_quoted(UNSAID)}",
        f"        use_cases: [{', '.join(draft.use_cases)}]",
        "        status: candidate",
        f"        licence: {_quoted(draft.licence or UNKNOWN)}",
        *([f"        homepage: {_quoted(draft.homepage)}"] if draft.homepage else []),
        "        access_class: internal",
        *(personal if draft.is_personal else []),
        f"        connector: {draft.connector}",
        *([f"        options: {_flow(draft.of_brick)}"] if draft.of_brick else []),
        f"        endpoint: {_quoted(draft.endpoint)}",
        f"        cadence: {draft.cadence}",
        "        retention: {count: 5, period: year}",
        "    tables:",
        f"      - name: {draft.table}",
        f"        description: {_quoted(f'One row per {_and(draft.key)}.')}",
        "        config:",
        "          meta:",
        "            delivers: whole",
        *(["            time_zone: \"{territory.time_zone}\""] if zone else []),
        *([f"            crs: {_quoted(draft.crs)}"] if draft.crs else []),
        f"            options: {_flow(says)}",
        f"            key: {_flow(list(draft.key))}",
        "        columns:",
        *(f"          - {_flow(_column(column, is_private=draft.is_personal))}" for column in draft.columns),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _late(cadence: str, times: int) -> str:
    days = {"hourly": 1, "daily": 1, "weekly": 7, "monthly": 31}.get(cadence, 1)
    return f"{{count: {days * times}, period: day}}"


def _column(column: Profile, *, is_private: bool) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    told = f"As its producer gives it{f'; {column.note}' if column.note else ''}{f'; {column.place}' if column.place else ''}."
    if column.personal or (is_private and column.data_type == "json"):
        meta = {"personal": True, "mask": "drop"}
        told = f"Looks personal ({column.personal or 'a document, which may hold what is'}): dropped until somebody decides."
    elif column.date_format:
        meta = {"format": column.date_format}
    # What the sample alone showed filled may lack elsewhere: a document without the key is no fault.
    said: dict[str, Any] = {"name": column.name, "data_type": "string" if meta.get("mask") else column.data_type, "description": told}
    return {**said, "config": {"meta": meta}} if meta else said


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _quoted(text: str) -> str:
    return json.dumps(" ".join(str(text).split()), ensure_ascii=False)


def _flow(value: Any) -> str:
    """Write a value as YAML in one line: texts are quoted unless they are plain words."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(name)}: {_flow(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    plain = (
        isinstance(value, str)
        and re.fullmatch("[a-z][a-z_]*", value)
        and value not in ("true", "false", "yes", "no", "null", "on", "off", "y", "n")
    )
    return str(value) if plain or isinstance(value, int | float) else json.dumps(value, ensure_ascii=False)


def staged(draft: Draft) -> dict[str, str]:
    """Give, by their names in the brick, the names in staging of the columns that its model takes: the key first.

    They are as many as a model of MOST_LINES lines holds, and fifty at most.
    """
    landed = [column for column in draft.columns if not column.personal and not (draft.is_personal and column.data_type == "json")]
    order = sorted(landed, key=lambda column: column.name not in draft.key)
    taken: dict[str, str] = {}
    left = MOST_LINES - OWN_LINES - len(draft.key)
    for column in [each for each in order if len(each.name) <= LONGEST_NAME or each.name in draft.key][:MOST_STAGED]:
        alias = name_of(column.name, "column")
        alias = f"{alias}_value" if alias in RESERVED else alias
        number = 2
        while alias in taken.values():
            alias, number = f"{re.sub(r'_[0-9]+$', '', alias) if number > 2 else alias}_{number}", number + 1
        left -= 1 if len(f"    {_reference(draft.table, column.name)} as {alias},") <= WIDTH else 2
        if left < 0:
            break
        taken[column.name] = alias
    return taken


def staging_sql(draft: Draft) -> str:
    """Write the staging model of the brick's table: its columns under names in snake_case, of the latest photo."""
    names, table = staged(draft), draft.table
    keys = [name for name in names if name in draft.key]
    others = [name for name in names if name not in draft.key]
    lines = [
        f"with {table} as (",
        "",
        f"    select * from {{{{ source('{draft.name}', '{table}') }}}}",
        "",
        ")",
        "",
        "select",
        "    -- keys",
    ]
    selected = [
        *((name, "") for name in keys),
        *((name, "    -- what it says of them") for name in others[:1]),
        *((name, "") for name in others[1:]),
    ]
    for place, (name, comment) in enumerate(selected):
        lines += ["", comment] if comment else []
        end = "," if place < len(selected) - 1 else ""
        reference, alias = _reference(table, name), names[name]
        if reference == f"{table}.{alias}":
            lines.append(f"    {reference}{end}")
        elif len(line := f"    {reference} as {alias}{end}") <= WIDTH:
            lines.append(line)
        else:
            lines += [f"    {reference}", f"        as {alias}{end}"]
    lines += ["", f"from {table}", "-- The latest photo is the whole: what it lacks has ended.", "qualify"]
    latest = [f"            {table}.{mark} desc" for mark in ("_read_at", "_load_id")]
    lines += ["    rank() over (", "        order by", f"{latest[0]},", latest[1], "    ) = 1"]
    lines += ["    and row_number() over (", "        partition by"]
    lines += [f"            {_reference(table, name)}{',' if place < len(keys) - 1 else ''}" for place, name in enumerate(keys)]
    lines += ["        order by"]
    lines += [f"            {table}.{mark} desc{'' if mark == '_row' else ','}" for mark in ("_read_at", "_load_id", "_file", "_row")]
    # A name of a producer that is too long for a line stays whole.
    return "\n".join(line if len(line) <= WIDTH else f"{line}  -- noqa: LT05" for line in [*lines, "    ) = 1"]) + "\n"


def _reference(table: str, name: str) -> str:
    bare = name.lower()
    if re.fullmatch("[a-z_][a-z0-9_]*", bare) and bare not in RESERVED:
        return f"{table}.{bare}"
    written = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"{table}.{{{{ named_by_producer('{written}') }}}}"


def staging_yaml(draft: Draft) -> str:
    """Write what is said and tested of the staging model."""
    names = staged(draft)
    keys = [names[name] for name in names if name in draft.key]
    told = {column.name: column for column in draft.columns}
    lines = [
        "version: 2", "", "models:", f"  - name: stg_{draft.name}__{draft.table}",
        f"    description: \"One row per {_and(keys)}, of the latest photo.\"",
        "    data_tests:", f"      - unique_rows: {{arguments: {{columns: [{', '.join(keys)}]}}}}", "    columns:",
    ]  # fmt: skip
    for name, alias in names.items():
        lines += [f"      - name: {alias}", f"        description: {_quoted(f'{name}, as its producer gives it.')}"]
        lines += ["        data_tests: [not_null]"] if alias in keys and told[name].data_type else []
    return "\n".join(lines) + "\n"


def sheet(draft: Draft, criteria: Iterable[tuple[str, str]], decision: str) -> str:
    """Write the sheet of a trial: what was looked at, what was found, what was decided and when."""
    rows = "\n".join(f"| {name} | {_cell(result)} |" for name, result in criteria)
    return (
        f"# {draft.name}: sheet of its trial\nTried on {draft.tried_on}, at {draft.endpoint}.\n\n"
        f"| criterion | result |\n|---|---|\n{rows}\n\n## Decision\n| date | decision |\n|---|---|\n| {draft.tried_on} | {decision} |\n"
    )


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
