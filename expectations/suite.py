"""What a steward writes of a set of rows, in YAML, and the defaults that hold where nothing is written."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError

from ingestion.connectors import Strict
from ingestion.declaration import model_at, said
from ingestion.lake import LakeError

ROOM = Path(__file__).resolve().parent

# What the defaults tolerate; a table's YAML may override each under `defaults`.
LANDED = {
    "refused_share": 0.2,  # rows refused, at most
    "key_share": 0.9,  # distinct keys among rows, at least: below, a page was repeated
    "volume": (0.6, 3.0),  # rows of the fullest day (changes) or of the photo (whole), as multiples of those before
    "odd_date_share": 0.05,  # values of a date that is not the cursor, after the reading or before 1900, at most: a warning
    "future_share": 0.05,  # rows dated after the reading, at most: a sensor may have lost its clock, a source may not
    "garbled_share": 0.01,  # rows with a text read in a wrong encoding, at most
    "coverage": 0.5,  # distinct values of the first key column, as a share of those before
    "filled": 20,  # values that a column should have held, from what came before, for it to be all null
}
MART = {
    "volume": (0.9, 10.0),  # rows, as multiples of the last publication's
    "completeness": 0.1,  # by how much the mean completeness of what was published may fall
    "sums": (0.5, 10.0),  # what sums, of what was published, as multiples of what it was
    "filled": 20,
}


class Expectation(Strict):
    """One line of a steward's file, in the words of Great Expectations; a warning is told and stops nothing."""

    type: str
    kwargs: dict[str, Any] = Field(default={})
    severity: Literal["critical", "warning"] = "critical"
    reason: str | None = None


class Suite(Strict):
    """What is asked of a mart (`marts/<mart>.yml`), or of a table."""

    defaults: dict[str, Any] = Field(default={})
    expectations: tuple[Expectation, ...] = ()

    def tolerated(self, of: dict[str, Any]) -> dict[str, Any]:
        """Give what is tolerated: the defaults, and what the file says otherwise; raises LakeError for a name that is none."""
        if unknown := sorted(set(self.defaults) - set(of)):
            raise LakeError(f"expectations: {', '.join(unknown)} is no default (accepted: {', '.join(of)})")
        for name, value in self.defaults.items():
            is_span = isinstance(of[name], tuple)
            numbers = value if isinstance(value, list) and is_span and len(value) == len(of[name]) else [value]
            if value is not None and (isinstance(value, list) != is_span or not all(isinstance(each, int | float) for each in numbers)):
                raise LakeError(f"expectations: {name} is {'[low, high]' if is_span else 'a number'} or null, not {value!r}")
        return {**of, **self.defaults}


class LandedSuite(Strict):
    """What is asked of a load (`landed/<brick>.yml`), by table."""

    tables: dict[str, Suite] = Field(default={})


_Model = TypeVar("_Model", Suite, LandedSuite)


def read_suite(model: type[_Model], name: str) -> _Model:
    """Read an expectations file, of ORCHESTRA_EXPECTATIONS or of the project; a model without anything when there is none."""
    path = place(name)
    try:
        return model.model_validate((yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None) or {})
    except ValidationError as error:
        told = [f"{'.'.join(map(str, fault['loc']))}: {said(fault, model_at(model, fault['loc']))}" for fault in error.errors()]
        raise LakeError(f"expectations/{name}: {'; '.join(told)}") from error
    except (yaml.YAMLError, ValueError) as error:  # a date that is none, bytes that are no text
        raise LakeError(f"expectations/{name}: not YAML: {' '.join(str(error).split())}") from error


def place(name: str) -> Path:
    """Give where a file of expectations is: in ORCHESTRA_EXPECTATIONS, else in the project."""
    return Path(os.environ.get("ORCHESTRA_EXPECTATIONS", ROOM)) / name


def judged_by(name: str) -> str:
    """Sum up what judges a load (`landed/<brick>.yml`) or a mart (`marts/<mart>.yml`): the defaults, and the file if there is one."""
    path, defaults = place(name), LANDED if name.startswith("landed/") else MART
    return hashlib.sha256(json.dumps(defaults).encode() + (path.read_bytes() if path.exists() else b"")).hexdigest()[:16]


def files_of_marts() -> list[Path]:
    """Give the files that say what is expected of marts."""
    return [*place("marts").glob("*.yml")]
