"""Whether a source answers, how soon, and what it says of itself beside what the census says of it: nothing of it lands."""

from __future__ import annotations

import datetime as dt
import json
import re
import socket
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from ingestion.brick import Brick, endpoint_of
from ingestion.connectors import PUSHED, Probed, Reading, Request, SourceError, connector
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.web import CONNECT_SECONDS, Client, client_of, instant
from ingestion.declaration import BrickError
from ingestion.disk import write_whole
from ingestion.lake import Lake, LakeError
from ingestion.position import Position
from ingestion.staging import request_of
from ingestion.tool import Tool

NOTED = "probes.json"  # in the state: what is reached from here may not be from elsewhere
PORTS = {
    "ftp": 21, "ftps": 990, "sftp": 22, "mqtt": 1883, "mqtts": 8883, "postgres": 5432, "postgresql": 5432, "mysql": 3306, "mariadb": 3306,
}  # fmt: skip
# How producers write the licences that are met most, by the identifier that a brick says.
LICENCES = {
    "etalab-1.0": r"(licence ouverte|open licence|etalab|\blov?1)(?!.*2\.0).*\b(1\.0|v1|1)\b",
    "etalab-2.0": r"(licence ouverte|open licence|etalab|\blov2).*\b(2\.0|v2|2|lov2)\b|^lov2$",
    "odbl-1.0": r"odbl|open database licen[cs]e",
    "cc-by-4.0": r"cc[- ]by[- ]?4|attribution 4\.0(?!.*(nc|nd|sa|share|commercial))",
    "cc-by-nd-4.0": r"cc[- ]by[- ]nd",
    "public-domain-cc0": r"\bcc0\b|public domain",
}


@dataclass(frozen=True)
class Probe:
    """What a probe found, at an instant (ISO, UTC): whether the source answered, and in how many seconds.

    `is_reached` is None where there is nothing to ask. A connector that asks for what its tables are (a dataset, files) has reached
    them only where they are there; else any answer of the endpoint will do, but for one that says that the server is ill.
    `changed_at` is when the source last changed, `licence` what it says of its own in its words, `licence_fits` whether that is
    the one that the brick says (None where that cannot be told). `missing` are the columns that the brick declares and that the source
    does not name, by table; `rows` how many it has, by table. What a sandbox answered is no answer of the source (`is_synthetic`).
    `told` is what is wrong, or why nothing was asked.
    """

    at: str
    is_reached: bool | None
    seconds: float | None = None
    changed_at: str | None = None
    licence: str | None = None
    licence_fits: bool | None = None
    missing: dict[str, list[str]] | None = None
    rows: dict[str, int] | None = None
    is_synthetic: bool = False
    told: str = ""


def probe(of: Brick | Tool) -> Probe:
    """Ask a source whether it is there and what it says of itself; what goes wrong is told, never raised."""
    at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    try:
        endpoint = endpoint_of(of)
    except BrickError as error:
        return Probe(at, None, told=of.meta.endpoint_reason or str(error))
    if is_awaited(of, endpoint):
        return Probe(at, None, told=f"{of.name}: its source sends, and is not asked: orchestra listen receives")
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="orchestra-") as folder:
            if isinstance(of, Brick) and hasattr(module := connector(of.meta.connector), "probe"):
                return _compared(of, at, begun, {name: module.probe(asked) for name, asked in _requests(of, Path(folder)).items()})
            return replace(reach(of, endpoint, Path(folder)), at=at, seconds=_since(begun))
    except (SourceError, BrickError) as error:
        return Probe(at, False, _since(begun), told=str(error))
    except Exception as error:  # a library of a protocol may raise what it likes
        return Probe(at, False, _since(begun), told=f"{of.name}: {type(error).__name__}: it cannot be asked. Mend: check the endpoint")


def is_awaited(of: Brick | Tool, endpoint: str) -> bool:
    """Say whether a source sends to us, at a path of ours, and cannot be asked."""
    return isinstance(of, Brick) and of.meta.connector in PUSHED and "://" not in endpoint


def _written(moment: dt.datetime | None) -> str | None:
    return moment.astimezone(dt.UTC).isoformat(timespec="seconds") if moment else None


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 3)


def _requests(brick: Brick, folder: Path) -> dict[str, Request]:
    """Make what is asked of each table; no connection to DuckDB, for no row is read."""
    return {table.name: request_of(brick, table, Position.of({}), cast("Any", None), folder) for table in brick.tables}


def _compared(brick: Brick, at: str, begun: float, told: Mapping[str, Probed]) -> Probe:
    """Hold what a source says of its tables against what the brick declares."""
    seconds, missing = _since(begun), dict[str, list[str]]()
    for table in brick.tables:
        if (columns := told[table.name].columns) is not None:
            named = {name.casefold() for name in columns}
            older = {column.name: column.meta.formerly for column in table.columns}
            wanted = [name for name in table.source_columns if not {each.casefold() for each in (name, *older.get(name, ()))} & named]
            missing |= {table.name: wanted} if wanted else {}
    changed = max((each.changed_at for each in told.values() if each.changed_at), default=None)
    licence = next((each.licence for each in told.values() if each.licence), None)
    rows = {name: each.row_count for name, each in told.items() if each.row_count is not None}
    fits = fits_licence(brick.meta.licence, licence) if licence else None
    faults = [f"{name}: the source names no {', '.join(columns)}" for name, columns in missing.items()]
    faults += [f"the source says licence {licence}, the brick {brick.meta.licence}"] if fits is False else []
    is_synthetic = any(each.is_synthetic for each in told.values())
    return Probe(at, True, seconds, _written(changed), licence, fits, missing or None, rows or None, is_synthetic, "; ".join(faults))


def fits_licence(declared: str, told: str) -> bool | None:
    """Say whether a source's words name the licence that a brick says; None where they name none that is known."""
    if declared.casefold() == told.casefold():
        return True
    named = [name for name, pattern in LICENCES.items() if re.search(pattern, told, re.IGNORECASE) or name == told.casefold()]
    return declared in named if named else None


def reach(of: Brick | Tool, endpoint: str, spool: Path) -> Probe:
    """Make one request, or one connection, to an endpoint; give what it answered. Raises SourceError where it does not, or is ill."""
    kind = endpoint.partition("://")[0] if "://" in endpoint else "file"
    if kind in ("http", "https"):
        return _asked(of, endpoint, spool)
    if kind == "file":
        path = Path(unquote(urlsplit(endpoint).path) if "://" in endpoint else endpoint)
        if not path.exists():
            raise SourceError(f"{of.name}: {path} is not there. Mend: check the endpoint.")
        return Probe("", True, changed_at=_written(dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)))
    parts = urlsplit(endpoint)
    port = parts.port or PORTS.get(kind)
    if not parts.hostname or not port:
        raise SourceError(f"{of.name}: {kind}:// names no host and port that could be reached. Mend: check the endpoint.")
    try:
        socket.create_connection((parts.hostname, port), CONNECT_SECONDS).close()
    except OSError as error:
        told = f"{of.name}: {kind}://{parts.hostname}:{port} cannot be reached ({error.strerror or type(error).__name__})"
        raise SourceError(f"{told}. Mend: check the address, the network and the proxy.") from None
    return Probe("", True)


def _asked(of: Brick | Tool, endpoint: str, spool: Path) -> Probe:
    """Ask for an endpoint as its own connector would."""
    options: Any = WebOptions(headers_env={})
    if isinstance(of, Brick):
        options = connector(of.meta.connector).BrickOptions.model_validate(of.meta.options)
    is_private = isinstance(of, Brick) and of.has_personal
    request = Request.alone(of.name, "", endpoint, brick_options=options, spool=spool, is_private=is_private)
    reading = Reading(request, {})
    client = client_of(reading) if isinstance(options, WebOptions) else Client(reading, {})
    client.tries, changed, told = 1, None, ""
    try:
        changed = client.fetch(client.endpoint, lambda _, headers: instant(headers.get("Last-Modified")))
    except SourceError as error:
        if error.status in (None, 200) or (error.status or 0) >= 500:
            raise
        told = str(error)  # the server is there: it refuses, or knows only what stands below its endpoint
    return Probe("", True, changed_at=_written(changed), is_synthetic=reading.is_synthetic, told=told)


def probed(lake: Lake) -> dict[str, dict[str, Any]]:
    """Give what was noted of the last probe of each, by name; empty where nothing was probed from here."""
    path = lake.state / NOTED
    try:
        told: dict[str, dict[str, Any]] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise LakeError(f"{path} cannot be read. Mend: rm {path}, and orchestra bricks probe") from None
    return told


def note_probes(lake: Lake, found: Mapping[str, Probe]) -> None:
    """Note what probes found, beside what others did."""
    with lake.lock("probes", wait=60):
        told = {**probed(lake), **{name: vars(each) for name, each in found.items()}}
        write_whole(lake.state_path(NOTED), json.dumps(dict(sorted(told.items())), indent=1, ensure_ascii=False).encode())


def never_reached(noted: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> list[str]:
    """Name those that no probe from here has reached."""
    return [name for name in names if not noted.get(name, {}).get("is_reached") or noted[name]["is_synthetic"]]
