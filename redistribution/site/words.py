"""A language: what the pages say in it, and how it writes numbers, dates and shares."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

from redistribution.meta import read_words, spoken
from redistribution.site.cards import Column, Words

NOTHING = "–"
# A unit whose figures are too long to be read, and those that take its place: (unit, how many of the first).
LARGER = {
    "kWh": (("GWh", 1e6), ("MWh", 1e3)),
    "kgCO2e": (("ktCO2e", 1e6), ("tCO2e", 1e3)),
    "kg": (("kt", 1e6), ("t", 1e3)),
    "EUR": (("M€", 1e6), ("k€", 1e3)),
    "€": (("M€", 1e6), ("k€", 1e3)),
}
LONG = 20_000  # from where a figure is told in a larger unit


class Language:
    """One of the languages of the territory; `tongue` is English where the house has no words in it."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.tongue = code if code in spoken() else "en"
        self.words = read_words()[self.tongue]
        self.name = self.words["language"] if self.tongue == code else code

    def __call__(self, key: str, *values: Any) -> str:
        """Say something, with its values."""
        return str(self.words[key]).format(*values)

    def count(self, key: str, number: int) -> str:
        """Say something of a number, as it is said of one where it is one."""
        return self(f"{key}_one" if number == 1 else key, self.number(number))

    def of(self, group: str, key: str) -> str:
        """Say one of a group of words; the key itself where the group has none."""
        return str(self.words[group].get(key, key))

    def pick(self, words: Words) -> str:
        """Give what is said in this language, else in English, else in any."""
        return words.get(self.code) or words.get("en") or next(iter(words.values()), "")

    def number(self, value: float | None, decimals: int | None = None) -> str:
        """Write a number, with the decimals that its size deserves unless they are told."""
        if value is None or math.isnan(value):
            return NOTHING
        if decimals is None:
            decimals = 0 if isinstance(value, int) else decimals_of(value)
        text = f"{abs(value):,.{decimals}f}".replace(",", "\0").replace(".", self.words["decimal"]).replace("\0", self.words["thousands"])
        return f"−{text}" if value < 0 and text.strip("0.,\u202f") else text

    def share(self, value: float | None, *, is_signed: bool = False) -> str:
        """Write a share as a percentage."""
        if value is None or math.isnan(value):
            return NOTHING
        text = self.number(100 * value, 1)
        return ("+" if is_signed and value > 0 and text[0] != "−" else "") + text + self.words["percent"]

    def date(self, value: dt.date | dt.datetime | str | None) -> str:
        """Write a day."""
        if value is None:
            return NOTHING
        if isinstance(value, str):
            value = dt.datetime.fromisoformat(value)
        return str(self.words["date"]).format(day=value.day, month=value.month, year=value.year)

    def period(self, value: dt.date | int | None) -> str:
        """Write a month, or a year."""
        if value is None:
            return NOTHING
        return str(value) if isinstance(value, int) else f"{self.words['months'][value.month - 1]} {value.year}"

    def nothing(self, column: Column) -> str:
        """Write what is not there: it lacks, or it does not concern the row."""
        return self("not_concerned") if column.empty_means == "not_concerned" else NOTHING

    def cell(self, column: Column, value: Any) -> str:
        """Write a value of a column of a mart."""
        if value is None:
            return self.nothing(column)
        if isinstance(value, bool):
            return str(self.words["yes" if value else "no"])
        if isinstance(value, dt.date | dt.datetime):
            return self.date(value)
        if column.is_number:
            if is_share(column):
                return self.share(float(value), is_signed=column.name.startswith("change"))
            if column.name == "year" or column.name.endswith("_year"):
                return str(value)
            return self.number(value if isinstance(value, int) else float(value))
        return self.pick(column.labels[value]) if value in column.labels else str(value)


def is_share(column: Column) -> bool:
    """Whether a column holds shares, from 0 to 1."""
    return column.name.endswith("_share") or column.unit in ("share", "1")


def decimals_of(value: float) -> int:
    """Give the decimals with which a number of that size is told: three digits or four."""
    size = abs(value)
    return 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 0.1 else min(6, 2 - math.floor(math.log10(size)))


def scaled(unit: str | None, largest: float) -> tuple[str, float]:
    """Give the unit in which figures up to `largest` are told, and how many of the first unit it is: MWh and 1,000 for kWh."""
    unit = unit or ""
    base, _, rest = unit.partition(" ")
    for larger, factor in LARGER.get(base, ()):
        if largest >= LONG * factor / 1e3:
            return f"{larger} {rest}".strip(), factor
    return unit, 1.0
