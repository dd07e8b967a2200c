"""What is pushed by HTTP POST with a token, to a small server of ours: answered 2xx once it is on the disk."""

from __future__ import annotations

import hmac
import logging
import sys
from collections.abc import Callable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from ingestion.connectors import SourceError, Strict, Variable, pushed
from ingestion.connectors.pushed import read
from ingestion.connectors.web import sandbox_clock
from ingestion.declaration import written

__all__ = ["BrickOptions", "TableOptions", "listen", "read"]
log = logging.getLogger("orchestra")

MOST_BYTES = 16 << 20  # that a message may hold
DRAINED_BYTES = 64 << 20  # of one that is too long, read all the same, so that its sender sees the answer
SECONDS = 30  # that a sender may be silent
AUTHORIZATION = "Authorization"


class BrickOptions(Strict):
    """What a brick says of who may push to it: the variable that holds the token, and the header that it is sent in."""

    token_env: Variable
    header: Annotated[str, written("^[A-Za-z0-9-]+$", "is no name of a header, as in X-Token")] = AUTHORIZATION


class TableOptions(pushed.TableOptions):
    """What a table may say: its path below the one of the brick, and the envelope of its messages."""

    path: Annotated[str, written("^(/[A-Za-z0-9._~-]+)*$", "is no path, as in /up")] = ""


class Route(NamedTuple):
    """Where messages of a path go: a table of a brick, and who may push them."""

    brick: str
    table: str
    header: str
    token: str


# Called with (route, path, body, clock of the sandbox that sent it) of a message; once it has returned, it is on the disk.
Keep = Callable[[Route, str, bytes, datetime | None], None]


def path_of(brick: str, endpoint: str, path: str) -> str:
    """Give the path at which a table is pushed to: that of its brick's endpoint, then its own; raises SourceError for none."""
    base = urlsplit(endpoint).path.rstrip("/")
    if not (base + path).startswith("/"):
        raise SourceError(f"{brick}: its endpoint is no path. Mend: `endpoint: /push/{brick}`, what senders ask for after host and port")
    return base + path


def listen(host: str, port: int, routes: dict[str, Route], keep: Keep) -> ThreadingHTTPServer:
    """Give a server of the paths of some tables, which `serve_forever` of it serves; raises SourceError where it cannot be had."""

    class Handler(_Handler):
        pass

    Handler.routes, Handler.keep = routes, staticmethod(keep)
    try:
        return _Server((host, port), Handler)
    except OSError as error:
        told = f"webhooks cannot be received on {host}:{port} ({error.strerror or error})"
        raise SourceError(f"{told}. Mend: set ORCHESTRA_LISTEN to another address, or stop who serves it") from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say that a sender has gone, without what it sent."""
        log.warning("a message was not received to its end (%s): it was not acknowledged", type(sys.exception()).__name__)


class _Handler(BaseHTTPRequestHandler):
    routes: dict[str, Route]
    keep: Keep
    protocol_version, server_version, sys_version = "HTTP/1.1", "city-orchestra", ""
    timeout = SECONDS

    def do_POST(self) -> None:
        """Receive a message: 200 once it is kept, else why it is not."""
        path = urlsplit(self.path).path.rstrip("/")
        length, route = self.headers.get("Content-Length", ""), self.routes.get(path)
        if route is None:
            self._answer(404, "no brick is pushed to at this path")
        elif not self._knows(route):
            self._answer(401, "this is not the token of this path")
        elif not length.isdecimal() or "Transfer-Encoding" in self.headers:
            self._answer(411, "say the length of the message (Content-Length)")
        elif int(length) > MOST_BYTES:
            self._answer(413, f"a message of {int(length)} bytes, {MOST_BYTES} at most: send it in parts")
        elif self.headers.get("Content-Encoding", "identity") != "identity":
            self._answer(415, "send the message as it is, not packed")
        elif len(body := self.rfile.read(int(length))) < int(length):
            self.close_connection = True  # who sent it has gone
        else:
            self._keep(route, path, body)

    def _keep(self, route: Route, path: str, body: bytes) -> None:
        try:
            type(self).keep(route, path, body, sandbox_clock(dict(self.headers.items())))
        except OSError as error:
            log.warning(
                "%s.%s: a message cannot be written (%s), and is not acknowledged. Mend: check the disk", *route[:2], error.strerror
            )
            self._answer(503, "it cannot be written: send it again later")
        else:
            self._answer(200, "")

    def _knows(self, route: Route) -> bool:
        """Say whether the token is the one of a path, in a time that tells nothing of it."""
        sent = self.headers.get(route.header, "")
        if route.header.casefold() == AUTHORIZATION.casefold() and sent[:7].casefold() == "bearer ":
            sent = sent[7:]
        return hmac.compare_digest(sent.strip().encode("utf-8", "replace"), route.token.encode())

    def _answer(self, status: int, told: str) -> None:
        """Answer; what was not read of a message goes by, and the connection ends."""
        text = f"{told}\n".encode() if told else b""
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if status != 200:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)
        if status not in (200, 503):
            self._drain()

    def _drain(self) -> None:
        length = self.headers.get("Content-Length", "")
        left = min(int(length), DRAINED_BYTES) if length.isdecimal() else 0
        while left > 0 and (block := self.rfile.read(min(left, 1 << 16))):
            left -= len(block)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of a request: what it asks for may be a secret in the wrong place."""
