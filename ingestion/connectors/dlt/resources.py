"""The resource of dlt that a table reads: of `rest_api`, or of a source that is imported."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from ingestion.connectors import Reading, Request, SourceError
from ingestion.connectors.dlt.values import Values

# What of an endpoint dlt writes values into: a brace in a value is none of its own there.
WRITTEN = ("path", "params", "json", "data", "headers")


def resource_of(request: Request, values: Values, reading: Reading) -> Any:
    """Make the resource of a table; raises what dlt raises."""
    options, own = request.brick_options, request.table_options
    if options.rest_api is None:
        return _of_source(options, request.table, own, values)
    if urlsplit(values.endpoint).scheme not in ("http", "https"):
        raise SourceError(f"{request.brick}: its endpoint is no web server. Mend: an endpoint of http:// or https://.")
    return of_rest_api(options, request.table, own, values.endpoint, values, reading, request.columns)


def of_rest_api(
    brick: Any, table: str, options: Any, endpoint: str, values: Values, reading: Reading | None, columns: tuple[str, ...]
) -> Any:
    """Make a resource of `rest_api`; those that the brick lists beside its tables are there for what depends on them."""
    from dlt.sources.rest_api import rest_api_resources

    from ingestion.connectors.dlt.pages import session_of

    if options.arguments or options.incremental:
        raise ValueError("`arguments` and `incremental` are of a `source`; of `rest_api`, `resource.endpoint` says them")
    told: dict[str, Any] = brick.rest_api or {}
    name = options.resource.get("name", table)
    own, others = {**options.resource, "name": name}, [each for each in told.get("resources", ()) if _name_of(each) != name]
    client = {**values.fill(told.get("client", {})), "base_url": endpoint}
    if reading:
        urls = [endpoint, *(path for each in (own, *others) if "://" in (path := str(_endpoint_of(each).get("path", ""))))]
        client["session"] = session_of(reading, urls, values.hide, values.query)
    said = f"{reading.request.brick}.{table}" if reading else table
    defaults = told.get("resource_defaults") or {}
    config = {
        **told,
        "client": client,
        "resource_defaults": {**defaults, "endpoint": _filled(_endpoint_of(defaults), values)} if defaults else None,
        "resources": [*(_paged(each, told, said, (), values) for each in others), _paged(own, told, said, columns, values)],
    }
    return next(each for each in rest_api_resources(config) if each.name == name)


def _paged(resource: Any, told: dict[str, Any], said: str, columns: tuple[str, ...], values: Values) -> dict[str, Any]:
    """Give a resource whose pages are looked at."""
    from dlt.sources.helpers.rest_client.detector import single_entity_path
    from dlt.sources.helpers.rest_client.paginators import SinglePagePaginator
    from dlt.sources.rest_api.config_setup import create_paginator

    from ingestion.connectors.dlt.pages import Pager

    name, endpoint = _name_of(resource), _endpoint_of(resource)
    usual = {**_endpoint_of(told.get("resource_defaults") or {}), **{key: value for key, value in endpoint.items() if value is not None}}
    is_one = single_entity_path(usual.get("path") or name)
    paginator = create_paginator(usual.get("paginator") or (None if is_one else told.get("client", {}).get("paginator")))
    selector = usual.get("data_selector") or ("$" if is_one else None)
    pager = Pager(paginator or (SinglePagePaginator() if is_one else None), selector, said, columns)
    rest = resource if isinstance(resource, dict) else {}
    return {**values.fill(rest), "name": name, "endpoint": {**_filled(endpoint, values), "paginator": pager}}


def _filled(endpoint: dict[str, Any], values: Values) -> dict[str, Any]:
    return {key: values.fill(value, is_written=key in WRITTEN) for key, value in endpoint.items()}


def _name_of(resource: Any) -> str:
    return str(resource.get("name")) if isinstance(resource, dict) else str(resource)


def _endpoint_of(resource: Any) -> dict[str, Any]:
    """Give the endpoint of a resource in full, where it may be written as its path alone."""
    endpoint = resource.get("endpoint") if isinstance(resource, dict) else {"path": resource}
    return {"path": endpoint} if isinstance(endpoint, str) else endpoint or {}


def _of_source(brick: Any, table: str, options: Any, values: Values) -> Any:
    """Make a resource of an imported source; raises ValueError where it has none of that name."""
    import dlt
    from dlt.extract import DltResource, DltSource

    check_name_alone(options)
    made, arguments = imported(str(brick.source)), values.fill({**brick.arguments, **options.arguments})
    if isinstance(made, DltSource):
        if arguments:
            raise ValueError(f"{brick.source} is a source as it is, and takes no `arguments`")
        made = made.clone()
    elif isinstance(made, DltResource):
        made = made(**arguments) if arguments else made._clone(with_parent=True)
    else:
        made = made(**arguments)
    wanted = options.resource.get("name")
    if isinstance(made, DltResource) and wanted in (None, made.name):
        resource = made
    else:
        listed = made.resources if isinstance(made, DltSource) else {each.name: each for each in made if isinstance(each, DltResource)}
        resource = named(listed, wanted or table, list(listed)) if listed or wanted else dlt.resource(made, name=table)
    if callable(resource.table_name):
        raise ValueError(  # noqa: TRY004
            f"resource {resource.name} parts its rows among several tables: a resource for each is asked for"
        )
    if options.incremental:
        resource.apply_hints(incremental=dlt.sources.incremental(**values.fill(options.incremental)))
    return resource.add_step(_of_one_table(resource.name))


def _of_one_table(name: str) -> Callable[[Any, Any], Any]:
    """Make a step that lets rows through, and nothing that a source marks as another table's, or as a file."""

    def step(item: Any, meta: Any = None) -> Any:
        if getattr(meta, "table_name", name) != name or hasattr(meta, "file_path"):
            raise ValueError(f"resource {name} parts its rows among several tables, or gives files: rows of one table are asked for")
        return item

    return step


def check_name_alone(options: Any) -> None:
    """Raise ValueError where the resource of a source says more than its name."""
    if others := options.resource.keys() - {"name"}:
        raise ValueError(f"`resource` of a `source` says its `name` alone, not {', '.join(sorted(others))}")


def named(resources: Any, name: str, names: list[str]) -> Any:
    """Give a resource by its name; raises ValueError with the names that there are."""
    if name not in resources:
        raise ValueError(f"the source has no resource {name} (it has {', '.join(names[:10]) or 'none'}): say its `name` in `resource`")
    return resources[name]


def imported(path: str) -> Any:
    """Import what a path names; raises ValueError where there is nothing."""
    module, _, names = path.partition(":")
    try:
        made = importlib.import_module(module)
        for name in names.split("."):
            made = getattr(made, name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"`source: {path}` leads to nothing ({error}): is its package installed, or its folder in PYTHONPATH?") from error
    return made
