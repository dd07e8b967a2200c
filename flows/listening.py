"""What is pushed to the bricks is received, and starts their runs: `orchestra listen`, which `orchestra up` keeps running."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import logging
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

from flows.cadence import pause
from flows.commands import Bricks, Misuse, chosen_bricks
from ingestion.brick import Brick, endpoint_of
from ingestion.connectors import PUSHED, SourceError, connector
from ingestion.connectors.authentication import value_of
from ingestion.connectors.pushed import Received
from ingestion.declaration import BrickError
from ingestion.inbox import append, holds, inbox_of, line_of, session_of
from ingestion.lake import Busy, Lake, LakeError

log = logging.getLogger("orchestra")

ADDRESS = "127.0.0.1:4280"  # where webhooks are received
BEAT_SECONDS = 2.0  # between two looks at what has come: a burst is one run
AGAIN_SECONDS = 60.0  # after which a run that could not be started is asked for again


def listen(*, brick: Bricks = ()) -> list[str]:
    """Receive what is pushed to the bricks, until Ctrl-C: on the disk first, acknowledged then.

    A message starts the run of its brick where PREFECT_API_URL says who runs it (`orchestra up` does); else it waits for the
    next `orchestra run`. ORCHESTRA_LISTEN is the address of the webhooks, 127.0.0.1:4280 unless it is set.
    """
    logging.basicConfig(format="%(asctime)s %(message)s")
    log.setLevel(logging.INFO)
    lake, over = Lake(), threading.Event()
    bricks = {name: each for name, each in chosen_bricks(brick).items() if each.meta.connector in PUSHED}
    if not bricks:
        raise Misuse(f"nothing is pushed to {', '.join(brick) or 'any brick'}: no connector is {' or '.join(PUSHED)}")
    lake.state.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        failures = []
        for name in list(bricks):
            try:
                endpoint_of(bricks[name])
                held.enter_context(lake.lock(f"listen-{name}"))
            except (BrickError, Busy) as error:
                failures.append(f"{name}: not listened to: {error}")
                del bricks[name]
        starter = Starter(lake, bricks)
        threads, told = _receivers(lake, bricks, starter, over)
        failures += told
        for failure in failures:
            log.error("%s", failure)
        for thread in threads:
            thread.start()
        if threads and not starter.api:
            log.warning("no run is started, for PREFECT_API_URL is not set: messages wait in the inbox for the next `orchestra run`")
        while any(thread.is_alive() for thread in threads) and not over.is_set():
            starter.start_due()
            time.sleep(BEAT_SECONDS)
    return failures or ["nothing is listened to any more: see above"]


def is_pushed_to(bricks: dict[str, Brick]) -> bool:
    """Say whether something is to be listened to: a brick that is plugged in, and to which its source pushes."""
    for brick in bricks.values():
        if brick.meta.connector in PUSHED and brick.meta.status != "retired":
            with contextlib.suppress(BrickError):
                return bool(endpoint_of(brick))
    return False


class Starter:
    """Starts the runs of the bricks that something was pushed to: at once after a rest, and once in the time of their cadence."""

    def __init__(self, lake: Lake, bricks: dict[str, Brick]) -> None:
        self.lake, self.bricks, self.api = lake, bricks, os.environ.get("PREFECT_API_URL", "").rstrip("/")
        self.waiting = {name for name in bricks if holds(inbox_of(lake, name))}  # what a kill left waits as well
        self.not_before: dict[str, float] = {}

    def note(self, name: str) -> None:
        """Note that something was pushed to a brick."""
        self.waiting.add(name)

    def start_due(self) -> list[str]:
        """Start the runs that are due, and give the names of their bricks; what another run has landed needs none."""
        started = []
        for name in sorted(self.waiting) if self.api else ():
            now = time.monotonic()
            if now < self.not_before.get(name, now):
                continue
            self.waiting.discard(name)
            if not holds(inbox_of(self.lake, name)):
                continue
            try:
                start_run(self.api, self.bricks[name])
            except (OSError, ValueError, LakeError) as error:
                log.warning("%s: its run cannot be started (%s); asked for again in a minute", name, error)
                self.waiting.add(name)
                self.not_before[name] = now + AGAIN_SECONDS
            else:
                started.append(name)
                self.not_before[name] = now + pause(self.bricks[name])
        return started


def start_run(api: str, brick: Brick) -> str:
    """Have Prefect run a brick now, by the deployment of its cadence; give the name of the run. Raises OSError or LakeError."""
    found = _ask(api, "deployments/filter", flows={"name": {"any_": ["city-orchestra"]}})
    ours = next((each["id"] for each in found if (each.get("parameters") or {}).get("cadence") == brick.meta.cadence), None)
    if ours is None:
        raise LakeError(f"no deployment reads bricks {brick.meta.cadence}. Mend: prefect.yaml, or orchestra up")
    name: str = _ask(api, f"deployments/{ours}/create_flow_run", parameters={"bricks": [brick.name]})["name"]
    return name


def _ask(api: str, path: str, **body: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    if user := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    with urllib.request.urlopen(urllib.request.Request(f"{api}/{path}", json.dumps(body).encode(), headers), timeout=20) as answer:
        return json.load(answer)


def _receivers(lake: Lake, bricks: dict[str, Brick], starter: Starter, over: threading.Event) -> tuple[list[threading.Thread], list[str]]:
    """Give the threads that receive, one a broker and one for all webhooks, and why a brick has none."""
    threads, failures, routes = [], [], dict[str, Any]()
    for name, brick in bricks.items():
        module = connector(brick.meta.connector)
        options = module.BrickOptions.model_validate(brick.meta.options)
        tables = {table.name: module.TableOptions.model_validate(table.meta.options) for table in brick.tables}
        endpoint = endpoint_of(brick)
        try:
            if brick.meta.connector == "mqtt":
                module.address_of(name, endpoint)
                filters = {table: of.topic for table, of in tables.items()}
                client_id = options.client_id or session_of(inbox_of(lake, name))
                take = _keeper(lake, name, starter)
                threads.append(_thread(over, module.listen, name, endpoint, options, client_id, filters, take, over))
                log.info("%s: listens to %s", name, ", ".join(filters.values()))
                continue
            token = value_of(name, options.token_env)
            for table, of in tables.items():
                path = module.path_of(name, endpoint, of.path)
                if other := routes.get(path):
                    failures.append(f"{name}.{table}: {path} is that of {other.brick}.{other.table} too. Mend: `path` of one of them")
                    continue
                routes[path] = module.Route(name, table, options.header, token)
                log.info("%s.%s: listens to POST %s", name, table, path)
        except SourceError as error:
            failures.append(str(error))
    if routes:
        try:
            threads.append(_webhooks(lake, routes, starter, over))
        except (SourceError, LakeError) as error:
            failures.append(str(error))
    return threads, failures


def _webhooks(lake: Lake, routes: dict[str, Any], starter: Starter, over: threading.Event) -> threading.Thread:
    from ingestion.connectors import webhook

    told = os.environ.get("ORCHESTRA_LISTEN", ADDRESS)
    host, _, port = told.rpartition(":")
    if not host or not port.isdecimal() or not int(port) < 65536:
        raise LakeError(f"ORCHESTRA_LISTEN is '{told}'. Mend: host:port, as in {ADDRESS}")
    keepers = {name: _keeper(lake, name, starter) for name in {route.brick for route in routes.values()}}
    server = webhook.listen(host, int(port), routes, lambda route, *sent: keepers[route.brick]([Received(route.table, *sent)]))
    log.info("webhooks are received on http://%s:%s", *server.server_address[:2])
    return _thread(over, server.serve_forever)


def _keeper(lake: Lake, name: str, starter: Starter) -> Callable[[Sequence[Received]], None]:
    """Give what has messages of a brick reach the disk, and tells that something has come."""

    def keep(received: Sequence[Received]) -> None:
        now, lines = dt.datetime.now(dt.UTC), dict[str, list[bytes]]()
        for table, topic, body, clock in received:
            lines.setdefault(table, []).append(line_of(topic, body, clock or now, is_synthetic=clock is not None))
        for table, of in lines.items():
            append(inbox_of(lake, name) / table, of)
        starter.note(name)

    return keep


def _thread(over: threading.Event, do: Callable[..., None], *arguments: Any) -> threading.Thread:
    """Give a thread that ends with the process, and says why it ends before; what nobody foresaw ends the process."""

    def run() -> None:
        try:
            do(*arguments)
        except SourceError as error:
            log.warning("%s", error)
        except Exception:
            log.exception("listening has ended. Mend: start it again, and tell the authors")
            over.set()

    return threading.Thread(target=run, daemon=True)
