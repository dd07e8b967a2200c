"""What dlt reads: its declarative `rest_api` word for word, or any source by import path; its state is the journal's position."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

from pydantic import Field, field_validator, model_validator

from ingestion.connectors import Reading, Request, SourceError, Strict
from ingestion.connectors.dlt.items import Items
from ingestion.connectors.dlt.resources import check_name_alone, imported, named, of_rest_api, resource_of
from ingestion.connectors.dlt.values import Values, fault_of, said
from ingestion.connectors.web import VARIABLE

# Keys whose value is a secret wherever dlt takes one: the name of a variable stands in its place.
SECRETS = re.compile("^(.*_)?(token|password|secret|api_key|apikey|private_key|access_key)$", re.IGNORECASE)


class BrickOptions(Strict):
    """What a brick of dlt may say: the configuration of `rest_api`, or the import path of a source and its arguments."""

    rest_api: dict[str, Any] | None = None
    source: str | None = Field(None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    arguments: dict[str, Any] = Field({})

    @field_validator("rest_api", "arguments")
    @classmethod
    def _holds_no_secret(cls, told: Any) -> Any:
        return _without_secrets(told)

    @model_validator(mode="after")
    def _is_one_of_both(self) -> BrickOptions:
        if (self.rest_api is None) == (self.source is None):
            raise ValueError("says either `rest_api` or `source`")
        if self.rest_api is not None and self.arguments:
            raise ValueError("`arguments` are those of a `source`")
        if of_ours := {"base_url", "session"} & (self.rest_api or {}).get("client", {}).keys():
            raise ValueError(f"`client.{min(of_ours)}` is not said here: the brick's endpoint is the base URL")
        return self


class TableOptions(Strict):
    """What a table of dlt may say: its resource, arguments of the source of its own, and how it is read incrementally."""

    resource: dict[str, Any] = Field({})
    arguments: dict[str, Any] = Field({})
    incremental: dict[str, Any] | None = None

    @field_validator("resource", "arguments")
    @classmethod
    def _holds_no_secret(cls, told: Any) -> Any:
        return _without_secrets(told)


def read(request: Request) -> Reading:
    """Read a resource of dlt to its end, from the state that the position holds; raises SourceError, and then nothing lands.

    No part when it gave nothing, or what it gave last time; a table delivered whole that gives no row is an empty photo.
    """
    reading = Reading(request, dict(request.position), count_method="counted")
    values, name = Values(request), f"{request.brick}.{request.table}"
    taken, fault, mend = Items(reading), None, "check `rest_api`, `source`, `arguments` and `resource` in the brick"
    with values.hidden_in_logs(is_private=request.is_private):
        try:
            with _state_of(request) as state:
                resource = resource_of(request, values, reading)
                # Else its state would stand under a name of dlt's own, of the pipeline that ran before.
                resource.source_name = resource.source_name or request.brick
                mend = "see what the source says, or tell whoever maintains it"
                for item in resource:
                    taken.add(item)
            taken.close()
            _settle(reading, taken, state)
        except Exception as error:
            fault = fault_of(error, name, values, mend, is_private=request.is_private)
    if fault:
        raise fault
    return reading


def check(brick_options: BrickOptions, options: TableOptions, table: str) -> str | None:
    """Say what is wrong with the options of a table as far as it can be known without asking its source; None for nothing."""
    values = Values(None)
    try:
        if brick_options.rest_api is not None:
            of_rest_api(brick_options, table, options, "http://127.0.0.1/", values, None, ())
        else:
            made, arguments = imported(str(brick_options.source)), {**brick_options.arguments, **options.arguments}
            if names := list(getattr(made, "resources", ())):
                named(made.resources, options.resource.get("name", table), names)
            elif callable(made) and not hasattr(made, "write_disposition"):
                inspect.signature(made).bind(**arguments)
            check_name_alone(options)
    except Exception as error:
        return f"{said(error, values)}"
    return None


@contextlib.contextmanager
def _state_of(request: Request) -> Iterator[dict[str, Any]]:
    """Have dlt find the state that the position holds, and nothing where a table is delivered whole; it is changed in place."""
    from dlt.common.configuration.container import Container
    from dlt.common.json import json
    from dlt.common.pipeline import StateInjectableContext

    held = None if request.whole else request.position.get("dlt")
    state: dict[str, Any] = json.typed_loads(held) if held else {}
    with Container().injectable_context(StateInjectableContext(state=state)):  # type: ignore[no-untyped-call]
        yield state


def _settle(reading: Reading, taken: Items, state: dict[str, Any]) -> None:
    """Say in the position where dlt is, and what was given; nothing is new where that is what was given last time."""
    from dlt.common.json import json

    request = reading.request
    incremental = [path for resource in _resources(state) for path in resource.get("incremental", ())]
    if request.whole and incremental:
        told = f"{request.brick}.{request.table}: is delivered whole, and read incrementally: what is not new would be taken as ended"
        raise SourceError(f"{told}. Mend: `delivers: changes`, or no `incremental`.")
    if taken.rows or request.whole:
        content = taken.digest()
        if content == request.position.get("content"):
            reading.parts = []
        reading.position["content"] = content
    if not request.whole and state:
        if request.is_private:
            _tell_no_value(request, state)
        reading.position["dlt"] = json.typed_dumps(state)


def _resources(state: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for source in state.get("sources", {}).values():
        yield from source.get("resources", {}).values()


def _tell_no_value(request: Request, state: dict[str, Any]) -> None:
    """Leave of the state of a private brick what tells of no person: cursors by columns that land as they are, and are no text."""
    of_sources = {key for source in state.get("sources", {}).values() for key, held in source.items() if held and key != "resources"}
    others = of_sources | {key for resource in _resources(state) for key, held in resource.items() if held and key != "incremental"}
    if others:
        told = f"{request.brick}.{request.table}: the source keeps a state of its own ({', '.join(sorted(others))}), which may name persons"
        raise SourceError(f"{told}. Mend: a source that is incremental by a column, or read it whole.")
    for resource in _resources(state):
        for path, held in resource.get("incremental", {}).items():
            if path not in request.typed:
                told = f"{request.brick}.{request.table}: how far it was read is told by {path}, which is masked, a text or not declared"
                raise SourceError(f"{told}. Mend: be incremental by a declared date, instant or number that is not personal.")
            held["unique_hashes"] = []  # digests of rows, or of keys, that could be guessed


def _without_secrets(told: Any) -> Any:
    """Give what a brick says; raises ValueError where a secret stands in place of the variable that holds it."""
    pending = [told]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            for key, value in each.items():
                if isinstance(value, str) and SECRETS.match(str(key)) and not VARIABLE.search(value):
                    raise ValueError(f"`{key}` is a secret: name the variable that holds it, as in {key}: '{{ORCHESTRA_SHOP_KEY}}'")
        pending += each.values() if isinstance(each, dict) else each if isinstance(each, list | tuple) else ()
    return told
