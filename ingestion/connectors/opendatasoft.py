"""Datasets of an Opendatasoft portal, by its Explore API v2.1: one export a reading, in Parquet."""

from __future__ import annotations

import io
import json
import os
import shutil
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from ingestion.connectors import Part, Reading, Request, SourceError
from ingestion.connectors.formats import Local, Spool, ndjson_parts, parquet_parts
from ingestion.connectors.web import Client, HttpError, Meter, MeteredStream

KEPT_METADATA = ("title", "publisher", "license", "license_url", "modified", "data_processed", "records_count")


class BrickOptions(BaseModel):
    """What a brick of a portal may say: the name of the variable that holds its API key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_key_env: str | None = None


class TableOptions(BaseModel):
    """What a table may say: its dataset, a filter in ODSQL, and the form that the portal exports it in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = Field(min_length=1)
    where: str | None = None
    format: Literal["parquet", "jsonl"] = "parquet"


def read(request: Request) -> Reading:
    """Read a dataset from the cursor on, when it has changed since the position; raises SourceError."""
    options, meter = request.table_options, Meter(request.progress)
    started = datetime.now(UTC)
    key = os.environ.get(request.brick_options.api_key_env or "")
    client = Client(request.brick, request.endpoint, meter, {"Authorization": f"Apikey {key}"} if key else {})
    dataset = _ask(request, client, "", {})
    metas = dataset.get("metas", {}).get("default") or {}
    state = {"modified": metas.get("modified"), "data_processed": metas.get("data_processed"), "where": options.where}
    spool = Spool(request.spool)
    reading = Reading(
        read_at=client.sandbox_at or started,
        position={**request.position, **state},
        metadata={name: metas[name] for name in KEPT_METADATA if metas.get(name) is not None},
        is_synthetic=client.sandbox_at is not None,
        held=spool,
    )
    is_known = (state["modified"] or state["data_processed"]) and state.items() <= request.position.items()
    if not is_known:
        where = _where(request, {column["name"]: column["type"] for column in dataset.get("fields", [])})
        for _ in range(2):
            # Records may come while they are exported: one more try, then landing says that the counts differ.
            reading.refused_files.clear()
            reading.parts = _export(request, client, where, spool, meter, reading.refused_files)
            total = _ask(request, client, "/records", {"limit": "0", **where}).get("total_count")
            if total is None or total == sum(part.counted or 0 for part in reading.parts) or reading.refused_files:
                break
        reading.announced, reading.count_method = total, "counted" if total is None else "announced"
        reading.available_at = _moment(state["data_processed"] or state["modified"])
    reading.bytes_read, reading.request_count = meter.byte_count, meter.request_count
    return reading


def _export(
    request: Request, client: Client, where: dict[str, str], spool: Spool, meter: Meter, refused: list[tuple[str, str]]
) -> list[Part]:
    """Stream the export to the spool and give it as parts, or say in `refused` why it is none."""
    options = request.table_options
    file = Local(f"{options.dataset}.{options.format}".replace("/", "_"), spool.root)

    def sink(response: Any) -> None:
        with spool.create(file.name) as target:
            shutil.copyfileobj(io.BufferedReader(MeteredStream(response, meter), 1 << 16), target, 1 << 20)

    arguments = {"timezone": "UTC", "use_labels": "false"} if options.format == "jsonl" else {}
    _fetch(request, client, f"/exports/{options.format}", {**arguments, **where}, sink)
    if options.format == "jsonl":
        return ndjson_parts([file], spool)
    return parquet_parts([file], request.columns, lambda name, reason: refused.append((name, reason)))


def _where(request: Request, types: dict[str, str]) -> dict[str, str]:
    """Write the filter of the table and of its cursor, less the lookback when it is a date."""
    filters = [f"({request.table_options.where})"] if request.table_options.where else []
    reached = None if request.whole else request.position.get("cursor")
    if reached is not None and request.cursor:
        field = request.cursor
        if types.get(field) in ("int", "double"):
            filters.append(f"{field} >= {float(reached):.15g}")
        else:
            filters.append(f"{field} >= date'{_back(request, str(reached))}'")
    if len(filters) == 1 and request.table_options.where:
        filters = [request.table_options.where]
    return {"where": " and ".join(filters)} if filters else {}


def _back(request: Request, reached: str) -> str:
    """Give the instant or the day that stands the lookback before the cursor, as ISO text."""
    back = timedelta(days=request.lookback_days)
    try:
        if len(reached) == len("2025-01-01"):
            return (date.fromisoformat(reached) - back).isoformat()
        moment = datetime.fromisoformat(reached)
    except ValueError:
        where = f"{request.brick}.{request.table}"
        raise SourceError(f"{where}: the cursor {reached!r} is no date. Mend: `cursor` must be a date or a number.") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"{(moment - back).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _ask(request: Request, client: Client, resource: str, arguments: dict[str, str]) -> dict[str, Any]:
    """Ask for JSON; raises SourceError when the answer is something else."""
    content = _fetch(request, client, resource, arguments, lambda response: response.read())
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        told = f"{request.brick}: {client.endpoint} did not answer with a JSON object"
        raise SourceError(f"{told}. Mend: check that the endpoint is an Opendatasoft portal.")
    dataset = answer.get("dataset", answer)
    return dataset if isinstance(dataset, dict) else answer


def _fetch(request: Request, client: Client, resource: str, arguments: dict[str, str], sink: Any) -> Any:
    options = request.table_options
    url = f"{client.endpoint}/api/explore/v2.1/catalog/datasets/{quote(options.dataset, safe='')}{resource}"
    try:
        return client.fetch(f"{url}?{urlencode(arguments)}" if arguments else url, sink)
    except HttpError as error:
        where = f"{request.brick}.{request.table}: {urlsplit(url).hostname}"
        told = _message(error.text)
        variable = request.brick_options.api_key_env
        if error.status in (401, 403):
            mend = f"set {variable} to a key that may read it" if variable else "name the key's variable in `api_key_env`"
            raise SourceError(f"{where} refuses dataset {options.dataset} ({error.status} {told}). Mend: {mend}.") from error
        if error.status == 404:
            mend = "check `dataset` and the endpoint; a restricted dataset is unknown without its key"
            raise SourceError(f"{where} knows no dataset {options.dataset} ({told}). Mend: {mend}.") from error
        if error.status == 400:
            mend = "check `where` and `cursor`"
            raise SourceError(f"{where} does not understand what is asked of {options.dataset} ({told}). Mend: {mend}.") from error
        raise


def _message(text: str) -> str:
    try:
        answer = json.loads(text)
        return str(answer.get("message") or answer.get("error") or "")[:300]
    except (ValueError, AttributeError):
        return ""


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment and not moment.tzinfo else moment
