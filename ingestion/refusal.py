"""Why a row was refused: the struct in which it lands, and the sentence that a steward is told."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

from ingestion.lake import listed, literal

if TYPE_CHECKING:
    import duckdb

REFUSAL = 'STRUCT("column" VARCHAR, "rule" VARCHAR, "value" VARCHAR)'  # as DuckDB writes it
# The rows of each table whose line the journal keeps: a steward reads the first.
TOLD_ROWS = 1000
UNREADABLE = "unreadable"  # what the rule begins with of a line that the reader could not parse
# Older loads hold the sentence itself: what those of such a line begin with.
UNREADABLE_TEXT = "^line [0-9]+ is unreadable"


def refusal(column: str | None, rule: str, value: str | None = None) -> str:
    """Write the struct of a refusal: the column that breaks a rule, if it is one, and the value, both rule and value being SQL."""
    told = literal(column) if column else "null::varchar"
    return f"{{'column': {told}, 'rule': {rule}, 'value': {value or 'null'}::varchar}}"


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
