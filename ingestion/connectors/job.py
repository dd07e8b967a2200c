"""Work that another brick of the territory does (FME, Airflow, Spark, an API): started once, waited for, and its result landed."""

from __future__ import annotations

import json
import logging
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode, urljoin, urlsplit, urlunsplit

from pydantic import Field, model_validator

from ingestion.connectors import MissingFile, Reading, Request, SourceError, Strict, rest
from ingestion.connectors.answers import NoAnswer, at, members_of, value_of_json
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import Client, client_of
from ingestion.disk import sync, write_whole

logger = logging.getLogger(__name__)

# What an API is told so that a job that is asked for twice is started once, where it heeds it (draft of the IETF).
HEADER = "Idempotency-Key"
Placed = str | int | float | bool | None | list[Any] | dict[str, Any]


class BrickOptions(WebOptions):
    """What a brick of jobs may say: how it is let in, and how much is asked of its host."""

    limits: Limits = POLITE


class Start(Strict):
    """How a job is started: what is sent where, and where the answer says its `id`. `{key}` stands for a key of ours, a new one a job."""

    path: str = ""
    method: Literal["POST", "PUT"] = "POST"
    body: dict[str, Placed] = Field({})
    headers: dict[str, str] = Field({})
    id: str = "id"


class Status(Strict):
    """How a job is asked after: where, and where its answer says the `state`; which states it ends well or ill with.

    Any other state is one of work under way. `{id}` stands for what the start has told. `result` is where the answer says the address
    of the result, for the path of `result` to be `{result}`.
    """

    path: str
    state: str = "state"
    done: tuple[str, ...] = Field(min_length=1)
    failed: tuple[str, ...] = Field(min_length=1)
    why: str | None = None
    result: str | None = None


class Find(Strict):
    """How a job is found by our key where nobody knows whether it was started: where, and where the answer says its `id`."""

    path: str
    id: str


class Result(rest.TableOptions):
    """What the job has made, as `rest` reads it."""


class TableOptions(Strict):
    """What a table of a job may say: how it is started, asked after and found again, and its result, as `rest` reads it.

    `is_idempotent` says that the API starts a job once however often it is asked with one key.
    """

    start: Start
    status: Status
    result: Result
    find: Find | None = None
    is_idempotent: bool = False
    poll_seconds: float = Field(10, gt=0)
    timeout_seconds: float = Field(3600, gt=0)

    @model_validator(mode="after")
    def _is_told_where(self) -> TableOptions:
        if "{result}" in self.result.path and not self.status.result:
            raise ValueError("`{result}` is what the status tells: say where, in `status.result`")
        return self

    @property
    def null_values(self) -> tuple[str, ...]:
        """What stands for a missing value in the result."""
        return self.result.null_values

    @property
    def decimal(self) -> str:
        """The mark of decimals of the result."""
        return self.result.decimal

    @property
    def thousands(self) -> str | None:
        """The mark of thousands of the result."""
        return self.result.thousands


@dataclass
class Job:
    """A job as it was noted: our key, its id once it is known to be started, when, and the digest of its result once that was read."""

    key: str
    asked_at: float
    id: str | None = None
    digest: str | None = None


def read(request: Request) -> Reading:
    """Start a job unless one is under way or waits to land, wait for it, and read its result; raises SourceError.

    What is noted reaches the disk before the job is asked for, and again once its id is known: a run that is killed goes on with it.
    """
    options: TableOptions = request.table_options
    client, note = client_of(reading := Reading(request, {})), _note_of(request)
    job = _noted(note)
    if job is None or (job.digest is not None and job.digest == request.position.get("digest")):
        job = _start(client, options, note, None)  # none, or one whose result has landed
    elif job.id is None:
        job = _start(client, options, note, job)
    try:
        told = _wait(client, options, job, note)
        given = _read_result(request, options, job, told)
    except MissingFile as error:
        note.unlink(missing_ok=True)
        raise SourceError(f"{error} The job is forgotten: the next run starts another one.") from error
    job.digest = str(given.position.get("digest"))
    _write(note, job)
    given.spend(reading.bytes_read, reading.request_count)
    if reading.is_synthetic:
        given.note_sandbox(reading.read_at)
    return given


def _note_of(request: Request) -> Path:
    """Give where the job of a table is noted: with what was pushed, which is not disposable."""
    folder = request.inbox or request.spool
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"job-{request.table}.json"


def _noted(note: Path) -> Job | None:
    try:
        return Job(**json.loads(note.read_bytes()))
    except FileNotFoundError:
        return None


def _write(note: Path, job: Job) -> None:
    write_whole(note, json.dumps(vars(job)).encode())
    sync(note.parent)


def _start(client: Client, options: TableOptions, note: Path, doubtful: Job | None) -> Job:
    """Start a job, and note it before and after; one that is `doubtful` may have been started by a run that died since.

    That one is looked for by its key, or asked for again with it where the API starts it once all the same. Raises SourceError where
    neither is told to be possible.
    """
    job = doubtful or Job(secrets.token_hex(16), time.time())
    where = f"{client.brick}.{client.reading.request.table}"
    if doubtful and options.find:
        if (found := _found(client, options.find, job)) is not None:
            return _known(note, job, found)
    elif doubtful and not options.is_idempotent:
        told = f"{where}: a run has died while it asked for a job (key {job.key}): nobody knows whether it was started"
        raise SourceError(f"{told}. Mend: `find` or `is_idempotent` in its options; or look for it there, then delete {note}.")
    _write(note, job)
    start = options.start
    body = json.dumps(_placed(start.body, key=job.key)).encode()
    headers = {"Content-Type": "application/json", HEADER: job.key, **{n: str(_placed(v, key=job.key)) for n, v in start.headers.items()}}
    url = _url(client, start.path, key=job.key)
    # Asked once: what fails in between may have started it, and the next run looks for it first.
    tries, client.tries = client.tries, 1
    try:
        answer = client.fetch(url, lambda stream, _: stream.read(1 << 20), headers, start.method, body, (200, 201, 202))
    except SourceError as error:
        if error.status is not None and 400 <= error.status < 500:
            note.unlink(missing_ok=True)  # it was refused: nothing was started
        raise
    finally:
        client.tries = tries
    return _known(note, job, _value(client, url, answer, start.id, "start.id"))


def _known(note: Path, job: Job, told: Any) -> Job:
    job.id = str(told)
    _write(note, job)
    return job


def _found(client: Client, find: Find, job: Job) -> Any:
    """Give the id of a job by our key; None where the API knows none of it."""
    url = _url(client, find.path, key=job.key)
    try:
        answer = client.fetch(url, lambda stream, _: stream.read(1 << 20))
    except MissingFile:
        return None
    return value_of_json(at(members_of(answer), find.id))


def _wait(client: Client, options: TableOptions, job: Job, note: Path) -> str | None:
    """Wait until a job is done; give where its result is, where its status tells. Raises SourceError for one that fails, or lasts."""
    status, where = options.status, f"{client.brick}.{client.reading.request.table}: job {job.id}"
    url, begun = _url(client, status.path, id=str(job.id), key=job.key), time.monotonic()
    while True:
        answer = client.fetch(url, lambda stream, _: stream.read(1 << 20))
        state = str(_value(client, url, answer, status.state, "status.state"))
        if state in status.failed:
            note.unlink(missing_ok=True)
            why = value_of_json(at(members_of(answer), status.why)) if status.why else None
            told = "" if client.reading.request.is_private or why is None else f" ({client.told(str(why))[:200]})"
            raise SourceError(f"{where} has ended as {state}{told}. Mend: see what runs it; the next run starts another one.")
        if state in status.done:
            return str(_value(client, url, answer, status.result, "status.result")) if status.result else None
        if time.monotonic() - begun > options.timeout_seconds:
            mend = "the next run goes on waiting for it; `timeout_seconds` may be too short"
            raise SourceError(f"{where} is {state} after {options.timeout_seconds:g} s. Mend: {mend}.")
        logger.info("%s is %s", where, state)
        time.sleep(min(options.poll_seconds, options.timeout_seconds))


def _read_result(request: Request, options: TableOptions, job: Job, told: str | None) -> Reading:
    """Have `rest` read the result of a job."""
    path = options.result.path
    if told is not None and "{result}" in path:
        path = path.replace("{result}", _below(request, told))
    path = path.replace("{id}", quote(str(job.id), safe="")).replace("{key}", job.key)
    # What tells the version of an answer is of another job.
    position = {name: value for name, value in request.position.items() if name not in ("validator", "asked")}
    return rest.read(replace(request, table_options=options.result.model_copy(update={"path": path}), position=position))


def _below(request: Request, told: str) -> str:
    """Give what an address that a status tells is below the endpoint; raises SourceError for one that is of another host."""
    own = urlsplit(request.endpoint)
    root = f"{own.path.rstrip('/')}/"
    target = urlsplit(urljoin(urlunsplit(own._replace(path=root, query="")), told))
    if target.netloc != own.netloc.rpartition("@")[2] or not target.path.startswith(root) or target.query:
        where = f"{request.brick}.{request.table}: the result of the job is at {target.scheme}://{target.netloc}{target.path}"
        raise SourceError(f"{where}, which is not below the endpoint. Mend: check the endpoint; no key is sent elsewhere.")
    return target.path.removeprefix(root)


def _placed(value: Any, **values: str) -> Any:
    """Give a value with what stands for others replaced, however deep."""
    if isinstance(value, dict):
        return {name: _placed(each, **values) for name, each in value.items()}
    if isinstance(value, list):
        return [_placed(each, **values) for each in value]
    if isinstance(value, str):
        for name, told in values.items():
            value = value.replace(f"{{{name}}}", told)
    return value


def _url(client: Client, path: str, **values: str) -> str:
    """Give the address of a path below the endpoint, whose query stays."""
    parts = urlsplit(client.endpoint)
    below, _, query = path.partition("?")
    shown = _placed(below, **{name: quote(value, safe="") for name, value in values.items()})
    asked = "&".join(filter(None, (parts.query, _placed(query, **{name: urlencode({"v": value})[2:] for name, value in values.items()}))))
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{shown.lstrip('/')}", query=asked))


def _value(client: Client, url: str, answer: bytes, path: str, option: str) -> Any:
    """Give what an answer holds at a path; raises SourceError where it holds nothing there."""
    try:
        found = value_of_json(at(members_of(answer), path))
    except NoAnswer as error:
        raise SourceError(f"{client.brick}: {client.shown(url)} {error.told}. Mend: check `{option}` and the endpoint.") from None
    if found is None:
        raise SourceError(f"{client.brick}: {client.shown(url)} tells nothing at `{path}`. Mend: check `{option}`.")
    return found
