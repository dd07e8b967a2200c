"""What a brick declares of a column: how its text is read, what of it may land, and what of that is personal."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from ingestion.connectors import RESERVED, Strict, declared_name, source_name
from ingestion.declaration import fault_at, written

FORMAT = r"^([^%]|%-?[aAbBcdfgGHIjmMnpSuUVwWxXyYzZ%])*$"  # what DuckDB's strptime understands
EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1000}  # instants that are numbers since 1970: microseconds of their unit
YEARS = frozenset("YyGcx")  # its codes that say which year
BESIDE_YY = frozenset("zZjUW")  # what cannot be moved to another century with the year
BEYOND_RE2 = re.compile(r"\(\?(<?[=!]|>)|\\[1-9]|[*+?}]\+")  # what Python's regular expressions have and DuckDB's have not


def _regular(pattern: str) -> str:
    """Raise ValueError for what is no regular expression of DuckDB (RE2)."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"'{pattern}' is no regular expression: {error}") from None
    if BEYOND_RE2.search(pattern):
        raise ValueError(f"'{pattern}' looks around, refers back or is possessive, which DuckDB's regular expressions do not")
    return pattern


Format = Annotated[
    str,
    written(FORMAT, "is no format of strptime, as in %d/%m/%Y (a percent sign is %%), epoch_s or epoch_ms"),
    WithJsonSchema({"pattern": FORMAT, "type": "string"}),
]
Bound = dt.date | dt.datetime | int | float | None


class ColumnMeta(Strict):
    """What ingestion must know of a column: how its text is read, and what of it may land.

    `optional`: the source may lack the column. `required`: a row without a value is refused, as those of a key are.
    `personal_paths`: keys of a json column, parted by dots, that hold what is personal and never land.
    """

    format: Format | None = None
    years_from: int | None = Field(default=None, ge=1000, le=9900, description="first of the hundred years that %y means")
    between: tuple[Bound, Bound] | None = Field(default=None, description="first and last value, null for none")
    pattern: Annotated[str, AfterValidator(_regular)] | None = Field(default=None, description="regular expression of the whole text")
    optional: bool = False
    required: bool = False
    formerly: tuple[str, ...] = ()
    personal: bool = False
    mask: Literal["drop", "pseudonym", "zone"] | None = None
    personal_paths: tuple[Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$")], ...] | None = None
    position: tuple[str, str] | None = Field(default=None, description="longitude and latitude that a zone is made of")
    unit: str | None = None

    @model_validator(mode="after")
    def _is_coherent(self) -> ColumnMeta:
        if self.personal and not self.mask:
            raise ValueError("a personal column needs a mask: drop, pseudonym or zone")
        if self.mask and not self.personal:
            raise ValueError("a mask is for a column that says `personal: true`")
        if self.personal_paths is not None and self.mask:
            raise ValueError("a masked column has no `personal_paths`: all of it is personal")
        if self.required and (self.optional or self.mask == "drop"):
            raise ValueError("a column that is required is neither optional nor dropped")
        if (self.mask == "zone") != (self.position is not None):
            raise ValueError("mask zone goes with `position: [longitude column, latitude column]`, and only with it")
        return self


class ColumnConfig(Strict):
    """dbt's `config` of a column."""

    meta: ColumnMeta = ColumnMeta()


class Column(Strict):
    """A column as the producer names it, but for `name`, under which it lands."""

    name: Annotated[str, Field(min_length=1), AfterValidator(declared_name)]
    data_type: Literal["string", "bigint", "double", "boolean", "date", "timestamptz", "json"]
    description: str
    config: Annotated[ColumnConfig, Field(validate_default=True)] = ColumnConfig()
    data_tests: list[Any] = Field([])

    @property
    def meta(self) -> ColumnMeta:
        """Shorthand for `config.meta`."""
        return self.config.meta

    @property
    def masked_by(self) -> str | tuple[str, ...] | None:
        """What keeps its personal values from landing: its mask, or the paths that are left out of it; None for nothing."""
        return self.meta.mask or self.meta.personal_paths or None

    @property
    def sql_type(self) -> str:
        """DuckDB's type of the values."""
        return "varchar" if self.data_type in ("string", "json") else self.data_type

    @property
    def is_landed(self) -> bool:
        """Whether the column reaches the lake."""
        return self.meta.mask != "drop"

    @field_validator("config")
    @classmethod
    def _keeps_the_name_of_the_source(cls, config: ColumnConfig, info: ValidationInfo) -> ColumnConfig:
        """Have what landed, or comes, under the source's own name found as what an older name gave is."""
        name, older = info.data.get("name", ""), config.meta.formerly
        held = [own] if (own := source_name(name)).casefold() in RESERVED else []
        names = tuple(dict.fromkeys(each for own in (*older, *held) for each in (own, declared_name(own)) if each != name))
        return config.model_copy(update={"meta": config.meta.model_copy(update={"formerly": names})}) if names != older else config

    @model_validator(mode="after")
    def _is_landable(self) -> Column:
        if self.meta.mask in ("pseudonym", "zone") and self.data_type != "string":
            raise ValueError(f"a column masked by {self.meta.mask} lands as a string: declare `data_type: string`")
        if self.meta.pattern and (self.data_type != "string" or self.meta.mask in ("drop", "zone")):
            raise fault_at("it is of a text that is read: a `string`, neither dropped nor a zone", "config", "meta", "pattern")
        if self.meta.personal_paths is not None and self.data_type != "json":
            raise fault_at("it goes with `data_type: json`, and only with it", "config", "meta", "personal_paths")
        if self.meta.format and self.data_type in ("date", "timestamptz"):
            self._tells_its_year(set(re.findall("%-?(.)", self.meta.format)))
        elif self.meta.years_from is not None:
            raise fault_at("it goes with a date whose `format` holds %y, and only with it", "config", "meta", "years_from")
        if self.meta.between:
            self._is_span(self.meta.between)
        return self

    def _tells_its_year(self, codes: set[str]) -> None:
        """Find fault with a format that leaves its year, or its century, to be guessed."""
        place = ("config", "meta", "format")
        if self.meta.format in EPOCHS:
            if self.data_type != "timestamptz" or self.meta.years_from is not None:
                raise fault_at(f"{self.meta.format} is an instant: declare `data_type: timestamptz`, without `years_from`", *place)
            return
        if not codes & YEARS:
            raise fault_at("it names no year: %Y (four digits), %y with `years_from`, or epoch_s, epoch_ms for a number", *place)
        if "y" in codes and self.meta.years_from is None:
            told = "%y does not say of which century: add `years_from: 1930`, the first of the hundred years that it means"
            raise fault_at(told, *place)
        if "y" not in codes and self.meta.years_from is not None:
            raise fault_at("it goes with a `format` that holds %y, and only with it", "config", "meta", "years_from")
        if "y" in codes and (beside := sorted(codes & BESIDE_YY)):
            told = f"%y goes without {', '.join(f'%{code}' for code in beside)}: declare `data_type: string`, and read it in staging"
            raise fault_at(told, *place)

    def _is_span(self, between: tuple[Bound, Bound]) -> None:
        """Find fault with bounds that values of the column cannot be compared with."""
        kinds = {"date": (dt.date,), "timestamptz": (dt.date,), "bigint": (int, float), "double": (int, float)}.get(self.data_type, ())
        bounds = [bound for bound in between if bound is not None]
        is_fit = bounds and all(isinstance(bound, kinds) for bound in bounds)
        if not is_fit or (self.data_type == "date" and any(isinstance(bound, dt.datetime) for bound in bounds)):
            told = "[first, last], one of them null at most: dates (date), dates or instants (timestamptz), numbers (bigint, double)"
            raise fault_at(told, "config", "meta", "between")
