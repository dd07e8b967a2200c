"""Why a row or a load is refused: nothing is refused without its rule, its value and its place being told."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ingestion.formats.header import AGAIN, ANOTHER
from ingestion.lake import listed, literal

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from ingestion.brick import Table
    from ingestion.column import Column
    from ingestion.connectors import Reading
    from ingestion.parquet import Footers
    from ingestion.staging import Staged

REFUSAL = 'STRUCT("column" VARCHAR, "rule" VARCHAR, "value" VARCHAR)'  # as DuckDB writes it
# The rows of each table whose line the journal keeps: a steward reads the first.
TOLD_ROWS = 1000
UNREADABLE = "unreadable"  # what the rule begins with of a line that the reader could not parse
# What a steward calls a value of each type.
WORDS = {
    "bigint": "a whole number",
    "double": "a number",
    "boolean": "true or false",
    "date": "a date",
    "timestamptz": "a date and time",
    "json": "a JSON value",
}
# Older loads hold the sentence itself: what those of such a line begin with.
UNREADABLE_TEXT = "^line [0-9]+ is unreadable"


def refusal(column: str | None, rule: str, value: str | None = None) -> str:
    """Write the struct of a refusal: the column that breaks a rule, if it is one, and the value, both rule and value being SQL."""
    told = literal(column) if column else "null::varchar"
    return f"{{'column': {told}, 'rule': {rule}, 'value': {value or 'null'}::varchar}}"


class Rule(NamedTuple):
    """What refuses rows: a test, cheap, that none of its cases fires of a row that passes it, and the cases."""

    is_fine: str
    cases: list[str]


def refused_count(footers: Footers) -> int:
    """Give how many rows of the lake's files are refused: those whose refusal has a rule."""
    return footers.counted("_refused", "rule")


def first_broken(rules: list[Rule]) -> str:
    """Write the refusal of the first case that fires, NULL for a row that is kept; nearly all rows are asked for the cheap tests only."""
    cases = [case for rule in rules for case in rule.cases]
    if not cases:
        return f"null::{REFUSAL}"
    is_fine = " and ".join(rule.is_fine for rule in rules if rule.cases)
    return f"case when not coalesce({is_fine}, false) then case {' '.join(cases)} end end"


def rule_of_documents(*, is_private: bool) -> Rule:
    """Refuse a document that is no JSON object, or that holds a key twice."""
    kind, value = "lower(try(json_type(_doc)))", None if is_private else "left(_doc, 500)"
    told = f"case when json_valid(_doc) then 'a JSON ' || {kind} || ' where an object is awaited' else 'not a JSON object' end"
    twice = refusal(None, literal("a JSON object that holds a key twice"), value)
    is_lost = "doc is null or try(json_type(_doc)) is distinct from 'OBJECT'"
    # What begins as an object and was read is one.
    is_fine = "doc is not null and starts_with(_doc, '{') and is_twice is distinct from true"
    return Rule(is_fine, [f"when {is_lost} then {refusal(None, told, value)}", f"when is_twice then {twice}"])


def rule_of_headers(again: str, another: str, is_fine: str | None = None) -> Rule:
    """Refuse a row that is a header; `is_fine` is a cheaper test that no header passes together with the other rules."""
    cases = [f"when {test} then {refusal(None, literal(rule))}" for test, rule in ((again, AGAIN), (another, ANOTHER))]
    return Rule(is_fine or f"not ({again} or {another})", cases)


def rule_of_column(
    table: Table, column: Column, value: str, text: str, hour: str | None, is_within: str | None, *, is_private: bool
) -> Rule:
    """Refuse what a column may not hold, of the SQL of its value and of its text.

    `hour` is the SQL of what an instant without an offset is to the clocks, `is_within` of whether the value is between its bounds.
    """
    cases, fine, seen = [], [], None if is_private else f"left({text}::varchar, 200)"
    is_text, is_key, written = column.data_type == "string", column.name in table.meta.key, f"{text}::varchar"
    is_asked = is_key or column.meta.required
    if is_asked:
        # What begins with a visible ASCII character is not blank: `trim`, which knows all of Unicode, is slow.
        is_blank = f"({written} is null or (({written} < '!' or {written} > '~') and trim({written}) = ''))"
        missing = is_blank if is_text and not column.meta.position else f"{value} is null"
        fine.append(f"{written} between '!' and '~'" if missing == is_blank else f"{value} is not null")
        if not is_text:
            missing += f" and {is_blank}"
        rule = literal(f"is missing, and is {'in the key' if is_key else 'required'}")
        cases.append(f"when {missing} then {refusal(column.name, rule)}")
    if hour:
        clocks = f"that the clocks of {table.meta.time_zone}"
        fine.append(f"{hour} is null")
        cases.append(f"when {hour} = 0 then {refusal(column.name, literal(f'is an hour {clocks} skip'), seen)}")
        if table.meta.time_fold == "refuse":
            rule = literal(f"is in an hour {clocks} show twice, and tells no offset")
            cases.append(f"when {hour} <> 0 then {refusal(column.name, rule, seen)}")
    if is_within:
        low, high = column.meta.between or (None, None)
        span = " ".join(f"{word} {bound}" for word, bound in (("from", low), ("to", high)) if bound is not None)
        fine.append(f"{is_within} is distinct from false")
        cases.append(f"when not {is_within} then {refusal(column.name, literal(f'is not {span}'), seen)}")
    if column.meta.pattern:
        is_written = f"regexp_full_match({written}, {literal(column.meta.pattern)})"
        fine.append(f"({text} is null or {is_written})")
        rule = literal(f"is not written as {column.meta.pattern}")
        cases.append(f"when trim({written}) <> '' and not {is_written} then {refusal(column.name, rule, seen)}")
    if not is_text:
        if not is_asked:
            fine.append(f"({value} is not null or {text} is null)")
        rule = f"is not {WORDS[column.data_type]}"
        if column.data_type in ("date", "timestamptz") and not column.meta.format:
            epoch = literal(f"{rule} (of seconds or milliseconds since 1970, say `format: epoch_s` or `epoch_ms`)")
            is_number = rf"regexp_full_match(trim({written}), '-?\d{{9,13}}([.]\d*)?')"
            cases.append(f"when {value} is null and {is_number} then {refusal(column.name, epoch, seen)}")
        told = literal(f"{rule} written {column.meta.format}" if column.meta.format else rule)
        cases.append(f"when {value} is null and trim({written}) <> '' then {refusal(column.name, told, seen)}")
    return Rule(" and ".join(fine) or "true", cases)


def without_value(refused_as: str | None) -> str:
    """Write a refusal without the value that it tells: of an older sentence, what follows its first colon."""
    if refused_as is None:
        return "split_part(_refused, ': ', 1)"
    return "case when _refused is not null then struct_update(_refused, value := null::varchar) end"


class Refused(NamedTuple):
    """The first refused rows of some files, and the names of all files of the source of which rows were refused, in order.

    A row has its file and row at the source (from 1, headers aside), column, rule and value; or, of older loads, the sentence.
    """

    rows: list[dict[str, Any]]
    files: list[str]


def first_refused(connection: duckdb.DuckDBPyConnection, files: Sequence[str | Path], limit: int) -> Refused:
    """Read the first refused rows of files.

    Landing keeps the order of the source: where it left no row out, a row's place is its rank among its file's rows and the lines
    that could not be read, whose place landing told.
    """
    source = f"read_parquet({listed([str(file) for file in files])}, file_row_number = true, filename = '_path')"
    is_text = connection.execute(f"describe select _refused from {source}").fetchall()[0][1] == "VARCHAR"
    unreadable = f"regexp_matches(_refused, {literal(UNREADABLE_TEXT)})" if is_text else f"starts_with(_refused.rule, '{UNREADABLE}')"
    # In one statement, so that the files are read once. Of each file of the source, the places of its lines that could not be read.
    found = connection.execute(
        f"with refused as materialized (select _file, _refused, _row is not null and {unreadable} as is_line, "
        f"coalesce(_row, file_row_number - begun.first + 1) as place from {source} inner join "
        f"(select _path, _file, min(file_row_number) as first from {source} group by all) as begun using (_path, _file) "
        "where _refused is not null) "
        "select _file, null, null, null, list(place order by place) filter (where is_line) from refused group by _file "
        "union all (select _file, place, is_line, _refused, null from refused "
        f"qualify row_number() over (partition by is_line order by _file, place) <= {int(limit)})"
    ).fetchall()
    # By how much a line comes after the rows that could be read before it.
    lines = {file: [line - n for n, line in enumerate(places or ())] for file, place, *_, places in found if place is None}
    rows = [
        {"file": file, "row": place if is_line else place + bisect.bisect_right(lines[file], place)}
        | ({"reason": told} if is_text else told)
        for file, place, is_line, told, _ in found
        if place is not None
    ]
    return Refused(sorted(rows, key=lambda row: (row["file"], row["row"]))[:limit], sorted(lines))


def sentence(refused: dict[str, Any], line: int | None) -> str:
    """Say why a row was refused; `line` is the one where it begins in its file, as an editor shows it."""
    if "reason" in refused:
        return str(refused["reason"])
    rule, value = refused["rule"], refused["value"]
    subject = f"{refused['column']} " if refused["column"] else f"line {line or '?'} is " if rule.startswith(UNREADABLE) else ""
    return f"{subject}{rule}" + (f": {value}" if value is not None else "")


def lines_of(refused: list[dict[str, Any]], reading: Reading) -> dict[str, dict[str, int]]:
    """Give, by file of the source and row, the lines of refused rows, as an editor shows them; none where there are no lines."""
    rows: dict[str, list[int]] = {}
    for row in refused:
        rows.setdefault(row["file"], []).append(row["row"])
    told = {}
    for name, places in ((name, part.places) for part in reading.parts for name in part.files):
        if places and name in rows:
            told[name] = dict(zip(map(str, rows[name]), places(name, [], rows[name])[1], strict=True))
    return told


def reasons_before_judging(staged: Staged) -> list[str]:
    """Say why a load is refused before any expectation: no file left, or a count that does not fit."""
    record, name = staged.record, staged.table.name
    reasons = []
    if not staged.files:
        told = "; ".join(f"{file}: {reason}" for file, reason in record["refused_files"][:3])
        reasons.append(f"{name}: no file is left ({told})")
    elif staged.absent:
        told = f"{name}: no document holds {', '.join(staged.absent)}. Mend: the brick's columns"
        reasons.append(f"{told}, or `optional: true` for what the source may lack")
    elif record["count_method"] != "none" and record["source_count"] != record["kept"] + record["refused"]:
        reasons.append(
            f"{name}: the source holds {record['source_count']} rows, {record['kept']} were kept and {record['refused']} refused: "
            "some were lost on the way"
        )
    elif staged.table.meta.delivers == "whole" and record["refused_files"]:
        file, reason = record["refused_files"][0]
        reasons.append(f"{name}: {file}: {reason}; without it the photo is not whole, and what it holds would be taken as ended")
    return reasons
