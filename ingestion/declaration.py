"""What is declared in YAML is read whole, or refused: every fault is told, with its file, its line, its field and the mend."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator, BaseModel
from pydantic_core import PydanticCustomError


# libyaml reads ten times faster than Python, where it is there.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads YAML, but for what it takes for a number of another base: `01001` would be 513, and `12:30` 750."""


def _whole_number(loader: Any, node: Any) -> int:
    text = str(loader.construct_scalar(node))
    if not re.fullmatch("[-+]?(0|[1-9][0-9_]*)", text):
        raise ValueError(f"{text} (line {node.start_mark.line + 1}) is written as a number of another base")
    return int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


class BrickError(Exception):
    """Bricks that are not what the contract asks; the message has one line per fault: file, line, field, mend."""


def read_yaml(path: Path) -> tuple[str, Any, Any]:
    """Give the text, the tree and the content of a YAML file; raises BrickError."""
    try:
        text = unicodedata.normalize("NFC", path.read_text(encoding="utf-8"))
        loader = _Loader(text)
        root = loader.get_single_node()
        return text, root, root and loader.construct_document(root)
    except UnicodeDecodeError as error:
        raise BrickError(f"{path.name}: not UTF-8 at byte {error.start}. Mend: save it as UTF-8.") from error
    except OSError as error:
        raise BrickError(f"{path} cannot be read: {error.strerror}. Mend: check where it is, and ORCHESTRA_TERRITORY.") from error
    except yaml.YAMLError as error:
        raise BrickError(f"{path.name}: not YAML: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise BrickError(f"{path.name}: not YAML: {error}. Mend: put what looks like a date or a number in quotes.") from error


def fault_at(told: str, *field: str | int) -> PydanticCustomError:
    """Make the fault of a field below the model that finds it."""
    return PydanticCustomError("fault", "{told}", {"told": told, "field": field})


# What is asked, by the kind of a fault of pydantic, in words of the file; `{...}` are what the fault tells.
_ASKED = {
    "missing": "is missing",
    "extra_forbidden": "unknown field",
    "literal_error": "is none of {expected}",
    "string_type": "is no text: put it in quotes",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "int_type": "is no whole number",
    "int_parsing": "is no whole number",
    "int_from_float": "is no whole number",
    "float_type": "is no number",
    "float_parsing": "is no number",
    "list_type": "is no list: [..., ...]",
    "tuple_type": "is no list: [..., ...]",
    "dict_type": "is no mapping: {{name: value}}",
    "too_short": "holds {actual_length} of at least {min_length} items",
    "too_long": "holds more than the {max_length} items that it may",
    "string_too_short": "is shorter than {min_length} character(s)",
    "string_too_long": "is longer than {max_length} character(s)",
    "greater_than": "is not above {gt}",
    "greater_than_equal": "is below {ge}",
    "less_than": "is not below {lt}",
    "less_than_equal": "is above {le}",
}


def model_at(model: type[BaseModel], path: Iterable[str | int]) -> type[BaseModel]:
    """Give the model that a path of fields leads to from another: of a field, of the items of a list, or of what may be None."""
    for step in path:
        field = model.model_fields.get(str(step))
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return model


def said(fault: Mapping[str, Any], model: type[BaseModel] | None = None, *, shows_value: bool = True) -> str:
    """Say a fault of pydantic in words of the file: what is asked, what stands there, and an example where the model has one.

    `model` is the one of the fields among which the fault is. A value may be a secret in the wrong place: it is shown where
    `shows_value`, when it is short.
    """
    kind, context = fault["type"], fault.get("ctx", {})
    if kind in ("model_type", "model_attributes_type"):
        told = f"is no mapping of {', '.join(model.model_fields)}" if model else "is no mapping: {name: value}"
    elif kind == "missing" and fault["loc"] and isinstance(fault["loc"][-1], int):
        told = f"has no item {fault['loc'][-1] + 1}"
    elif kind in _ASKED:
        told = _ASKED[kind].format(**context)
    else:
        return str(fault["msg"].removeprefix("Value error, "))
    if kind == "extra_forbidden" and model:
        told += f" (accepted: {', '.join(model.model_fields)})"
    field = model.model_fields.get(str(fault["loc"][-1])) if kind == "missing" and model and fault["loc"] else None
    if field and get_origin(field.annotation) is Literal:
        told += f" (one of {', '.join(map(str, get_args(field.annotation)))})"
    is_shown = shows_value and kind not in ("missing", "extra_forbidden", "too_short", "too_long")
    told = f"{value} {told}" if is_shown and len(value := repr(fault["input"])) <= 60 else told
    example = getattr(model, "EXAMPLE", None) if kind in ("model_type", "model_attributes_type", "missing", "extra_forbidden") else None
    return f"{told}; as in {example}" if example else told


def written(pattern: str, told: str) -> AfterValidator:
    """Make the rule of a text of a pattern; what is none is told as `told`, which says an example, without the text itself."""

    def check(text: str) -> str:
        if not re.search(pattern, text):
            raise ValueError(told)
        return text

    return AfterValidator(check)


def _snake_case(name: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ValueError(f"'{name}' must be snake_case: lower-case letters, digits and underscores, a letter first")
    return name


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError) as error:
        raise ValueError(f"'{name}' is no time zone of the tz database (Europe/Berlin, UTC, ...)") from error
    return name


Name = Annotated[str, AfterValidator(_snake_case)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
