"""Datasets of an Opendatasoft portal, by its Explore API v2.1: one export a reading, in Parquet."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from pydantic import Field

from ingestion.connectors import Probed, Reading, Request, SourceError, Strict, Variable
from ingestion.connectors.answers import NoAnswer, at, members_of, records_at, value_of_json
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.catalog import Offer, Resource, named, offers_of, read_by, text, written
from ingestion.connectors.pages import Answer, Ask, Page, asked_with, fault
from ingestion.connectors.since import moment_of
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import Client, client_of
from ingestion.formats import parts
from ingestion.formats.spool import Spool

KEPT_METADATA = ("title", "publisher", "license", "license_url", "modified", "data_processed", "records_count")
DATES = ("modified", "data_processed")  # what tells that a dataset has changed
DATASETS = "/api/explore/v2.1/catalog/datasets"
FORMATS = {"parquet": "parquet", "jsonl": "ndjson"}


class BrickOptions(WebOptions):
    """What a brick of a portal may say: how it is let in, and how much is asked of it; its API key, by the name of its variable."""

    api_key_env: Variable | None = None
    limits: Limits = POLITE


class TableOptions(Strict):
    """What a table may say: its dataset, a filter in ODSQL, and the form that the portal exports it in."""

    dataset: str = Field(min_length=1)
    where: str | None = None
    format: Literal["parquet", "jsonl"] = "parquet"


def read(request: Request) -> Reading:
    """Read a dataset from the cursor on, when it has changed since the position; raises SourceError."""
    reading = Reading(request, dict(request.position))
    client = _client(reading)
    dataset = _ask(client, "", {})
    metas = _dict(_dict(dataset.get("metas")).get("default"))
    modified, processed = metas.get("modified"), metas.get("data_processed")
    state = {**dict(zip(DATES, (modified, processed), strict=True)), "where": request.table_options.where}
    reading.position = {name: value for name, value in reading.position.items() if name != "export"} | state
    reading.metadata = {name: metas[name] for name in KEPT_METADATA if metas.get(name) is not None}
    if (modified or processed) and state.items() <= request.position.items():
        return reading
    fields = [_dict(field) for field in dataset.get("fields") or ()]
    where = _where(request, {field.get("name"): field.get("type") for field in fields})
    for _ in range(2):
        # Records may come while they are exported: one more try, then landing says that the counts differ.
        digest = _export(client, where)
        reading.announced = _count(client, where)
        is_whole = reading.announced in (None, sum(part.counted or 0 for part in reading.parts))
        if is_whole or reading.refused_files or request.sample_rows:
            break
    if not (is_whole and (modified or processed)):
        # The portal's dates say nothing of what was cut on its way: its content says whether it was read before.
        reading.position = {name: value for name, value in reading.position.items() if name not in DATES} | {"export": digest}
        if reading.position.items() <= request.position.items():
            reading.parts = []
            return reading
    if reading.announced == 0 and not request.position:
        meant = f"dataset {request.table_options.dataset} holds no record" + (" that `where` means" if where else "")
        mend = "none where there is nothing yet, else check `dataset` and `where`"
        reading.warnings.append(f"{request.brick}.{request.table}: {meant}. Mend: {mend}")
    reading.count_method = "counted" if reading.announced is None else "announced"
    with contextlib.suppress(ValueError):
        reading.available_at = moment_of(str(processed or modified))
    return reading


def probe(request: Request) -> Probed:
    """Give what the portal says of the dataset: its fields, its licence, when it changed, how many records it has; raises SourceError."""
    client = _client(reading := Reading(request, {}))
    client.tries = 1
    dataset = _ask(client, "", {})
    metas, fields = _dict(_dict(dataset.get("metas")).get("default")), [_dict(field).get("name") for field in dataset.get("fields") or ()]
    told, changed = metas.get("records_count"), None
    with contextlib.suppress(ValueError):
        changed = moment_of(str(metas.get("data_processed") or metas.get("modified")))
    count = told if isinstance(told, int) else None
    return Probed(tuple(map(str, fields)) or None, metas.get("license"), changed, count, reading.is_synthetic)


def catalog(reading: Reading) -> Iterator[Offer]:
    """Give the datasets that a portal offers, and their attachments; raises SourceError."""
    client = _client(reading)
    return offers_of(
        client, Ask(f"{client.endpoint}{DATASETS}?limit=100&offset=0"), lambda answer, ask, passed: _page(client, answer, ask, passed)
    )


def _client(reading: Reading) -> Client:
    key = os.environ.get(reading.request.brick_options.api_key_env or "")
    return client_of(reading, {"Authorization": f"Apikey {key}"} if key else {})


def _page(client: Client, answer: Answer, ask: Ask, passed: int) -> Page:
    """Make a page of the portal's catalogue; raises SourceError for an answer that is none."""
    try:
        members = members_of(answer.body)
        found = [_dict(value_of_json(each)) for each in records_at(members, "results")]
    except NoAnswer as error:
        raise fault(client, ask, error) from None
    total = value_of_json(at(members, "total_count"))
    content = written(_offer(client, each) for each in found)
    count, total = passed + len(found), total if isinstance(total, int) else None
    return Page(content, len(found), asked_with(ask, offset=count) if found and count != total else None, total)


def _offer(client: Client, told: dict[str, Any]) -> Offer:
    """Give a dataset as an offer: its rows, as this connector reads them, and its attachments."""
    metas, dcat = (_dict(_dict(told.get("metas")).get(name)) for name in ("default", "dcat"))
    identifier = named(client, text(told.get("dataset_id")), "holds a dataset without `dataset_id`")
    root = client.shown(client.endpoint)
    url = f"{root}{DATASETS}/{quote(identifier, safe='')}"
    rows = [Resource(url=url, id=identifier, title=text(metas.get("title")), protocol="opendatasoft", options={"dataset": identifier})]
    files = [
        Resource(url=f"{url}/attachments/{quote(str(each.get('id')), safe='')}", id=text(each.get("id")), title=text(each.get("title")),
                 media_type=text(each.get("mimetype")), protocol=read_by(None, text(each.get("mimetype")))[0],
                 options=read_by(None, text(each.get("mimetype")))[1])
        for each in map(_dict, told.get("attachments") or ()) if each.get("id")
    ]  # fmt: skip
    keywords, themes = (value if isinstance(value := metas.get(name), list) else [value] for name in ("keyword", "theme"))
    return Offer(
        id=identifier, title=text(metas.get("title")), description=text(metas.get("description")), kind="dataset",
        licence=text(metas.get("license_url")) or text(metas.get("license")), producer=text(metas.get("publisher")),
        created=text(dcat.get("created")), issued=text(dcat.get("issued")), modified=text(metas.get("modified")),
        frequency=text(dcat.get("accrualperiodicity")), keywords=tuple(filter(None, map(text, keywords))),
        themes=tuple(filter(None, map(text, themes))), landing_page=f"{root}/explore/dataset/{quote(identifier, safe='')}/",
        resources=(*(rows if told.get("has_records") else ()), *files),
    )  # fmt: skip


def _export(client: Client, where: dict[str, str]) -> str:
    """Stream the export to a spool and give it as the reading's parts, or as refused; give its digest."""
    reading, options = client.reading, client.reading.request.table_options
    spool = reading.held = Spool(reading.request.spool, is_private=reading.request.is_private)
    name, digest = f"{options.dataset}.{options.format}".replace("/", "_"), hashlib.sha256()

    def sink(stream: Any, headers: Mapping[str, str]) -> None:
        first = last = b""
        with spool.create(name) as target:
            while block := stream.read(1 << 20):
                first, last = first or block, block
                digest.update(block)
                target.write(block)
        if options.format == "jsonl":
            _refuse(client, first if first is last else first[:1], last[-1:], headers)

    arguments = {"timezone": "UTC", "use_labels": "false"} if options.format == "jsonl" else {}
    if reading.request.sample_rows:
        arguments["limit"] = str(reading.request.sample_rows)
    _fetch(client, f"/exports/{options.format}", {**arguments, **where}, sink)
    reading.parts = parts(FORMATS[options.format], [name], reading, spool)
    return digest.hexdigest()[:16]


def _refuse(client: Client, begun: bytes, end: bytes, headers: Mapping[str, str]) -> None:
    """Raise SourceError, which may pass, for an export in lines that was cut, or is a page or an error; `begun` is all of a small one."""
    ask = Ask(client.endpoint)
    if end not in (b"", b"\n") and not Answer(b"", headers, 200).is_bounded:
        raise fault(client, ask, "ends in the middle of a line, and nothing says how long it is: it was cut")
    try:
        if begun.lstrip()[:1] == b"<" or (begun.strip() and b"\n" not in begun.strip() and len(begun) > 1):
            members_of(begun)
    except NoAnswer as error:
        raise fault(client, ask, error) from None


def _count(client: Client, where: dict[str, str]) -> int | None:
    """Ask how many records the filter means, None when the portal does not say; raises SourceError for what is no count."""
    told = _ask(client, "/records", {"limit": "0", **where}).get("total_count")
    if told is not None and not str(told).isdigit():
        request = client.reading.request
        raise SourceError(f"{request.brick}.{request.table}: the portal counts {told!r:.60} records. Mend: tell the producer.")
    return None if told is None else int(told)


def _where(request: Request, types: dict[Any, Any]) -> dict[str, str]:
    """Write the filter of the table and of its cursor, less the lookback when it is a date; a row without one is always asked for."""
    own, field, reached = request.table_options.where, request.cursor, request.position.get("cursor")
    if request.whole or not field or reached is None:
        return {"where": own} if own else {}
    try:
        # As it is: rounded, it could be above the real value, whose followers would be skipped.
        is_number = types.get(field) in ("int", "double")
        since = f"{Decimal(reached).normalize():f}" if is_number else f"date'{_back(str(reached), request.lookback_days)}'"
    except (ValueError, ArithmeticError):
        told = f"{request.brick}.{request.table}: the cursor {reached!r} is no {'number' if is_number else 'date'}"
        raise SourceError(f"{told}. Mend: `cursor` must be a date or a number.") from None
    since = f"({field} >= {since} or {field} is null)"
    return {"where": f"({own}) and {since}" if own else since}


def _back(reached: str, days: float) -> str:
    """Give the instant or the day that stands the lookback before the cursor, as ISO text; raises ValueError."""
    moment = moment_of(reached) - timedelta(days=days)
    return f"{moment:%Y-%m-%d}" if len(reached) == len("2025-01-01") else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _ask(client: Client, resource: str, arguments: dict[str, str]) -> dict[str, Any]:
    """Ask for JSON; raises SourceError when the answer is something else."""
    if answer := _json(_fetch(client, resource, arguments, lambda stream, _: stream.read())):
        return answer
    told = f"{client.brick}.{client.reading.request.table}: {client.shown(client.endpoint)} did not answer with a JSON object"
    raise SourceError(f"{told}. Mend: check that the endpoint is an Opendatasoft portal.")


def _json(text: str | bytes) -> dict[str, Any]:
    """Give the JSON object that a text is, an empty one when it is none."""
    with contextlib.suppress(ValueError):
        return _dict(json.loads(text))
    return {}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _fetch(client: Client, resource: str, arguments: dict[str, str], sink: Any) -> Any:
    """Ask for a resource of the dataset; raises SourceError with the mend of what the portal says is wrong."""
    request = client.reading.request
    dataset, variable = request.table_options.dataset, request.brick_options.api_key_env
    url = f"{client.endpoint}{DATASETS}/{quote(dataset, safe='')}{resource}"
    try:
        return client.fetch(f"{url}?{urlencode(arguments)}" if arguments else url, sink)
    except SourceError as error:
        answer = _json(error.text)
        told = str(answer.get("message") or answer.get("error") or "")[:300]
        match error.status:
            case 400:
                fault, mend = f"does not understand what is asked of {dataset} ({told})", "check `where` and `cursor`"
            case 401 | 403:
                fault = f"refuses dataset {dataset} ({error.status} {told})"
                mend = f"set {variable} to a key that may read it" if variable else "name the key's variable in `api_key_env`"
            case 404:
                fault = f"knows no dataset {dataset} ({told})"
                mend = "check `dataset` and the endpoint; a restricted dataset is unknown without its key"
            case _:
                raise
        raise SourceError(f"{request.brick}.{request.table}: {urlsplit(url).hostname} {fault}. Mend: {mend}.") from error
