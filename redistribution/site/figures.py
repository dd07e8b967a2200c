"""Figures of a mart, read from the files that were published: nothing is summed that the YAML does not say sums."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from ingestion.lake import Lake, listed, literal, load_extension, quoted
from redistribution.site.cards import FEW_VALUES, Card, Column
from redistribution.site.period import Period, months_from, period_of, periods_between, whole_of, with_period

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger("orchestra")

ALIKE = 0.5  # share of a period's rows that must have their like a year before, for the two to be compared
FEW = 20  # rows of which a change says nothing
MOST_ROWS = 500
MOST_PERIODS = 36
MOST_POINTS = 300
FILE = "{file}"  # stands for the published file in the query of a figure
COUNT = Column("rows", "bigint", {"fr": "Lignes", "en": "Rows"}, {}, None, "measured", (), "sum", None)


@dataclass(frozen=True)
class Figure:
    """A figure over the window: how it changed over a year where the same rows are on both sides, how many values it lacks."""

    column: Column
    value: float | None
    change: float | None = None
    lacking: int = 0
    before: float | None = None
    sql: str = ""  # what gives it again from the published file, FILE


@dataclass(frozen=True)
class Chart:
    """A measure by period and series; `incomplete` are the periods that are not complete, or without any value."""

    column: Column
    periods: list[Period]
    series: list[tuple[str | None, list[float | None]]]
    incomplete: frozenset[Period] = frozenset()
    lines: list[tuple[str, list[float | None]]] = field(default_factory=list)


@dataclass(frozen=True)
class Entity:
    """What or where rows are of, over the window."""

    key: str
    name: str
    values: list[float | None]
    change: float | None
    completeness: float | None
    position: tuple[float, float] | None


@dataclass(frozen=True)
class Answer:
    """What the query of a question gives."""

    value: Any
    before: float | None
    unit: str | None


class Row(NamedTuple):
    """A row of the table: its values, its key as text, the code of its series, and whether the key figures hold it."""

    values: tuple[Any, ...]
    key: tuple[str, ...]
    pick: str | None
    is_in_window: bool


@dataclass(frozen=True)
class Figures:
    """All that a page shows of a mart's rows."""

    row_count: int
    in_window: int
    window: tuple[Period, Period] | None
    before: tuple[Period, Period] | None
    left_open: list[Period]
    since: Period | dt.date | None  # of all rows, as is `until`
    until: Period | dt.date | None
    figures: list[Figure]
    completeness: float | None  # over the window, as is the number of its rows that are not complete
    low_rows: int | None
    chart: Chart | None
    entities: list[Entity]
    shown: list[Column]  # measures of the entities
    columns: list[Column]  # of the rows
    rows: list[Row]
    series: Column | None  # whose codes pick rows
    answers: list[Answer | None]


class Marts:
    """The published marts that a class sees, each a view over its files."""

    def __init__(self, lake: Lake, files: Mapping[str, Sequence[str]]) -> None:
        import duckdb

        self.connection = lake.connect()
        load_extension(self.connection, "spatial")
        for name, of_mart in files.items():
            sql = f"create view {quoted(name)} as select * from read_parquet({listed(map(lake.path, of_mart))})"
            try:
                self.connection.execute(sql)
            except duckdb.Error as error:  # told when its page is written
                log.debug("mart %s: %s", name, error)

    def close(self) -> None:
        """Close it."""
        self.connection.close()

    def write_csv(self, card: Card, path: str) -> None:
        """Write a mart as CSV, in the order of its grain."""
        order = ", ".join(map(quoted, card.grain)) or "all"
        columns = ", ".join(map(quoted, self._held(card)))
        self.connection.execute(f"copy (select {columns} from {quoted(card.name)} order by {order}) to {literal(path)} (header)")

    def _held(self, card: Card) -> list[str]:
        """Name the columns of the card that the files hold: they may be of before the card was changed."""
        told = self.connection.execute(f"select column_name from (describe {quoted(card.name)})").fetchall()
        return [name for (name,) in told if name in card.columns]

    def read(self, card: Card) -> Figures:
        """Read all that the page of a mart shows."""
        held = set(self._held(card))
        reading = _Reading(self.connection, card, held)
        return reading.read()


class _Reading:
    """One reading of a mart."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, card: Card, held: set[str]) -> None:
        self.connection, self.card, self.held = connection, card, held
        self.mart = quoted(card.name)
        self.time = card.time if card.time and card.time.name in held else None
        self.series, self.entity = card.series, card.entity
        self.columns = [column for name, column in card.columns.items() if name in held]
        self.measures = [column for column in card.measures if column.name in held and (column.aggregate == "sum" or column.weight in held)]
        self.completeness = card.completeness if card.completeness and card.completeness.name in held else None
        if self.series and (self.series.name not in held or self._count_distinct(self.series) > FEW_VALUES):
            self.entity, self.series = self.entity or self.series, None
        if self.entity and self.entity.name not in held:
            self.entity = None
        if self.time:
            month = f"date_trunc('month', {quoted(self.time.name)})::date"
            self.period = f"{quoted(self.time.name)}::bigint" if card.is_yearly else month
        else:
            self.period = "null"

    def read(self) -> Figures:
        row_count = self._one("select count(*)")
        window, before, left_open = self._window()
        where = self._within(window)
        figures = [self._figure(column, window, before) for column in (self.measures or [COUNT])[:4]]
        entities, shown = self._entities(window, before)
        columns, rows = self._rows(window)
        low = f"count(*) filter ({quoted(self.completeness.name)} < {whole_of(self.card)})" if self.completeness else "null"
        mean = f"avg({quoted(self.completeness.name)})" if self.completeness else "null"
        completeness, low_rows, in_window = self._row(f"select {mean}, {low}, count(*) from {self.mart} where {where}")
        return Figures(
            row_count=row_count, in_window=in_window, window=window, before=before, left_open=left_open,
            since=self._one(f"select min({quoted(self.time.name)})") if self.time else None,
            until=self._one(f"select max({quoted(self.time.name)})") if self.time else None,
            figures=figures, completeness=completeness, low_rows=low_rows,
            chart=self._chart((self.measures or [COUNT])[0], left_open) if self.time else None,
            entities=entities, shown=shown, columns=columns, rows=rows, series=self.series if rows else None,
            answers=[self._answer(question.get("sql")) for question in self.card.meta.get("questions") or ()],
        )  # fmt: skip

    def _row(self, sql: str) -> tuple[Any, ...]:
        return self.connection.execute(sql).fetchall()[0]

    def _one(self, select: str) -> Any:
        return self._row(f"{select} from {self.mart}")[0]

    def _count_distinct(self, column: Column) -> int:
        return int(self._one(f"select count(distinct {quoted(column.name)})"))

    def _window(self) -> tuple[tuple[Period, Period] | None, tuple[Period, Period] | None, list[Period]]:
        """Give the first and last period that the mart is told over, those of the year before, and the periods after: not complete yet."""
        if not self.time:
            return None, None, []
        told = self.connection.execute(f"select {self.period} as p from {self.mart} where p is not null group by p order by p").fetchall()
        periods = [period for (period,) in told]
        last = self.connection.execute(f"select max(period) from ({period_of(self.card, self.held, or_best=True)})").fetchall()[0][0]
        if last is None:
            return None, None, []
        end: Period = int(last) if self.card.is_yearly else last
        left_open = [period for period in periods if period > end]
        if self.card.is_yearly:
            return (end, end), (end - 1, end - 1) if end - 1 in periods else None, left_open  # type: ignore[operator]
        start = max(months_from(end, -11), periods[0])
        has_before = periods[0] <= months_from(end, -23) and start == months_from(end, -11)
        return (start, end), (months_from(end, -23), months_from(end, -12)) if has_before else None, left_open

    def _within(self, window: tuple[Period, Period] | None) -> str:
        if window is None:
            return "true"
        first, last = (str(each) if isinstance(each, int) else f"date '{each}'" for each in window)
        return f"{self.period} between {first} and {last}"

    def _total(self, column: Column, condition: str = "true", value: str | None = None, weight: str | None = None) -> str:
        """Write the expression that makes one figure of several values of a column, as its YAML says."""
        if column is COUNT:
            return f"count(*) filter ({condition})"
        value = value or quoted(column.name)
        if column.aggregate == "sum":
            kind = "hugeint" if column.is_whole else "double"
            return f"(sum({value}) filter ({condition}))::{kind}"
        weight = weight or quoted(column.weight or "")
        weights = f"sum({weight}) filter ({condition} and {value} is not null)"
        return f"(sum({value} * {weight}) filter ({condition}) / nullif({weights}, 0))::double"

    def _figure(self, column: Column, window: tuple[Period, Period] | None, before: tuple[Period, Period] | None) -> Figure:
        lacking = "0" if column is COUNT else f"count(*) filter ({quoted(column.name)} is null)"
        value, missing = self._row(f"select {self._total(column)}, {lacking} from {self.mart} where {self._within(window)}")
        change, earlier = None, None
        # What is aimed at, or compared with, is no news of a year.
        if before and column.name not in (self.card.meta.get("reference_value"), self.card.meta.get("target_value")):
            compared = self._compared(column, window, before)
            change, earlier = compared[0][1:] if compared else (None, None)
        return Figure(column, value, change, int(missing), earlier, self._query(column, window))

    def _query(self, column: Column, window: tuple[Period, Period] | None) -> str:
        """Write the query that gives a figure again, as somebody would type it."""
        name, weight = column.name, column.weight
        total = "count(*)" if column is COUNT else f"sum({name})"
        if column.aggregate == "mean":
            total = f"sum({name} * {weight}) / sum({weight}) filter (where {name} is not null)"
        sql = f"select {total} from {FILE}"
        if window is None or self.time is None:
            return sql
        of = self.time.name if self.card.is_yearly or self.time.name.startswith("month") else f"date_trunc('month', {self.time.name})"
        first, last = (str(each) if isinstance(each, int) else f"date '{each}'" for each in window)
        return f"{sql} where {of} between {first} and {last}"

    def _compared(
        self, column: Column, window: tuple[Period, Period] | None, before: tuple[Period, Period], by: str = "null"
    ) -> list[tuple[Any, float | None, float | None]]:
        """Give the change of a measure over a year, and what it was: of complete rows that have their like a year before, and no other."""
        if column is COUNT:
            now, then = (self._total(column, self._within(each)) for each in (window, before))
            sql = f"select {by}, case when {then} >= {FEW} then {now} / {then} - 1 end, {then} from {self.mart} group by all"
            return self.connection.execute(sql).fetchall()
        if not self.card.is_yearly and self._is_daily():  # no day is like the same day of another year
            return []
        later = "now.p - 1" if self.card.is_yearly else "(now.p - interval 1 year)::date"
        alike = [f"earlier.{key} is not distinct from now.{key}" for key in (quoted(each.name) for each in self.card.subjects)]
        value, weight = quoted(column.name), quoted(column.weight) if column.weight else "null"
        is_whole = f"coalesce({quoted(self.completeness.name)} >= {whole_of(self.card)}, true)" if self.completeness else "true"
        totals = [self._total(column, "is_alike", f"{side}_value", f"{side}_weight") for side in ("now", "then")]
        sql = f"""
            with rows as (
                select *, {self.period} as p, {by} as k, {value} as v, {weight} as w, {is_whole} as is_whole
                from {self.mart} where {value} is not null
            ),
            now as (from rows where {self._within(window)}),
            earlier as (from rows where {self._within(before)}),
            pairs as (
                select now.k, coalesce(now.is_whole and earlier.is_whole, false) as is_alike, now.v as now_value, now.w as now_weight,
                    earlier.v as then_value, earlier.w as then_weight
                from now left join earlier on {" and ".join(["earlier.p = " + later, *alike])}
            )
            select k, {", ".join(totals)}, count(*) filter (is_alike) / count(*)::double from pairs group by k
        """
        return [
            (key, now / then - 1 if now is not None and then and share >= ALIKE else None, then)
            for key, now, then, share in self.connection.execute(sql).fetchall()
        ]

    def _is_daily(self) -> bool:
        time = quoted(self.time.name) if self.time else "null"
        return bool(self._one(f"select count(*) filter (day({time}) != 1) > 0"))

    def _chart(self, column: Column, left_open: list[Period]) -> Chart | None:
        # Bars of several series stand on each other: only what sums may.
        series = quoted(self.series.name) if self.series and column.aggregate == "sum" else "null"
        sql = (
            f"select {self.period} as p, {series} as s, {self._total(column)} from {self.mart} where p is not null group by all order by 1"
        )
        told = self.connection.execute(sql).fetchall()
        if not told:
            return None
        last = max(period for period, *_ in told)
        first = min(period for period, *_ in told)
        periods = periods_between(first, last, is_yearly=self.card.is_yearly)[-MOST_PERIODS:]
        values = {(period, name): value for period, name, value in told}
        names = [
            name
            for name, _ in sorted(
                ((name, sum(abs(v or 0) for (_, n), v in values.items() if n == name)) for name in {name for _, name, _ in told}),
                key=lambda each: -each[1],
            )
        ]
        incomplete = set[Period]()
        if self.completeness:  # else nothing is awaited: a month without alert lacks nothing
            incomplete = {period for period in periods if all(values.get((period, name)) is None for name in names)}
            of = quoted(self.completeness.name)
            sql = f"select {self.period} as p from {self.mart} group by p having avg({of}) < {whole_of(self.card)}"
            incomplete |= {period for (period,) in self.connection.execute(sql).fetchall()}
        lines = []
        for role in ("reference_value", "target_value"):
            line = self.card.columns.get(self.card.meta.get(role) or "")
            if line and line in self.columns and line.is_summed_up and line.aggregate == column.aggregate and line.unit == column.unit:
                sql = f"select {self.period} as p, {self._total(line)} from {self.mart} group by p"
                of_period = dict(self.connection.execute(sql).fetchall())
                lines.append((role.removesuffix("_value"), [of_period.get(period) for period in periods]))
        return Chart(
            column, periods, [(name, [values.get((period, name)) for period in periods]) for name in names],
            frozenset((incomplete | set(left_open)) & set(periods)), lines,
        )  # fmt: skip

    def _entities(self, window: tuple[Period, Period] | None, before: tuple[Period, Period] | None) -> tuple[list[Entity], list[Column]]:
        """Give the entities over the window, the largest first."""
        if not self.entity:
            return [], []
        shown = (self.measures or [COUNT])[:5]
        key, name = quoted(self.entity.name), quoted((self.card.entity_name or self.entity).name)
        completeness = f"avg({quoted(self.completeness.name)}) filter ({self._within(window)})" if self.completeness else "null"
        position = "null, null"
        if self.card.position and set(self.card.position) <= {column.name for column in self.columns}:
            position = ", ".join(f"any_value({quoted(each)})::double" for each in self.card.position)
        totals = ", ".join(self._total(column, self._within(window)) for column in shown)
        sql = (
            f"select {key}::varchar, max({name})::varchar, {completeness}, {position}, {totals} from {self.mart} "
            f"where {key} is not null group by {key} order by 6 desc nulls last, 1"
        )
        told = self.connection.execute(sql).fetchall()
        changes = {str(each): change for each, change, _ in self._compared(shown[0], window, before, key)} if before else {}
        return [
            Entity(
                each, label or each, list(values), changes.get(each), complete,
                (longitude, latitude) if longitude is not None and latitude is not None else None,
            )
            for each, label, complete, longitude, latitude, *values in told
        ], shown  # fmt: skip

    def _rows(self, window: tuple[Period, Period] | None) -> tuple[list[Column], list[Row]]:
        """Give the latest rows, and their columns: those that the page is to show, else what identifies a row and what is measured."""
        hinted = [self.card.columns[name] for name in self.card.display.get("columns", ()) if name in self.card.columns]
        name = self.card.entity_name
        of_grain = [column for column in self.columns if column.name in self.card.grain and not (name and column == self.entity)]
        numbers = [column for column in self.columns if column.is_number and column.name not in (self.card.position or ())]
        declared = [column for column in numbers if column.nature or column.aggregate != "none"]
        estimated = [column for column in self.columns if column in self.card.estimated]
        wanted = hinted or [*([name] if name else []), *of_grain, *(self.measures[:4]), *declared, *estimated, *numbers]
        columns = [column for column in dict.fromkeys(column.name for column in wanted) if column in {each.name for each in self.columns}]
        chosen = [self.card.columns[each] for each in columns[: 12 if hinted else 8]]
        # A unit that a column tells row by row stands beside the last of its values.
        told = {each.name for each in chosen}
        units = {each.unit for each in chosen if self.card.tells_unit(each.unit)} - told
        chosen += [column for column in self.columns if column.name in units]
        if not chosen:
            return [], []
        order = [f"{quoted(self.time.name)} desc"] if self.time else []
        order += [quoted(each) for each in self.card.grain if each != (self.time.name if self.time else None)]
        wanted_columns = [quoted(column.name) for column in chosen] + [f"{quoted(name)}::varchar" for name in self.card.grain]
        picks = f"{quoted(self.series.name)}::varchar" if self.series else "null"
        wanted_columns += [picks, f"coalesce({self._within(window)}, false)"]
        sql = f"select {', '.join(wanted_columns)} from {self.mart} order by {', '.join(order) or '1'} limit {MOST_ROWS}"
        rows, width = self.connection.execute(sql).fetchall(), len(chosen)
        return chosen, [Row(row[:width], row[width:-2], row[-2], row[-1]) for row in rows]

    def _answer(self, sql: str | None) -> Answer | None:
        """Answer a question by the first row of its query: `value`, and `before` and `unit` where it gives them.

        None for one that reads what this class does not see, or that fails, which is told: a question breaks no page.
        """
        import duckdb

        if not sql:
            return None
        try:
            cursor = self.connection.execute(with_period(sql, self.card))
        except duckdb.Error as error:
            log.warning("site: a question of mart %s is not answered: %s", self.card.name, str(error).splitlines()[0])
            return None
        names = [each[0].lower() for each in cursor.description or ()]
        row = cursor.fetchone()
        if row is None:
            return None
        told: dict[str, Any] = {name: float(value) if isinstance(value, Decimal) else value for name, value in zip(names, row, strict=True)}
        return Answer(told.get("value", told[names[0]]), told.get("before"), told.get("unit"))
