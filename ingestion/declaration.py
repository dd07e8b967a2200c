"""What is declared in YAML is read whole, or refused: every fault is told, with its file, its line, its field and the mend."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

# libyaml reads ten times faster than Python, where it is there.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
