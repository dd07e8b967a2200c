"""Servers of ours, on 127.0.0.1, each in a process of its own: the sandbox, and what `orchestra up` keeps running."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from ingestion.brick import UNPLUGGED, Brick
from ingestion.census import read_bricks
from ingestion.lake import PROJECT, Busy, Lake, LakeError
from ingestion.own_census import CONNECTOR
from ingestion.territory import read_territory

UNTIL = "2025-12-31"  # the sandbox's today
AGAIN_SECONDS = 30.0  # after which what is kept running is started again
RECEIVED_SECONDS = 60.0  # in which all that a sandbox pushes is received


def up() -> None:
    """Start the Prefect server and serve every schedule until Ctrl-C, which stops all of it.

    Without any ORCHESTRA_ENDPOINT in the environment, the sandbox is served too, over the lake of the demo.
    """
    with contextlib.ExitStack() as stack:
        if not any(name.startswith("ORCHESTRA_ENDPOINT") for name in os.environ):
            folder = PROJECT / "lake" / "demo"
            listened = os.environ.setdefault("ORCHESTRA_LISTEN", f"127.0.0.1:{free_port()}")  # beside what a real lake receives
            url = stack.enter_context(sandbox(os.environ.get("UNTIL", UNTIL), folder / "planted.json", push_to=listened))
            plug_in(url)
            os.environ.setdefault("ORCHESTRA_LAKE", str(folder))
            print(f"No ORCHESTRA_ENDPOINT is set: a synthetic territory is served on {url}, its lake is {os.environ['ORCHESTRA_LAKE']}.")
        lake, port = Lake(), prefect_port()
        try:
            stack.enter_context(lake.lock("up"))
        except Busy as busy:
            mend = "stop that one, or set ORCHESTRA_LAKE to another lake"
            raise LakeError(f"the schedules of {lake.root} are served already: {busy}. Mend: {mend}") from None
        os.environ["PREFECT_HOME"] = str(lake.state_path("prefect"))
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        os.environ["PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT"] = "false"
        os.environ["PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY"] = "false"
        log = lake.state_path("logs", "prefect-server.log")
        if "ORCHESTRA_DOCS_URL" not in os.environ:
            pages = lake.state_path("data_docs", "index.html").parent
            docs = ["http.server", "--bind", "127.0.0.1", "--directory", str(pages)]
            os.environ["ORCHESTRA_DOCS_URL"] = stack.enter_context(serving(docs, port + 1, lake.state_path("logs", "data-docs.log")))
        url = stack.enter_context(serving(["prefect", "server", "start", "--host", "127.0.0.1"], port, log))
        from flows.listening import is_pushed_to
        from flows.schedule import crash_interrupted, serve_deployments  # Prefect reads its settings when it is imported

        if is_pushed_to(read_bricks()):
            stack.enter_context(kept_running(["flows.cli", "listen"], log := lake.state_path("logs", "listen.log")))
            print(f"What is pushed to the bricks is received: {log}")
        if crashed := crash_interrupted(lake):
            print(f"{len(crashed)} runs were interrupted, and are told as Crashed: {', '.join(crashed[:5])}", flush=True)
        print(
            f"{read_territory().name}: Prefect UI on {url}; Ctrl-C stops all of it. For prefect's own commands, in another shell:\n"
            f"  export PREFECT_API_URL={os.environ['PREFECT_API_URL']}",
            flush=True,
        )
        with contextlib.suppress(KeyboardInterrupt):
            serve_deployments()


def prefect_port() -> int:
    """Give the port of Prefect (ORCHESTRA_PREFECT_PORT, else 4200); raises LakeError for one that is none."""
    told = os.environ.get("ORCHESTRA_PREFECT_PORT", "4200")
    if not told.isdecimal() or not 0 < int(told) < 65536:
        raise LakeError(f"ORCHESTRA_PREFECT_PORT is '{told}', which is no port. Mend: set it to a free one, 1 to 65535")
    return int(told)


def free_port() -> int:
    """Give a port of 127.0.0.1 that nobody serves."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def sandbox(until: str, key_file: Path, scale: float = 1.0, push_to: str | None = None) -> Iterator[str]:
    """Serve the sandbox on a free port; give its address. It pushes to `push_to` (host:port), where `orchestra listen` receives.

    Its bricks let in who has the keys that the environment holds; those that are not there are drawn.
    """
    port = free_port()
    for name in secrets_of(read_bricks().values()):
        os.environ.setdefault(name, secrets.token_hex(8))
    key_file.parent.mkdir(parents=True, exist_ok=True)
    command = ["flows.cli", "sandbox", "serve", "--until", until, "--scale", str(scale), "--key-file", str(key_file)]
    command += ["--push-to", f"http://{push_to}"] if push_to else []
    with serving(command, port, key_file.with_name("sandbox.log")) as url:
        yield url


def plug_in(url: str) -> None:
    """Have every brick read from a sandbox; those that it does not play are not read."""
    os.environ.update(endpoints(url))


def endpoints(url: str) -> dict[str, str]:
    """Give the environment that has every brick read from a sandbox, at the endpoint that it tells where it is not below its own."""
    told = about(url)
    own = {name: UNPLUGGED for name, brick in read_bricks().items() if not is_played(brick, told["bricks"])} | told["endpoints"]
    return {"ORCHESTRA_ENDPOINT": url + "/{brick}", **{f"ORCHESTRA_ENDPOINT_{name.upper()}": place for name, place in own.items()}}


def about(url: str) -> dict[str, Any]:
    """Give what a sandbox says of itself: its bricks, the endpoints of some, and how many messages of others wait."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def secrets_of(bricks: Iterable[Brick]) -> set[str]:
    """Name the variables that hold the keys of bricks: those of their options that end in `_env`, however deep."""

    def named(options: Any, told: str = "") -> Iterator[str]:
        if isinstance(options, dict):
            for name, each in options.items():
                yield from named(each, told if told.endswith("_env") else name)
        elif told.endswith("_env") and isinstance(options, str):
            yield options

    return {name for brick in bricks for name in named(brick.meta.options)}


def receive_all(url: str, log: Path) -> None:
    """Have `orchestra listen` receive what a sandbox pushes, until nothing waits any more; raises LakeError where it does not come."""
    if not about(url)["waiting"]:
        return
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", "flows.cli", "listen"], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + RECEIVED_SECONDS
        while waiting := about(url)["waiting"]:
            if process.poll() is not None or time.monotonic() > deadline:
                raise LakeError(f"what is pushed is not received ({', '.join(waiting)}): see {log}")
            time.sleep(0.05)
    finally:
        process.terminate()
        process.wait(30)


def is_played(brick: Brick, played: Collection[str]) -> bool:
    """Say whether a brick may be read beside a sandbox that plays some: the census is of the lake itself."""
    return brick.name in played or brick.meta.connector == CONNECTOR


@contextlib.contextmanager
def kept_running(command: list[str], log: Path) -> Iterator[None]:
    """Run a module of ours beside, and again some time after it has ended by itself."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            with log.open("ab") as output:
                process = subprocess.Popen([sys.executable, "-m", *command], stdout=output, stderr=output)
            while process.poll() is None and not over.wait(0.2):
                pass
            process.terminate()
            process.wait(30)
            over.wait(AGAIN_SECONDS)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)


@contextlib.contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[str]:
    """Run a module that serves a port until the end; give its address once it answers.

    Raises LakeError when it does not, and when somebody else serves that port: who asks would be answered by the other.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: one that has just ended is no other
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            mend = "stop who serves it, or set ORCHESTRA_PREFECT_PORT to another (Data Docs take the one that follows)"
            raise LakeError(f"port {port} of 127.0.0.1 is taken ({error.strerror}). Mend: {mend}") from error
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *([] if command[0] == "http.server" else ["--port"]), str(port)], stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise LakeError(f"{command[0]} does not answer on port {port}: see {log}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
