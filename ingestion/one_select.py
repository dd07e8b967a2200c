"""The one SELECT that lands the rows of a part: each cast to what the brick declares, masked, or refused with a reason."""

from __future__ import annotations

import datetime as dt
import json
import unicodedata
from collections.abc import Iterable

from ingestion import local_hours, privacy
from ingestion.brick import Brick, Table
from ingestion.casting import (
    Notation,
    as_json,
    as_written,
    cast,
    has_zone,
    json_place,
    notation_of,
    plausible,
    typed_without_nulls,
    within,
    without_nulls,
)
from ingestion.column import Column
from ingestion.connectors import Part, Reading, source_name
from ingestion.deletion import rules_of
from ingestion.erased_keys import Erasure, is_erased_when_read
from ingestion.formats.header import declared_names, header_tests
from ingestion.lake import listed, literal, quoted
from ingestion.refusal import UNREADABLE, Rule, first_broken, refusal, rule_of_column, rule_of_documents, rule_of_headers

WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
# The types of a typed source that are cast as they are, without going through text.
CAST_AS_THEY_ARE = {
    "string": ("VARCHAR",),
    "bigint": WHOLE,
    "double": ("DOUBLE", *WHOLE),
    "boolean": ("BOOLEAN",),
    "date": ("DATE",),
    "timestamptz": ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP"),
}


class Select:
    """The one SELECT that lands a part: casts, masks, refusals."""

    def __init__(
        self,
        brick: Brick,
        table: Table,
        part: Part,
        reading: Reading,
        read_at: dt.datetime,
        since: str | None,
        held: set[str],
        kinds: dict[str, str],
        load_id: str | None = None,
        erasures: Iterable[Erasure] = (),
    ) -> None:
        self.brick, self.table, self.part, self.kinds, self.load_id = brick, table, part, kinds, load_id
        self.erasures = tuple(erasures)
        # Only of a file that an accepted load holds whole are the rows before the cursor left out.
        self.held = [name for name in part.files if name in held]
        # Documents are read once: those before the cursor land again rather than being counted.
        self.since = since if self.held and (part.columns is not None or part.rejects) else None
        self.read_at = read_at
        self.is_private = brick.has_personal
        self.notation = notation_of(brick, table)
        self.landed = [column for column in table.columns if column.is_landed]
        self.local = {number: naive for number, column in enumerate(self.landed) if (naive := self._is_local(number, column))}
        # Columns of a text that are none.
        spelt = {name.casefold() for name in part.columns or ()} if part.header else set()
        self.typed = [
            number
            for number, column in enumerate(self.landed)
            if column.data_type != "string" and not column.meta.mask and not column.meta.position and column.name.casefold() in spelt
        ]
        self.is_header_told = False  # whether no header among the rows passes the rules of the columns
        self.marked = [self.landed[number].name for number in self.local] if table.meta.time_fold == "in_order" else []
        names = [name for column in table.columns for name in column.meta.position or (column.name,)]
        self.asked = list(dict.fromkeys(names))
        # Declared names stand in SQL as the file spells them: DuckDB takes É and é for two letters.
        spelled = {name.casefold(): name for name in reversed(part.columns or ())}
        self.spelled = {**spelled, **{name.casefold(): name for name in self.asked if name in (part.columns or ())}}
        # In a document, a column may be under an older name, or one whose accents are apart.
        older = {column.name: column.meta.formerly for column in table.columns}
        self.aliases = {name: _spellings(*map(source_name, (name, *older.get(name, ())))) for name in self.asked}
        self.first = [names[0] for names in self.aliases.values()]
        self.text = {name: self._text(name) for name in self.asked}
        # Every part of a load lands the same columns, so that its files are read as one.
        asked = {name.casefold() for name in self.asked}
        others = {name.casefold(): name for other in reading.parts for name in other.columns or ()}
        self.extra = [] if self.is_private else [name for key, name in sorted(others.items()) if key not in asked]
        self.has_documents = any(other.columns is None for other in reading.parts)

    def sql(self, *, is_numbered: bool = False) -> str:
        """Give the SELECT, in layers so that nothing is computed twice: texts and casts, values, refusals, columns.

        `is_numbered` fills `_row`, at the cost of a sort, where rows are left out.
        """
        columns, rows = self._layers(is_numbered=is_numbered or bool(self.erasures))
        where = f" where not ({self._is_erased()})" if self.erasures else ""
        return f"select {', '.join(columns)}, {self._marks('_file', '_row', '_refused')} from ({rows}){where}"

    def erased_sql(self) -> str:
        """Give the count of rows of keys that were erased: they do not land."""
        _, rows = self._layers(is_numbered=False)
        return f"select count(*) from ({rows}) where {self._is_erased()}"

    def _layers(self, *, is_numbered: bool) -> tuple[list[str], str]:
        """Give what is selected of each row, and the rows."""
        casts, values, columns = ["_file"], [], []
        for number, column in enumerate(self.landed):
            casts += [f"{self._value(column)} as v{number}", f"{self._source_text(column)} as t{number}"]
            values.append(f"{self._checked(number, column)} as c{number}")
            value = f"c{number}"
            if column.name in self.marked:
                value = f"case when h{number} <> 0 then {local_hours.moment(value, str(local_hours.MARK))} else {value} end"
            value = f"case when _refused is null then {value} end" if self.is_private else value
            columns.append(f"{value} as {quoted(column.name)}")
        casts += [f"{self.text[column.name]} as d{number}" for number, column in enumerate(self._dropped() if self.erasures else ())]
        for number, name in enumerate(self.extra):
            casts.append(f"{self._own(name)}::varchar as e{number}")
            columns.append(f"e{number} as {quoted(name)}")
        if self.part.columns is None:
            # Of a key told twice, one reader takes the first value and another the last.
            is_twice = "case when has_others then len(list_distinct(json_keys(_doc))) < len(json_keys(_doc)) end"
            casts += ["doc", "_doc", f"{is_twice} as is_twice"]
            casts.append(f"{self._others()} as _extra")
        if self.part.header:
            casts += [f"{quoted(name)} as r{number}" for number, name in enumerate(self.part.columns or ())]
        if self.has_documents:
            columns.append("_extra" if self.part.columns is None else "null::varchar as _extra")
        where = f" where not coalesce({self._is_cut()}, false)" if self.since else ""
        source, row = self._source(), "null"
        if is_numbered:
            # By names that are ours: no column of the source has them.
            source = f"(select *, row_number() over () as _seq from {source})"
            source, row = f"(select *, _seq - min(_seq) over (partition by _file) + 1 as _row from {source})", "_row"
        rows = f"(select {', '.join(casts)}, {row} as _row from {source}{where})"
        if self.local:
            rows = f"(select *, {', '.join(f'{self._twin(number)} as h{number}' for number in self.local)} from {rows})"
        rows = f"(select *, {', '.join(values)} from {rows})"
        return columns, f"select *, {self._refusal()} as _refused from {rows}"

    def _dropped(self) -> list[Column]:
        """Give the columns that do not land: by one of them, rows may have been erased before it was so."""
        return [column for column in self.table.columns if not column.is_landed]

    def _is_erased(self) -> str:
        values = {column.name: (f"t{number}", f"c{number}") for number, column in enumerate(self.landed)}
        values |= {column.name: (f"d{number}", "null") for number, column in enumerate(self._dropped())}
        return " or ".join(f"({is_erased_when_read(self.brick, self.table, each, values)})" for each in self.erasures)

    def skipped_sql(self) -> str:
        """Give the count of rows that stand before the cursor and were landed by an earlier load."""
        return f"select count(*) from {self._source()} where {self._is_cut()}"

    def blank_sql(self) -> str:
        """Give the count of rows, and of lines that could not be read, that hold blank values alone."""
        is_blank, pattern = self.part.thin or ("false", "")
        errors = (self.part.rejects or ("", ""))[1]
        lines = f"select distinct file_id, line from {errors} where regexp_full_match(csv_line, {literal(pattern)})"
        return f"select (select count(*) from ({self.part.relation}) where {is_blank}) + (select count(*) from ({lines}))"

    def unreadable(self) -> str:
        """Write the relation of the errors of lines that could not be read, but for those that hold blank values alone."""
        errors = (self.part.rejects or ("", ""))[1]
        return f"(select * from {errors} where not regexp_full_match(csv_line, {literal(self.part.thin[1])}))" if self.part.thin else errors

    def unreadable_sql(self) -> str:
        """Give the rows that the reader itself could not parse, as refused rows of the same shape; `_places` tells where they are."""
        scans, _, file = self.part.rejects or ("", "", "")
        value = None if self.is_private else "coalesce(left(any_value(errors.csv_line), 500), '')"
        rule = f"'{UNREADABLE} (' || lower(replace(any_value(errors.error_type), '_', ' ')) || ')'"
        columns = [f"null::{column.sql_type} as {quoted(column.name)}" for column in self.landed]
        columns += [f"null::varchar as {quoted(name)}" for name in [*self.extra, *(["_extra"] if self.has_documents else [])]]
        return (
            f"select {', '.join(columns)}, {self._marks(f'any_value({file})', 'any_value(_places.place)', refusal(None, rule, value))} "
            f"from {self.unreadable()} as errors inner join {scans} as scans using (scan_id, file_id) "
            "inner join _places using (file_id, line) group by errors.file_id, errors.line order by errors.line"
        )

    def errors_sql(self) -> str:
        """Give the lines that could not be read: file and line as DuckDB numbers them, name of the file, byte where the line begins."""
        scans, _, file = self.part.rejects or ("", "", "")
        # DuckDB counts empty lines before it as the line's own.
        begins = "line_byte_position - 1 + length(csv_line) - length(ltrim(csv_line, chr(10) || chr(13)))"
        return (
            f"select errors.file_id, errors.line, any_value({file}), any_value({begins}) from {self.unreadable()} as errors "
            f"inner join {scans} as scans using (scan_id, file_id) group by all"
        )

    def holds_sql(self, name: str) -> str:
        """Give whether a document holds a key, NULL where none is an object."""
        held = " or ".join(f"json_exists(_doc, {json_place(alias)})" for alias in self.aliases[name])
        return f"select bool_or({held}) from {self._source()} where doc is not null and json_type(_doc) = 'OBJECT'"

    def new_columns(self) -> set[str]:
        """Name the columns of the source that the brick does not declare."""
        asked = {name.casefold() for name in self.asked}
        return {name for name in self.part.columns or () if name.casefold() not in asked}

    def _marks(self, file: str, row: str, refusal: str) -> str:
        read_at = f"{literal(self.read_at.isoformat())}::timestamptz as _read_at"
        load_id = f", {literal(self.load_id)} as _load_id" if self.load_id else ""  # a pipeline of dlt numbers its own
        return f"{file} as _file, ({row})::bigint as _row, {refusal} as _refused, {read_at}{load_id}"

    def _source(self) -> str:
        if self.part.columns is not None:
            where = f" where not ({self.part.thin[0]})" if self.part.thin else ""
            return f"(select * from ({self.part.relation}){where})" if where else f"({self.part.relation})"
        kinds = {name: "JSON" if self._declared(name) == "json" else "VARCHAR" for name in self.asked}
        shape = {alias: kinds[name] for name in self.asked for alias in self.aliases[name]}
        transform = literal(json.dumps(shape))
        documents = f"select _file, _doc, try(json_transform(_doc, {transform})) as doc from ({self.part.relation})"
        # The declared keys in the brick's own order are what most documents hold; of others only more is asked.
        return f"(select *, case when doc is not null then json_keys(_doc) <> {listed(self.first)} end as has_others from ({documents}))"

    def _declared(self, name: str) -> str | None:
        return next((column.data_type for column in self.table.columns if column.name == name), None)

    def _own(self, name: str) -> str:
        """Write a column as the part spells it, NULL when it has none."""
        return quoted(self.spelled[name.casefold()]) if name.casefold() in self.spelled else "null"

    def _typed(self, name: str) -> str:
        """Write a column as the part spells it, NULL where a typed one holds what stands for a missing value."""
        own, kind = self._own(name), self.kinds.get(name.casefold())
        return typed_without_nulls(own, kind, self.notation.null_values) if kind and not self._is_nested(name) else own

    def _is_nested(self, name: str) -> bool:
        kind = self.kinds.get(name.casefold(), "")
        return kind.endswith("]") or kind.startswith(("STRUCT", "MAP"))

    def _is_number(self, name: str) -> str:
        """Write whether a source holds a number as such: how texts write theirs says nothing of it."""
        if self.part.columns is None:
            kinds = [f"json_type(_doc, {json_place(alias)})" for alias in self.aliases[name]]
            return f"try(coalesce({', '.join(kinds)}) <> 'VARCHAR')"
        return str(self.kinds.get(name.casefold(), "VARCHAR") != "VARCHAR").lower()

    def _text(self, name: str) -> str:
        """Write the text of a source column, empty being NULL."""
        if self.part.columns is None:
            values = [f"doc.{quoted(alias)}" for alias in self.aliases[name]]
            if self._declared(name) == "string":
                values = [as_written(value, "_doc", alias) for value, alias in zip(values, self.aliases[name], strict=True)]
            value, nulls = f"coalesce({', '.join(values)})" if len(values) > 1 else values[0], self.notation.null_values
            if self._declared(name) == "json" and nulls:
                return f"{without_nulls(f'{value}::varchar', tuple(as_json(nulls)))}::json"
            return without_nulls(value, nulls)
        own = self._typed(name)
        if own == "null":
            return "null::varchar"
        if self.part.is_typed:
            return f"to_json({own})::varchar" if self._is_nested(name) else f"{own}::varchar"
        return without_nulls(own, ("", *self.notation.null_values))

    def _is_cast_as_it_is(self, column: Column) -> bool:
        return (
            not column.meta.format
            and not column.meta.mask
            and self.kinds.get(column.name.casefold()) in CAST_AS_THEY_ARE.get(column.data_type, ())
        )

    def _source_text(self, column: Column) -> str:
        """Write what a refusal reads the text of a column from; a typed one becomes text in refused rows only."""
        if column.meta.position:
            return "null"
        return self._typed(column.name) if self._is_cast_as_it_is(column) else self.text[column.name]

    def _value(self, column: Column) -> str:
        """Write the value of a column, NULL when its text is not what the brick declares."""
        if column.meta.mask:
            return privacy.masked(column, self.text)
        if self._is_cast_as_it_is(column):
            return f"try_cast({self._typed(column.name)} as {column.sql_type})"
        text = self.text[column.name]
        told, is_bounded = column.meta, bool(column.meta.between)
        value = cast(column.data_type, text, self.notation, told.format, told.years_from, is_bounded=is_bounded)
        if told.personal_paths:
            return privacy.without_paths(column, value)
        has_marks = column.data_type in ("bigint", "double") and (self.notation.decimal, self.notation.thousands) != (".", None)
        if not has_marks or not (self.part.is_typed or self.part.columns is None):
            return value
        return f"case when {self._is_number(column.name)} then {cast(column.data_type, text, Notation())} else {value} end"

    def _is_local(self, number: int, column: Column) -> str | None:
        """Write whether the text of an instant tells neither offset nor zone; None where none does, or the clocks never change."""
        if column.data_type != "timestamptz" or column.meta.mask or not local_hours.changes(self.table.meta.time_zone):
            return None
        if self._is_cast_as_it_is(column):
            return "true" if self.kinds[column.name.casefold()] == "TIMESTAMP" else None
        told = has_zone(f"t{number}", column.meta.format)
        return None if told == "true" else f"not {told}"

    def _twin(self, number: int) -> str:
        column, text = self.landed[number], f"t{number}"
        typed = self._is_cast_as_it_is(column)
        wall = text if typed else cast("timestamp", text, self.notation, column.meta.format, column.meta.years_from)
        return local_hours.twin(f"v{number}", wall, self.table.meta.time_zone, self.local[number], is_watched=True)

    def _checked(self, number: int, column: Column) -> str:
        value = plausible(column.data_type, f"v{number}", f"t{number}")
        return local_hours.resolved(value, f"h{number}", self.table.meta.time_fold) if number in self.local else value

    def _refusal(self) -> str:
        """Write why a row is refused, NULL when it is kept; the value is told unless the brick has personal columns."""
        rules = [rule_of_documents(is_private=self.is_private)] if self.part.columns is None else []
        rules += [self._rule_of_headers()] if self.part.header else []
        values, of_columns = {}, {}
        for number, column in enumerate(self.landed):
            hour, is_within = f"h{number}" if number in self.local else None, within(column, f"c{number}", self.notation)
            told = (f"c{number}", f"t{number}", hour, is_within)
            values[column.name], of_columns[column.name] = told[0], rule_of_column(self.table, column, *told, is_private=self.is_private)
        return first_broken(rules + rules_of(self.table, of_columns, values))

    def _header_tests(self, values: list[str], misfits: list[str]) -> tuple[str, str]:
        """Write whether a row is its file's header once more, or another one."""
        header = self.part.header or ()
        return header_tests(values, header, declared_names(header, self.part.columns or (), self.asked), misfits)

    def _rule_of_headers(self) -> Rule:
        """Refuse headers; where none passes the other rules (`is_header_told`), only rows of no value that fits are asked for it."""
        places = {name.casefold(): f"r{number}" for number, name in enumerate(self.part.columns or ())}
        texts = [(number, places[self.landed[number].name.casefold()]) for number in self.typed]
        misfits = [f"c{number} is null and trim(coalesce({text}, '')) <> ''" for number, text in texts]
        again, another = self._header_tests(list(places.values()), misfits)
        # A `case` asks for `trim`, which is slow, only where no value fits: `and` would ask for it of every row.
        is_none = " and ".join(f"c{number} is null" for number in self.typed)
        is_fine = f"case when {is_none} then not ({' and '.join(misfits)}) else true end"
        return rule_of_headers(again, another, is_fine if self.is_header_told else None)

    def header_sql(self) -> str | None:
        """Give how many names of the header, as values, fit a column that is no text; None where a header may have none under them."""
        names = [name for name in self.part.header or () if name]
        is_missing = {*names} & {text.strip().lower() for text in self.notation.null_values}
        if not self.typed or is_missing or len(self.part.header or ()) - len(names) >= len(self.typed):
            return None
        everywhere = ", ".join(f"name as {quoted(column)}" for column in self.part.columns or ())
        source = f"(select {everywhere} from unnest({listed(names)}) as names (name))"
        casts = [f"{self._value(self.landed[n])} as v{n}, {self._source_text(self.landed[n])} as t{n}" for n in self.typed]
        is_fit = " or ".join(f"not coalesce(v{number} is null and trim(t{number}) <> '', false)" for number in self.typed)
        return f"select count(*) filter (where {is_fit}) from (select {', '.join(casts)} from {source})"

    def _others(self) -> str:
        """Write the keys of a document that the brick does not declare, as JSON; NULL when there is none."""
        if self.is_private:
            return "null::varchar"
        # A set costs more, taking keys away most of all: a `case` asks for the dearer only where the cheaper says so, which
        # `and` does not.
        names = [alias for each in self.aliases.values() for alias in each]
        asked, known, keys = listed(self.first), listed(names), "json_keys(_doc)"

        def without(taken: list[str]) -> str:
            return f"nullif(try(json_merge_patch(_doc, {literal(json.dumps(dict.fromkeys(taken)))}))::varchar, '{{}}')"

        others = without(names)
        if len(names) > len(self.asked):
            # A document that holds a column under two of its names keeps the one that is not read.
            twice = [f"len(list_intersect({keys}, {listed(list(each))})) > 1" for each in self.aliases.values() if len(each) > 1]
            others = f"case when {' or '.join(twice)} then {without(self.first)} else {others} end"
            known = f"case when {' or '.join(twice)} then {asked} else {known} end"
        return f"case when has_others then case when not list_has_all({known}, {keys}) then {others} end end"

    def _is_cut(self) -> str:
        """Write whether a row stands before the cursor, and is no header among the rows, which no cursor hides."""
        if not self.part.header:
            return self._before_cursor()
        columns = [quoted(name) for name in self.part.columns or ()]
        misfits = [
            f"({self._value(self.landed[number])}) is null and trim(coalesce({self._own(self.landed[number].name)}, '')) <> ''"
            for number in self.typed
        ]
        again, another = self._header_tests(columns, misfits)
        return f"case when {self._before_cursor()} then not coalesce({again} or {another}, false) end"

    def _before_cursor(self) -> str:
        column = self.table.cursor_column
        is_held = "" if len(self.held) == len(self.part.files) else f"_file in ({', '.join(map(literal, self.held))}) and "
        if column is None:
            return "false"
        since = f"{literal(str(self.since))}::{column.data_type}"
        if column.data_type not in ("date", "timestamptz"):
            return f"{is_held}{self._value(column)} < {since}"
        # A year that its text does not write with four digits is refused, not cut.
        return f"{is_held}{self._value(column)} between '1000-01-02'::{column.data_type} and {since} - to_microseconds(1)"


def _spellings(*names: str) -> tuple[str, ...]:
    """Give names as they are, and with their accents apart."""
    return tuple(dict.fromkeys(form for name in names for form in (name, unicodedata.normalize("NFD", name))))
