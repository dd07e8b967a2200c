"""Serves the synthetic territory over HTTP: one path a brick, in the protocol of the brick's real server."""

import contextlib
import datetime as dt
import importlib
import json
import logging
import pkgutil
import socketserver
import threading
import time
from collections.abc import Callable
from email.utils import formatdate, parsedate_to_datetime
from hashlib import blake2b
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

if TYPE_CHECKING:
    from ingestion.sandbox.files import Tree
    from ingestion.sandbox.world import World

_log = logging.getLogger(__name__)
_KINDS = {"json": "application/json", "csv": "text/csv", "gz": "application/gzip", "ndjson": "application/x-ndjson"}
Answer = tuple[int, bytes, dict[str, str]]
MOST_SENT = 1 << 20  # bytes that a client may send with a request
ROOM = "played"  # beside the key file: what is no server, and what is known of who was pushed to


def start(
    port: int = 0,
    scale: float = 1.0,
    until: dt.date | None = None,
    seed: int = 35,
    key_file: Path | None = None,
    host: str = "127.0.0.1",
    push_to: str | None = None,
) -> "Sandbox":
    """Serve in a thread and give back the handle (`port`, `url`, `stop()`, `with`); port 0 takes a free one.

    The key file, when one is named, says what was planted; it is never served. Beside it stands what is no server (a database), and
    how far what is pushed was acknowledged. Webhooks are pushed to `push_to` (http://host:port), none without. Bricks ask for the
    keys that their variables hold, where they are set. Errors: OSError when the port is taken.
    """
    from ingestion.sandbox.world import World

    world = World(scale, until, seed)
    if key_file is not None:
        write_key(world, key_file)
    sandbox = Sandbox(world, (host, port), key_file and key_file.with_name(ROOM), push_to)
    threading.Thread(target=sandbox.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    _log.info("sandbox: synthetic territory at %s, scale %s, until %s", sandbox.url, scale, world.until)
    return sandbox


def serve(
    port: int,
    scale: float = 1.0,
    until: dt.date | None = None,
    seed: int = 35,
    key_file: Path | None = None,
    host: str = "127.0.0.1",
    push_to: str | None = None,
) -> None:
    """Serve until interrupted; arguments as those of `start`."""
    with start(port, scale, until, seed, key_file, host, push_to), contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def write_key(world: "World", path: Path) -> None:
    """Write what was planted: every fault with its place and time, what heats each building, each folder day's spoilt frames."""
    from ingestion.sandbox.lora import LoraTree
    from ingestion.sandbox.stock import RATES
    from ingestion.sandbox.territory import Territory

    key = {"synthetic": True, "seed": world.seed, "scale": world.scale, "until": world.until.isoformat()}
    key |= {"rates": RATES, "planted": world.planted, "territory": Territory(world).planted(), "signatures": world.signatures}
    key |= {"frames_by_folder_day": LoraTree(world).counters()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(key, indent=1), encoding="utf-8")


def players() -> dict[str, Callable[["World"], Any]]:
    """What plays each brick: the entries of PLAYS of every module of this package, made of a world.

    A player is a tree of files (`list_folder`, `read`), or answers by itself: `respond(parts, query, headers)`, and
    `post(parts, query, headers, body)` where its protocol posts. One that is not asked here at all, but is a file, pushes, or listens
    elsewhere, has `open(room, push_to)`, which gives its endpoint (None where it cannot be played), `waiting()`, how many messages are
    not acknowledged yet, and `close()`.
    """
    from ingestion import sandbox

    modules = [importlib.import_module(f"ingestion.sandbox.{found.name}") for found in pkgutil.iter_modules(sandbox.__path__)]
    return {brick: play for module in modules for brick, play in getattr(module, "PLAYS", {}).items()}


def as_json(content: Any, status: int = 200, kind: str = "application/json", **headers: str) -> Answer:
    """An answer in JSON; underscores of header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, json.dumps(content, ensure_ascii=False).encode(), {"Content-Type": kind, **named}


def index_page(path: str, names: list[str]) -> bytes:
    """The listing of a folder as nginx's autoindex writes it."""
    links = "".join(f'<a href="{name}">{name}</a>\n' for name in names)
    title = f"<title>Index of {path}</title>"
    page = f'<html>\n<head>{title}</head>\n<body>\n<h1>Index of {path}</h1><hr><pre><a href="../">../</a>\n{links}'
    return (page + "</pre><hr></body>\n</html>\n").encode()


class Handler(socketserver.StreamRequestHandler):
    """One connection: HTTP/1.1 with keep-alive, read without the standard parser, which takes most of the time."""

    disable_nagle_algorithm = True
    timeout = 60
    server: "Sandbox"

    def handle(self) -> None:
        """Answer requests until the client closes, asks to close, stays silent for a minute or is not understood."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while request := self.read_request():
                method, target, headers = request
                close = headers.get("connection", "").lower() == "close" or "transfer-encoding" in headers
                size = int(told) if (told := headers.get("content-length", "0")).isdecimal() else MOST_SENT + 1
                sent = self.rfile.read(size) if size <= MOST_SENT else b""
                close = close or size > MOST_SENT
                try:
                    status, body, extra = self.server.answer(method, target, headers, sent)
                except Exception:
                    _log.exception("sandbox: %s %s failed", method, target)
                    status, body, extra = 500, b"{}", {"Content-Type": "application/json"}
                close = close or status >= 500
                lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Date: {self.server.date()}"]
                lines += ["Server: city-orchestra-sandbox", "X-City-Orchestra-Sandbox: synthetic"]
                lines += [f"{name}: {value}" for name, value in extra.items()]
                if status != HTTPStatus.NOT_MODIFIED:
                    lines.append(f"Content-Length: {len(body)}")
                head = "\r\n".join([*lines, f"Connection: {'close' if close else 'keep-alive'}", "", ""]).encode()
                self.wfile.write(head if method == "HEAD" or status == HTTPStatus.NOT_MODIFIED else head + body)
                if close:
                    return

    def read_request(self) -> tuple[str, str, dict[str, str]] | None:
        """Method, target and headers (lower case names) of the next request; None at the end of the connection."""
        line = self.rfile.readline(65_537).decode("latin-1").split()
        if len(line) != 3 or not line[2].startswith("HTTP/1."):
            return None
        headers = {"connection": "close"} if line[2] == "HTTP/1.0" else {}
        while (raw := self.rfile.readline(65_537)) not in (b"\r\n", b"\n", b""):
            name, _, value = raw.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
            if len(headers) > 100:
                return None
        return line[0], line[1], headers


class Sandbox(socketserver.ThreadingTCPServer):
    """The running server: `port`, `url`, `stop()`; as a context manager it stops at the end."""

    daemon_threads, allow_reuse_address, request_queue_size, block_on_close = True, True, 128, False

    def __init__(self, world: "World", address: tuple[str, int], room: Path | None = None, push_to: str | None = None) -> None:
        """Bind the address; nothing of the world is made before it is asked for. `room` is a folder for what is no server."""
        super().__init__(address, Handler)
        self.world, self.born, self.stamp = world, time.monotonic(), (0, "")
        made = {brick: play(world) for brick, play in players().items()}
        elsewhere = {brick: one for brick, one in made.items() if hasattr(one, "open")}
        self.endpoints = {brick: place for brick, one in elsewhere.items() if (place := one.open(room, push_to))}
        self.elsewhere = {brick: elsewhere[brick] for brick in self.endpoints}
        # What has no file yet is not there to be read.
        here = {brick: one for brick, one in made.items() if brick not in elsewhere}
        self.players = {brick: one for brick, one in here.items() if not hasattr(one, "list_folder") or one.list_folder(())}

    def __enter__(self) -> Self:
        """Give the handle itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self.stop()

    @property
    def port(self) -> int:
        """The port that is listened to."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The address to put before a brick's name."""
        return f"http://{self.server_address[0]!s}:{self.port}"

    def stop(self) -> None:
        """Stop listening and pushing, and free the ports."""
        for one in self.elsewhere.values():
            one.close()
        self.shutdown()
        self.server_close()

    def now(self) -> float:
        """The sandbox's own clock, s since 1970: `until` at 23:00 UTC plus the time since it started."""
        return self.world.now.timestamp() + time.monotonic() - self.born

    def date(self) -> str:
        """That clock as the header `Date` writes it."""
        second = int(self.now())
        if self.stamp[0] != second:
            self.stamp = (second, formatdate(second, usegmt=True))
        return self.stamp[1]

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """Status, body and headers for one request, with the body that it came with."""
        path, _, query = target.partition("?")
        path = unquote(path)
        parts = tuple(part for part in path.split("/") if part)
        post = getattr(self.players.get(parts[0]) if parts else None, "post", None)
        if method == "POST" and post:
            return post(parts[1:], query, headers, body)  # type: ignore[no-any-return]
        if method not in ("GET", "HEAD"):
            return 405, b"", {"Allow": "GET, HEAD, POST" if post else "GET, HEAD"}
        if not parts:
            return as_json(self.about())
        if player := self.players.get(parts[0]):
            is_tree = hasattr(player, "list_folder")
            return self.answer_file(player, path, parts[1:], headers) if is_tree else player.respond(parts[1:], query, headers)
        return as_json({"error": "not found"}, 404)

    def about(self) -> dict[str, Any]:
        """What the root says: the bricks, the endpoints of those that are played elsewhere, and how many messages of each wait."""
        waiting = {brick: count for brick, one in self.elsewhere.items() if (count := one.waiting())}
        now = dt.datetime.fromtimestamp(int(self.now()), dt.UTC).isoformat()
        told = {"synthetic": True, "territory": "Rennes Métropole", "now": now, "bricks": [*self.players, *self.endpoints]}
        return told | {"endpoints": self.endpoints, "waiting": waiting}

    def answer_file(self, tree: "Tree", path: str, parts: tuple[str, ...], headers: dict[str, str]) -> Answer:
        """A file, 304 when the client holds it already, or the listing of a folder."""
        found = None if path.endswith("/") else tree.read(parts)
        if found is None:
            names = tree.list_folder(parts)
            if names is None:
                return 404, b"<html><body><h1>404 Not Found</h1></body></html>", {"Content-Type": "text/html"}
            if not path.endswith("/"):
                return 301, b"", {"Location": path + "/"}
            return 200, index_page(path, names), {"Content-Type": "text/html; charset=utf-8"}
        content, modified = found
        tag = f'"{blake2b(content, digest_size=8).hexdigest()}"'
        extra = {"ETag": tag, "Last-Modified": formatdate(int(modified), usegmt=True)}
        known, since = headers.get("if-none-match"), headers.get("if-modified-since")
        if known is not None:
            if known.strip() == "*" or tag in [each.strip().removeprefix("W/") for each in known.split(",")]:
                return 304, b"", extra
        elif since is not None:
            with contextlib.suppress(ValueError, TypeError):
                if parsedate_to_datetime(since).timestamp() >= int(modified):
                    return 304, b"", extra
        return 200, content, extra | {"Content-Type": _KINDS.get(path.rpartition(".")[2], "application/octet-stream")}
