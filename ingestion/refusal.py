"""Why a row or a load is refused: nothing is refused without its rule, its value and its place being told."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

from ingestion.lake import listed, literal

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from ingestion.brick import Column, Table
    from ingestion.connectors import Reading
    from ingestion.staging import Staged

REFUSAL = 'STRUCT("column" VARCHAR, "rule" VARCHAR, "value" VARCHAR)'  # as DuckDB writes it
REFUSED = "_refused", "rule"  # what every refused row holds, and no other
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


def cases_of_documents(*, is_private: bool) -> list[str]:
    """Write the cases that refuse a document: what is no JSON object, or one that holds a key twice."""
    kind, value = "lower(try(json_type(_doc)))", None if is_private else "left(_doc, 500)"
    told = f"case when json_valid(_doc) then 'a JSON ' || {kind} || ' where an object is awaited' else 'not a JSON object' end"
    twice = refusal(None, literal("a JSON object that holds a key twice"), value)
    return [f"when is_lost then {refusal(None, told, value)}", f"when is_twice then {twice}"]


def cases_of_column(
    table: Table, column: Column, value: str, text: str, hour: str | None, is_within: str | None, *, is_private: bool
) -> list[str]:
    """Write the cases that refuse a row for a column, of the SQL of its value and of its text.

    `hour` is the SQL of what an instant without an offset is to the clocks, `is_within` of whether the value is between its bounds.
    """
    cases, seen = [], None if is_private else f"left({text}, 200)"
    is_text, is_key = column.data_type == "string", column.name in table.meta.key
    if is_key or column.meta.required:
        # What begins with a visible ASCII character is not blank: `trim`, which knows all of Unicode, is slow.
        is_blank = f"({text} is null or (({text} < '!' or {text} > '~') and trim({text}) = ''))"
        missing = is_blank if is_text and not column.meta.position else f"{value} is null"
        if not is_text:
            missing += f" and {is_blank}"
        rule = literal(f"is missing, and is {'in the key' if is_key else 'required'}")
        cases.append(f"when {missing} then {refusal(column.name, rule)}")
    if hour:
        clocks = f"that the clocks of {table.meta.time_zone}"
        cases.append(f"when {hour} = 0 then {refusal(column.name, literal(f'is an hour {clocks} skip'), seen)}")
        if table.meta.time_fold == "refuse":
            rule = literal(f"is in an hour {clocks} show twice, and tells no offset")
            cases.append(f"when {hour} <> 0 then {refusal(column.name, rule, seen)}")
    if is_within:
        low, high = column.meta.between or (None, None)
        span = " ".join(f"{word} {bound}" for word, bound in (("from", low), ("to", high)) if bound is not None)
        cases.append(f"when not {is_within} then {refusal(column.name, literal(f'is not {span}'), seen)}")
    if not is_text:
        rule = f"is not {WORDS[column.data_type]}"
        if column.data_type in ("date", "timestamptz") and not column.meta.format:
            epoch = literal(f"{rule} (of seconds or milliseconds since 1970, say `format: epoch_s` or `epoch_ms`)")
            is_number = rf"regexp_full_match(trim({text}), '-?\d{{9,13}}([.]\d*)?')"
            cases.append(f"when {value} is null and {is_number} then {refusal(column.name, epoch, seen)}")
        written = f" written {column.meta.format}" if column.meta.format else ""
        cases.append(f"when {value} is null and trim({text}) <> '' then {refusal(column.name, literal(rule + written), seen)}")
    return cases


def without_value(refused_as: str | None) -> str:
    """Write a refusal without the value that it tells: of an older sentence, what follows its first colon."""
    if refused_as is None:
        return "split_part(_refused, ': ', 1)"
    return "case when _refused is not null then struct_update(_refused, value := null::varchar) end"


def first_refused(connection: duckdb.DuckDBPyConnection, files: list[str], limit: int) -> list[dict[str, Any]]:
    """Give the first refused rows of files: file and row at the source (from 1, headers aside), column, rule, value; or the sentence.

    Landing keeps the order of the source: where it left no row out, a row's place is its rank among its file's rows and the lines
    that could not be read, whose place landing told.
    """
    source = f"read_parquet({listed(files)}, file_row_number = true, filename = '_path')"
    is_text = connection.execute(f"describe select _refused from {source}").fetchall()[0][1] == "VARCHAR"
    unreadable = f"regexp_matches(_refused, {literal(UNREADABLE_TEXT)})" if is_text else f"starts_with(_refused.rule, '{UNREADABLE}')"
    refused = (
        f"refused as (select _file, _refused, _row is not null and {unreadable} as is_line, "
        f"coalesce(_row, file_row_number - begun.first + 1) as place from {source} inner join "
        f"(select _path, _file, min(file_row_number) as first from {source} group by all) as begun using (_path, _file) "
        "where _refused is not null)"
    )
    lines: dict[str, list[int]] = {}
    for file, line in connection.execute(f"with {refused} select _file, place from refused where is_line order by all").fetchall():
        # By how much the line comes after the rows that could be read before it.
        lines.setdefault(file, []).append(line - len(lines.get(file, ())))
    rows = connection.execute(
        f"with {refused} select _file, place, is_line, _refused from refused "
        f"qualify row_number() over (partition by is_line order by _file, place) <= {int(limit)}"
    ).fetchall()
    found = [
        {"file": file, "row": place if is_line else place + bisect.bisect_right(lines.get(file, []), place)}
        | ({"reason": told} if is_text else told)
        for file, place, is_line, told in rows
    ]
    return sorted(found, key=lambda row: (row["file"], row["row"]))[:limit]


def sentence(refused: dict[str, Any], line: int | None) -> str:
    """Say why a row was refused; `line` is the one where it begins in its file, as an editor shows it."""
    if "reason" in refused:
        return str(refused["reason"])
    rule, value = refused["rule"], refused["value"]
    subject = f"{refused['column']} " if refused["column"] else f"line {line or '?'} is " if rule.startswith(UNREADABLE) else ""
    return f"{subject}{rule}" + (f": {value}" if value is not None else "")


def files_of_refused(connection: duckdb.DuckDBPyConnection, files: list[Path]) -> list[str]:
    """Name the files of the source of which rows were refused."""
    relation = f"read_parquet({listed([str(file) for file in files])}, union_by_name = true)"
    return [row[0] for row in connection.execute(f"select distinct _file from {relation} where _refused is not null order by 1").fetchall()]


def lines(connection: duckdb.DuckDBPyConnection, reading: Reading, files: list[Path]) -> dict[str, dict[str, int]]:
    """Give, by file of the source and row, the lines of the first refused rows, as an editor shows them; none where there are no lines."""
    refused = first_refused(connection, [str(file) for file in files], TOLD_ROWS)
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
